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

With a journal (`upload_journal`) a write that is interrupted leaves its upload, and can be resumed.
"""

from __future__ import annotations

import secrets
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from streamh5.errors import LimitError, SinkError, StateError
from streamh5.sinks.gated_sink import GatedSink
from streamh5.sinks.part_sender import PartSender
from streamh5.sinks.part_sizes import PartRange, PartSizes
from streamh5.sinks.upload_parts import FilledPart, OpenUpload, PartsInMemory
from streamh5.stores.request_thread import call_apart
from streamh5.stores.upload import Upload

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from streamh5.sinks.base import Buffer
    from streamh5.sinks.upload_journal import UploadJournal
    from streamh5.sinks.upload_parts import ResumedUpload
    from streamh5.stores.base import ObjectStore, PartReceipt


class ObjectSink(GatedSink):
    """Write one object.

    Parameters
    ----------
    store
        The object.
    overwrite
        Replace an object that is there, when the new one is complete.
    journal
        The journal of the write; None if nothing is kept after a failure.
    resumed
        The interrupted write to resume, which `journal` describes.

    Attributes
    ----------
    bound
        Called before the first part is sent: returns the size in bytes that the file cannot exceed, None if unknown.
    front_end
        Called then, too: returns the end of the front region, which is written last.
    keeps_journal
        Whether an interrupted write can be resumed.
    is_collected
        True while the garbage collector ends a write that was dropped.
    remains
        What the store could not be made to remove, as a sentence; empty after every other end.
    """

    overwrites_in_place = False
    needs_threads = True
    """Requests need threads of others, which Python starts no more when it ends."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        overwrite: bool,
        journal: UploadJournal | None = None,
        resumed: ResumedUpload | None = None,
    ) -> None:
        super().__init__(store.url)
        self.bound: Callable[[], int | None] = lambda: None
        self.front_end: Callable[[], int] = lambda: 0
        self.keeps_journal = journal is not None
        self.remains, self.is_collected = "", False
        self._store, self._if_absent, self._journal = store, not overwrite, journal
        self._begin(resumed)
        self._sizes: PartSizes | None = None
        self._front_end = 0
        self._last = PartRange(1, 0, 0)  # part of this process before those of others
        self._others: list[PartReceipt] = []
        self._parts = PartsInMemory()
        # for how the file is cut; reentrant, as a signal handler may end the write meanwhile
        self._lock = threading.RLock()
        if resumed is not None:
            self._resume(resumed)

    def _resume(self, resumed: ResumedUpload) -> None:
        self._sizes, self._front_end = resumed.sizes, resumed.front_end
        self._sender.receipts.update((one.number, one) for one in resumed.receipts)
        for address, held in resumed.held:
            content = np.frombuffer(cast("bytes", held), np.uint8)
            done = 0
            for part, first, last in self._pieces(address, len(content)):
                if part.number not in self._sender.receipts:
                    self._fill(part, first, content[done : done + last - first], is_held=True)
                done += last - first

    @property
    def journal_facts(self) -> dict[str, Any]:
        """`sync`, and the URL."""
        return {
            "sync": getattr(self._journal, "sync", "close"),
            "name": None,
            "inode": None,
            "url": self.name,
        }

    @property
    def how_to_continue(self) -> str:
        """Sentence that says what is kept after an interruption."""
        path = "" if self._journal is None else self._journal.path
        return (
            f"its upload and {path} are kept; continue with resume=True, journal={str(path)!r}, complete the object "
            f"with what is there: streamh5 salvage {path}, or remove the upload: streamh5 abort-upload {self.name}"
        )

    def has_name(self, path: str | os.PathLike[str]) -> bool:
        """Tell that no local file is written."""
        return False

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        """Append entries to the journal; the `nbytes` that they claim have been handed to this sink."""
        with self._writing():
            self._note(entries, nbytes, is_urgent=is_urgent)

    def suspend(self) -> None:
        """Stop writing, and keep what was written so that it can be resumed."""
        self._sender.give_up()
        self._end("suspended", self._keep)

    def _note(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        if self._journal is not None:
            try:
                self._journal.add(entries, nbytes, is_urgent=is_urgent)
            finally:
                if self._journal.is_taken_back:
                    self._fail()

    def _note_upload(self, upload: str | None, others: Sequence[str] | None) -> None:
        if self._journal is not None and self._sizes is not None:
            entries = self._journal.entries
            self._note(entries.upload(self._upload.token, upload, self._sizes.steps, others), is_urgent=True)

    def _note_part(self, receipt: PartReceipt) -> None:
        if self._journal is not None:
            self._note(self._journal.entries.part(receipt))
            _, start, stop = cast("PartSizes", self._sizes).part(receipt.number)
            if receipt.nbytes < stop - start:
                return  # the last part is cut, so that a resume does not use it: its chunks stay
        self._parts.drop(receipt.number)

    def _begin(self, resumed: ResumedUpload | None = None) -> None:
        self._upload = Upload(
            self._store,
            token=secrets.token_hex(16) if resumed is None else resumed.token,
            if_absent=self._if_absent,
            upload=None if resumed is None else resumed.upload,
            note=self._note_upload,
        )
        self._sender = PartSender(self._upload, self._note_part)

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
        with self._writing():
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
        LimitError, SinkError
            No part numbers are left for them; or the write has a journal.
        """
        if self._journal is not None:
            raise SinkError(
                f"{self.name} is written by other processes, of whose parts there is no journal: leave resume and "
                "journal out, or write it from threads (scheduler='threads')",
                path=self.name,
            )
        ((last, n_filled, _),) = self._pieces(end, 1)
        with self._writing(), self._lock:
            self._last = last
            limits = self._store.limits
            n_rest = limits.max_number - last.number
            if n_rest < 2:
                raise LimitError(f"{self.name} has no part numbers left for other processes", path=self.name)
            self._upload.begin_apart()
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
        with self._writing():
            self._sender.wait()  # without the lock, which its threads need
            self._others = list(receipts)
            if receipts and self._sizes is not None:
                last = self._last._replace(stop=stop)
                end = stop + sum(one.nbytes for one in receipts)
                self._sizes.cut(last, receipts[-1].number + 1, end)
                self._parts.resize(last.number, stop - last.start)
            elif not self._sender.receipts:  # the object may fit in one request
                self._upload.abort()
                self._begin()

    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        self._sender.wait_for_room(self._sent_nbytes)
        for buffer in buffers:
            content = np.frombuffer(cast("bytes", buffer), np.uint8)
            done = 0
            for part, first, last in self._pieces(address, len(content)):
                self._fill(part, first, content[done : done + last - first])
                done += last - first
            address += len(content)

    def _sent_nbytes(self) -> int:
        """Return the size of the parts in memory, without those of the front region, which stay to the end."""
        front = cast("PartSizes", self._sizes).at(max(0, self._front_end - 1))
        return self._parts.nbytes_after(front.number)

    def _pieces(self, address: int, nbytes: int) -> list[tuple[PartRange, int, int]]:
        """Return the parts of a range, and which of their bytes it is."""
        if self._sizes is None:
            self._lay_out()
        pieces, stop = [], address + nbytes
        while address < stop:
            part = cast("PartSizes", self._sizes).at(address)
            end = min(stop, part.stop)
            pieces.append((part, address - part.start, end - part.start))
            address = end
        return pieces

    def _lay_out(self) -> None:
        """Decide how the file is cut into parts."""
        # before the lock: it takes the one of the engine, which may be held during a write
        bound, front_end = self.bound(), self.front_end()
        with self._lock:
            if self._sizes is None:
                self._front_end = front_end
                sizes = PartSizes(self._upload.store.limits, bound)
                if self._journal is not None:
                    self._note(self._journal.entries.upload(self._upload.token, None, sizes.steps, None))
                self._sizes = sizes  # last: the others wait for the journal

    def _fill(
        self,
        part: PartRange,
        first: int,
        content: np.ndarray[tuple[int], np.dtype[np.uint8]],
        *,
        is_held: bool = False,
    ) -> None:
        """Fill a part, and send it when it is full; `is_held`: the journal has these bytes."""
        filled = self._parts.fill(part, first, content)
        if self._journal is not None and part.start < self._front_end <= part.start + first and not is_held:
            # the part is complete only at the end, and its chunks come before all others
            self._journal.hold(part.start + first, filled.content[first : first + len(content)].data)
            is_held = True
        is_noted = self._journal is not None and not is_held
        is_full = self._parts.count(filled, first, first + len(content), is_noted=is_noted)
        # the first part is sent at the end, even if it is full: it may be the whole file
        if is_full and part.number > 1:
            self._sender.send(part.number, filled.content.data)

    def _commit(self, nbytes: int) -> None:
        """Send what is left, the last part cut to its size, and join the parts."""
        pieces = [one for one in self._pieces(0, nbytes) if one[0].number]
        if len(pieces) == 1 and not self._sender.receipts and self._upload.upload is None:
            self._upload.put(self._content(*pieces[0]))
            self._forget()
            return
        self._sender.wait()
        for part, first, last in pieces:
            if part.number not in self._sender.receipts:
                self._sender.send(part.number, self._content(part, first, last))
        self._sender.wait()
        own = [self._sender.receipts[part.number] for part, _, _ in pieces]
        self._upload.complete([*own, *self._others])
        self._forget()

    def _content(self, part: PartRange, first: int, last: int) -> memoryview:
        filled = self._parts.get(part.number)  # bytes that nobody has written are zero
        if filled is None and part.number in self._sender.numbers:
            raise StateError(f"{self.name}: part {part.number} was sent, and the store has not confirmed it")
        return (filled or FilledPart(part.stop - part.start)).content[first:last].data

    def _forget(self) -> None:
        """Remove the journal of a write that has ended, before its lock is released."""
        self._parts.clear()
        if self._journal is not None:
            with suppress(OSError):  # it names the write that has made the object
                self._journal.remove()

    def _drop(self) -> None:
        if not self.is_collected:
            self._remove()
            if not self.remains:
                self._forget()
            return
        self._forget()
        self._collect(self._remove_collected)

    def _collect(self, call: Callable[[], None]) -> None:
        try:
            call_apart(call, is_waiting=not self._sender.is_caller)
        except RuntimeError as error:  # no thread can be started any more
            self.remains = f"an upload of {self.name} is left: {error}; see streamh5 abort-upload {self.name}"

    def _keep(self) -> None:
        """Enter in the journal what the store has not confirmed; without the store, which may be the reason."""
        self._collect(self._sender.close) if self.is_collected else self._sender.close()
        if self._journal is None:
            return
        with suppress(SinkError):  # what cannot be entered is computed again
            for number, filled in self._parts.items():
                start = cast("PartSizes", self._sizes).part(number).start
                if start >= self._front_end:  # of the others the journal has the chunks
                    for first, last in filled.ranges:
                        self._journal.hold(start + first, filled.content[first:last].data)
            self._journal.flush()

    def _remove(self) -> None:
        self._parts.clear()
        try:
            try:
                self._sender.close()
            finally:  # also if a second Ctrl-C ends the waiting for parts: an upload that is left costs money
                self._upload.abort()
        except SinkError as error:
            self.remains = str(error)

    def _remove_collected(self) -> None:
        self._remove()
        if self.remains:  # the write has been reported as dropped already
            warnings.warn(self.remains, UserWarning, stacklevel=1)

    def _close(self) -> None:
        if not self.is_collected:
            self._sender.close()
        if self._journal is not None:
            self._journal.close()
