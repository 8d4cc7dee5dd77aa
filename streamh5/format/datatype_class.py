"""The datatype classes of HDF5 as records (specification IV.A.2.d), and their names for users.

A numpy dtype can represent most of them. These records also represent strings of variable length, references, tags of
opaque data, complex numbers of HDF5 2.0 and byte layouts of floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Literal, TypeAlias

from streamh5.errors import DatatypeError
from streamh5.format.character_set import CharacterSet
from streamh5.format.global_heap import SIZEOF_GLOBAL_HEAP_ID, SIZEOF_VARIABLE_LENGTH_ELEMENT
from streamh5.format.primitives import SIZEOF_ADDRESS

_SIZEOF_CLASS = 8
"""Size of the first fields of a datatype message: class and version, bit field, size of an element."""


class ClassNumber(IntEnum):
    """Number of a class in the datatype message."""

    FIXED_POINT = 0
    FLOATING_POINT = 1
    TIME = 2
    STRING = 3
    BIT_FIELD = 4
    OPAQUE = 5
    COMPOUND = 6
    REFERENCE = 7
    ENUMERATION = 8
    VARIABLE_LENGTH = 9
    ARRAY = 10
    COMPLEX = 11


class StringPadding(IntEnum):
    """Padding of a string that is shorter than its element."""

    NULL_TERMINATE = 0
    NULL_PAD = 1
    SPACE_PAD = 2


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """An integer of `nbytes` bytes."""

    nbytes: int
    signed: bool
    big_endian: bool = False

    @property
    def byteorder(self) -> Literal["little", "big"]:
        """Byte order, as Python's integers name it."""
        return "big" if self.big_endian else "little"


@dataclass(frozen=True, slots=True)
class FloatingPoint:
    """A binary floating-point number; locations and sizes in bits, from the lowest.

    Parameters
    ----------
    nbytes, precision
        Size of an element in bytes, and number of significant bits.
    sign_location, exponent_location, exponent_size, mantissa_location, mantissa_size, exponent_bias
        As in IEEE 754.
    implied_msb
        Whether the highest mantissa bit, which is always 1, is not stored.
    big_endian
        Byte order.
    """

    nbytes: int
    precision: int
    sign_location: int
    exponent_location: int
    exponent_size: int
    mantissa_location: int
    mantissa_size: int
    exponent_bias: int
    implied_msb: bool = True
    big_endian: bool = False


@dataclass(frozen=True, slots=True)
class FixedLengthString:
    """Text of at most `nbytes` bytes, padded to that size."""

    nbytes: int
    charset: CharacterSet = CharacterSet.ASCII
    padding: StringPadding = StringPadding.NULL_PAD


@dataclass(frozen=True, slots=True)
class Opaque:
    """`nbytes` bytes of unknown meaning, described by a `tag`."""

    nbytes: int
    tag: str = ""


@dataclass(frozen=True, slots=True)
class CompoundMember:
    """A field of a compound: its name, its position in the element, its type."""

    name: str
    position: int
    datatype: DatatypeClass


@dataclass(frozen=True, slots=True)
class Compound:
    """Named members in an element of `nbytes` bytes; the rest of the element is padding."""

    nbytes: int
    members: tuple[CompoundMember, ...]


@dataclass(frozen=True, slots=True)
class ObjectReferenceClass:
    """The address of an object header."""

    nbytes: ClassVar[int] = SIZEOF_ADDRESS


@dataclass(frozen=True, slots=True)
class RegionReferenceClass:
    """The global heap ID of the address of a dataset and a selection in it."""

    nbytes: ClassVar[int] = SIZEOF_GLOBAL_HEAP_ID


@dataclass(frozen=True, slots=True)
class Enumeration:
    """Named values of an integer type."""

    base: FixedPoint
    members: tuple[tuple[str, int], ...]

    @property
    def nbytes(self) -> int:
        """Size of an element in bytes."""
        return self.base.nbytes


@dataclass(frozen=True, slots=True)
class VariableLengthString:
    """Text of any length in the global heap."""

    charset: CharacterSet = CharacterSet.UTF8
    padding: StringPadding = StringPadding.NULL_TERMINATE

    nbytes: ClassVar[int] = SIZEOF_VARIABLE_LENGTH_ELEMENT


@dataclass(frozen=True, slots=True)
class VariableLengthSequence:
    """Any number of `base` elements in the global heap."""

    base: DatatypeClass

    nbytes: ClassVar[int] = SIZEOF_VARIABLE_LENGTH_ELEMENT


