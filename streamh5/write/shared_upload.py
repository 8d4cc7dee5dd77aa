"""An upload to which other processes send parts: they share no disk, and keep nothing.

::

    owner of the upload                                 another process
    SharedUpload ── pickled ─────────────────────────▶ open ─▶ MemoryPart: chunks of one block, one after the other
                                                        send ─▶ the store: a part, whose number the owner gave
    receipts, records with offsets in the part ◀────────┘
"""

from __future__ import annotations

import os
import pickle
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamh5.engine.address_cursor import AddressCursor
from streamh5.errors import MissingCodecError, SinkError, StateError, StoreError
from streamh5.filters.base import byte_view
from streamh5.sinks.machine import host_name, new_writer_name
from streamh5.stores import attempts
from streamh5.stores.open_store import package_extra
from streamh5.stores.upload import Upload
from streamh5.version import __version__
from streamh5.write.place import Place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from streamh5.filters import Buffer
    from streamh5.stores.base import ObjectStore, PartReceipt

SENDING_SECONDS = 60.0
"""Time for which `end_upload` waits for parts that are being sent."""

LOOK_ATTEMPTS = attempts.Attempts(n_attempts=3, max_seconds=1.0)
"""Few, as the owner waits for the answers of all processes before any work, and not for long."""


@dataclass(frozen=True, slots=True)
class SharedUpload:
    """Everything that another process needs to send parts; picklable, with the credentials of the store.

    Parameters
    ----------
    store
        The object.
    upload
        Id of the upload.
    token
        Identity of the write.
    min_nbytes
        Size from which bytes become a part.
    turn
        Which time of several this is in which parts are sent: each is ended by `end_upload`.
    """

    store: ObjectStore = field(repr=False)
    upload: str
    token: str
    min_nbytes: int
    turn: int = 0
    sync = "close"

    @property
    def name(self) -> str:
        """The object, for messages."""
        return self.store.url

    def open(self) -> MemoryPart:
        """Return what holds the chunks of a block until they are sent."""
        return MemoryPart(self)

    def send(self, number: int, contents: Sequence[Buffer]) -> PartReceipt:
        """Send a part.

        Raises
        ------
        SinkError
            The store does not take it, or it is larger than a part may be.
        StateError
            The write has ended.
        """
        self.check(sum(map(len, contents)))
        views = list(map(byte_view, contents))
        content = views[0] if len(views) == 1 else memoryview(b"".join(views))
        return _SENDING.send(self, number, content)

    def check(self, nbytes: int) -> None:
        """Refuse bytes that are more than a part may have.

        Raises
        ------
        SinkError
            They are.
        """
        largest = self.store.limits.max_nbytes
        if nbytes > largest:
            raise SinkError(
                f"cannot write {self.name}: a block has {nbytes:,} bytes after its filters, and a part at most "
                f"{largest:,}; rechunk the array to smaller blocks",
                path=self.name,
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared_upload, (__version__, self.store, self.upload, self.token, self.min_nbytes, self.turn)


def _shared_upload(version: str, *values: Any) -> SharedUpload:
    """Return a `SharedUpload` from its pickle; the version is checked first.

    Raises
    ------
    SinkError
        The owner has another version of streamh5.
    """
    if version != __version__:
        raise SinkError(
            f"{host_name()} has streamh5 {__version__}, and the process that owns the upload has {version}: install "
            "the same version on both"
        )
    return SharedUpload(*values)


class MemoryPart:
    """Chunks of one block in memory, one after the other; addresses are offsets. For one thread."""

    is_with_owner = True

    def __init__(self, shared: SharedUpload) -> None:
        self.shared = shared
        self.writer = _SENDING.writer
        self.content = bytearray()
        self.place = Place(AddressCursor().reserve, self.write)

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Keep bytes, which follow those before; a copy: the caller uses its memory again."""
        if address != len(self.content):
            raise StateError(f"bytes for {address} do not follow the {len(self.content)} that are there")
        for buffer in buffers:
            self.content += byte_view(buffer)

    def read(self, address: int, nbytes: int) -> bytes:
        """Return bytes."""
        return bytes(self.content[address : address + nbytes])

    def flush(self) -> None:
        """Do nothing: the bytes are safe when their part has been sent."""


class _Sending:
    """The uploads that this process sends parts to. Thread-safe."""

    def __init__(self) -> None:
        self.writer = new_writer_name()
        self._uploads: dict[tuple[str, int], Upload] = {}
        self._n_sending: dict[tuple[str, int], int] = {}
        self._ended: deque[tuple[str, int]] = deque(
            maxlen=1000
        )  # a task that comes late must send nothing more
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    def send(self, shared: SharedUpload, number: int, content: memoryview) -> PartReceipt:
        turn = (shared.token, shared.turn)
        with self._lock:
            if turn in self._ended:
                raise StateError(f"the write to {shared.name} has ended, and nothing more can be sent to it")
            upload = self._uploads.get(turn)
            if upload is None:
                upload = self._uploads[turn] = Upload(
                    shared.store, token=shared.token, if_absent=False, upload=shared.upload
                )
            self._n_sending[turn] = self._n_sending.get(turn, 0) + 1
        try:
            return upload.send(number, content)
        finally:
            with self._lock:
                self._n_sending[turn] -= 1
                if not self._n_sending[turn]:
                    del self._n_sending[turn]
                self._changed.notify_all()

    def end(self, turn: tuple[str, int]) -> bool:
        with self._lock:
            if turn not in self._ended:
                self._ended.append(turn)
            upload = self._uploads.pop(turn, None)
            if upload is not None:
                upload.stop_waiting()
            return self._changed.wait_for(lambda: turn not in self._n_sending, SENDING_SECONDS)


_SENDING = _Sending()


def end_upload(token: str, turn: int = 0) -> bool:
    """Send nothing more for a write, and wait for parts that are on their way: its upload is about to end.

    Returns
    -------
    bool
        Whether none is on its way any more.
    """
    return _SENDING.end((token, turn))


def reach_object(url: str, pickled: bytes) -> str:
    """Look whether this process can reach an object; return the name of the machine.

    Parameters
    ----------
    url
        The object.
    pickled
        Its `SharedUpload`, which can be unpickled only where the package of its store is installed.

    Raises
    ------
    MissingCodecError
        It does.
    SinkError
        The store does not answer, or refuses the request.
    """
    try:
        shared: SharedUpload = pickle.loads(pickled)
    except ImportError as error:
        raise MissingCodecError(
            f"cannot write {url} on {host_name()}: a package is not installed there ({error.name}); on all workers: "
            f"pip install 'streamh5[{package_extra(url)}]'"
        ) from error
    try:
        LOOK_ATTEMPTS.run(shared.store.head)
    except StoreError as error:
        raise SinkError(f"cannot write {url} on {host_name()}: {error}", path=url) from error
    return host_name()


def _forget() -> None:
    """In a fork: another thread may have held the lock."""
    global _SENDING
    _SENDING = _Sending()


os.register_at_fork(after_in_child=_forget)
