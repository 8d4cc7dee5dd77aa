"""A datatype of the HDF5 library as stored in a file, and where its elements contain pointers.

The library encodes a datatype for its memory (`H5Tencode`): there a string of variable length is a ``char *``
of 8 bytes and a sequence an ``hvl_t``; in a file both are 16 bytes, and the fields after them move
(`H5T_set_loc`). Everything else of the message stays byte for byte, but for the version: 4 and 5, which only
HDF5 1.12 and 2.0 know, say the same as 3 where they do not stand for complex numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from streamh5.errors import SourceError
from streamh5.format.datatype_class import ClassNumber
from streamh5.format.primitives import encoded_length
from streamh5.model.reference import SIZEOF_REFERENCE, SIZEOF_REGION_REFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZEOF_ENCODE_HEADER = 2
"""`H5Tencode` prefixes the message with its type and the version of the encoding."""

_SIZEOF_POINTER = 8
_SIZEOF_HVL = 16
_SIZEOF_IN_FILE = 16
"""Length, address and index of an object in the global heap."""

_SIZEOF_MEMBER_DIMENSIONS = 28
"""Dimensions of a member of version 1, which the library leaves empty."""

_MAX_DEPTH = 64
_CONTAINER_VERSION = 3
"""Version of containers whose members have at most this version."""

_PROPERTIES_NBYTES: dict[int, int] = {
    ClassNumber.FIXED_POINT: 4,
    ClassNumber.FLOATING_POINT: 12,
    ClassNumber.TIME: 2,
    ClassNumber.STRING: 0,
    ClassNumber.BIT_FIELD: 4,
}
_PADDED_VERSIONS = (1, 2)
"""Versions of the message in which names are padded to multiples of 8 bytes."""


@dataclass(frozen=True, slots=True)
class Plain:
    """The same `nbytes` bytes in memory and in a file."""

    nbytes: int
    nbytes_in_file: int


@dataclass(frozen=True, slots=True)
class Text:
    """A string of variable length: a pointer to it, ended by NUL."""

    nbytes: int = _SIZEOF_POINTER
    nbytes_in_file: int = _SIZEOF_IN_FILE


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence: how many elements, and a pointer to them."""

    base: Element
    nbytes: int = _SIZEOF_HVL
    nbytes_in_file: int = _SIZEOF_IN_FILE


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """An object reference: the address of an object header."""

    nbytes: int = SIZEOF_REFERENCE
    nbytes_in_file: int = SIZEOF_REFERENCE


@dataclass(frozen=True, slots=True)
class RegionAddress:
    """A region reference: address and index of an object in the global heap."""

    nbytes: int = SIZEOF_REGION_REFERENCE
    nbytes_in_file: int = SIZEOF_REGION_REFERENCE


@dataclass(frozen=True, slots=True)
class Fields:
    """A compound: position in memory, position in a file and type of each field, in the order of positions."""

    nbytes: int
    nbytes_in_file: int
    fields: tuple[tuple[int, int, Element], ...]


@dataclass(frozen=True, slots=True)
class Items:
    """An array of `n` elements."""

    n: int
    base: Element

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.n * self.base.nbytes

    @property
    def nbytes_in_file(self) -> int:
        """Bytes in a file."""
        return self.n * self.base.nbytes_in_file


Element: TypeAlias = "Plain | Text | Sequence | ObjectAddress | RegionAddress | Fields | Items"


