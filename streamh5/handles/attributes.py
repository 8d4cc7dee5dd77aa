"""What all handles share: an object of the file, and ``attrs``, its attributes as a dictionary."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np

from streamh5.errors import AttributeValueError, DatatypeError
from streamh5.format.character_set import decode_text
from streamh5.format.dtype import innermost
from streamh5.model.attribute_spec import attribute_spec
from streamh5.model.block_value import as_block
from streamh5.model.not_an_array import UNREADABLE, check_is_array, is_empty
from streamh5.model.reference import Reference
from streamh5.model.tree import DatatypeNode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamh5.handles.file import File
    from streamh5.handles.group import Group
    from streamh5.handles.session import Session
    from streamh5.model.tree import Node


def named_type(dtype: Any, session: Session, *, path: str) -> DatatypeNode | None:
    """Return the named datatype passed as `dtype` of an object or attribute; None for any other dtype.

    Raises
    ------
    DatatypeError
        It belongs to another file.
    """
    node = getattr(dtype, "node", None)
    if not isinstance(node, DatatypeNode):
        return None
    if dtype.session is not session:
        raise DatatypeError(
            f"{path}: {node.path} is a named datatype of another file; pass its .dtype, or name it in this file too",
            path=path,
            dtype=node.dtype,
        )
    return node


def names_in_order(node: Node, names: Iterable[str]) -> list[str]:
    """Return the names of links or attributes of an object in the order of h5py: of creation if that is tracked."""
    return list(names) if node.track_order else sorted(names)


class Attributes(MutableMapping[str, Any]):
    """Attributes by name, as a dictionary, which can be set until the file is closed; made by ``attrs``.

    Values are kept unchanged, for reading back. They are converted for the file when they are set,
    so a value that cannot be written is refused then. Values of an existing file are read when they are asked for.

    Examples
    --------
    >>> with streamh5.File("x.h5", "w") as f:
    ...     f.attrs["unit"] = "mm"
    ...     f.attrs.update(gain=0.5, offsets=[1, 2])
    ...     del f.attrs["offsets"]
    ...     dict(f.attrs)
    {'gain': 0.5, 'unit': 'mm'}
    """

    def __init__(self, session: Session, node: Node) -> None:
        self._session = session
        self._node = node

    def __getitem__(self, name: str | bytes) -> Any:
        return self._node.attributes[decode_text(name)].content

    def __contains__(self, name: object) -> bool:
        return isinstance(name, (str, bytes)) and decode_text(name) in self._node.attributes

    def __setitem__(self, name: str | bytes, value: Any) -> None:
        self._session.check_open()
        name = decode_text(name)
        self._session.set_attribute(self._node, attribute_spec(name, value, path=self._node.path))

    def __delitem__(self, name: str | bytes) -> None:
        self._session.remove_attribute(self._node, decode_text(name))

    def __iter__(self) -> Iterator[str]:
        return iter(names_in_order(self._node, self._node.attributes))

    def __len__(self) -> int:
        return len(self._node.attributes)

    def create(self, name: str | bytes, data: Any, shape: Any = None, dtype: Any = None) -> None:
        """Set an attribute with another shape or dtype than that of `data`, as h5py's method of the same name does.

        Parameters
        ----------
        name
            Attribute name.
        data
            Its value.
        shape
            Shape with the same number of elements; it ends with the dimensions of an array dtype.
        dtype
            Anything that numpy accepts, or a named `Datatype` of the same file.

        Raises
        ------
        AttributeValueError
            The name or the value cannot be written, or the value does not fit the shape or dtype.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f.attrs.create("gains", [1, 2, 3, 4], shape=(2, 2), dtype="f4")
        """
        self._session.check_open()
        name = decode_text(name)
        named = named_type(dtype, self._session, path=self._node.path)
        value = data
        try:
            element, inner = (None, ()) if dtype is None or is_empty(data) else innermost(np.dtype(dtype))
            if element is None and shape is not None:
                check_is_array(data)
                value = np.asarray(data)
        except UNREADABLE as error:
            raise self._refused(name, error) from error
        try:
            if element is not None:
                # the view restores the metadata of h5py's dtypes, which compares equal but gets lost
                value = as_block(data, element, path=name).view(element)
            if shape is not None:
                value = np.reshape(value, shape)
        except (TypeError, ValueError) as error:
            raise self._refused(name, error) from error
        spec = attribute_spec(
            name,
            value,
            path=self._node.path,
            dtype=np.dtype(dtype) if inner else None,
            datatype=None if named is None else named.datatype,
            type_path=None if named is None else named.path,
        )
        self._session.set_attribute(self._node, spec)

    def modify(self, name: str | bytes, value: Any) -> None:
        """Set an attribute, like ``attrs[name] = value``; h5py has a method of the same name.

        Parameters
        ----------
        name, value
            Attribute name, and its value.

        Raises
        ------
        AttributeValueError
            The name or the value cannot be written.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f.attrs.modify("gain", 0.5)
        """
        self[name] = value

    def __repr__(self) -> str:
        return f"<attributes of {self._node.path}: {', '.join(self) or 'none'}>"

    def _refused(self, name: str, error: Exception) -> AttributeValueError:
        return AttributeValueError(f"attribute {name!r} of {self._node.path}: {error}", name=name)


N = TypeVar("N", bound="Node")


class Handle(Generic[N]):
    """The handle of an object in a file that is being written; handles of the same object are equal."""

    def __init__(self, session: Session, node: N) -> None:
        self.session = session
        self._node = node

    @property
    def node(self) -> N:
        """The object in the tree of the file."""
        return self._node

    @property
    def name(self) -> str:
        """Absolute path in the file."""
        return self._node.path

    @property
    @abstractmethod
    def file(self) -> File:
        """The `File` that contains the object."""

    @property
    def parent(self) -> Group:
        """The group in which the object was created; the root group is its own parent."""
        return cast("Group", self.file[self.name.rpartition("/")[0] or "/"])

    @property
    def ref(self) -> Reference:
        """An object reference to it, as a value of an attribute or of a dataset of references."""
        return Reference(self.name)

    @property
    def attrs(self) -> Attributes:
        """Attributes by name."""
        return Attributes(self.session, self._node)

    def _repr_html_(self) -> str:
        from streamh5.handles.html_repr import handle_html  # now: only notebooks need it

        return handle_html(type(self).__name__, self.name, self._node, self.session)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other.node is self._node

    def __hash__(self) -> int:
        return id(self._node)
