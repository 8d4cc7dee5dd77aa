"""The part of ``Group`` that makes, moves and deletes links."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import PathError
from streamh5.handles.attributes import Handle
from streamh5.handles.given_data import as_dtype, as_link
from streamh5.handles.group_contents import GroupContents
from streamh5.model.object_path import check_new_path
from streamh5.model.tree import DatatypeNode

if TYPE_CHECKING:
    from streamh5.handles.dataset import Dataset


class GroupLinks(GroupContents):
    """The part of `Group` that changes which object a name leads to, with the methods of h5py."""

    @abstractmethod
    def create_dataset(
        self, name: str | bytes, shape: Any = None, dtype: Any = None, data: Any = None
    ) -> Dataset:
        """Create a dataset: see `Group.create_dataset`."""

    def __setitem__(self, name: str | bytes, value: Any) -> None:
        """Link an object under `name`, or write data there, as h5py does.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root.
        value
            A `Group`, `Dataset` or `Datatype` of this file (a hard link), an `h5py.SoftLink`, an
            `h5py.ExternalLink`, a `numpy.dtype`, which becomes a named `Datatype`, or an array-like, which becomes a
            dataset.

        Raises
        ------
        PathError
            The name is taken.
        DatatypeError
            The dtype cannot be written.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f["x"] = np.arange(5)
        ...     f["same"] = f["x"]
        ...     f["soft"] = streamh5.SoftLink("/x")
        ...     f["other"] = streamh5.ExternalLink("other.h5", "/x")
        ...     f["point"] = np.dtype([("x", "f4"), ("y", "f4")])
        """
        if isinstance(value, np.dtype):
            path = check_new_path(self.absolute_path(name))
            element = as_dtype(value, path)
            self.session.create_datatype(DatatypeNode(path, element, track_order=self.file.track_order))
            return
        is_handle = isinstance(value, Handle)
        target = value.node if is_handle else as_link(value)
        if is_handle and value.session is not self.session:
            raise PathError(
                f"{value.name} belongs to another file; link it with streamh5.ExternalLink(filename, path)",
                path=value.name,
            )
        if target is None:
            # as `data`, None means no data; here it is a value
            self.create_dataset(name, data=np.asarray(None, object) if value is None else value)
        else:
            self.session.link(self.absolute_path(name), target)

    def __delitem__(self, name: str | bytes) -> None:
        """Delete a link; an object without links is deleted, and references to it become null.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root.

        Raises
        ------
        KeyError
            There is no such link.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f["x"] = np.arange(5)
        ...     del f["x"]
        """
        path = self.absolute_path(name)
        try:
            self.session.remove(path)
        except PathError as error:
            raise KeyError(str(error)) from error
        self.file.forget_handles()

    def move(self, source: str | bytes, dest: str | bytes) -> None:
        """Give a link another path, which renames or moves its object.

        Parameters
        ----------
        source, dest
            Old and new path, from this group or, with a leading ``/``, from the root.

        Raises
        ------
        PathError
            There is no such link, or the new path is taken.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f["x"] = np.arange(5)
        ...     f.move("x", "raw/x")
        ...     list(f["raw"])
        ['x']
        """
        self.session.move(self.absolute_path(source), self.absolute_path(dest))
        self.file.forget_handles()
