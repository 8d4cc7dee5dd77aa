"""A write whose blocks are stored by the workers of a cluster (``dask.distributed``).

::

    client process: File, chunk table, journal, lock       workers
    ─────────────────────────────────────────────────      ────────────────────────────────────────────
    share ── SharedFile ─────────────────────────────▶     look: do they see the folder?
    graph ── StoreTask with its PartWriter ──────────▶     compute, filter, write in leases of their own
    claim in the journal ◀── records, CRC-32 ────────      collect: records of many blocks in one message
    end ─────────────────────────────────────────────▶     fdatasync; nothing is written from here on
    enter in the chunk table ◀── "all of it is durable"
    what no worker vouches for: read back, compared
    blocks that differ: once more from the beginning
    unshare, index, headers, superblock, publish

Records that the client enters count. A task may run twice, because a worker died or was taken for dead: the bytes of
the other run lie in a lease of their own, where nothing refers to them.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from distributed import as_completed
from distributed.client import futures_of

from streamh5.dask.cluster_client import ask, check_versions, list_workers, received
from streamh5.dask.cluster_upload import ClusterUpload
from streamh5.dask.store_task import Stored, StoreTask, answer, end, look, region_of, sync
from streamh5.dask.stored_collection import Collecting, StoredCollection
from streamh5.errors import SinkError, SpecError, counted
from streamh5.sinks.base import Shareable
from streamh5.sinks.destination_path import is_path
from streamh5.write.chunk_checksums import are_intact
from streamh5.write.part_records import NO_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distributed import Client

    from streamh5.dask.graph import Write
    from streamh5.dask.store_task import BlockId
    from streamh5.handles.file import File
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.write.part_file import PartReport, SharedFile
    from streamh5.write.part_records import PartRecords

ANSWER_SECONDS = 15.0
"""A worker that does not answer within this time is taken for lost: what it wrote is read back and compared."""

SYNC_SECONDS = 900.0
"""Time for the fdatasync of a worker that answers: network file systems hold back gigabytes."""

MAX_HELD_NBYTES = 256 << 20
"""Records that the client holds until workers have made their chunks durable; beyond it, it asks them to."""

RECORDS_OVERHEAD_NBYTES = 1 << 10
"""Memory of the objects around the records of a block (tests/benchmarks, scale)."""

MAX_ROUNDS = 5
"""How often blocks are computed whose chunks were lost after they were written."""


def cluster_write(
    client: Client, write: Write, worker_path: Any, persist_kwargs: dict[str, Any]
) -> ClusterWrite | ClusterUpload:
    """Return what stores the blocks of a write on a cluster, in a file or in an object: see `ClusterWrite`.

    Raises
    ------
    SpecError
        `worker_path` is given for an object.
    """
    if is_path(write.path):
        return ClusterWrite(client, write, worker_path, persist_kwargs)
    if worker_path is not None:
        raise SpecError(f"worker_path is for paths, and {write.name} has one name everywhere; leave it out")
    return ClusterUpload(client, write, persist_kwargs)


class ClusterWrite:
    """Stores the blocks of a write on the workers of a cluster.

    Parameters
    ----------
    client
        The cluster.
    write
        The write, whose file is open.
    worker_path
        The destination as workers see it: a path, or a mapping of path prefixes of this machine to theirs.
    persist_kwargs
        Keywords of `Client.persist`: ``workers``, ``resources``, ``retries``, ``priority``, ...
    """

    def __init__(
        self, client: Client, write: Write, worker_path: Any, persist_kwargs: dict[str, Any]
    ) -> None:
        self._client = client
        self._write = write
        self._worker_path = worker_path
        self._kwargs = persist_kwargs
        self._itemsizes = {target.spec.path: target.spec.dtype.itemsize for target in write.targets}
        self._held: dict[str, list[Stored]] = defaultdict(list)  # by the process that wrote
        self._held_nbytes = 0
        self._max_held_nbytes = MAX_HELD_NBYTES

    def run(self, blocks: Mapping[str, list[BlockId]]) -> None:
        """Store blocks of each dataset.

        Raises
        ------
        SchedulerError
            The scheduler was lost, or a worker has no streamh5 or another version.
        SinkError
            A worker does not see the file or cannot write to it, or data was lost again and again.
        """
        if not any(blocks.values()):
            return
        check_versions(self._client)
        for _ in range(MAX_ROUNDS):
            blocks = self._round(blocks)
            if not blocks:
                return
        n_blocks = sum(map(len, blocks.values()))
        raise SinkError(
            f"cannot write {self._write.name}: {counted(n_blocks, 'block')} were lost after {MAX_ROUNDS} attempts; "
            "what workers write does not arrive in the file: check the file system, and the memory of the workers"
        )

    def _round(self, blocks: Mapping[str, list[BlockId]]) -> Mapping[str, list[BlockId]]:
        """Store blocks; return those that were lost again."""
        file = self._write.open()
        sharing = file.session.sharing
        n_threads = self._client.nthreads()  # by worker
        shared = self._seen(sharing.begin(n_writers=len(n_threads)))
        results = as_completed((), loop=self._client.loop, with_results=True)
        try:
            self._check_sight(shared, n_threads)
            stores = StoredCollection(
                shared.token,  # of this round: the same keys would name what an earlier one has stored
                self._store_tasks(file, shared, blocks),
                self._write.targets,
                self._edges(file),
                Collecting.in_messages(self._write.targets, blocks, n_threads=sum(n_threads.values())),
            )
            # only `results` refers to the futures: the scheduler forgets those that are done
            results.update(futures_of(self._client.persist(stores, **self._kwargs)))
            self._receive(file, shared, results)
            reports = self._end(shared, is_complete=True)
            for report in reports:
                self._enter(file, self._held.pop(report.writer, []))
            lost = self._check_lost(file)
            sharing.end(reports)
        except BaseException:
            with suppress(Exception):  # the first error is the one to report; the cluster may be gone
                self._client.cancel(list(results.futures))
            with suppress(Exception):
                sharing.abandon(self._end(shared, is_complete=False))
            raise
        return lost

    def _seen(self, shared: SharedFile) -> SharedFile:
        """Return the shared file as workers see it."""
        given, name = self._worker_path, self._write.name
        if given is None:
            return shared
        if not isinstance(given, Mapping):
            return shared.seen_as(os.fspath(given))
        name = os.path.abspath(name)
        for here, there in given.items():
            root = os.path.join(os.path.abspath(here), "")
            if name.startswith(root):
                return shared.seen_as(os.path.join(os.fspath(there), name[len(root) :]))
        raise SpecError(f"worker_path has no prefix of {name}; it names {', '.join(map(str, given))}")

    def _check_sight(self, shared: SharedFile, workers: Iterable[str]) -> None:
        """Refuse to begin if a worker that may be used does not see the file."""
        given = self._kwargs.get("workers")
        if given and not self._kwargs.get("allow_other_workers"):
            workers = set(workers) & set([given] if isinstance(given, str) else given)
        for reply in ask(self._client, look, shared, workers=workers, seconds=ANSWER_SECONDS).values():
            if isinstance(reply, Exception):
                raise reply

    def _store_tasks(
        self, file: File, shared: SharedFile, blocks: Mapping[str, list[BlockId]]
    ) -> dict[str, StoreTask]:
        tasks = {}
        for target in self._write.targets:
            path = target.spec.path
            if not blocks.get(path):
                continue
            dataset = file.datasets[path]
            part = None if target.spec.chunks is None else dataset.out.part_writer(shared, is_flushing=False)
            tasks[path] = StoreTask(path, part, self._write.blocks[path])
        return tasks

    def _edges(self, file: File) -> dict[str, ChunkRecords]:
        """Return the records of the stored chunks that arrays fill only in part."""
        edges = {}
        for target in self._write.targets:
            if target.origin is None or target.spec.chunks is None:
                continue
            node, grid = file.datasets[target.spec.path].node, target.spec.grid
            numbers = [grid.numbers(box) for box in grid.parts(target.origin, target.array.shape)[1]]
            found = file.session.find_chunks(node, np.concatenate([NO_NUMBERS, *numbers]))
            edges[target.spec.path] = np.sort(found, order="number")
        return edges

    def _receive(self, file: File, shared: SharedFile, results: as_completed) -> None:
        """Enter what the workers have stored in the journal, as it arrives."""
        for result in received(results, self._write.name):
            for stored in result:
                self._take(file, stored)
            if self._held_nbytes > self._max_held_nbytes:
                self._sync(file, shared)

    def _take(self, file: File, stored: Stored) -> None:
        """Enter one result in the journal; its chunks count when a worker vouches for them."""
        dataset = file.datasets[stored.path]
        self._write.add_progress(self._nbytes(stored))
        part = stored.part
        if part is None:
            origin, shape = self._write.block(stored.path, stored.blocks[0])
            dataset[region_of(origin, shape)] = stored.value
            return
        dataset.out.claim_part(part)
        if part.is_safe:
            self._enter(file, [stored])
            return
        self._held[part.writer].append(stored)
        self._held_nbytes += _held_nbytes(part)

    def _nbytes(self, stored: Stored) -> int:
        """Return the size of blocks before the filters."""
        return self._write.blocks[stored.path].size(stored.blocks) * self._itemsizes[stored.path]

    def _enter(self, file: File, held: Iterable[Stored]) -> None:
        """Enter durable chunks in the chunk table."""
        for stored in held:
            if stored.part is not None:
                file.datasets[stored.path].out.record_part(stored.part)
                self._write.count(stored.path, stored.counts)

    def _sync(self, file: File, shared: SharedFile) -> None:
        """Let the workers make their chunks durable, and enter those in the chunk table."""
        for report in self._ask_all(sync, shared.token):
            self._enter(file, self._held.pop(report.writer, []))
        self._held_nbytes = sum(
            _held_nbytes(one.part) for held in self._held.values() for one in held if one.part is not None
        )
        # records of workers that are gone stay until the end: do not ask again for each new one
        self._max_held_nbytes = max(MAX_HELD_NBYTES, 2 * self._held_nbytes)

    def _end(self, shared: SharedFile, *, is_complete: bool) -> list[PartReport]:
        """End the write on all workers that answer, and return what they report."""
        return self._ask_all(end, shared.token, is_complete)

    def _ask_all(self, function: Any, *args: Any) -> list[PartReport]:
        """Call a function on all workers that answer; raise the first error."""
        alive = ask(self._client, answer, workers=list_workers(self._client), seconds=ANSWER_SECONDS)
        replies = ask(self._client, function, *args, workers=alive, seconds=SYNC_SECONDS)
        for reply in replies.values():
            if isinstance(reply, Exception):
                raise reply
        return [reply for reply in replies.values() if reply is not None]

    def _check_lost(self, file: File) -> dict[str, list[BlockId]]:
        """Read back the chunks that no worker vouches for; enter those that are right, return the blocks of others."""
        lost: dict[str, list[BlockId]] = defaultdict(list)
        held = [one for parts in self._held.values() for one in parts]
        self._held.clear()
        sink = file.session.sink
        if not held or not isinstance(sink, Shareable):
            return lost
        fd = os.open(sink.data_path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for stored in held:
                part = stored.part
                if part is not None and is_intact(fd, part, base_address=sink.base_address):
                    self._enter(file, [stored])
                elif part is not None:
                    file.session.void(part.records["address"])
                    file.session.sharing.lose(part)
                    lost[stored.path] += stored.blocks
                    self._write.add_progress(-self._nbytes(stored))
        finally:
            os.close(fd)
        return lost


def _held_nbytes(part: PartRecords) -> int:
    """Return the memory of records that are held."""
    return RECORDS_OVERHEAD_NBYTES + part.records.nbytes + part.checksums.nbytes


def is_intact(fd: int, part: PartRecords, *, base_address: int = 0) -> bool:
    """Return whether everything that was written is chunks, and each has the CRC-32 that its writer has computed."""
    if part.nbytes != int(part.records["stored_nbytes"].sum(dtype=np.uint64)):
        return False  # objects in the global heap have no checksum

    def read(address: int, nbytes: int) -> bytes:
        return os.pread(fd, nbytes, base_address + address)

    return bool(are_intact(read, part.records, part.checksums).all())
