"""A file of another process, to which this process writes parts of its own.

::

    owner                                              another process
    Session.share ── SharedFile (pickled) ───────────▶ open_part ─▶ PartFile
                                                            reserve   from its leases
                                                            write     looks the token up, then pwritev
                  ◀── PartRecords ────────────────────      commit    fdatasync; nothing more is written

A process has one `PartFile` for each write. It does not hold the locks of the file: the owner does, and the folder of
the leases (`streamh5.sinks.leases`) says how long others may write.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from streamh5.engine.address_cursor import AddressCursor
from streamh5.errors import SinkError, StateError
from streamh5.sinks import files
from streamh5.sinks.gated_sink import GatedSink
from streamh5.sinks.leases import LeaseTaker
from streamh5.sinks.machine import boot_id, host_name, new_writer_name
from streamh5.sinks.write_back import WriteBack
from streamh5.version import __version__
from streamh5.write.place import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamh5.arguments.keywords import Sync
    from streamh5.filters import Buffer


@dataclass(frozen=True, slots=True)
class SharedFile:
    """Everything that another process needs to write to a file; picklable.

    Parameters
    ----------
    path, folder
        The file that receives the bytes, and the folder of its leases, as the other process sees them.
    name
        The destination, for messages.
    token
        Identity of the write, see `streamh5.sinks.leases`.
    n_writers
        See `LeaseTaker`.
    sync
        As for `File`.
    boot
        Boot of the machine of the owner.
    base_address
        Position of address 0 in the file.
    """

    path: str
    folder: str
    name: str
    token: str
    n_writers: int
    sync: Sync
    boot: str | None
    base_address: int = 0

    def taker(self, writer: str, name: str) -> LeaseTaker:
        """Return what takes leases for this process, which `writer` names; `name` is the destination in messages."""
        return LeaseTaker(
            self.folder,
            self.token,
            writer=writer,
            n_writers=self.n_writers,
            name=name,
        )

    def seen_as(self, path: str) -> SharedFile:
        """Return this file for processes that see the destination as `path`."""
        folder = os.path.dirname(path)
        return replace(
            self,
            path=os.path.join(folder, os.path.basename(self.path)),
            folder=os.path.join(folder, os.path.basename(self.folder)),
        )

    def open(self) -> PartFile:
        """Return the part of this process: see `open_part`."""
        return open_part(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared_file, (__version__, *(getattr(self, one.name) for one in fields(self)))


def _shared_file(version: str, *values: Any) -> SharedFile:
    """Return a `SharedFile` from its pickle; the version is checked first, because other versions have other fields.

    Raises
    ------
    SinkError
        The process that owns the file has another version of streamh5.
    """
    if version != __version__:
        raise SinkError(
            f"{host_name()} has streamh5 {__version__}, and the process that owns the file has {version}: install the "
            "same version on both"
        )
    return SharedFile(*values)


class PartReport(NamedTuple):
    """What a process tells when its part of a write has ended.

    Attributes
    ----------
    writer
        The process.
    rest
        Start and stop of the unused range at the end of its last lease.
    nbytes
        Bytes that it has written.
    """

    writer: str
    rest: tuple[int, int]
    nbytes: int


class PartFile(GatedSink):
    """Writes to the file of another process, from leases of its own. Thread-safe.

    Parameters
    ----------
    shared
        The file.
    system
        The system calls, by their names in `os`; for tests of faults.

    Attributes
    ----------
    writer
        Name of this process, which no other has.
    is_with_owner
        Whether this is the machine of the owner, which has one page cache for both.

    Raises
    ------
    SinkError
        This process does not see the file, or cannot open it.
    StateError
        The write has ended.
    """

    _purpose = "cannot write to"
    content = b""  # nothing stays in memory

    def __init__(self, shared: SharedFile, system: Any = os) -> None:
        super().__init__(f"{shared.name} on {host_name()}")
        self.writer = new_writer_name()
        self.shared = shared
        self._system = system
        self._write_back = WriteBack(system)
        self.nbytes = 0
        self._count_lock = threading.Lock()
        self._leases = self._look()
        with self._failing(f"{shared.path} cannot be opened"):
            self._fd = files.open_regular(Path(shared.path), os.O_RDWR, system)
        self._cursor = AddressCursor(stop=0, more=self._take)
        self.place = Place(self._cursor.reserve, self.write)
        self.is_with_owner = shared.boot is not None and shared.boot == boot_id()

    def _look(self) -> LeaseTaker:
        """Look for the folder of the write."""
        shared = self.shared
        try:
            return shared.taker(self.writer, self.name)
        except StateError:
            if Path(shared.folder).exists():
                raise
            raise SinkError(
                f"cannot write to {self.name}: this machine does not see {shared.folder}, which the calling process "
                "has made, or the write has ended; all machines need the folder of the file on a shared file system "
                "(worker_path= tells where, if they see it under another name)",
                path=shared.folder,
            ) from None

    def _take(self, nbytes: int) -> tuple[int, int]:
        with self._failing(f"no lease of {nbytes:,} bytes could be taken in {self.shared.folder}"):
            return self._leases.take(nbytes)

    def flush(self) -> None:
        """Make everything written so far durable, as far as `SharedFile.sync` asks for it."""
        with self._writing():
            self._sync()

    def _sync(self) -> None:
        if self.shared.sync != "none":
            self._check_durable(self._write_back.sync, self._system.fdatasync, self._fd)

    def _check_durable(self, call: Callable[..., None], *arguments: Any) -> None:
        """Make a call that tells whether data were lost."""
        try:
            with self._failing("fdatasync failed"):
                call(*arguments)
        except SinkError:
            self._fail()  # a second call would succeed although the pages are lost
            raise

    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        # A process that was suspended, and taken for dead, must not write to a file that was published meanwhile. The
        # look is as close to the system call as it can be.
        self._leases.check_open()
        place, nbytes = self.shared.base_address + address, sum(map(len, buffers))
        files.write(self._fd, place, buffers, self._system)
        with self._count_lock:
            self.nbytes += nbytes
        if self.shared.sync != "none":
            self._check_durable(self._write_back.wrote, self._fd, place, nbytes)

    def read(self, address: int, nbytes: int) -> bytes:
        """Return `nbytes` at `address`; fewer at the end of the file."""
        with self._writing(), self._failing("it cannot be read"):
            return files.read(self._fd, self.shared.base_address + address, nbytes, self._system)

    def report(self) -> PartReport:
        """Return what has been written; its `rest` is final after `commit` and `abort`."""
        return PartReport(self.writer, self._cursor.rest, self.nbytes)

    def _commit(self, nbytes: int) -> None:
        self._sync()

    def _drop(self) -> None:
        """Leave everything to the owner."""

    def _close(self) -> None:
        with suppress(OSError):
            self._write_back.settle()
        files.close(self._fd, self._system)


_PARTS: dict[str, PartFile] = {}
"""The open parts of this process, by token."""

_ENDED: deque[str] = deque(maxlen=1000)
"""Tokens of writes that have ended: a task that comes late must not begin a new part."""

_LOCK = threading.Lock()


def open_part(shared: SharedFile) -> PartFile:
    """Return the part of this process; the first call opens it.

    Raises
    ------
    SinkError, StateError
        See `PartFile`.
    """
    with _LOCK:
        if shared.token in _ENDED:
            raise StateError(f"the write to {shared.name} has ended, and nothing more can be written to it")
        part = _PARTS.get(shared.token)
        if part is None:
            part = _PARTS[shared.token] = PartFile(shared)
        return part


def sync_part(token: str) -> PartReport | None:
    """Make durable what this process has written; None if it has written nothing."""
    with _LOCK:
        part = _PARTS.get(token)
    if part is None:
        return None
    part.flush()
    return part.report()


def end_part(token: str, *, is_complete: bool) -> PartReport | None:
    """End the part of this process: nothing is written after this call. None if it has written nothing.

    Parameters
    ----------
    token
        The write.
    is_complete
        Whether the write succeeded, so that the bytes are made durable.
    """
    with _LOCK:
        _ENDED.append(token)
        part = _PARTS.pop(token, None)
    if part is None:
        return None
    if is_complete:
        part.commit(0)
    else:
        part.abort()
    return part.report()


def _forget() -> None:
    """In a fork: the parts, with their leases, are those of the parent, and another thread may have held the lock."""
    global _LOCK
    _LOCK = threading.Lock()
    _PARTS.clear()


os.register_at_fork(after_in_child=_forget)
