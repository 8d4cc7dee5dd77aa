"""A cursor over the bytes of one structure, which reads its fields in order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache, lru_cache, reduce
from operator import or_
from typing import TypeVar

from streamh5.errors import FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM, lookup3
from streamh5.format.primitives import SIZEOF_ADDRESS, SIZEOF_LENGTH, UNDEFINED_ADDRESS

_ALIGNMENT = 8  # of texts in old versions of messages

_Number = TypeVar("_Number", bound=IntEnum)


@cache
def _reserved_bits(flags: type[IntEnum]) -> int:
    """Return the bits of a byte that `flags` does not name."""
    return 0xFF & ~reduce(or_, flags)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file encodes its fields.

    Attributes
    ----------
    sizeof_address, sizeof_length
        The superblock's size of offsets and size of lengths.
    group_leaf_k, group_internal_k, chunk_k
        Half of the most entries of a symbol table node, and of version 1 B-tree nodes of groups and of chunks.
    padded
        Whether padding may follow the last field of a message, as in object headers of version 1.
    """

    sizeof_address: int = SIZEOF_ADDRESS
    sizeof_length: int = SIZEOF_LENGTH
    group_leaf_k: int = 4
    group_internal_k: int = 16
    chunk_k: int = 32
    padded: bool = False

    def with_padding(self) -> Encoding:
        """Return this encoding for messages whose last field padding may follow."""
        return _padded(self)


@lru_cache
def _padded(encoding: Encoding) -> Encoding:
    return replace(encoding, padded=True)


ENCODING = Encoding()
"""The encoding of every file that streamh5 writes."""


