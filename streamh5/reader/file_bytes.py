"""The bytes of a file, which are read by address and never beyond the end."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from streamh5.errors import FormatError, StoreError, UnreadableError
from streamh5.format.fields import ENCODING, Encoding
from streamh5.reader.byte_sources import open_source

if TYPE_CHECKING:
    from types import TracebackType

    from streamh5.reader.byte_sources import Source


class FileBytes:
    """A file that is read by address. Threads may call `read` at the same time.

    Addresses are those stored in the file, relative to `base_address`, which is not 0 after a user block.

    Attributes
    ----------
    name
        Name of the file, for messages.
    version
        What tells an object in a store from one that replaces it; empty for a local file.
    nbytes
        Number of bytes from `base_address` to the end of the file.
    base_address
        Position in the file that has address 0.
    encoding
        How the file encodes addresses and lengths.

    Parameters
    ----------
    source
        Path of a regular file, the content of a file, or an object in a store.

    Raises
    ------
    FileMissingError
        The file does not exist.
    UnreadableError
        The file cannot be opened, or is not a regular file.
    """

    def __init__(self, source: Source) -> None:
        self._source = open_source(source)
        self.name = self._source.name
        self.version = self._source.version
        self.nbytes = self._source.nbytes
        self.base_address = 0
        self.encoding: Encoding = ENCODING

    def __enter__(self) -> FileBytes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except UnreadableError:
            # the reason for the errors that followed from it; Ctrl-C is not one of them
            if error is None or isinstance(error, Exception):
                raise

    def close(self) -> None:
        """Close the file. Further calls do nothing.

        Raises
        ------
        UnreadableError
            An object in a store could not be read.
        """
        self._source.close()

    def for_h5py(self) -> str | IO[bytes]:
        """Return what `h5py.File` opens, before this is closed."""
        return self._source.for_h5py()

    def begin_at(self, base_address: int) -> None:
        """Make `base_address` the position of address 0."""
        self.nbytes += self.base_address - base_address
        self.base_address = base_address

    def limit(self, nbytes: int) -> None:
        """Treat the file as ending at address `nbytes`, if it is longer."""
        self.nbytes = min(self.nbytes, nbytes)

    def check_range(self, address: int, nbytes: int, structure: str) -> None:
        """Check that a structure lies inside the file.

        Raises
        ------
        FormatError
            The structure extends beyond the end of the file.
        """
        if address + nbytes > self.nbytes:
            raise FormatError(
                f"{structure} at address {address:,} has {nbytes:,} bytes, but the file ends at {self.nbytes:,}",
                structure=structure,
                address=address,
                nbytes=nbytes,
                file_nbytes=self.nbytes,
            )

    def read(self, address: int, nbytes: int, structure: str) -> bytes:
        """Read exactly `nbytes` bytes.

        Raises
        ------
        FormatError
            They extend beyond the end of the file.
        UnreadableError
            The operating system cannot read them.
        StoreError
            An object cannot be read; no damage of the file: leaving the context makes it an `UnreadableError`.
        """
        self.check_range(address, nbytes, structure)
        address += self.base_address
        parts: list[bytes] = []
        while nbytes:
            try:
                part = self._source.read(nbytes, address)
            except StoreError:
                raise
            except OSError as error:
                raise _unreadable(structure, address, nbytes, error) from error
            if not part:
                raise _truncated(structure, address)
            parts.append(part)
            address += len(part)
            nbytes -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_into(self, address: int, memory: memoryview, structure: str) -> None:
        """Fill `memory`, of bytes, with what lies at an address; errors are those of `read`."""
        self.check_range(address, len(memory), structure)
        address += self.base_address
        while len(memory):
            try:
                n_read = self._source.read_into(memory, address)
            except StoreError:
                raise
            except OSError as error:
                raise _unreadable(structure, address, len(memory), error) from error
            if not n_read:
                raise _truncated(structure, address)
            memory = memory[n_read:]
            address += n_read


def _unreadable(structure: str, address: int, nbytes: int, error: OSError) -> UnreadableError:
    return UnreadableError(
        f"{structure}: {nbytes:,} bytes at address {address:,} cannot be read: {error.strerror}",
        structure=structure,
        address=address,
        errno=error.errno,
    )


def _truncated(structure: str, nbytes: int) -> FormatError:
    return FormatError(f"{structure}: the file was truncated to {nbytes:,} bytes while it was read")
