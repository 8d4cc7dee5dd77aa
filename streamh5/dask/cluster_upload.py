"""A write to an object store, whose blocks are sent by the workers of a cluster (``dask.distributed``).

::

    client process: File, chunk table, upload              workers
    ─────────────────────────────────────────────────      ────────────────────────────────────────────
    begin the upload ── SharedUpload ────────────────▶     look: is the package there, the store in reach?
    graph ── StoreTask with its PartWriter ──────────▶     compute, filter: bytes of chunks
    hold ◀── receipts, records ──────────────────────      send them as parts: `streamh5.dask.upload_tasks`
         ◀── bytes that are too few ─────────────────
    what has the store? parts that are not those of the receipts, or that are needed before all
    others: their blocks once more from the beginning
    addresses of the parts, enter in the chunk table
    first part: superblock, headers, index, first chunks; last part; complete

Only the receipts that the client holds count: a task may run twice, because a worker died or was taken for dead, and
send the same part with other content.
"""

from __future__ import annotations

import pickle
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed import as_completed
from distributed.client import futures_of

from streamh5.dask.cluster_client import ask, check_versions, list_workers, received
from streamh5.dask.store_task import Stored, StoreTask, region_of
from streamh5.dask.stored_collection import Collecting, StoredCollection, block_turns, n_fused_blocks
from streamh5.dask.upload_tasks import (
    SentPart,
    group_size,
    join_levels,
    reach,
    send_blocks,
    send_part,
    stop_sending,
)
from streamh5.errors import SinkError, listed
from streamh5.handles.upload_sharing import UploadSharing
from streamh5.write.part_records import moved
from streamh5.write.shared_upload import end_upload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distributed import Client

    from streamh5.dask.graph import Write
    from streamh5.dask.store_task import BlockId
    from streamh5.handles.file import File

LOOK_SECONDS = 90.0
"""Time in which a worker says whether it reaches the object, repetitions included."""

STOP_SECONDS = 90.0
"""Time for parts that are on their way when a write fails: one that arrives after the upload was removed might stay."""

LEFT_NBYTES = 16 << 20
"""Bytes that were too few for a part, of which the client makes one."""

N_ROUNDS = 5
"""How often blocks are computed whose parts are not those that were reported."""