@dataclass(frozen=True, slots=True)
class Array:
    """A fixed `shape` of `base` elements as one element."""

    base: DatatypeClass
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of an element in bytes."""
        return self.base.nbytes * math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Complex:
    """A real and an imaginary part of type `base`; only HDF5 2.0 and later open it."""

    base: FloatingPoint

    @property
    def nbytes(self) -> int:
        """Size of an element in bytes."""
        return 2 * self.base.nbytes


@dataclass(frozen=True, slots=True)
class EncodedDatatype:
    """A datatype that another writer encoded, kept byte for byte: bit fields, times, padded text, any version.

    Parameters
    ----------
    message
        Body of its datatype message.

    Raises
    ------
    DatatypeError
        The message is shorter than any datatype message, or the element size is 0.
    """

    message: bytes

    def __post_init__(self) -> None:
        if len(self.message) < _SIZEOF_CLASS or not self.nbytes:
            raise DatatypeError(f"{self.message[:40].hex(' ')} is not the body of a datatype message")

    @property
    def class_number(self) -> int:
        """Number of its class, which need not be in `ClassNumber`."""
        return self.message[0] & 0x0F

    @property
    def nbytes(self) -> int:
        """Size of an element in bytes."""
        return int.from_bytes(self.message[4:_SIZEOF_CLASS], "little")


DatatypeClass: TypeAlias = (
    FixedPoint
    | FloatingPoint
    | FixedLengthString
    | Opaque
    | Compound
    | ObjectReferenceClass
    | RegionReferenceClass
    | Enumeration
    | VariableLengthString
    | VariableLengthSequence
    | Array
    | Complex
    | EncodedDatatype
)

_MAX_NAME_LENGTH = 200
_ENCODINGS = {CharacterSet.ASCII: "ASCII", CharacterSet.UTF8: "UTF-8"}
_CLASS_NAMES: dict[int, str] = {
    ClassNumber.FIXED_POINT: "integer",
    ClassNumber.FLOATING_POINT: "float",
    ClassNumber.TIME: "time",
    ClassNumber.BIT_FIELD: "bit field",
    ClassNumber.OPAQUE: "opaque",
    ClassNumber.REFERENCE: "reference",
    ClassNumber.ENUMERATION: "enumeration",
    ClassNumber.VARIABLE_LENGTH: "sequence",
    ClassNumber.COMPLEX: "complex",
}
_IEEE_BITS = {(16, 10), (32, 23), (64, 52), (128, 112)}


def datatype_name(datatype: DatatypeClass) -> str:
    """Return the name of a datatype in the terms of numpy and h5py, truncated to 200 characters."""
    name = _name(datatype)
    return name if len(name) <= _MAX_NAME_LENGTH else f"{name[: _MAX_NAME_LENGTH - 3]}..."


def _name(datatype: DatatypeClass) -> str:
    return _NAMES[type(datatype)](datatype)


def _integer_name(datatype: FixedPoint) -> str:
    name = f"{'int' if datatype.signed else 'uint'}{8 * datatype.nbytes}"
    return f"big-endian {name}" if datatype.big_endian and datatype.nbytes > 1 else name


def _float_name(datatype: FloatingPoint) -> str:
    is_ieee = (datatype.precision, datatype.mantissa_size) in _IEEE_BITS
    name = f"float{datatype.precision}"
    if not is_ieee:
        name += f" (exponent {datatype.exponent_size}, mantissa {datatype.mantissa_size} bits)"
    return f"big-endian {name}" if datatype.big_endian else name


def _enumeration_name(datatype: Enumeration) -> str:
    names = dict(datatype.members)
    return "bool" if names == {"FALSE": 0, "TRUE": 1} else f"enumeration of {len(names):,}"


def _compound_name(datatype: Compound) -> str:
    # Each member adds a character or more to the name, which is truncated: the others cannot be seen.
    members = [(member.name, _name(member.datatype)) for member in datatype.members[:_MAX_NAME_LENGTH]]
    if [name for name, _ in members] == ["r", "i"] and members[0][1] in ("float32", "float64"):
        return f"complex{8 * datatype.nbytes}"
    return "{" + ", ".join(f"{name}: {of}" for name, of in members) + "}"


def _foreign_name(datatype: EncodedDatatype) -> str:
    return f"{_CLASS_NAMES.get(datatype.class_number, 'datatype')} of {datatype.nbytes:,} bytes"


_NAMES: dict[type[DatatypeClass], Callable[[Any], str]] = {
    FixedPoint: _integer_name,
    FloatingPoint: _float_name,
    FixedLengthString: lambda of: f"{_ENCODINGS[of.charset]} string of {of.nbytes:,} bytes",
    VariableLengthString: lambda of: f"{_ENCODINGS[of.charset]} string",
    VariableLengthSequence: lambda of: f"sequence of {_name(of.base)}",
    Enumeration: _enumeration_name,
    Compound: _compound_name,
    Array: lambda of: f"{_name(of.base)} {of.shape}",
    Complex: lambda of: f"complex of {_name(of.base)}",
    Opaque: lambda of: of.tag.removeprefix("NUMPY:") or f"opaque of {of.nbytes:,} bytes",
    ObjectReferenceClass: lambda of: "object reference",
    RegionReferenceClass: lambda of: "region reference",
    EncodedDatatype: _foreign_name,
}
