"""Where the bytes of a file come from: a local file, or its content in memory. For objects see `object_source`."""

from __future__ import annotations

import io
import os
import stat
from typing import IO, TYPE_CHECKING, Protocol, TypeAlias

from streamh5.arguments.paths import is_url, unfinished_write
from streamh5.errors import FileMissingError, UnreadableError

if TYPE_CHECKING:
    from streamh5.stores.base import ReadableObject

    Source: TypeAlias = str | os.PathLike[str] | bytes | ReadableObject
    """Path of a regular file, content of a file, or an object in a store."""


class ByteSource(Protocol):
    """Bytes that are read by position. Threads may read at the same time.

    Attributes
    ----------
    name
        Name of the file, for messages.
    nbytes
        Size of the file.
    version
        What tells an object in a store from one that replaces it; empty for anything else.
    """

    name: str
    version: str
    nbytes: int

    def read(self, nbytes: int, position: int) -> bytes:
        """Return up to `nbytes` bytes, and at least one before the end of the file.

        Raises
        ------
        OSError
            They cannot be read.
        """

    def read_into(self, memory: memoryview, position: int) -> int:
        """Fill the beginning of `memory`, and return the number of bytes; otherwise as `read`."""

    def for_h5py(self) -> str | IO[bytes]:
        """Return what `h5py.File` opens."""

    def close(self) -> None:
        """Close it; further calls do nothing.

        Raises
        ------
        UnreadableError
            An object could not be read: what was made of its bytes means nothing, even if nothing else was raised.
        """


def open_source(source: Source) -> ByteSource:
    """Open a source.

    Raises
    ------
    FileMissingError
        The file does not exist.
    UnreadableError
        It cannot be opened, or is not a regular file.
    """
    if isinstance(source, bytes):
        return ContentSource(source)
    if isinstance(source, (str, os.PathLike)):
        return LocalSource(os.fspath(source))
    from streamh5.reader.object_source import ObjectSource  # brings threads

    return ObjectSource(source)


class LocalSource:
    """A regular file."""

    version = ""

    def __init__(self, path: str) -> None:
        self.name = path
        self._descriptor = -1
        # O_NONBLOCK: the open of a FIFO does not wait for a writer. O_BINARY exists on Windows.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(path, flags)
            status = os.fstat(self._descriptor)
        except FileNotFoundError as error:
            hint = " (this function does not read URLs: download it first)" if is_url(path) else ""
            hint = unfinished_write(path) or hint
            raise FileMissingError(f"{path}: {error.strerror}{hint}", errno=error.errno) from error
        except OSError as error:
            raise UnreadableError(f"{path}: {error.strerror}", errno=error.errno) from error
        except ValueError as error:  # a NUL character in the path
            raise UnreadableError(f"{path!r}: {error}") from error
        self.nbytes = status.st_size
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise UnreadableError(f"{path} is not a regular file")

    def read(self, nbytes: int, position: int) -> bytes:
        """See `ByteSource`."""
        return os.pread(self._descriptor, nbytes, position)  # at most 2 GiB on Linux

    def read_into(self, memory: memoryview, position: int) -> int:
        """See `ByteSource`."""
        return os.preadv(self._descriptor, [memory], position)

    def for_h5py(self) -> str:
        """See `ByteSource`."""
        return self.name

    def close(self) -> None:
        """See `ByteSource`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class ContentSource:
    """The content of a file."""

    version = ""

    def __init__(self, content: bytes) -> None:
        self.name = "the content"
        self.nbytes = len(content)
        self._content = content

    def read(self, nbytes: int, position: int) -> bytes:
        """See `ByteSource`."""
        return self._content[position : position + nbytes]

    def read_into(self, memory: memoryview, position: int) -> int:
        """See `ByteSource`."""
        part = self._content[position : position + len(memory)]
        memory[: len(part)] = part
        return len(part)

    def for_h5py(self) -> IO[bytes]:
        """See `ByteSource`."""
        return io.BytesIO(self._content)

    def close(self) -> None:
        """See `ByteSource`."""
