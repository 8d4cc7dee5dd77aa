"""Headers of indexes and heaps: signature, version 0, integers, checksum.

The integers of a header are declared once, as the attributes of its record, in the order and with the names of
the specification; `Header.encode`, `Header.decode` and `Header.sizeof` follow the declaration. The records of chunk
indexes in the data layout message declare theirs in the same way.
"""

from __future__ import annotations

from dataclasses import field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Self

from streamh5.errors import FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM, append_checksum
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.primitives import uint

if TYPE_CHECKING:
    from dataclasses import Field


_SIZEOF_VERSION = 1


class _Width(Enum):
    """Widths that the superblock of the file decides."""

    ADDRESS = "sizeof_address"
    LENGTH = "sizeof_length"


ADDRESS, LENGTH = _Width.ADDRESS, _Width.LENGTH


class Header:
    """Base of the records of headers, which are frozen dataclasses of fields made by `stored`.

    Attributes
    ----------
    structure
        Name of the structure in the specification, for errors.
    signature
        The first bytes of the header.
    """

    structure: ClassVar[str]
    signature: ClassVar[bytes]
    __slots__ = ()

    @classmethod
    def sizeof(cls, encoding: Encoding = ENCODING) -> int:
        """Return the size of a header in bytes."""
        widths = sum(_width(one, encoding) for one in _fields(cls))
        return len(cls.signature) + _SIZEOF_VERSION + widths + SIZEOF_CHECKSUM

    @classmethod
    def decode(cls, block: bytes, encoding: Encoding = ENCODING) -> Self:
        """Decode a header.

        Raises
        ------
        FormatError
            Signature, version or checksum is wrong.
        """
        return cls(**decode_stored(Fields.of_block(block, cls.structure, cls.signature, encoding), cls))

    def encode(self) -> bytes:
        """Encode the header with its checksum.

        Raises
        ------
        LimitError
            A number does not fit its field.
        """
        return append_checksum(self.signature, uint(0, _SIZEOF_VERSION, "version"), *encode_stored(self))

    def check(self, **expected: int) -> None:
        """Compare fields of the header with the values that they must have.

        Raises
        ------
        FormatError
            A field has another value.
        """
        for one in _fields(type(self)):
            value = getattr(self, one.name)
            right = expected.get(one.name, value)
            if value != right:
                raise self.error(f"{one.metadata['name']} is {value:,}; it must be {right:,}")

    def error(self, problem: str) -> FormatError:
        """Return the error that reports a problem of this header."""
        return FormatError(f"{self.structure}: {problem}", structure=self.structure)


def stored(width: int | _Width, name: str, default: int | None = None) -> Any:
    """Declare one integer: its width in bytes, and its name in the specification.

    The result has no type, as that of `dataclasses.field`, whose type is that of the attribute.
    """
    metadata = {"width": width, "name": name}
    return field(metadata=metadata) if default is None else field(default=default, metadata=metadata)


def encode_stored(record: Any) -> list[bytes]:
    """Encode the fields of a record that were declared with `stored`, in their order."""
    return [
        uint(getattr(record, one.name), _width(one, ENCODING), one.metadata["name"])
        for one in _fields(type(record))
    ]


def decode_stored(cursor: Fields, kind: type[Any]) -> dict[str, int]:
    """Read the fields of a kind of record that were declared with `stored`; return them by attribute."""
    return {
        one.name: cursor.address(one.metadata["name"])
        if one.metadata["width"] is ADDRESS
        else cursor.uint(_width(one, cursor.encoding), one.metadata["name"])
        for one in _fields(kind)
    }


def _fields(kind: type[Any]) -> list[Field[Any]]:
    return [one for one in fields(kind) if "width" in one.metadata]


def _width(one: Field[Any], encoding: Encoding) -> int:
    width: int | _Width = one.metadata["width"]
    return width if isinstance(width, int) else int(getattr(encoding, width.value))