class Fields:
    """Read fields from the front of `data`.

    Parameters
    ----------
    data
        The bytes of the structure.
    structure
        Name of the structure in the specification, for errors.
    encoding
        Encoding of the file.
    """

    __slots__ = ("_data", "encoding", "position", "structure")

    def __init__(self, data: bytes, structure: str, encoding: Encoding = ENCODING) -> None:
        self._data = data
        self.encoding = encoding
        self.position = 0
        self.structure = structure

    @classmethod
    def of_block(
        cls, block: bytes, structure: str, signature: bytes, encoding: Encoding = ENCODING
    ) -> Fields:
        """Start to read a block: check its signature, the checksum at its end, and its version, which is 0.

        Raises
        ------
        FormatError
            The signature, the checksum or the version is wrong.
        """
        fields = cls(block, structure, encoding)
        fields.expect_signature(signature)
        fields.check_checksum()
        fields.expect(0, 1, "version")
        return fields

    @property
    def n_left(self) -> int:
        """Number of bytes that are not read yet."""
        return len(self._data) - self.position

    def take(self, nbytes: int, field: str) -> bytes:
        """Read `nbytes` bytes.

        Raises
        ------
        FormatError
            The structure has fewer bytes left.
        """
        start, stop = self.position, self.position + nbytes
        if stop > len(self._data):
            problem = f"{field} needs {nbytes:,} bytes, but only {self.n_left:,} are left"
            raise self.error(problem, field=field, nbytes=nbytes)
        self.position = stop
        return self._data[start:stop]

    def skip_to(self, position: int, field: str) -> None:
        """Move to another position in the structure.

        Raises
        ------
        FormatError
            The position is after the end of the structure.
        """
        if position > len(self._data):
            raise self.error(f"{field} is {position:,}, but there are only {len(self._data):,} bytes")
        self.position = position

    def since(self, position: int) -> bytes:
        """Return the bytes from `position` up to the current position."""
        return self._data[position : self.position]

    def uint(self, nbytes: int, field: str) -> int:
        """Read a little-endian unsigned integer."""
        start, stop = self.position, self.position + nbytes
        if stop > len(self._data):
            self.take(nbytes, field)  # raises the error
        self.position = stop  # without a call: most fields are integers
        return int.from_bytes(self._data[start:stop], "little")

    def address(self, field: str) -> int:
        """Read a file address; an undefined address of any width is returned as `UNDEFINED_ADDRESS`."""
        width = self.encoding.sizeof_address
        value = self.uint(width, field)
        return UNDEFINED_ADDRESS if value == 256**width - 1 else value

    def length(self, field: str) -> int:
        """Read a length, size or count."""
        return self.uint(self.encoding.sizeof_length, field)

    def text(self, nbytes: int, field: str) -> str:
        """Read UTF-8 text; invalid bytes become surrogates, as in h5py (``surrogateescape``)."""
        return self.take(nbytes, field).decode(errors="surrogateescape")

    def terminated_text(self, field: str, *, padded: bool = False) -> str:
        """Read text up to its NUL, followed by padding to a multiple of 8 bytes if `padded`."""
        end = self._data.find(b"\0", self.position)
        if end < 0:
            raise self.error(f"{field} has no NUL at its end")
        start = self.position
        text = self.text(end - start, field)
        self.position += 1
        if padded:
            self.take(-(self.position - start) % _ALIGNMENT, f"padding of {field}")
        return text

    def flags(self, known: type[IntEnum]) -> int:
        """Read one byte of flags, whose bits `known` names; return a plain int.

        An IntFlag would make each ``&`` a call of Python code (1 us), and its ``~`` would leave out reserved bits.

        Raises
        ------
        FormatError
            A bit is set that `known` does not name.
        """
        found = self.uint(1, "flags")
        if found & _reserved_bits(known):
            raise self.error(f"flags are {found:#04x}, with reserved bits")
        return found

    def known(self, numbers: type[_Number], number: int, field: str) -> _Number:
        """Return the member of `numbers` that has the value `number`.

        Raises
        ------
        FormatError
            No member has this value.
        """
        try:
            return numbers(number)
        except ValueError:
            raise self.error(f"{field} {number} is not known") from None

    def expect(self, value: int, nbytes: int, field: str) -> None:
        """Read an integer that must be `value`.

        Raises
        ------
        FormatError
            It has another value.
        """
        found = self.uint(nbytes, field)
        if found != value:
            raise self.error(f"{field} is {found:,}; it must be {value:,}")

    def version(self, *known: int) -> int:
        """Read the version of the structure.

        Raises
        ------
        FormatError
            The version is not one of `known`.
        """
        found = self.uint(1, "version")
        if found not in known:
            raise self.error(f"version is {found}; it must be {' or '.join(map(str, known))}")
        return found

    def expect_signature(self, signature: bytes) -> None:
        """Read the signature of the structure."""
        found = self.take(len(signature), "signature")
        if found != signature:
            raise self.error(f"signature is {found!r}; it must be {signature!r}")

    def end(self) -> None:
        """Check that all bytes have been read.

        Raises
        ------
        FormatError
            Bytes are left, and the encoding does not allow padding.
        """
        if self.n_left and not self.encoding.padded:
            raise self.error(f"{self.n_left:,} bytes are left after its last field")

    def check_checksum(self) -> None:
        """Compare the last 4 bytes of the structure with the checksum of the bytes before them.

        Raises
        ------
        FormatError
            The checksums differ, or the structure is shorter than a checksum.
        """
        view = memoryview(self._data)
        if len(view) < SIZEOF_CHECKSUM:
            raise self.error(f"{len(view)} bytes are too few for a block with a checksum")
        stored = int.from_bytes(view[-SIZEOF_CHECKSUM:], "little")
        computed = lookup3(view[:-SIZEOF_CHECKSUM])
        if stored != computed:
            problem = f"its stored checksum is {stored:#010x}, the computed one {computed:#010x}"
            raise self.error(problem, stored=stored, computed=computed)

    def error(self, problem: str, **facts: object) -> FormatError:
        """Return the error that reports a problem of this structure."""
        return FormatError(f"{self.structure}: {problem}", structure=self.structure, **facts)
