"""Take up an interrupted write: what its journal claims, checked, for the objects that are created again."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.engine import Front
from streamh5.errors import JournalError, ResumeError
from streamh5.journal import spec_facts
from streamh5.plan.tree import Region

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from streamh5.journal import Claims, Journal
    from streamh5.plan.chunk_table import ChunkRecords
    from streamh5.plan.dataset_spec import DatasetSpec
    from streamh5.plan.tree import DatasetNode

__all__ = ["Recovery", "boot_id", "front_facts"]

READ_NBYTES = 16 << 20


def boot_id() -> str | None:
    """Identity of this run of the machine; None where it has none, and is never the same."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def front_facts(front: Front) -> dict[str, Any]:
    """Front region as an F entry."""
    return {
        "headers": {path: [region.address, region.nbytes] for path, region in front.headers.items()},
        "indexes": {path: [region.address, region.nbytes] for path, region in front.indexes.items()},
        "heap": None if front.heap is None else [front.heap.address, front.heap.nbytes],
        "end": front.end,
    }


def _front(facts: dict[str, Any]) -> Front:
    heap = facts["heap"]
    return Front(
        {path: Region(*place) for path, place in facts["headers"].items()},
        {path: Region(*place) for path, place in facts["indexes"].items()},
        None if heap is None else Region(*heap),
        int(facts["end"]),
    )


class Recovery:
    """An interrupted write.

    Parameters
    ----------
    journal
        Its decoded journal.
    read
        Read back ``(address, nbytes)`` of its partial file.
    name
        The destination, for messages.

    Notes
    -----
    Where the data may have been lost behind the journal's back (a restart of the machine since, and
    no ``sync="batch"``), every claimed chunk is read and compared with its checksum; one that
    differs is not taken over.
    """

    def __init__(self, journal: Journal, read: Callable[[int, int], bytes], name: str) -> None:
        self._journal = journal
        self._read = read
        self._name = name
        self._number = {facts["path"]: number for number, facts in enumerate(journal.datasets)}
        boot = journal.header.get("boot")
        same_boot = boot is not None and boot == boot_id()
        self._is_trusted = journal.header.get("sync") == "batch" or same_boot

    @property
    def front(self) -> Front | None:
        """The front region; None when no data was written."""
        return None if self._journal.front is None else _front(self._journal.front)

    @property
    def end(self) -> int:
        """First address behind everything claimed."""
        return self._journal.end

    @property
    def numbers(self) -> dict[str, int]:
        """Number of each dataset in the journal, by path."""
        return dict(self._number)

    def check_options(self, options: dict[str, Any]) -> None:
        """Refuse other options of the file.

        Raises
        ------
        ResumeError
            Names what differs.
        """
        then = {key: self._journal.header.get(key) for key in options}
        self._compare("the file", then, options)

    def check_dataset(self, spec: DatasetSpec, source: str | None) -> int | None:
        """Return the number of a dataset in the journal; None when it is new.

        Raises
        ------
        ResumeError
            It is there with another plan or from another source.
        """
        number = self._number.get(spec.path)
        if number is not None:
            then = dict(self._journal.datasets[number])
            self._compare(spec.path, then, {**_plain(spec_facts(spec)), "source": source})
        return number

    def restore(self, dataset: DatasetNode) -> int:
        """Enter the claimed chunks of a dataset in its table.

        Returns
        -------
        int
            Rows that were appended and are safe.

        Raises
        ------
        JournalError
            A claim lies outside the dataset or the file.
        """
        claims = self._journal.claims.get(self._number[dataset.path])
        if claims is None:
            return 0
        for claimed, checksums in zip(claims.records, claims.checksums, strict=True):
            self._check(dataset, claimed)
            kept = claimed
            if not self._is_trusted:
                # what the elements refer to in the global heap has no checksum
                kept = claimed[self._intact(claimed, checksums) & (not dataset.spec.is_encoded)]
            dataset.table.record(kept)
        return self._restore_rows(dataset, claims)

    def _restore_rows(self, dataset: DatasetNode, claims: Claims) -> int:
        shape, grid = dataset.spec.shape, dataset.spec.grid
        if shape is None or not grid.n_numbers_per_row:
            return 0
        written = dataset.table.addresses != 0
        n_rows = len(written) // grid.n_numbers_per_row
        present = (slice(None), *(slice(n) for n in grid.present_counts[1:]))
        whole = written[: n_rows * grid.n_numbers_per_row].reshape(n_rows, *grid.counts[1:])[present]
        whole = whole.reshape(n_rows, -1)
        if claims.n_rows is None:  # regions: any chunk may be there
            if shape[0] is None and whole.any():
                dataset.n_rows = (int(np.flatnonzero(whole.any(axis=1))[-1]) + 1) * grid.chunks[0]
            return 0
        complete = whole.all(axis=1)
        n_safe = int(np.argmin(complete)) if not complete.all() else n_rows
        if claims.n_rows:  # the stream had ended: its last chunk may hold padding
            n_safe = min(n_safe, claims.n_rows // grid.chunks[0])
        dataset.table.forget(n_safe * grid.n_numbers_per_row)
        return n_safe * grid.chunks[0]

    def _compare(self, what: str, then: dict[str, Any], now: dict[str, Any]) -> None:
        differing = {key: (then.get(key), value) for key, value in now.items() if then.get(key) != value}
        if not differing:
            return
        listed = "; ".join(f"{key} was {a!r} and is {b!r}" for key, (a, b) in differing.items())
        hint = ""
        if "source" in differing:
            hint = (
                "; if the source is the same nevertheless (dask tokens can differ from run to run), pass the same "
                "resume_key= to both"
            )
        raise ResumeError(
            f"the interrupted write of {self._name} is another one: for {what}, {listed}{hint}. "
            "Call with what was asked for then, or with overwrite=True and without resume to start again",
            differing=differing,
        )

    def _check(self, dataset: DatasetNode, records: ChunkRecords) -> None:
        n_numbers = dataset.spec.grid.n_numbers
        ends = records["address"] + records["stored_nbytes"]
        first = 0 if self._journal.front is None else int(self._journal.front["end"])
        outside = (records["address"] < first) | (ends > np.uint64(2**63)) | (records["stored_nbytes"] == 0)
        if n_numbers is not None:
            outside |= records["number"] >= n_numbers
        if outside.any():
            raise JournalError(
                f"the journal of {self._name} claims a chunk of {dataset.path} that cannot be; remove the partial file "
                "and its journal to start again",
                record=records[outside][0],
            )

    def _intact(self, records: ChunkRecords, checksums: NDArray[np.uint32]) -> NDArray[np.bool_]:
        stored = zip(records["address"].tolist(), records["stored_nbytes"].tolist(), strict=True)
        found = np.array([self._checksum(*place) for place in stored], np.int64)
        return np.asarray(found == checksums)

    def _checksum(self, address: int, nbytes: int) -> int:
        checksum = 0
        while nbytes:
            piece = self._read(address, min(nbytes, READ_NBYTES))
            if not piece:
                return -1
            checksum = zlib.crc32(piece, checksum)
            address += len(piece)
            nbytes -= len(piece)
        return checksum


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts as JSON gives them back: lists instead of tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain
