"""``UploadState``: what an object store and the journal have of an object that was being written.

A claim counts if all bytes of the chunk are there: in parts that the store has exactly as it has confirmed them, or in
the journal. Everything else is free::

    │ front region │ held │ free │   part 2: there    │  part 3: not there     │ held │ free │
    └──────────── part 1 ───────┘                     └───────── free ─────────┘
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.recovery.journal_facts import MAX_ADDRESS, address_of, spec_from_facts
from streamh5.sinks.part_sizes import PartSizes
from streamh5.stores.base import PartReceipt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.recovery.journal import Journal
    from streamh5.stores.base import PartLimits

AddressRange = tuple[int, int]


@dataclass(slots=True)
class UploadState:
    """An upload, as its journal has it.

    Attributes
    ----------
    token
        The token of the write.
    steps
        How the file is cut into parts.
    upload
        Id of the upload; None before it began.
    others
        Uploads that were there when it was about to begin; None before that.
    parts
        The last receipt of each part.
    held
        Addresses and bytes that no confirmed part has.
    """

    token: str
    steps: list[tuple[int, int, int]]
    upload: str | None = None
    others: list[str] | None = None
    parts: dict[int, PartReceipt] = field(default_factory=dict)
    held: list[tuple[int, memoryview]] = field(default_factory=list)

    @classmethod
    def of(cls, facts: dict[str, Any], before: UploadState | None) -> UploadState:
        """Return the state after a Y entry."""
        steps = [(int(n), int(start), int(nbytes)) for n, start, nbytes in facts["steps"]]
        upload, others = facts["upload"], facts["others"]
        others = None if others is None else [str(one) for one in others]
        if upload is not None and not isinstance(upload, str):
            raise ValueError(f"the upload {upload!r}")
        if before is not None:
            if (before.token, before.steps) != (facts["token"], steps) or before.upload is not None:
                raise ValueError("a second upload")
            before.upload, before.others = upload, others
            return before
        if not steps or steps[0][:2] != (1, 0) or min(nbytes for _, _, nbytes in steps) < 1:
            raise ValueError(f"parts of the sizes {steps[:3]}")
        for (n, start, nbytes), (m, end, _) in pairwise(steps):
            if m <= n or end != start + (m - n) * nbytes:
                raise ValueError(f"parts of the sizes {steps[:3]}")
        return cls(str(facts["token"]), steps, upload, others)


def enter_part(journal: Journal, facts: dict[str, Any]) -> None:
    """Enter that a store has confirmed a part."""
    receipt = PartReceipt(address_of(facts["number"]), str(facts["etag"]), address_of(facts["nbytes"]))
    _state(journal).parts[receipt.number] = receipt


def enter_held(journal: Journal, payload: bytes) -> None:
    """Enter bytes that no confirmed part has."""
    address = int.from_bytes(payload[:8], "little")
    if len(payload) < 8 or address + len(payload) >= MAX_ADDRESS:
        raise ValueError(f"{len(payload)} bytes at {address}")
    _state(journal).held.append((address, memoryview(payload)[8:]))


def _state(journal: Journal) -> UploadState:
    if journal.upload is None:
        raise ValueError("no object is written")
    return journal.upload


class KeptBytes:
    """The bytes of an interrupted write to an object that are still there.

    Parameters
    ----------
    journal
        Its journal, with a front region.
    limits
        Of the store.
    listed
        The parts that the store has.
    is_resumed
        The write will continue: chunks that were filled in part do not count, as no store shows them to be filled.

    Attributes
    ----------
    sizes
        The parts.
    receipts
        Parts that the store has as they were confirmed.
    held
        Addresses and bytes of what else is there; ascending, without overlap.
    end
        First address after everything that was ever written.
    free
        Ranges before it that are free.
    lost
        ``(n,) uint64``: addresses of the claims that do not count.
    """

    def __init__(
        self, journal: Journal, limits: PartLimits, listed: Iterable[PartReceipt], *, is_resumed: bool
    ) -> None:
        state, front = _state(journal), journal.front
        front_end = 0 if front is None else front.end
        self.sizes = PartSizes.of(limits, state.steps)
        there = set(listed)
        self.receipts = [
            one
            for number, one in sorted(state.parts.items())
            if one in there and self._is_whole(number, one, front_end, limits)
        ]
        parts = [self.sizes.part(one.number)[1:] for one in self.receipts]
        self.held = _without_overlap(state.held, front_end)
        self._there = _joined([*parts, *((at, at + len(content)) for at, content in self.held)])
        stops = (stop for _, stop in self._there)
        self.end = max(journal.end, front_end, *stops)
        edges = [front_end, *(edge for one in self._there for edge in one), self.end]
        self.free = [one for one in zip(edges[::2], edges[1::2], strict=True) if one[0] < one[1]]
        self.lost = self._drop_lost(journal, front_end, is_resumed=is_resumed)

    def _is_whole(self, number: int, one: PartReceipt, front_end: int, limits: PartLimits) -> bool:
        """Return whether a part is complete; the last one is cut, and those of the front region are sent again."""
        if not 1 <= number <= limits.max_number:
            return False
        part = self.sizes.part(number)
        return part.start >= front_end and one.nbytes == part.stop - part.start

    def _drop_lost(self, journal: Journal, front_end: int, *, is_resumed: bool) -> NDArray[np.uint64]:
        """Drop the claims of chunks that are not there; return their addresses."""
        lost = [np.zeros(0, np.uint64)]
        first, stop = self._there[0] if self._there else (0, 0)
        safe_end = stop if first == front_end else 0  # up to here everything is there
        for number, claims in journal.claims.items():
            # text and sequences have objects at lower addresses, which no claim names; a resumed write fills holes
            is_encoded = spec_from_facts(journal.datasets[number]).is_encoded
            kept = []
            for i, records in enumerate(claims.records):
                is_there = self._are_there(records)
                if is_encoded:
                    end = safe_end if claims.positions[i] < journal.first_resume else 0
                    is_there &= records["address"] + records["stored_nbytes"] <= np.uint64(end)
                if is_resumed and claims.are_partial[i]:
                    is_there[:] = False
                kept.append(is_there)
            _drop_old(claims.records, kept)
            for i, (records, is_there) in enumerate(zip(claims.records, kept, strict=True)):
                if not is_there.all():
                    lost.append(records["address"][~is_there])
                    claims.records[i] = records[is_there]
                    claims.checksums[i] = claims.checksums[i][is_there]
        return np.concatenate(lost)

    def _are_there(self, records: ChunkRecords) -> NDArray[np.bool_]:
        if not self._there:
            return np.zeros(len(records), np.bool_)
        starts, stops = np.array(self._there, np.uint64).T
        i = np.searchsorted(starts, records["address"], side="right") - 1
        ends = records["address"] + records["stored_nbytes"]
        return np.asarray((i >= 0) & (ends <= stops[np.maximum(i, 0)]))


def _drop_old(claimed: list[ChunkRecords], kept: list[NDArray[np.bool_]]) -> None:
    """Drop what is there of a chunk whose last claim is not kept: it is an older content."""
    if not claimed or all(one.all() for one in kept):
        return
    numbers, are_kept = np.concatenate([one["number"] for one in claimed]), np.concatenate(kept)
    last = len(numbers) - 1 - np.unique(numbers[::-1], return_index=True)[1]
    old = np.isin(numbers, numbers[last][~are_kept[last]])
    ends = np.cumsum([len(one) for one in claimed])
    kept[:] = [one & ~is_old for one, is_old in zip(kept, np.split(old, ends[:-1]), strict=True)]


def _joined(ranges: Iterable[AddressRange]) -> list[AddressRange]:
    """Return ranges, some of which may touch or overlap, ascending and apart."""
    joined: list[AddressRange] = []
    for start, stop in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], stop)
        else:
            joined.append((start, stop))
    return joined


def _without_overlap(held: Iterable[tuple[int, memoryview]], front_end: int) -> list[tuple[int, memoryview]]:
    """Return what is held behind the front region, ascending; a damaged or made up journal could repeat itself."""
    found: list[tuple[int, memoryview]] = []
    end = front_end
    for address, content in sorted(held, key=lambda one: one[0]):
        skip = max(0, end - address)
        if skip < len(content):
            found.append((address + skip, content[skip:]))
            end = address + len(content)
    return found
