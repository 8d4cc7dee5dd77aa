"""A cursor over the bytes of one structure, which reads its fields one after the other."""

from __future__ import annotations

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM, lookup3
from streamh5.format.primitives import SIZEOF_ADDRESS, SIZEOF_LENGTH

__all__ = ["Fields", "check_checksum"]


class Fields:
    """Read fields from the front of `data`.

    Parameters
    ----------
    data
        The bytes of the structure.
    structure
        Its noun in the specification, for errors.
    """

    __slots__ = ("_data", "position", "structure")

    def __init__(self, data: bytes, structure: str) -> None:
        self._data = data
        self.position = 0
        self.structure = structure

    @property
    def n_left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self.position

    def take(self, nbytes: int, field: str) -> bytes:
        """Read `nbytes` bytes.

        Raises
        ------
        FormatError
            The structure ends before.
        """
        if nbytes > self.n_left:
            raise FormatError(
                f"{self.structure}: {field} takes {nbytes:,} bytes, but only {self.n_left:,} are left",
                structure=self.structure,
                field=field,
                nbytes=nbytes,
            )
        self.position += nbytes
        return self._data[self.position - nbytes : self.position]

    def uint(self, nbytes: int, field: str) -> int:
        """Read a little-endian unsigned integer."""
        return int.from_bytes(self.take(nbytes, field), "little")

    def address(self, field: str) -> int:
        """Read a file address."""
        return self.uint(SIZEOF_ADDRESS, field)

    def length(self, field: str) -> int:
        """Read a length, size or count."""
        return self.uint(SIZEOF_LENGTH, field)

    def text(self, nbytes: int, field: str) -> str:
        """Read UTF-8 text.

        Raises
        ------
        FormatError
            The bytes are no UTF-8.
        """
        raw = self.take(nbytes, field)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self.error(f"{field} {raw[:40]!r} is not UTF-8") from None

    def terminated_text(self, field: str) -> str:
        """Read UTF-8 text up to its NUL."""
        end = self._data.find(b"\0", self.position)
        if end < 0:
            raise self.error(f"{field} has no NUL at its end")
        text = self.text(end - self.position, field)
        self.position += 1
        return text

    def expect(self, value: int, nbytes: int, field: str) -> None:
        """Read an integer that can only be `value`.

        Raises
        ------
        FormatError
            It is another one.
        """
        found = self.uint(nbytes, field)
        if found != value:
            raise self.error(f"{field} is {found:,}, where {value:,} must be")

    def expect_version(self, version: int, *, older: tuple[int, ...] = ()) -> None:
        """Read the version of the structure.

        Raises
        ------
        ForeignStructureError
            One of the `older` versions, which streamh5 does not write.
        FormatError
            Any other one.
        """
        found = self.uint(1, "version")
        if found in older:
            raise ForeignStructureError(f"{self.structure}: version {found}, streamh5 writes {version}")
        if found != version:
            raise self.error(f"version is {found}, where {version} must be")

    def expect_signature(self, signature: bytes) -> None:
        """Read the signature of the structure."""
        found = self.take(len(signature), "signature")
        if found != signature:
            raise self.error(f"signature is {found!r}, where {signature!r} must be")

    def end(self) -> None:
        """Say that everything has been read.

        Raises
        ------
        FormatError
            Bytes are left.
        """
        if self.n_left:
            raise self.error(f"{self.n_left:,} bytes are left behind its last field")

    def error(self, problem: str) -> FormatError:
        """Make the error that says what is wrong with this structure."""
        return FormatError(f"{self.structure}: {problem}", structure=self.structure)


def check_checksum(block: bytes, structure: str) -> None:
    """Compare the last 4 bytes of `block` with the checksum of those before.

    Raises
    ------
    FormatError
        They differ, or the block is shorter than a checksum.
    """
    view = memoryview(block)
    if len(view) < SIZEOF_CHECKSUM:
        raise FormatError(f"{structure}: {len(view)} bytes are no block with a checksum", structure=structure)
    stored = int.from_bytes(view[-SIZEOF_CHECKSUM:], "little")
    computed = lookup3(view[:-SIZEOF_CHECKSUM])
    if stored != computed:
        raise FormatError(
            f"{structure}: its checksum is {stored:#010x}, its bytes have {computed:#010x}",
            structure=structure,
            stored=stored,
            computed=computed,
        )
