"""``Datatype``: the handle of a named datatype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.handles.attributes import Handle
from streamh5.model.tree import DatatypeNode

if TYPE_CHECKING:
    import numpy as np

    from streamh5.handles.file import File


class Datatype(Handle[DatatypeNode]):
    """A named (committed) datatype; made by ``f["t"] = numpy.dtype(...)``, as in h5py.

    Pass it as `dtype` to `Group.create_dataset` or `Attributes.create` of the same file: the new dataset or attribute
    then shares this datatype, which readers can see.

    Examples
    --------
    >>> with streamh5.File("x.h5", "w") as f:
    ...     f["point"] = np.dtype([("x", "f4"), ("y", "f4")])
    ...     points = f.create_dataset("points", (100,), f["point"])
    ...     f["point"].attrs["unit"] = "mm"
    ...     f["point"].name, f["point"].dtype.names, f["point"].file is f, f["point"].parent == f, f["point"].ref
    ('/point', ('x', 'y'), True, True, Reference(path='/point'))
    """

    def __init__(self, file: File, node: DatatypeNode) -> None:
        super().__init__(file.session, node)
        self._file = file

    @property
    def file(self) -> File:
        """The `File` that contains the datatype."""
        return self._file

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type in memory."""
        return self._node.dtype

    def __repr__(self) -> str:
        return f"<streamh5.Datatype {self.name!r}: {self.dtype}>"
