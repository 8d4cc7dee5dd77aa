"""``Journal``: the contents of a decoded journal, which `streamh5.recovery.entry_kinds` enters one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from streamh5.arguments.memory_size import format_nbytes
from streamh5.errors import counted
from streamh5.format.superblock import decode_superblock
from streamh5.recovery.change_log import ChangeLog
from streamh5.recovery.dataset_history import DatasetHistory
from streamh5.recovery.upload_state import UploadState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.engine.metadata_plan import Front
    from streamh5.model.chunk_records import ChunkRecords


Identity = tuple[Literal["made", "address"], int]
"""A dataset, wherever it is moved: the number with which it was made, or the address of its header in the file."""


class Generation(NamedTuple):
    """What tells one state of a public file from the next: end of file and root address of its superblock."""

    end_of_file: int
    root_address: int


def generation_of(superblock: bytes) -> Generation:
    """Return the state of a file from its superblock."""
    decoded = decode_superblock(superblock)
    return Generation(decoded.end_of_file, decoded.root_address)


@dataclass(slots=True)
class Claims:
    """Chunks of a dataset that the journal claims to be stored: records, checksums, and positions of the entries.

    ``are_partial`` says of each entry whether elements of its chunks were still to be written; ``ends`` what ``n_rows``
    was: the rows of the stream if it had ended, whose last chunk may contain padding, 0 if it had begun, else None.
    """

    records: list[ChunkRecords] = field(default_factory=list)
    checksums: list[NDArray[np.uint32]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    are_partial: list[bool] = field(default_factory=list)
    ends: list[int | None] = field(default_factory=list)
    n_rows: int | None = None


@dataclass(slots=True)
class Journal:
    """A decoded journal.

    Attributes
    ----------
    header
        Payload of its H entry.
    base
        The state of the public file that is added to; None if the file is new and has no name yet.
    present
        The state in which the public file was found; None if there is none.
    is_over
        The public file has everything: only the journal remains of the write.
    is_unpublished
        The last entry B is of another state than the present one.
    datasets
        Payloads of the D and O entries of the present generation, by number.
    n_datasets
        Numbers that were given, those of earlier generations included.
    first_number
        Number of the first dataset of the present generation: what is claimed for earlier ones is public.
    paths
        Paths of the datasets that were made.
    n_resumed, first_resume
        How often the write was resumed, and the position of the first time.
    changes
        The G, T, D, L, A, X and M entries.
    histories
        What each dataset was: its D, O and Z entries.
    front
        The front region; None if no data was written.
    regions
        First address and end of the chunks of datasets with an Implicit index, by number.
    claims
        By number of the dataset; without the claims that V entries void.
    voids
        Positions of the V entries, and the addresses whose earlier claims are void.
    values
        Payloads of the E entries in their order, by number of the dataset.
    sessions
        Payloads of the H entry and of the S entries.
    taken_back
        Numbers of the datasets that U entries remove; they are not used again.
    published
        Other names under which the file may have been published.
    end
        First address after everything that was ever claimed.
    nbytes
        Size in bytes of the valid entries; the rest is to be cut off.
    upload
        What an object store and the journal have of an object; None of a local file.
    """

    header: dict[str, Any]
    nbytes: int = 0
    present: Generation | None = None
    base: Generation | None = None
    is_over: bool = False
    is_unpublished: bool = False
    datasets: dict[int, dict[str, Any]] = field(default_factory=dict)
    n_datasets: int = 0
    first_number: int = 0
    n_resumed: int = 0
    first_resume: int = 1 << 62
    paths: set[str] = field(default_factory=set)
    changes: ChangeLog = field(default_factory=ChangeLog)
    histories: dict[Identity, DatasetHistory] = field(default_factory=dict)
    front: Front | None = None
    regions: dict[int, tuple[int, int]] = field(default_factory=dict)
    claims: dict[int, Claims] = field(default_factory=dict)
    voids: list[tuple[int, NDArray[np.uint64]]] = field(default_factory=list)
    values: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    taken_back: set[int] = field(default_factory=set)
    published: list[str] = field(default_factory=list)
    end: int = 0
    upload: UploadState | None = None

    def knows(self, number: int) -> bool:
        """Return whether a number was given to a dataset, of this generation or an earlier one."""
        return number in self.datasets or 0 <= number < self.first_number

    def begin_generation(self, base: Generation, *, is_over: bool) -> None:
        """Forget everything that `base`, which is public, contains."""
        self.base, self.is_over = base, is_over
        self.first_number = self.n_datasets
        self.changes = ChangeLog()
        for one in (
            self.datasets,
            self.paths,
            self.histories,
            self.regions,
            self.claims,
            self.voids,
            self.values,
            self.published,
        ):
            one.clear()

    def begin_session(self) -> None:
        """Enter that the write was resumed: the program repeats its calls."""
        if not self.n_resumed:
            self.first_resume = self.nbytes
        self.n_resumed += 1
        self.changes.begin_session()
        for history in self.histories.values():
            history.begin_session()

    def history(self, dataset: Identity) -> DatasetHistory:
        """Return the history of a dataset, to be added to."""
        return self.histories.setdefault(dataset, DatasetHistory())

    def has_content(self, nbytes: int) -> bool:
        """Return whether the journal claims data: a value, or chunks in a partial file of `nbytes`."""
        return bool(nbytes if self.n_claimed else self.values)

    @property
    def content(self) -> str:
        """What it claims, for a message: chunks and their stored size, or values if there are no chunks."""
        if not self.n_claimed:
            return counted(len(self.values), "value")
        nbytes = sum(
            int(one["stored_nbytes"].sum()) for claims in self.claims.values() for one in claims.records
        )
        return f"{counted(self.n_claimed, 'chunk')} ({format_nbytes(nbytes)})"

    @property
    def inode(self) -> int | None:
        """Inode of the partial file when it was last written; None if unknown."""
        inode: int | None = self.sessions[-1]["inode"]
        return inode

    @property
    def is_shared(self) -> bool:
        """Whether other processes, perhaps of other machines, wrote chunks, too."""
        return any(session["boot"] is None for session in self.sessions)

    @property
    def name(self) -> str | None:
        """Name of the destination in its directory; None if unknown."""
        name = self.header.get("name")
        return name if isinstance(name, str) and "/" not in name and name not in ("", ".", "..") else None

    @property
    def n_claimed(self) -> int:
        """Number of claims of chunks; a chunk that was written again counts each time."""
        return sum(len(records) for claims in self.claims.values() for records in claims.records)

    def drop_voided(self) -> None:
        """Drop claims whose address a later V entry voids: in one pass, as there may be many entries."""
        if not self.voids:
            return
        addresses = np.concatenate([addresses for _, addresses in self.voids])
        positions = np.concatenate([np.full(len(addresses), position) for position, addresses in self.voids])
        order = np.lexsort((positions, addresses))
        addresses, positions = addresses[order], positions[order]
        for claims in self.claims.values():
            for i, (records, position) in enumerate(zip(claims.records, claims.positions, strict=True)):
                # the last void of that address, or of a lower one
                last = np.searchsorted(addresses, records["address"], side="right") - 1
                is_void = (last >= 0) & (addresses[last] == records["address"]) & (positions[last] > position)
                if is_void.any():
                    claims.records[i] = records[~is_void]
                    claims.checksums[i] = claims.checksums[i][~is_void]
