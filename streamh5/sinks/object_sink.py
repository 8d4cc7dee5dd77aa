"""An object of an object store as destination, written by one process.

The addresses of the file are cut into parts. A part is kept in memory until all of its bytes are written, then it is
sent, while others are filled::

    address 0                                                                       end of file
    │ superblock, headers, index │ first chunks │ chunks        │ chunks    │ ...  │ chunks, headers │
    └────────────── part 1 ───────────────────┘└──── part 2 ────┘                  └─ last part ─────┘
      complete only at the end, so sent then      sent when it is full

Other processes may send parts, too (`share`), whose sizes are known only when they have ended (`take_parts`)::

    │ superblock, headers, index │ first chunks │ part 2 │ part 3 │ part 5 │ ... │ chunks, headers │
    └────────────── part 1 ───────────────────┘  of other processes, gaps are    └─ last part ─────┘
      as long as it must be                      allowed in their numbers

The object appears when the parts are joined, at commit, with everything that a reader asks for first at its beginning.
Until then, and after a failure, the store has the old object or none. A file that fits in one part is one request.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from streamh5.errors import LimitError, SinkError, StoreError
from streamh5.sinks.gated_sink import GatedSink
from streamh5.sinks.part_sender import PartSender
from streamh5.sinks.part_sizes import PartRange, PartSizes
from streamh5.stores import attempts
from streamh5.stores.request_thread import is_request_thread
from streamh5.stores.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamh5.sinks.base import Buffer
    from streamh5.stores.base import ObjectStore, PartReceipt


class OpenUpload(NamedTuple):
    """An upload that other processes send parts to.

    Attributes
    ----------
    upload
        The upload, which has begun.
    first_number, n_numbers
        Numbers of these parts.
    missing_nbytes
        Bytes that must come before them: only the last part may be small.
    """

    upload: Upload
    first_number: int
    n_numbers: int
    missing_nbytes: int


class FilledPart:
    """A part in memory; pages that are never written take no room."""

    __slots__ = ("content", "n_filled")

    def __init__(self, nbytes: int) -> None:
        self.content = np.zeros(nbytes, np.uint8)
        self.n_filled = 0

    def resized(self, nbytes: int) -> FilledPart:
        """Return the same part with another size; what is cut off is empty."""
        other, n_kept = FilledPart(nbytes), min(nbytes, len(self.content))
        other.content[:n_kept] = self.content[:n_kept]
        other.n_filled = self.n_filled
        return other


class ObjectSink(GatedSink):
    """Write one object.

    Parameters
    ----------
    store
        The object.
    overwrite
        Replace an object that is there, when the new one is complete.

    Attributes
    ----------
    bound
        Called before the first part is sent: returns the size in bytes that the file cannot exceed, None if unknown.
    remains
        What the store could not be made to remove, as a sentence; empty after every other end.
    """

    overwrites_in_place = False
    needs_threads = True
    """Requests need threads of others, which Python starts no more when it ends."""

    def __init__(self, store: ObjectStore, *, overwrite: bool) -> None:
        super().__init__(store.url)
        self.bound: Callable[[], int | None] = lambda: None
        self.remains = ""
        self._store, self._if_absent = store, not overwrite
        self._begin()
        self._sizes: PartSizes | None = None
        self._last = PartRange(1, 0, 0)  # part of this process before those of others
        self._others: list[PartReceipt] = []
        self._parts: dict[int, FilledPart] = {}
        self._lock = (
            threading.RLock()
        )  # for the parts in memory; a signal handler may end the write meanwhile

    def _begin(self) -> None:
        self._upload = Upload(self._store, token=secrets.token_hex(16), if_absent=self._if_absent)
        self._sender = PartSender(self._upload)

    def abort(self) -> None:
        """Remove what was sent; an object that is there stays."""
        self._sender.give_up()  # before the threads are waited for that wait for it
        super().abort()

    def read(self, address: int, nbytes: int) -> bytes:
        """Return bytes that have not been sent yet.

        Raises
        ------
        SinkError
            They have been sent: no store shows parts before the object is complete.
        """
        pieces = []
        with self._writing(), self._lock:
            for part, first, last in self._pieces(address, nbytes):
                filled = self._parts.get(part.number)
                if filled is None:
                    raise SinkError(
                        f"{self.name} cannot be read while it is written, which a chunk needs that receives more "
                        "elements after it was written: write whole chunks, or raise max_memory",
                        path=self.name,
                    )
                pieces.append(filled.content[first:last].tobytes())
        return b"".join(pieces)

    def share(self, end: int) -> OpenUpload:
        """Begin the upload, to which other processes may send parts from now on.

        Parameters
        ----------
        end
            First address that is not reserved; nothing more is reserved until `take_parts`.

        Raises
        ------
        LimitError
            No part numbers are left for them.
        """
        with self._writing(), self._lock:
            ((last, n_filled, _),) = self._pieces(end, 1)
            self._last = last
            limits = self._store.limits
            n_rest = limits.max_number - last.number
            if n_rest < 2:
                raise LimitError(f"{self.name} has no part numbers left for other processes", path=self.name)
            self._upload.begin()
            return OpenUpload(
                self._upload,
                last.number + 1,
                n_rest - max(1, n_rest // 10),
                missing_nbytes=max(0, limits.min_nbytes - n_filled),
            )

    def take_parts(self, stop: int, receipts: Sequence[PartReceipt]) -> None:
        """Place parts of other processes at an address, one after the other; without any, the upload is dropped.

        Parameters
        ----------
        stop
            The address: what lies between the end at `share` and it is written afterwards.
        receipts
            What the store has of them, by ascending number.
        """
        with self._writing(), self._lock:
            self._sender.wait()
            self._others = list(receipts)
            if receipts and self._sizes is not None:
                last = self._last._replace(stop=stop)
                end = stop + sum(one.nbytes for one in receipts)
                self._sizes.cut(last, receipts[-1].number + 1, end)
                filled = self._parts.pop(last.number, None)
                if filled is not None:
                    self._parts[last.number] = filled.resized(stop - last.start)
            elif not self._sender.receipts:  # the object may fit in one request
                self._upload.abort()
                self._begin()

    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        self._sender.check()
        for buffer in buffers:
            content = np.frombuffer(cast("bytes", buffer), np.uint8)
            done = 0
            for part, first, last in self._pieces(address, len(content)):
                self._fill(part, first, content[done : done + last - first])
                done += last - first
            address += len(content)

    def _pieces(self, address: int, nbytes: int) -> list[tuple[PartRange, int, int]]:
        """Return the parts of a range, and which of their bytes it is."""
        if self._sizes is None:
            bound = (
                self.bound()
            )  # before the lock: it takes the one of the engine, which may be held during a write
            with self._lock:
                self._sizes = self._sizes or PartSizes(self._upload.store.limits, bound)
        pieces, stop = [], address + nbytes
        while address < stop:
            part = self._sizes.at(address)
            end = min(stop, part.stop)
            pieces.append((part, address - part.start, end - part.start))
            address = end
        return pieces

    def _fill(self, part: PartRange, first: int, content: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        with self._lock:
            filled = self._parts.get(part.number)
            if filled is None:
                filled = self._parts[part.number] = FilledPart(part.stop - part.start)
        filled.content[first : first + len(content)] = content  # a copy: the caller uses its memory again
        with self._lock:
            filled.n_filled += len(content)
            # the first part is sent at the end, even if it is full: it may be the whole file
            is_full = filled.n_filled == len(filled.content) and part.number > 1
            if is_full:
                del self._parts[part.number]
        if is_full:
            self._sender.send(part.number, filled.content.data)

    def _commit(self, nbytes: int) -> None:
        """Send what is left, the last part cut to its size, and join the parts."""
        pieces = [one for one in self._pieces(0, nbytes) if one[0].number]
        if len(pieces) == 1 and not self._sender.receipts and self._upload.upload is None:
            self._upload.put(self._content(*pieces[0]))
            return
        self._sender.wait()
        for part, first, last in pieces:
            if part.number not in self._sender.receipts:
                self._sender.send(part.number, self._content(part, first, last))
        self._sender.wait()
        own = [self._sender.receipts[part.number] for part, _, _ in pieces]
        self._upload.complete([*own, *self._others])

    def _content(self, part: PartRange, first: int, last: int) -> memoryview:
        filled = self._parts.pop(part.number, None)  # bytes that nobody has written are zero
        return (filled or FilledPart(part.stop - part.start)).content[first:last].data

    def _drop(self) -> None:
        if self._sender.is_caller or is_request_thread():  # a collected write: it would wait for itself
            threading.Thread(target=self._remove, name="streamh5-abort").start()
            return
        try:
            self._remove()
        except SinkError as error:
            self.remains = str(error)

    def _remove(self) -> None:
        self._parts.clear()
        try:
            self._sender.close()
        finally:  # also if a second Ctrl-C ends the waiting for parts: an upload that is left costs money
            self._upload.abort()

    def _close(self) -> None:
        self._sender.close()


def object_exists(store: ObjectStore) -> bool:
    """Tell whether there is an object.

    Raises
    ------
    SinkError
        The store does not answer, or refuses the request.
    """
    try:
        return attempts.ATTEMPTS.run(store.head) is not None
    except StoreError as error:
        raise SinkError(f"cannot write {store.url}: {error}", path=store.url) from error
