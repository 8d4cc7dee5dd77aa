"""``Journal``: the contents of a decoded journal, which `streamh5.recovery.entry_kinds` enters one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from streamh5.engine.engine import Engine
    from streamh5.engine.metadata_plan import Front
    from streamh5.model.chunk_records import ChunkRecords

    Make = Callable[[Engine, dict[str, Any]], None]


@dataclass(slots=True)
class Claims:
    """Chunks of a dataset that the journal claims to be stored: records, checksums, and positions of the entries.

    ``are_partial`` says of each entry whether elements of its chunks were still to be written.
    """

    records: list[ChunkRecords] = field(default_factory=list)
    checksums: list[NDArray[np.uint32]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    are_partial: list[bool] = field(default_factory=list)
    n_rows: int | None = None


@dataclass(slots=True)
class Journal:
    """A decoded journal.

    Attributes
    ----------
    header
        Payload of its H entry.
    datasets
        Payloads of the D entries in their order.
    made
        Payload of the first G, T, D or L entry of each path, with the function that makes the object from it, in
        their order: a path may lead through a link that was created before.
    attributes
        Payloads of the last A entry of each path and name that was not removed, in the order of creation.
    front
        The front region; None if no data was written.
    regions
        First address and end of the chunks of datasets with an Implicit index, by path.
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
    """

    header: dict[str, Any]
    nbytes: int = 0
    datasets: list[dict[str, Any]] = field(default_factory=list)
    attributes: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    front: Front | None = None
    regions: dict[str, tuple[int, int]] = field(default_factory=dict)
    claims: dict[int, Claims] = field(default_factory=dict)
    voids: list[tuple[int, NDArray[np.uint64]]] = field(default_factory=list)
    values: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    made: dict[str, tuple[Make, dict[str, Any]]] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    taken_back: set[int] = field(default_factory=set)
    published: list[str] = field(default_factory=list)
    end: int = 0

    def has_content(self, nbytes: int) -> bool:
        """Return whether the journal claims data: a value, or chunks in a partial file of `nbytes`."""
        return bool(nbytes if self.n_claimed else self.values)

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
