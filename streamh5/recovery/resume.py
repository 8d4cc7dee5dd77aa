"""``Recovery``: the claims of a journal, checked, and restored when a dataset is created again."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from streamh5.engine.metadata_plan import Front
from streamh5.errors import MAX_MESSAGE, JournalError, ResumeError, counted, shown
from streamh5.format.superblock import SIZEOF_SUPERBLOCK
from streamh5.model.chunk_grid import MAX_CHUNKS
from streamh5.model.tree import ReservedRange
from streamh5.recovery.claimed_chunks import are_inside, began_empty, claimed_chunks, decode_claims
from streamh5.recovery.entry_kinds import SESSION, USED, VOIDS
from streamh5.recovery.journal import Claims
from streamh5.recovery.journal_facts import page_of, spec_facts
from streamh5.sinks.machine import boot_id
from streamh5.write.chunk_checksums import are_intact
from streamh5.write.rows import stored_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.tree import DatasetNode
    from streamh5.recovery.claimed_chunks import Claimed, ClaimedChunks
    from streamh5.recovery.dataset_history import DatasetHistory
    from streamh5.recovery.journal import Identity, Journal
    from streamh5.recovery.upload_state import KeptBytes


class Restored(NamedTuple):
    """Number of appended rows that are stored, and ``(n,) uint64`` addresses of the chunks that were not restored."""

    n_rows: int
    lost: NDArray[np.uint64]


class Recovery:
    """An interrupted write.

    Parameters
    ----------
    journal
        Its decoded journal.
    read
        Reads ``(address, nbytes)`` of its partial file.
    name
        The destination, for messages.
    nbytes
        Size of the partial file, or of the public file that is added to.
    inode
        Inode of the public file.
    kept
        Of a write to an object: what is there, instead of `nbytes`.

    Attributes
    ----------
    free
        Ranges before the end that are free.

    Notes
    -----
    A claim of bytes beyond the end of the partial file is dropped. If claimed data may have been lost
    (the machine restarted since, and part of the write was not under ``sync="batch"``; or a public file is
    a copy of the one that was added to), every claimed
    chunk is read and compared with its checksum; a chunk that differs is not restored.

    Raises
    ------
    JournalError
        The journal has claims but no front region.
    """

    def __init__(
        self,
        journal: Journal,
        read: Callable[[int, int], bytes],
        name: str,
        *,
        nbytes: int = 0,
        inode: int | None = None,
        kept: KeptBytes | None = None,
    ) -> None:
        if journal.front is None and journal.base is None and journal.n_claimed:
            raise JournalError(f"the journal of {name} claims chunks before it says where they may lie")
        self._journal = journal
        # other processes may still write to their leases, to the end of which the sink has extended the file
        self._used = nbytes if journal.is_shared else 0
        self.front = journal.front or Front({}, {}, None, SIZEOF_SUPERBLOCK)
        self._read = read
        self._name = name
        self._made: dict[str, list[int]] = {}
        for number, facts in journal.datasets.items():
            if number >= journal.first_number and number not in journal.taken_back and "opened" not in facts:
                self._made.setdefault(facts["path"], []).append(number)
        self.numbers = {path: numbers[0] for path, numbers in self._made.items()}
        boot = boot_id()
        is_copied = journal.base is not None and inode != journal.inode
        self._is_trusted = kept is not None or (
            not is_copied
            and all(
                session["sync"] == "batch" or (boot is not None and session["boot"] == boot)
                for session in journal.sessions
            )
        )
        self._restored: set[int] = set()
        self.free: Sequence[tuple[int, int]] = () if kept is None else kept.free
        self._kept_end = 0 if kept is None else kept.end
        self._lost = self._drop_cut(nbytes) if kept is None else kept.lost

    @property
    def end(self) -> int:
        """First address after everything that was ever claimed: no address is used twice."""
        return max(self._journal.end, self.front.end, self._used, self._kept_end)

    @property
    def is_synced(self) -> bool:
        """Whether the disk had confirmed the data before each claim of it."""
        return all(session["sync"] == "batch" for session in self._journal.sessions)

    def is_intact(self) -> bool:
        """Return whether the bytes of every claimed chunk match its checksum."""
        all_claims = [claims for claims in self._journal.claims.values() if claims.records]
        if not all_claims:
            return True
        records = np.concatenate([one for claims in all_claims for one in claims.records])
        checksums = np.concatenate([one for claims in all_claims for one in claims.checksums])
        # a chunk that was overwritten in its place has the checksum of its last claim
        last = len(records) - 1 - np.unique(records["address"][::-1], return_index=True)[1]
        return bool(are_intact(self._read, records[last], checksums[last]).all())

    def entries(self, facts: dict[str, Any]) -> bytes:
        """Return the first entries of the resumed write: its session, the used addresses, the claims that are void."""
        entries = SESSION.encode({**facts, "resumed": True})
        if self._used:
            entries += USED.encode(self.end)
        return entries + VOIDS.encode(self._lost) if len(self._lost) else entries

    @property
    def n_datasets(self) -> int:
        """Number of datasets in the journal, removed ones included."""
        return self._journal.n_datasets

    def check_options(self, options: dict[str, Any]) -> None:
        """Refuse options of the file that differ from those of the interrupted write.

        Raises
        ------
        ResumeError
            An option differs.
        """
        then = {key: self._journal.header.get(key) for key in options} | {
            "page": page_of(self._journal.header)
        }
        self._compare("the file", then, options)

    def check_dataset(self, spec: DatasetSpec, source: str | None) -> int | None:
        """Return the number of a dataset in the journal; None if it is new.

        Raises
        ------
        ResumeError
            The journal has it with another plan or from another source.
        """
        left = [number for number in self._made.get(spec.path, []) if number not in self._restored]
        if not left:
            return None
        number = self.numbers[spec.path] = left[0]
        if number is not None:
            then = dict(self._journal.datasets[number])
            self._compare(spec.path, then, {**_plain(spec_facts(spec)), "source": source})
        return number

    def check_complete(self) -> None:
        """Refuse to finish without a dataset that has stored chunks.

        Raises
        ------
        ResumeError
            Such a dataset was not created again.
        """
        missing = {
            str(self._journal.datasets[number]["path"]): n
            for number, claims in self._journal.claims.items()
            if (n := sum(map(len, claims.records))) and number not in self._restored
        }
        if missing:
            raise ResumeError(
                f"the interrupted write of {self._name} is a different one: it has {', '.join(missing)} with "
                f"{counted(sum(missing.values()), 'chunk')}, which was not created this time. Create the same objects, "
                "or start again with mode 'w' (overwrite=True), without resume",
                missing=missing,
            )

    def restore(self, dataset: DatasetNode) -> Restored:
        """Enter the claimed chunks of a dataset in its chunk table.

        Raises
        ------
        JournalError
            A claim lies outside the dataset or the file.
        """
        self._restored.add(self._number(dataset))
        if began_empty(dataset):  # `reopen` has its chunks
            return Restored(0, np.zeros(0, np.uint64))
        lost = self._restore_chunks(dataset)
        n_rows, forgotten = self._restore_rows(dataset)
        gone = np.concatenate([*lost, forgotten])
        # with an Implicit index all versions of a chunk have one address, and the last may be intact
        _, columns = dataset.table.written()
        return Restored(n_rows, gone[~np.isin(gone, columns.addresses)])

    def give_back(self, number: int) -> None:
        """Take a dataset as not restored: its creation failed, and may be repeated."""
        self._restored.discard(number)

    def reopen(self, dataset: DatasetNode, number: int | None) -> ClaimedChunks | None:
        """Return the chunks that were stored of a dataset of the public file, or of one that was resized; None if none.

        Parameters
        ----------
        dataset
            The dataset, with the shape that it has in the public file, or was created with.
        number
            Number under which it was created; None if it is one of the public file.

        Raises
        ------
        JournalError
            A claim lies outside the dataset or the file.
        ResumeError
            They were written from another source.
        """
        history = self.history(dataset)
        numbers = [] if history is None else [one for one in history.numbers if one != number]
        self._restored.update(numbers)
        for one in numbers:
            then = {"source": self._journal.datasets[one].get("source")}
            self._compare(dataset.path, then, {"source": dataset.source})
        if number is not None and began_empty(dataset):
            numbers = [number, *numbers]
        if dataset.spec.chunks is None or not numbers:
            return None
        parts = [(self._journal.datasets[one], self._journal.claims.get(one, Claims())) for one in numbers]
        return claimed_chunks(dataset, parts, partial(self.check_claims, is_growing=True), self.are_kept)

    def history(self, dataset: DatasetNode) -> DatasetHistory | None:
        """Return the numbers and the shapes that a dataset had; None if the journal has nothing of it.

        A new one must have the number with which it was created.
        """
        address, number = dataset.stored_address, dataset.number
        identity: Identity = ("made", number or 0) if address is None else ("address", address)
        return self._journal.histories.get(identity)

    def claimed(self, dataset: DatasetNode, number: int) -> Claimed:
        """Return the chunks of a dataset that were claimed under a number."""
        facts, claims = self._journal.datasets[number], self._journal.claims.get(number, Claims())
        return decode_claims(
            dataset, facts, claims, partial(self.check_claims, is_growing=True), self.are_kept
        )

    def _restore_chunks(self, dataset: DatasetNode) -> list[NDArray[np.uint64]]:
        """Enter the usable chunks of a dataset; return the addresses of the others."""
        self.restore_region(dataset)
        lost = [np.zeros(0, np.uint64)]
        claims = self._journal.claims.get(self._number(dataset), Claims())
        if dataset.spec.chunks is None:
            if claims.records:
                raise self._nonsense(dataset, "chunks")
            return lost
        are_partial: dict[int, bool] = {}
        for claimed, checksums, is_partial in zip(
            claims.records, claims.checksums, claims.are_partial, strict=True
        ):
            self.check_claims(dataset, claimed, is_growing=dataset.spec.maxshape is not None)
            is_kept = self.are_kept(dataset, claimed, checksums)
            is_kept &= are_inside(dataset, claimed["number"])
            lost.append(claimed["address"][~is_kept])
            dataset.table.record(claimed[is_kept])
            if is_partial or are_partial:  # the last claim of a chunk counts
                are_partial |= dict.fromkeys(claimed["number"][is_kept].tolist(), is_partial)
        grid = dataset.spec.grid
        dataset.incomplete = {grid.coords(number): None for number, is_so in are_partial.items() if is_so}
        return lost

    def _number(self, dataset: DatasetNode) -> int:
        """Return the number of a dataset that was created again; its path may be another one now."""
        return self.numbers[dataset.path] if dataset.number is None else dataset.number

    def _drop_cut(self, nbytes: int) -> NDArray[np.uint64]:
        """Drop claims beyond the end of the partial file; return their addresses."""
        lost = [np.zeros(0, np.uint64)]
        for claims in self._journal.claims.values():
            for i, records in enumerate(claims.records):
                is_there = records["address"] + records["stored_nbytes"] <= np.uint64(nbytes)
                if not is_there.all():
                    lost.append(records["address"][~is_there])
                    claims.records[i] = records[is_there]
                    claims.checksums[i] = claims.checksums[i][is_there]
        return np.concatenate(lost)

    def are_kept(
        self, dataset: DatasetNode, records: ChunkRecords, checksums: NDArray[np.uint32]
    ) -> NDArray[np.bool_]:
        """Return which chunks are stored as claimed."""
        # chunks of an Implicit index are overwritten in place: a kill may leave one half new
        if self._is_trusted and not dataset.spec.is_early:
            return np.ones(len(records), bool)
        if not self._is_trusted and dataset.spec.is_encoded:
            # the objects of the elements, in the global heap, have no checksum
            return np.zeros(len(records), bool)
        return are_intact(self._read, records, checksums)

    def restore_region(self, dataset: DatasetNode) -> None:
        """Give a dataset with an Implicit index the region of its chunks."""
        if dataset.stored_address is not None or not dataset.spec.is_early:
            return
        region = self._journal.regions.get(self._number(dataset))
        if region is None:
            return
        address, end = region
        if address < self.front.end or end - address != dataset.n_numbers * dataset.spec.chunk_nbytes:
            raise self._nonsense(dataset, f"the chunks in the bytes {address:,} to {end:,}")
        dataset.chunk_region = ReservedRange(address, end - address)

    def _restore_rows(self, dataset: DatasetNode) -> tuple[int, NDArray[np.uint64]]:
        """Return the number of appended rows that are stored, and the addresses of the chunks after them."""
        shape, grid = dataset.spec.shape, dataset.spec.grid
        claims = self._journal.claims.get(self._number(dataset))
        nothing = np.zeros(0, np.uint64)
        if claims is None or not shape or not grid.n_numbers_per_row:
            return 0, nothing
        stored = stored_rows(dataset)
        if claims.n_rows is None:  # written by regions: any chunk may be stored
            if shape[0] is None and stored.end:
                dataset.n_rows = stored.end * grid.chunks[0]
            return 0, nothing
        n_safe = stored.n_safe
        if claims.n_rows:  # the stream had ended: its last chunk may contain padding
            n_safe = min(n_safe, claims.n_rows // grid.chunks[0])
        forgotten = dataset.table.forget(n_safe * grid.n_numbers_per_row)
        n_rows = n_safe * grid.chunks[0]
        if shape[0] is None:
            dataset.n_rows = n_rows
            return n_rows, forgotten
        return min(n_rows, shape[0]), forgotten

    def _compare(self, what: str, then: dict[str, Any], now: dict[str, Any]) -> None:
        differing = {key: (then.get(key), value) for key, value in now.items() if then.get(key) != value}
        if not differing:
            return
        limit = 60
        advice = "Repeat the original call, or start again with mode 'w' (overwrite=True), without resume"
        if list(differing) == ["source"]:
            # dask's tokens can differ from run to run, although the source is the same
            limit, advice = 24, "Salvage it (streamh5 salvage), or start again: mode 'w' (overwrite=True), "
            advice += "no resume; and a resume_key= if tokens vary"
        pairs = (f"{key} was {shown(a, limit)} and is {shown(b, limit)}" for key, (a, b) in differing.items())
        name, what = shown(self._name, 40, quoted=False), shown(what, 20, quoted=False)
        head = f"the interrupted write of {name} is a different one: for {what}, "
        listed = shown("; ".join(pairs), MAX_MESSAGE - len(head + advice) - 2, quoted=False)
        raise ResumeError(f"{head}{listed}. {advice}", differing=differing)

    def check_claims(self, dataset: DatasetNode, records: ChunkRecords, *, is_growing: bool = False) -> None:
        """Refuse records that no writer can have made; those of a dataset that grows have any number."""
        spec = dataset.spec
        grid = spec.grid
        address, stored = records["address"], records["stored_nbytes"]
        n_numbers = MAX_CHUNKS if is_growing or grid.n_numbers is None else grid.n_numbers
        outside = (address < self.front.end) | (stored == 0) | (records["number"] >= n_numbers)
        outside |= records["filter_mask"] >= 1 << len(spec.filters)
        if not spec.filters:
            outside |= stored != spec.chunk_nbytes
        if spec.is_early:
            first = 0 if dataset.chunk_region is None else dataset.chunk_region.address
            outside |= address != np.uint64(first) + records["number"] * np.uint64(spec.chunk_nbytes)
        if outside.any():
            raise self._nonsense(dataset, f"the chunk {records[outside][0]}")

    def _nonsense(self, dataset: DatasetNode, what: str) -> JournalError:
        return JournalError(
            f"the journal of {self._name} claims {what} of {dataset.path}, which cannot be; start again "
            "with mode 'w' (overwrite=True), without resume",
            path=dataset.path,
        )


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts as they come back from JSON: lists instead of tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain
