"""The bytes of a file, which are read by address and never beyond the end."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from streamh5.arguments.paths import is_url
from streamh5.errors import FileMissingError, FormatError, UnreadableError
from streamh5.format.fields import ENCODING, Encoding

if TYPE_CHECKING:
    from types import TracebackType


class FileBytes:
    """A file that is read by address. Threads may call `read` at the same time.

    Addresses are those stored in the file, relative to `base_address`, which is not 0 after a user block.

    Attributes
    ----------
    name
        Name of the file, for messages.
    nbytes
        Number of bytes from `base_address` to the end of the file.
    base_address
        Position in the file that has address 0.
    encoding
        How the file encodes addresses and lengths.

    Parameters
    ----------
    source
        Path of a regular file, or the content of a file.

    Raises
    ------
    FileMissingError
        The file does not exist.
    UnreadableError
        The file cannot be opened, or is not a regular file.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        self.name = "the content" if isinstance(source, bytes) else os.fspath(source)
        self._content = source if isinstance(source, bytes) else None
        self._descriptor = -1
        self.base_address = 0
        self.encoding: Encoding = ENCODING
        if isinstance(source, bytes):
            self.nbytes = len(source)
            return
        # O_NONBLOCK: the open of a FIFO does not wait for a writer. O_BINARY exists on Windows.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(source, flags)
            status = os.fstat(self._descriptor)
        except FileNotFoundError as error:
            hint = " (URLs are not read: download it first)" if is_url(self.name) else ""
            raise FileMissingError(f"{self.name}: {error.strerror}{hint}", errno=error.errno) from error
        except OSError as error:
            raise UnreadableError(f"{self.name}: {error.strerror}", errno=error.errno) from error
        except ValueError as error:  # a NUL character in the path
            raise UnreadableError(f"{self.name!r}: {error}") from error
        self.nbytes = status.st_size
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise UnreadableError(f"{self.name} is not a regular file")

    def __enter__(self) -> FileBytes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Further calls do nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

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
        """
        self.check_range(address, nbytes, structure)
        address += self.base_address
        if self._content is not None:
            return self._content[address : address + nbytes]
        parts: list[bytes] = []
        while nbytes:  # one read returns at most 2 GiB on Linux
            try:
                part = os.pread(self._descriptor, nbytes, address)
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
        if self._content is not None:
            memory[:] = self._content[address : address + len(memory)]
            return
        while len(memory):
            try:
                n_read = os.preadv(self._descriptor, [memory], address)
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
