"""A binary file object that is written from its beginning to its end: a pipe, a member of a zip file, a remote file.

The superblock is known last, so the file is first written to a temporary file, and copied from it when it is complete.
That file has no name: nothing of it is left after a crash. Until then nothing is written to the object.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
from typing import TYPE_CHECKING

from streamh5.errors import SinkError, StateError
from streamh5.sinks import files
from streamh5.sinks.destination_path import destination_name
from streamh5.sinks.gated_sink import GatedSink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from streamh5.sinks.base import Buffer

COPIED_NBYTES = 4 << 20
"""Bytes given to the object in one call, and the memory of the copy."""


class SequentialObjectSink(GatedSink):
    """Write to a temporary file, and copy it to a file object at `commit`.

    What was written to the object before stays before the file: an object of this kind has no position that could be
    set. It is left open.

    Parameters
    ----------
    file
        Binary, open for writing: ``write`` is called, and ``flush`` if it has it.

    Raises
    ------
    SinkError
        There is no directory for a temporary file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(destination_name(file))
        self._file = file
        try:
            self._folder = tempfile.gettempdir()
            # a number: the garbage collector, which finds a dropped write, may close an object before that ends
            with tempfile.TemporaryFile(buffering=0, dir=self._folder) as staged:
                self._fd = os.dup(staged.fileno())
        except OSError as error:
            raise SinkError(
                f"cannot write {self.name}: a temporary file is needed first, and cannot be made: "
                f"{error.strerror or error}; set TMPDIR to a directory for it",
                path=self.name,
            ) from error

    def failure(self, what: str, error: BaseException) -> SinkError | None:
        """Return the error that stands for one of the temporary file; None for any other."""
        return super().failure(
            f"{what}, in a temporary file in {self._folder:.80}, which must have room for the whole file (TMPDIR names "
            "another directory)",
            error,
        )

    def read(self, address: int, nbytes: int) -> bytes:
        """Read what was written; fewer than `nbytes` at the end of the file."""
        with self._writing(), self._failing(f"reading at byte {address:,} failed"):
            return files.read(self._fd, address, nbytes, os)

    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        files.write(self._fd, address, buffers, os)

    def _commit(self, nbytes: int) -> None:
        """Copy the file to the object, and flush the object."""
        os.ftruncate(self._fd, nbytes)
        for address in range(0, nbytes, COPIED_NBYTES):
            if self.state != "being committed":
                raise StateError(f"{self.name} was {self.state} after {address:,} of {nbytes:,} bytes")
            stored = min(COPIED_NBYTES, nbytes - address)
            block = files.read(self._fd, address, stored, os)
            if len(block) != stored:
                raise OSError(errno.EIO, f"it has less than {nbytes:,} bytes")
            try:
                self._send(block)
            except Exception as error:
                raise self._refusal(f"it failed after {address:,} of {nbytes:,} bytes", error) from error
        try:
            if hasattr(self._file, "flush"):
                self._file.flush()
        except Exception as error:
            raise self._refusal(f"it failed after {nbytes:,} bytes", error) from error

    def _send(self, block: bytes) -> None:
        rest: bytes | memoryview = block
        while rest:
            n = self._file.write(rest)
            # `write` of io.RawIOBase returns None if it would block; many other objects return nothing
            if n is None and not isinstance(self._file, io.RawIOBase):
                return
            if not isinstance(n, int) or not 0 < n <= len(rest):
                raise OSError(errno.EIO, f"write of {len(rest):,} bytes returned {n!r:.40}")
            rest = memoryview(rest)[n:]

    def _refusal(self, what: str, error: Exception) -> SinkError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        failure = SinkError(
            f"cannot write {self.name:.80}: {what}: {reason!s:.100}; what it has is not a complete file",
            path=self.name,
        )
        failure.errno = getattr(error, "errno", None)
        return failure

    def _drop(self) -> None:
        """Do nothing: `_close` drops the temporary file."""

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        files.close(fd, os)


def check_sequential(file: IO[bytes]) -> None:
    """Refuse a file object that cannot be written in order; nothing is written to it.

    Not even an empty piece: that ends the body of some HTTP messages.

    Raises
    ------
    OSError, ValueError, TypeError
        It is in text mode, or would not wait until it can be written.
    """
    if isinstance(file, io.TextIOBase):
        raise TypeError("it is in text mode")
    raw = getattr(file, "raw", file)
    # only of io: a socket with a timeout is one that does not block for the operating system, and waits all the same
    if isinstance(raw, io.FileIO) and not os.get_blocking(raw.fileno()):
        raise OSError(errno.EAGAIN, "it does not wait until it can be written; use os.set_blocking")
