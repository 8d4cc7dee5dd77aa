"""``Sharing``: the times during which other processes write to a file, and what they have left in it."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from typing import TYPE_CHECKING, cast

from streamh5.errors import SinkError
from streamh5.sinks.base import Shareable
from streamh5.sinks.machine import boot_id, new_writer_name
from streamh5.write.part_file import SharedFile
from streamh5.write.summary import SharedFigures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamh5.arguments.keywords import Sync
    from streamh5.recovery.journaled_engine import JournaledEngine
    from streamh5.sinks.base import Sink
    from streamh5.sinks.leases import Lease
    from streamh5.write.part_file import PartReport
    from streamh5.write.part_records import PartRecords


class Sharing:
    """Lets other processes write to the file of a session, and counts what they do. Thread-safe.

    Parameters
    ----------
    sink
        The sink of the session.
    engine
        Its engine: while the file is shared, this process takes its addresses from leases, too.
    sync
        As for `File`.

    Attributes
    ----------
    sent
        What processes did that have sent parts of an object; None if there were none.
    """

    def __init__(self, sink: Sink, engine: JournaledEngine, sync: Sync) -> None:
        self._sink = sink
        self._engine = engine
        self._sync = sync
        self._shared: SharedFile | None = None
        self._writer = new_writer_name()
        # reentrant: a signal handler may end the write during a call; taken before the lock of the engine
        self._lock = threading.RLock()
        self._leases: list[Lease] = []
        self._entered: Counter[str] = Counter()  # bytes by writer
        self._written: Counter[str] = Counter()
        self._lost_nbytes = 0
        self._free_nbytes = 0
        self.sent: SharedFigures | None = None

    @property
    def token(self) -> str | None:
        """Identity of the present sharing; None while only this process writes."""
        return None if self._shared is None else self._shared.token

    def begin(self, *, n_writers: int) -> SharedFile:
        """Let other processes write to the file; return what they need. While it is shared, return the same again.

        Parameters
        ----------
        n_writers
            Number of processes that will write at the same time, as far as known.

        Raises
        ------
        SinkError
            The destination is not a path, or its file system has no symbolic links.
        """
        with self._lock:
            if self._shared is not None:
                return self._shared
            sink = self._sink
            if not isinstance(sink, Shareable):
                raise SinkError(
                    f"{sink.name} cannot be written by several processes, because it is not a path; write to a path, "
                    "with threads (scheduler='threads'), or an object with a distributed.Client"
                )
            shared = SharedFile(
                path=str(sink.data_path),
                folder=str(sink.leases.path),
                name=sink.name,
                token=secrets.token_hex(16),
                n_writers=n_writers,
                sync=self._sync,
                boot=boot_id(),
                base_address=sink.base_address,
            )
            self._engine.share(lambda base: self._open(sink, shared, base))
            self._shared = shared
            return shared

    def _open(self, sink: Shareable, shared: SharedFile, base: int) -> Callable[[int], tuple[int, int]]:
        """Make the folder of the leases; return what takes one for this process."""
        try:
            sink.leases.open(shared.token, base)
        except OSError as error:
            raise SinkError(
                f"cannot write {sink.name} with several processes: the folder {shared.folder} with symbolic links "
                f"cannot be made: {error.strerror or error}",
                path=shared.folder,
            ) from error
        return shared.taker(self._writer, sink.name).take

    def end(self, reports: Iterable[PartReport] = ()) -> None:
        """End the write for all other processes. Nothing happens if the file is not shared.

        Parameters
        ----------
        reports
            Of the processes that have confirmed that they write no more: their unused ranges are used again.
        """
        with self._lock:
            if self._shared is None:
                return
            leases = [one for one in cast("Shareable", self._sink).leases.fence() if one.writer]
            reports = list(reports)
            free = [report.rest for report in reports]
            stop = max((one.stop for one in leases), default=0)
            own = self._engine.unshare(stop, free)
            self._leases += leases
            self._free_nbytes += own + sum(b - a for a, b in free)
            own_leases = sum(one.stop - one.start for one in leases if one.writer == self._writer)
            self._entered[self._writer] += own_leases - own
            for report in reports:
                self._written[report.writer] += report.nbytes
            self._shared = None

    def abandon(self, reports: Iterable[PartReport]) -> None:
        """End the write for all other processes after a failure; the sink is about to be aborted.

        Parameters
        ----------
        reports
            Of the processes that have confirmed that they write no more. If these are all, nothing is left to keep.
        """
        with self._lock:
            if self._shared is None:
                return
            folder = cast("Shareable", self._sink).leases
            if {one.writer for one in folder.fence()} <= {"", self._writer, *(one.writer for one in reports)}:
                folder.close()

    def enter(self, part: PartRecords) -> None:
        """Count records that were entered in the chunk table."""
        with self._lock:
            self._entered[part.writer] += part.nbytes

    def lose(self, part: PartRecords) -> None:
        """Count chunks that were lost with the machine that wrote them."""
        self._lost_nbytes += part.nbytes

    def figures(self) -> SharedFigures | None:
        """Return what the processes did, once index and headers are written; None if the file was never shared."""
        if not self._leases:
            return self.sent
        again = self._lost_nbytes + sum(
            max(0, nbytes - self._entered[writer]) for writer, nbytes in self._written.items()
        )
        used = self._entered.total() + again + self._free_nbytes - self._engine.free_nbytes
        leased = sum(one.stop - one.start for one in self._leases)
        return SharedFigures(
            # a process has a name for each time that the file was shared: without the part that differs
            n_writers=len(
                {one.writer.rpartition(":")[0] for one in self._leases if one.writer != self._writer}
            ),
            n_leases=len(self._leases),
            rewritten_nbytes=again,
            unused_nbytes=max(0, leased - used),
        )