@dataclass(frozen=True, slots=True)
class StoredType:
    """A datatype of a file.

    Attributes
    ----------
    message
        Body of its datatype message.
    element
        Where its elements contain pointers.
    address
        Address of the named datatype; None for an unnamed one.
    """

    message: bytes
    element: Element
    address: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of an element in a file."""
        return self.element.nbytes_in_file

    @property
    def has_pointers(self) -> bool:
        """Whether elements refer to the global heap, or to objects."""
        return not isinstance(self.element, Plain)

    @property
    def has_references(self) -> bool:
        """Whether elements refer to objects."""
        return _any(self.element, lambda one: isinstance(one, (ObjectAddress, RegionAddress)))


def stored_type(kind: Any) -> StoredType:
    """Return a datatype of h5py as it is stored in a file.

    Parameters
    ----------
    kind
        A `h5py.h5t.TypeID` of a dataset or attribute, or a named datatype.

    Raises
    ------
    SourceError
        A datatype that streamh5 does not write; the message does not name the object.
    """
    reader = _MessageReader(kind.encode()[_SIZEOF_ENCODE_HEADER:])
    message, element = reader.read(0)
    return StoredType(message, element, object_address(kind) if kind.committed() else None)


def object_address(obj: Any) -> int:
    """Address of the header of an object of h5py; unlike `h5o.get_info`, this opens no chunk index."""
    from h5py import h5g

    number = h5g.get_objinfo(obj, b".").objno
    return int(number[0] | number[1] << 32 if isinstance(number, tuple) else number)


def _any(element: Element, is_wanted: Callable[[Element], bool]) -> bool:
    match element:
        case Sequence(base) | Items(_, base):
            return _any(base, is_wanted)
        case Fields():
            return any(_any(inner, is_wanted) for _, _, inner in element.fields)
        case _:
            return is_wanted(element)


class _MessageReader:
    """Converts the body of a datatype message for memory to that of the file.

    It edits bytes and does not use `streamh5.format.datatype`, whose encoder chooses versions and drops padding:
    a copied message would not stay byte for byte.
    """

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._position = 0
        self._newest = _CONTAINER_VERSION

    def read(self, depth: int) -> tuple[bytes, Element]:
        """Read one datatype; return its message and its elements."""
        newest, self._newest = self._newest, _CONTAINER_VERSION
        message, element = self._read(depth)
        class_id, version = message[0] & 15, message[0] >> 4
        if class_id != ClassNumber.COMPLEX:
            version = min(version, self._newest)
        self._newest = max(newest, version)
        return bytes([class_id | version << 4]) + message[1:], element

    def _read(self, depth: int) -> tuple[bytes, Element]:
        if depth > _MAX_DEPTH:
            raise SourceError(f"a datatype that is nested more than {_MAX_DEPTH} deep")
        head = self._take(8)
        class_id, version, bits = head[0] & 15, head[0] >> 4, int.from_bytes(head[1:4], "little")
        nbytes = int.from_bytes(head[4:8], "little")
        match class_id:
            case ClassNumber.COMPOUND:
                return self._compound(head, version, bits & 0xFFFF, nbytes, depth)
            case ClassNumber.VARIABLE_LENGTH:
                message, base = self.read(depth + 1)
                element = Text() if bits & 15 == 1 else Sequence(base)
                return _head(head, element.nbytes_in_file) + message, element
            case ClassNumber.ARRAY:
                return self._array(head, version, depth)
            case ClassNumber.REFERENCE if bits & 15 > 1:
                raise SourceError(
                    "references of HDF5 1.12 (H5R_ref_t), which streamh5 does not write; those of earlier kinds it does"
                )
            case ClassNumber.REFERENCE:
                return head, RegionAddress() if bits & 15 else ObjectAddress()
            case ClassNumber.OPAQUE:
                return head + self._take(bits & 0xFF), Plain(nbytes, nbytes)
            case ClassNumber.ENUMERATION:
                properties = self._enumeration(version, bits & 0xFFFF, nbytes, depth)
                return head + properties, Plain(nbytes, nbytes)
            case ClassNumber.COMPLEX:
                return head + self.read(depth + 1)[0], Plain(nbytes, nbytes)
            case _ if class_id in _PROPERTIES_NBYTES:
                return head + self._take(_PROPERTIES_NBYTES[class_id]), Plain(nbytes, nbytes)
            case _:
                raise SourceError(f"a datatype of class {class_id}, which streamh5 does not know")

    def _compound(
        self, head: bytes, version: int, n_members: int, nbytes: int, depth: int
    ) -> tuple[bytes, Element]:
        width = 4 if version in _PADDED_VERSIONS else encoded_length(nbytes)
        members = []
        for _ in range(n_members):
            name = self._name(version)
            position = int.from_bytes(self._take(width), "little")
            dims = self._take(_SIZEOF_MEMBER_DIMENSIONS if version == 1 else 0)
            message, element = self.read(depth + 1)
            members.append((name, position, dims + message, element))
        growth = 0
        moved: dict[int, int] = {}
        fields = []
        for number in sorted(range(n_members), key=lambda i: members[i][1]):
            _, position, _, element = members[number]
            moved[number] = position + growth
            fields.append((position, position + growth, element))
            growth += element.nbytes_in_file - element.nbytes
        in_file = nbytes + growth
        width = 4 if version in _PADDED_VERSIONS else encoded_length(in_file)
        parts = [_head(head, in_file)]
        for number, (name, _, message, _) in enumerate(members):
            parts += [name, moved[number].to_bytes(width, "little"), message]
        if all(isinstance(element, Plain) for _, _, element in fields):
            return b"".join(parts), Plain(nbytes, nbytes)
        return b"".join(parts), Fields(nbytes, in_file, tuple(fields))

    def _array(self, head: bytes, version: int, depth: int) -> tuple[bytes, Element]:
        start = self._position
        rank = self._take(1)[0]
        if version in _PADDED_VERSIONS:
            self._take(3)
        shape = [int.from_bytes(self._take(4), "little") for _ in range(rank)]
        if version in _PADDED_VERSIONS:
            self._take(4 * rank)  # permutation
        sizes = self._message[start : self._position]
        message, base = self.read(depth + 1)
        n = math.prod(shape)
        element: Element = Items(n, base)
        if isinstance(base, Plain):
            element = Plain(n * base.nbytes, n * base.nbytes)
        return _head(head, element.nbytes_in_file) + sizes + message, element

    def _enumeration(self, version: int, n_members: int, nbytes: int, depth: int) -> bytes:
        base, _ = self.read(depth + 1)
        names = b"".join(self._name(version) for _ in range(n_members))
        return base + names + self._take(n_members * nbytes)

    def _name(self, version: int) -> bytes:
        """Take a name with its NUL and padding."""
        end = self._message.find(b"\0", self._position) + 1
        nbytes = end - self._position
        return self._take(nbytes + (-nbytes % 8 if version in _PADDED_VERSIONS else 0))

    def _take(self, nbytes: int) -> bytes:
        self._position += nbytes
        taken = self._message[self._position - nbytes : self._position]
        if nbytes < 0 or len(taken) < nbytes:
            raise SourceError("a datatype that ends before its last field")
        return taken


def _head(head: bytes, nbytes: int) -> bytes:
    """Class, version and bit field, with the size of an element in a file."""
    return head[:4] + nbytes.to_bytes(4, "little")
