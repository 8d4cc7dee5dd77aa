"""The bytes of a file, read by address and never beyond its end."""

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
    """A file that is read by address. Thread-safe.

    Addresses are those that stand in the file: relative to `base_address`, which is not 0 behind a user block.

    Attributes
    ----------
    name
        Of the file, for messages.
    nbytes
        Bytes from `base_address` to the end.
    base_address
        Position in the file that has address 0.
    encoding
        How the file encodes addresses and lengths.

    Parameters
    ----------
    source
        Path of a regular file, or the content of one.

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
        # A FIFO must not make the reader wait for a writer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(source, flags)
            status = os.fstat(self._descriptor)
        except FileNotFoundError as error:
            hint = " (URLs are not read: download it first)" if is_url(self.name) else ""
            raise FileMissingError(f"{self.name}: {error.strerror}{hint}", errno=error.errno) from error
        except OSError as error:
            raise UnreadableError(f"{self.name}: {error.strerror}", errno=error.errno) from error
        except ValueError as error:  # a NUL in the path
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
        """Close the file; calling it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def begin_at(self, base_address: int) -> None:
        """Let addresses count from `base_address` on."""
        self.nbytes += self.base_address - base_address
        self.base_address = base_address

    def limit(self, nbytes: int) -> None:
        """Let the file end after `nbytes` bytes, if it is longer."""
        self.nbytes = min(self.nbytes, nbytes)

    def check_range(self, address: int, nbytes: int, structure: str) -> None:
        """Check that a structure lies inside the file.

        Raises
        ------
        FormatError
            It does not.
        """
        if address + nbytes > self.nbytes:
            raise FormatError(
                f"{structure} at address {address:,} takes {nbytes:,} bytes, but the file ends at {self.nbytes:,}",
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
            They are not all inside the file.
        UnreadableError
            The operating system cannot read them.
        """
        self.check_range(address, nbytes, structure)
        address += self.base_address
        if self._content is not None:
            return self._content[address : address + nbytes]
        parts: list[bytes] = []
        while nbytes:
            try:
                part = os.pread(self._descriptor, nbytes, address)
            except OSError as error:
                raise UnreadableError(
                    f"{structure}: {nbytes:,} bytes at address {address:,} cannot be read: {error.strerror}",
                    structure=structure,
                    address=address,
                    errno=error.errno,
                ) from error
            if not part:
                raise FormatError(f"{structure}: the file was cut to {address:,} bytes while it was read")
            parts.append(part)
            address += len(part)
            nbytes -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
