"""A binary file object as destination: `io.BytesIO`, an open file, a temporary file.

The file begins at position 0 of the object, wherever it stands. There is no second name under which the
new file could be made, so what the object holds is replaced at once: after a failure it is empty.
"""

from __future__ import annotations

import errno
import io
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from streamh5.errors import DestinationExistsError, SinkError, SpecError
from streamh5.sinks.destination_path import destination_name
from streamh5.sinks.gate import Gate

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import IO

    from streamh5.sinks.base import Buffer

__all__ = ["FileObjectSink", "check_file_object"]

ZEROS_NBYTES = 1 << 20

USE_ANOTHER = "write to a local file or io.BytesIO, and copy that"


class FileObjectSink:
    """Write into a file object, at its positions, under a lock.

    Parameters
    ----------
    file
        Binary, open for writing, seekable: ``write``, ``seek`` and ``tell`` are called, and ``truncate``
        and ``flush`` where there are such.
    overwrite
        Replace what it holds.

    Raises
    ------
    DestinationExistsError, SpecError
        See `check_file_object`.
    """

    keeps_journal = False
    sync = "none"

    def __init__(self, file: IO[bytes], *, overwrite: bool) -> None:
        self._end = check_file_object(file, overwrite=overwrite)
        self._file = file
        self._lock = threading.Lock()
        self._gate = Gate(self.name)
        with self._failing("it cannot be emptied"):
            self._truncate(0)

    @property
    def name(self) -> str:
        """What a message calls the destination."""
        return destination_name(self._file)

    @property
    def journal_facts(self) -> dict[str, Any]:
        """Nothing: there is no journal."""
        return {}

    def has_name(self, path: str | os.PathLike[str]) -> bool:
        """Nothing has."""
        return False

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Put `buffers`, one after the other, at `address`."""
        with self._gate.writing(), self._lock, self._failing(f"writing at byte {address:,} failed"):
            self._write(address, buffers)

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        """Keep no journal: an interrupted write is not resumed."""

    def commit(self, nbytes: int) -> None:
        """Give the file its size, flush the object; it stands at the end then, and stays open."""
        with self._gate.committing(), self._lock, self._failing("it could not be completed"):
            while self._end < nbytes:
                self._write(self._end, [bytes(min(nbytes - self._end, ZEROS_NBYTES))])
            self._truncate(nbytes)
            self._file.seek(nbytes)
            if hasattr(self._file, "flush"):
                self._file.flush()

    def snapshot(self, path: Path) -> None:
        """Refuse: a file object has no second name."""
        raise SinkError(f"{self.name} is a file object; a checkpoint of it is not possible")

    def suspend(self) -> None:
        """Give up: there is nothing to resume."""
        self.abort()

    def abort(self) -> None:
        """Empty the object."""
        if self._gate.end("aborted") is not None:
            with self._lock, suppress(OSError, ValueError):  # it may have been closed
                self._truncate(0)
                self._file.seek(0)

    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
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
                errno.ESPIPE, f"it does not write where it is told to (append mode?); {USE_ANOTHER}"
            )
        self._end = max(self._end, address)

    def _truncate(self, nbytes: int) -> None:
        if self._end <= nbytes:
            return
        if not hasattr(self._file, "truncate"):
            raise OSError(errno.ENOTSUP, f"it holds {self._end:,} bytes and has no truncate(); {USE_ANOTHER}")
        self._file.truncate(nbytes)
        self._end = nbytes

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Say which object it was that an operation failed on."""
        try:
            yield
        except SinkError:
            raise
        except (OSError, ValueError) as error:  # ValueError: it was closed
            failure = SinkError(f"cannot write {self.name}: {what}: {error}")
            failure.errno = getattr(error, "errno", None)
            raise failure from error


def check_file_object(file: IO[bytes], *, overwrite: bool) -> int:
    """Refuse a file object that cannot hold a file, before any work; return the bytes that it holds.

    Raises
    ------
    SpecError
        It is closed, or not one of bytes, not writable or not seekable.
    DestinationExistsError
        It holds something, and `overwrite` is False.
    """
    name = destination_name(file)
    mode = getattr(file, "mode", "")
    if isinstance(mode, str) and "a" in mode:
        raise SpecError(f"{name} is open in append mode ({mode!r}) and writes at its end only; {USE_ANOTHER}")
    try:
        if not getattr(file, "seekable", lambda: True)():
            raise io.UnsupportedOperation("it is not seekable")
        file.write(b"")
        nbytes = file.seek(0, io.SEEK_END)
        nbytes = file.tell() if nbytes is None else nbytes
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SpecError(
            f"{name} cannot be a destination: {error}; a file object must be open, take bytes, and be writable and "
            f"seekable ({USE_ANOTHER})"
        ) from error
    if nbytes and not overwrite:
        raise DestinationExistsError(
            f"{name} holds {nbytes:,} bytes; pass overwrite=True (File: mode 'w') to replace them",
            nbytes=nbytes,
        )
    return nbytes
