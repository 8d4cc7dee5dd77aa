"""Headers of indexes and heaps: signature, version 0, integers, checksum.

The integers of a header are declared once, as the attributes of its record, in the order and with the names of
the specification; `encode_header`, `decode_header` and `sizeof_header` follow the declaration.
"""

from __future__ import annotations

from dataclasses import field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

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
        Noun of the specification, for errors.
    signature
        First bytes.
    """

    structure: ClassVar[str]
    signature: ClassVar[bytes]
    __slots__ = ()

    def error(self, problem: str) -> FormatError:
        """Make the error that says what is wrong with this header."""
        return FormatError(f"{self.structure}: {problem}", structure=self.structure)


_Header = TypeVar("_Header", bound=Header)


def stored(width: int | _Width, name: str, default: int | None = None) -> Any:
    """Declare one integer: its width, and its name in the specification."""
    metadata = {"width": width, "name": name}
    return field(metadata=metadata) if default is None else field(default=default, metadata=metadata)


def sizeof_header(kind: type[Header], encoding: Encoding = ENCODING) -> int:
    """Return the bytes of a header."""
    widths = sum(_width(one, encoding) for one in _fields(kind))
    return len(kind.signature) + _SIZEOF_VERSION + widths + SIZEOF_CHECKSUM


def encode_header(header: Header) -> bytes:
    """Encode a header with its checksum.

    Raises
    ------
    LimitError
        A number does not fit its field.
    """
    numbers = [
        uint(getattr(header, one.name), _width(one, ENCODING), one.metadata["name"])
        for one in _fields(type(header))
    ]
    return append_checksum(header.signature, uint(0, _SIZEOF_VERSION, "version"), *numbers)


def decode_header(kind: type[_Header], block: bytes, encoding: Encoding = ENCODING) -> _Header:
    """Decode a header of `kind`.

    Raises
    ------
    FormatError
        Signature, version or checksum is wrong.
    """
    cursor = Fields.of_block(block, kind.structure, kind.signature, encoding)
    return kind(
        **{
            one.name: cursor.address(one.metadata["name"])
            if one.metadata["width"] is ADDRESS
            else cursor.uint(_width(one, encoding), one.metadata["name"])
            for one in _fields(kind)
        }
    )


def check_header(found: _Header, expected: _Header) -> None:
    """Compare a header with what it must be.

    Raises
    ------
    FormatError
        A number is another.
    """
    for one in _fields(type(found)):
        value, right = getattr(found, one.name), getattr(expected, one.name)
        if value != right:
            raise found.error(f"{one.metadata['name']} is {value:,}, where {right:,} must be")


def _fields(kind: type[Header]) -> tuple[Field[Any], ...]:
    return fields(kind)  # type: ignore[arg-type]  # every kind of header is a dataclass


def _width(one: Field[Any], encoding: Encoding) -> int:
    width: int | _Width = one.metadata["width"]
    return width if isinstance(width, int) else int(getattr(encoding, width.value))
