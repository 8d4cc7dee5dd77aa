"""A binary file object as destination: `io.BytesIO`, an open file, a temporary file.

One that cannot be positioned is written by `streamh5.sinks.sequential_object`. In any other the file begins at position
0, whatever its current position. There is no second name under which the new file could be written, so the old content
is removed at the beginning: after a failure the object is empty, or holds the state of the last `flush`. The superblock
is held back until everything that it refers to has been written.
"""

from __future__ import annotations

import errno
import io
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from streamh5.errors import DestinationExistsError, SpecError
from streamh5.sinks.destination_path import destination_name
from streamh5.sinks.gated_sink import GatedSink
from streamh5.sinks.sequential_object import check_sequential

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from streamh5.sinks.base import Buffer

ZEROS_NBYTES = 1 << 20
"""Zeros written in one call to extend the file; ``truncate`` of `io.BytesIO` does not extend it."""

USE_ANOTHER = "write to a local file or io.BytesIO, and copy that"


class FileObjectSink(GatedSink):
    """Write to a file object under a lock.

    Parameters
    ----------
    file
        Binary, open for writing, seekable: ``write``, ``seek`` and ``tell`` are called, and ``truncate``
        and ``flush`` if it has them.
    nbytes
        Size of its content, which is removed.
    """

    _failures = (OSError, ValueError)  # ValueError: it has been closed

    def __init__(self, file: IO[bytes], *, nbytes: int) -> None:
        super().__init__(destination_name(file))
        self._file = file
        self._end_of_file = nbytes
        self._superblock = b""
        self._flushed_nbytes = 0
        self._is_switching = False
        # the object has one position for all threads; reentrant: a signal handler may abort during `commit`
        self._lock = threading.RLock()
        with self._failing("it cannot be emptied"):
            self._truncate(0)

    def read(self, address: int, nbytes: int) -> bytes:
        """Read what was written; fewer than `nbytes` at the end of the file.

        Raises
        ------
        SinkError
            The object is open for writing only.
        """
        with self._writing(), self._failing(f"reading at byte {address:,} failed"), self._lock:
            if not getattr(self._file, "readable", lambda: hasattr(self._file, "read"))():
                raise OSError(
                    errno.EBADF,
                    "chunks that receive more elements must be read back, and it is open for writing only; open it "
                    "with mode 'w+b', or write whole chunks",
                )
            self._file.seek(address)
            parts = [self._file.read(nbytes)]
            while parts[-1] and (n_done := sum(map(len, parts))) < nbytes:
                parts.append(self._file.read(nbytes - n_done))
            return b"".join(parts)

    def flush(self, nbytes: int) -> None:
        """Write the superblock, and flush the object."""
        with self._writing(), self._failing("its present state could not be written"), self._lock:
            self._show(nbytes)

    def _commit(self, nbytes: int) -> None:
        """Complete the file, cut it to its size, flush the object, and leave it open, positioned at its end."""
        with self._lock:
            self._show(nbytes)
            self._truncate(nbytes)
            self._file.seek(nbytes)
            self._flush_object()

    def _show(self, nbytes: int) -> None:
        while self._end_of_file < nbytes:
            self._put(self._end_of_file, [bytes(min(nbytes - self._end_of_file, ZEROS_NBYTES))])
        self._is_switching = True  # if it fails, nobody knows which superblock is there
        self._put(0, [self._superblock])
        self._flush_object()
        self._flushed_nbytes, self._is_switching = nbytes, False

    def _flush_object(self) -> None:
        if hasattr(self._file, "flush"):
            self._file.flush()

    def _drop(self) -> None:
        with self._lock, suppress(OSError, ValueError):  # it may have been closed
            if not (self._is_switching and self._flushed_nbytes):
                self._truncate(self._flushed_nbytes)
            self._file.seek(self._flushed_nbytes)

    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        if address == 0:
            self._superblock = b"".join(bytes(buffer) for buffer in buffers)
            return
        with self._lock:
            self._put(address, buffers)

    def _put(self, address: int, buffers: Sequence[Buffer]) -> None:
        self._file.seek(address)
        for buffer in buffers:
            rest = memoryview(cast("bytes", buffer)).cast("B")
            while len(rest):
                n = self._file.write(rest)
                if not n:
                    raise OSError(errno.EIO, "a write made no progress")
                address += n
                rest = rest[n:]
        if self._file.tell() != address:
            raise OSError(
                errno.ESPIPE, f"it does not write at the position of seek() (append mode?); {USE_ANOTHER}"
            )
        self._end_of_file = max(self._end_of_file, address)

    def _truncate(self, nbytes: int) -> None:
        if self._end_of_file <= nbytes:
            return
        if not hasattr(self._file, "truncate"):
            raise OSError(
                errno.ENOTSUP, f"it contains {self._end_of_file:,} bytes and has no truncate(); {USE_ANOTHER}"
            )
        self._file.truncate(nbytes)
        self._end_of_file = nbytes


def check_file_object(file: IO[bytes], *, overwrite: bool) -> int | None:
    """Refuse a file object that cannot be written, before any work.

    Returns
    -------
    int or None
        The size of its content in bytes; None if it is written from its beginning to its end
        (`streamh5.sinks.sequential_object.SequentialObjectSink`).

    Raises
    ------
    SpecError
        It is closed, in text mode or append mode, or not writable.
    DestinationExistsError
        It is not empty, and `overwrite` is False.
    """
    name = destination_name(file)
    mode = getattr(file, "mode", "")
    if isinstance(mode, str) and "a" in mode:
        raise SpecError(f"{name} is open in append mode ({mode!r}) and writes at its end only; {USE_ANOTHER}")
    try:
        if getattr(file, "closed", False):
            raise ValueError("it is closed")
        if not getattr(file, "writable", lambda: True)():
            raise io.UnsupportedOperation("it is not writable")
        nbytes = _content_nbytes(file)
        check_sequential(file) if nbytes is None else file.write(b"")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SpecError(
            f"{name} cannot be a destination: {error}; a file object must be open, accept bytes, and be writable "
            f"({USE_ANOTHER})"
        ) from error
    if nbytes and not overwrite:
        raise DestinationExistsError(
            f"{name} holds {nbytes:,} bytes; pass overwrite=True (File: mode 'w') to replace them",
            nbytes=nbytes,
        )
    return nbytes


def _content_nbytes(file: IO[bytes]) -> int | None:
    """Return the size of the content of a file object; None if it cannot be positioned."""
    if not hasattr(file, "seek") or not getattr(file, "seekable", lambda: True)():
        return None
    try:
        nbytes = file.seek(0, io.SEEK_END)
        return file.tell() if nbytes is None else nbytes
    except (OSError, ValueError):  # some say that they can be positioned, and mean forwards: gzip.GzipFile
        return None
