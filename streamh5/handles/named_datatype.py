"""``Datatype``: the handle of a named datatype, which datasets and attributes share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.handles.attributes import Attributes

if TYPE_CHECKING:
    import numpy as np

    from streamh5.handles.session import Session
    from streamh5.model.tree import DatatypeNode

__all__ = ["Datatype"]


class Datatype:
    """A named (committed) datatype; made by ``f["t"] = numpy.dtype(...)``, as in h5py.

    Give it as `dtype` to `Group.create_dataset` or `Attributes.create` of the same file: what they make has no type
    of its own then, but this one, which readers can tell.
    """

    def __init__(self, session: Session, node: DatatypeNode) -> None:
        self.session = session
        self._node = node

    @property
    def node(self) -> DatatypeNode:
        """The datatype in the plan of the file."""
        return self._node

    @property
    def name(self) -> str:
        """Absolute path in the file."""
        return self._node.path

    @property
    def dtype(self) -> np.dtype[Any]:
        """What elements of this type are in memory."""
        return self._node.dtype

    @property
    def attrs(self) -> Attributes:
        """Attributes by name."""
        return Attributes(self.session, self._node)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Datatype) and other.node is self._node

    def __hash__(self) -> int:
        return id(self._node)

    def __repr__(self) -> str:
        return f"<streamh5.Datatype {self.name!r}: {self.dtype}>"