class ClusterUpload:
    """Stores the blocks of a write as parts that the workers of a cluster send.

    Parameters
    ----------
    client
        The cluster.
    write
        The write, whose file is open.
    persist_kwargs
        Keywords of `Client.persist`: ``workers``, ``resources``, ``retries``, ``priority``, ...
    """

    def __init__(self, client: Client, write: Write, persist_kwargs: dict[str, Any]) -> None:
        self._client = client
        self._write = write
        self._kwargs = persist_kwargs
        self._parts: dict[int, SentPart] = {}
        self._rest: list[Stored] = []
        self._lost_nbytes = 0

    def run(self, blocks: Mapping[str, list[BlockId]]) -> None:
        """Store blocks of each dataset.

        Raises
        ------
        SchedulerError
            The scheduler was lost, or a worker has no streamh5 or another version.
        MissingCodecError
            A worker lacks the package of the store.
        SinkError
            A worker does not reach the store, or the store has other parts again and again.
        LimitError
            No part numbers are left for them.
        """
        if not any(blocks.values()):
            return
        check_versions(self._client)
        file = self._write.open()
        sharing = UploadSharing(file.session)
        try:
            self._look(sharing)
            collecting = self._first(sharing, blocks)
            for i in range(N_ROUNDS):
                self._round(file, sharing, collecting, f"{sharing.shared.token}-{i}")
                # before the comparison: a task that comes late must not send any more, also after the end of the write
                self._stop(sharing)
                again = self._again(sharing)
                if not again:
                    self._finish(file, sharing)
                    return
                sharing.take_turn()
                collecting = _collecting(
                    sharing,
                    [[(s.path, block) for s in sent.stored for block in s.blocks] for sent, _ in again],
                    [(sent.receipt.number, n_kept) for sent, n_kept in again],
                )
        except BaseException as error:
            sending = self._stop(sharing)
            if sending:
                error.add_note(
                    f"a part of {self._write.name} may be left in upload {sharing.shared.upload}, and costs money: "
                    f"{sending}; 'streamh5 abort-upload' and that URL remove it"
                )
            raise
        raise SinkError(
            f"cannot write {self._write.name}: {len(again):,} parts were others than those that were sent, after "
            f"{N_ROUNDS} attempts: another program sends parts to the same upload"
        )

    def _stop(self, sharing: UploadSharing) -> str:
        """Let nobody send parts any more: the upload is about to end. Return who may do it all the same."""
        token, turn = sharing.shared.token, sharing.shared.turn
        sending = [] if end_upload(token, turn) else ["this process"]
        if self._client.status != "running":  # a lost scheduler answers nothing, for a long time
            return "the workers cannot be asked whether they still send parts"
        try:
            workers = list_workers(self._client)
            replies = ask(
                self._client,
                stop_sending,
                token,
                turn,
                workers=workers,
                seconds=STOP_SECONDS,
                n_at_once=max(1, len(workers)),
            )
        except Exception:  # noqa: BLE001 - the first error is the one to report; the cluster may be gone
            return "the workers cannot be asked whether they still send parts"
        sending += [one for one in workers if replies.get(one) is not True]
        return f"{listed(sending)} may still send parts" if sending else ""

    def _look(self, sharing: UploadSharing) -> None:
        """Refuse to begin if a worker that may be used does not reach the object."""
        workers, given = set(list_workers(self._client)), self._kwargs.get("workers")
        if given and not self._kwargs.get("allow_other_workers"):
            workers &= {given} if isinstance(given, str) else set(given)
        shared = sharing.shared
        replies = ask(
            self._client,
            reach,
            shared.name,
            pickle.dumps(shared),
            workers=workers,
            seconds=LOOK_SECONDS,
            n_at_once=max(1, len(workers)),
        )
        for reply in replies.values():
            if isinstance(reply, Exception):
                raise reply
        silent = sorted((workers - replies.keys()).intersection(list_workers(self._client)))
        if silent:
            raise SinkError(
                f"cannot write {shared.name}: {listed(silent)} did not say within {LOOK_SECONDS:g} s whether the "
                "object can be reached there; remove these workers, or name others (workers=)",
                path=shared.name,
            )

    def _first(self, sharing: UploadSharing, blocks: Mapping[str, list[BlockId]]) -> Collecting:
        turns = block_turns(blocks)
        targets = [one for one in self._write.targets if blocks.get(one.spec.path)]
        n_threads = sum(self._client.nthreads().values())
        n_each = group_size(len(turns), sharing.n_numbers, n_fused_blocks(targets, len(turns), n_threads))
        groups = [turns[i : i + n_each] for i in range(0, len(turns), n_each)]
        # the first blocks stay with the client: its part comes first, and must not be small
        numbers = [(sharing.first_number + i, 0 if i else sharing.missing_nbytes) for i in range(len(groups))]
        return _collecting(sharing, groups, numbers)

    def _round(self, file: File, sharing: UploadSharing, collecting: Collecting, token: str) -> None:
        """Compute groups of blocks, and receive what the workers have sent or could not send."""
        tasks = {}
        paths = {path for group in collecting.groups for path, _ in group}
        for target in self._write.targets:
            path = target.spec.path
            if path in paths:
                out = file.datasets[path].out
                has_chunks = target.spec.chunks is not None
                part = out.part_writer(sharing.shared, is_flushing=False) if has_chunks else None
                tasks[path] = StoreTask(path, part, self._write.blocks[path])
        stores = StoredCollection(token, tasks, self._write.targets, {}, collecting)
        results = as_completed((), loop=self._client.loop, with_results=True)
        try:
            # only `results` refers to the futures: the scheduler forgets those that are done
            results.update(futures_of(self._client.persist(stores, **self._kwargs)))
            for result in received(results, self._write.name):
                for one in result:
                    self._take(file, one)
                sharing.check()
                self._gather(sharing)
        except BaseException:
            with suppress(Exception):
                self._client.cancel(list(results.futures))
            raise

    def _take(self, file: File, one: Stored | SentPart) -> None:
        """Hold one result until the addresses are known."""
        if isinstance(one, SentPart):
            self._parts[one.receipt.number] = one
            for stored in one.stored:
                self._add_progress(file, stored)
            return
        self._add_progress(file, one)
        if one.part is None:
            origin, shape = self._write.block(one.path, one.blocks[0])
            file.datasets[one.path][region_of(origin, shape)] = one.value
        else:
            self._rest.append(one)

    def _add_progress(self, file: File, stored: Stored, sign: int = 1) -> None:
        if stored.is_front:  # counted with the rest of the block
            return
        n_elements = self._write.blocks[stored.path].size(stored.blocks)
        self._write.add_progress(sign * n_elements * file.datasets[stored.path].dtype.itemsize)

    def _gather(self, sharing: UploadSharing) -> None:
        """Send what was too little for a part, once it is enough; what must come before all parts stays."""
        missing = sharing.missing_nbytes - sum(len(one.content) for one in self._rest if one.number == 0)
        kept, some = [], []
        for one in self._rest:
            if one.number == 0 or missing > 0:
                missing -= len(one.content) if one.number else 0
                kept.append(one)
            else:
                some.append(one)
        if sum(len(one.content) for one in some) >= max(LEFT_NBYTES, sharing.shared.min_nbytes):
            sent = send_part(sharing.shared, some)
            self._parts[sent.receipt.number] = sent
            self._rest = kept
        nbytes = sum(len(one.content) for one in self._rest)
        if nbytes > sharing.max_rest_nbytes:
            raise SinkError(
                f"cannot write {self._write.name}: the first block, of {nbytes:,} bytes after its filters, and what is "
                "before it are more than a part may have; rechunk the array to smaller blocks",
                path=self._write.name,
            )

    def _again(self, sharing: UploadSharing) -> list[tuple[SentPart, int]]:
        """Return the parts whose blocks are to be computed again, and how many of their bytes are not to be sent.

        The store has other parts of their numbers, because a task that does not count has sent them later. Or a part is
        needed, as bytes, at the beginning of the file.
        """
        again: list[tuple[SentPart, int]] = []
        for number in sharing.differing([one.receipt for one in self._parts.values()]):
            sent = self._parts.pop(number)
            again.append((sent, self._drop_fronts(sent)))
            self._lost_nbytes += sent.receipt.nbytes
        missing = sharing.missing_nbytes - sum(len(one.content) for one in self._rest)
        if not again and self._parts and missing > 0:
            sent = min(self._parts.values(), key=lambda one: one.receipt.nbytes)
            del self._parts[sent.receipt.number]
            again.append((sent, missing + self._drop_fronts(sent)))
        file = self._write.open()
        for sent, _ in again:
            for stored in sent.stored:
                self._add_progress(file, stored, -1)
        return again

    def _drop_fronts(self, sent: SentPart) -> int:
        """Drop the first chunks of blocks that are computed again, as others may come; return their bytes."""
        blocks = {(stored.path, block) for stored in sent.stored for block in stored.blocks}
        fronts = [
            one
            for one in self._rest
            if one.is_front and not blocks.isdisjoint((one.path, b) for b in one.blocks)
        ]
        self._rest = [one for one in self._rest if all(one is not front for front in fronts)]
        return sum(len(one.content) for one in fronts)

    def _finish(self, file: File, sharing: UploadSharing) -> None:
        """Place the parts, write what is left before them, and enter all chunks."""
        parts = [self._parts[number] for number in sorted(self._parts)]
        sent = [stored for part in parts for stored in part.stored]
        placed = sharing.end(
            [one.receipt for one in parts],
            sum(len(one.content) for one in self._rest),
            writers={one.part.writer for one in (*self._rest, *sent) if one.part is not None},
            lost_nbytes=self._lost_nbytes,
        )
        address = placed.rest_address
        for one in self._rest:
            if one.content:
                file.session.place.write(address, [one.content])
            self._enter(file, one, address)
            address += len(one.content)
        for part, start in zip(parts, placed.starts.tolist(), strict=True):
            for stored in part.stored:
                self._enter(file, stored, start)

    def _enter(self, file: File, stored: Stored, address: int) -> None:
        """Enter chunks in the chunk table."""
        if stored.part is not None:
            file.datasets[stored.path].out.record_part(moved(stored.part, address))
            self._write.count(stored.path, stored.counts)


def _collecting(
    sharing: UploadSharing,
    groups: list[list[tuple[str, BlockId]]],
    numbers: Sequence[tuple[int, int]],
) -> Collecting:
    """Return what sends groups of blocks as parts, given their numbers and how many bytes of each are not sent."""
    join = partial(send_blocks, sharing.shared, None)
    return Collecting(
        groups,
        [partial(send_blocks, sharing.shared, number, n_kept) for number, n_kept in numbers],
        is_fused=True,
        join=partial(join, 0),
        first_join=partial(join, numbers[0][1]),
        levels=join_levels(len(groups)),
    )
