"""Chunks that were filled in part: they wait in memory for the rest of their elements.

::

    region ──▶ put ──▶ PartialChunk ── complete ──────────────────────▶ its owner writes it
                          │  ▲                                             (a job of the pool)
                          │  └─ more elements; the later call counts
                          ├─ no room: the least recently used ─────────▶ written with the stored or the fill value
                          └─ close, checkpoint, interruption ──────────▶ in its other elements

A chunk that had to go is read back when its next elements go. Only then is it known which elements were missing, so
a chunk of which each element is overwritten is never read.

One lock covers the look at a chunk and the order in which jobs enter the pool: a chunk that one thread lets go cannot
overtake what another thread writes to it later. The lock is held while the pool has no room. Jobs must not take it,
and it is reentrant, because a signal handler may end the write in the middle of a call. Each change of a chunk counts
what is set last, so that an exception between two statements costs at most that a chunk is not seen to be complete.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from itertools import count, product
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from streamh5.model.chunk_grid import Box

DEFAULT_PARTIAL_NBYTES = 64 << 20
"""Room for partial chunks without `max_memory`, apart from the room that each dataset asks for."""

MAX_ROW_NBYTES = 1 << 30
"""Largest row of chunks for which a dataset that is written by regions asks for room without `max_memory`. With less
than a row, a loop of ``d[i] = row`` would write each chunk once for each row."""


class Owner(Protocol):
    """The dataset of partial chunks."""

    def write_partial(self, chunk: PartialChunk) -> None:
        """Write a chunk, which belongs to the callee from now on, or submit the job that does it."""


class PartialChunk:
    """A chunk in memory, and which of its elements are set: a box, or a mask where that is not a box.

    Parameters
    ----------
    coords
        Its place in the grid.
    shape
        Chunk shape.
    extents
        Extents of what lies inside the dataset; the rest is padding.
    dtype
        Type of the stored elements.
    """

    __slots__ = ("_box", "_mask", "_n_set", "coords", "elements", "extents", "is_dirty", "used_at")

    def __init__(
        self, coords: tuple[int, ...], shape: tuple[int, ...], extents: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.coords = coords
        self.extents = extents
        self.elements: NDArray[Any] = np.empty(shape, dtype)
        self.is_dirty = False
        self.used_at = 0
        self._box: Box | None = None
        self._mask: NDArray[np.bool_] | None = None
        self._n_set = 0

    @property
    def nbytes(self) -> int:
        """Size in bytes in memory."""
        return self.elements.nbytes + (0 if self._mask is None else self._mask.nbytes)

    @property
    def origin(self) -> tuple[int, ...]:
        """Index of its first element in the dataset."""
        return tuple(k * c for k, c in zip(self.coords, self.elements.shape, strict=True))

    @property
    def box(self) -> Box | None:
        """The elements that are set; None if they are not a box."""
        return self._box if self._mask is None else None

    @property
    def is_complete(self) -> bool:
        """Whether each element inside the dataset is set."""
        if self._mask is None:
            return self._box is not None and all(
                start == 0 and stop >= n for (start, stop), n in zip(self._box, self.extents, strict=True)
            )
        return self._n_set == math.prod(self.extents)

    def covers(self, ends: Sequence[int | None]) -> bool:
        """Return whether the elements that are set are a box that reaches everything before some extents."""
        return self.box is not None and reaches(self.box, self.coords, self.elements.shape, ends)

    def put(self, region: tuple[slice, ...], values: NDArray[Any]) -> None:
        """Set the elements of a region of the chunk."""
        self.elements[region] = values
        self.is_dirty = True
        if self._mask is None:
            box = tuple((one.start, one.stop) for one in region)
            joined = box if self._box is None else union(self._box, box)
            if joined is not None:
                self._box = joined
                return
            self._mask = self._as_mask()
        n_set = self._n_set + values.size - int(np.count_nonzero(self._mask[region]))
        self._mask[region] = True
        self._n_set = n_set

    def copy(self) -> PartialChunk:
        """Return a copy, of which each element can be changed."""
        copy = PartialChunk(self.coords, (0,) * len(self.extents), self.extents, self.elements.dtype)
        copy.elements = self.elements.copy()
        copy._box, copy._n_set = self._box, self._n_set
        copy._mask = None if self._mask is None else self._mask.copy()
        return copy

    def merge(self, base: NDArray[Any]) -> None:
        """Take the elements that are not set from `base`."""
        if self._mask is not None:
            np.copyto(self.elements, base, where=~self._mask)
            return
        for outside in self._outside():
            self.elements[outside] = base[outside]

    def fill(self, filled: Callable[[tuple[int, ...]], NDArray[Any]]) -> None:
        """Set the elements that are not set to the fill value, of which `filled` returns an array of any shape."""
        if self._mask is not None:
            is_open = ~self._mask
            self.elements[is_open] = filled((int(np.count_nonzero(is_open)),))
            return
        for outside in self._outside():
            part = self.elements[outside]
            part[...] = filled(part.shape)

    def _outside(self) -> list[tuple[slice, ...]]:
        """Return disjoint regions that together are everything outside the box."""
        box = self._box or ((0, 0),) * self.elements.ndim
        regions = []
        for axis, (start, stop) in enumerate(box):
            head = tuple(slice(a, b) for a, b in box[:axis])
            if start:
                regions.append((*head, slice(0, start)))
            if stop < self.elements.shape[axis]:
                regions.append((*head, slice(stop, None)))
        return regions

    def _as_mask(self) -> NDArray[np.bool_]:
        mask = np.zeros(self.elements.shape, np.bool_)
        if self._box is not None:
            mask[tuple(slice(a, b) for a, b in self._box)] = True
            self._n_set = math.prod(b - a for a, b in self._box)
        return mask


class Held:
    """Bytes that partial chunks hold, and their limit without the room that datasets ask for.

    An object of its own, because the threads of the pool refer to it: what refers to datasets would keep a file alive
    that was dropped without a close.
    """

    __slots__ = ("limit_nbytes", "nbytes")

    def __init__(self, limit_nbytes: int) -> None:
        self.limit_nbytes = limit_nbytes
        self.nbytes = 0

    def within_limit(self) -> int:
        """Return how many bytes of the limit are held."""
        return min(self.nbytes, self.limit_nbytes)


class ChunkCache:
    """The partial chunks of all datasets of one write; the least recently used goes first. Thread-safe.

    Parameters
    ----------
    max_memory
        Most bytes of blocks in memory, of which partial chunks may take half, but always one chunk; None for
        `DEFAULT_PARTIAL_NBYTES`, and room of its own for a dataset that is written by regions.

    Attributes
    ----------
    held
        Bytes in use.
    lock
        Held from the look at a chunk until its job is in the pool.
    """

    def __init__(self, max_memory: int | None) -> None:
        self.lock = threading.RLock()
        self._is_fixed = max_memory is not None
        self.held = Held(DEFAULT_PARTIAL_NBYTES if max_memory is None else max_memory // 2)
        self._rooms: dict[Owner, int] = {}
        self._chunks: dict[Owner, OrderedDict[tuple[int, ...], PartialChunk]] = {}
        self._clock = count(1)

    def knows(self, owner: Owner) -> bool:
        """Return whether a dataset has had partial chunks."""
        return owner in self._chunks

    def make_room(self, owner: Owner, row_nbytes: int, *, is_appended: bool) -> None:
        """Let a dataset keep one row of chunks, the first time; `append` always may."""
        if not is_appended:
            row_nbytes = 0 if self._is_fixed else min(row_nbytes, MAX_ROW_NBYTES)
        if self._rooms.get(owner, -1) < row_nbytes:
            with self.lock:
                self._rooms[owner] = row_nbytes

    def put(
        self,
        owner: Owner,
        coords: tuple[int, ...],
        make: Callable[[tuple[int, ...]], PartialChunk],
        region: tuple[slice, ...],
        values: NDArray[Any],
    ) -> None:
        """Set elements of a chunk; hand it over if it is complete. The caller holds `lock`.

        Parameters
        ----------
        owner, coords
            The dataset and the chunk.
        make
            Makes the chunk if it is not here.
        region, values
            The elements, as for `PartialChunk.put`.
        """
        chunks = self._chunks.get(owner)
        if chunks is None:
            chunks = self._chunks[owner] = OrderedDict()
        chunk = chunks.get(coords)
        if chunk is None:
            chunk = make(coords)
            self._free(chunk.nbytes)
            chunks[coords] = chunk
            self.held.nbytes += chunk.nbytes
        else:
            chunks.move_to_end(coords)
        chunk.used_at = next(self._clock)
        nbytes = chunk.nbytes
        chunk.put(region, values)
        self.held.nbytes += chunk.nbytes - nbytes
        if chunk.is_complete:
            self._let_go(owner, chunk)

    def discard(self, owner: Owner, box: Box) -> None:
        """Forget the chunks of a box, which are about to be written as a whole."""
        chunks = self._chunks.get(owner)
        if not chunks:
            return  # the usual case, without the lock
        with self.lock:
            for coords in self._in_box(chunks, box):
                self.held.nbytes -= chunks.pop(coords).nbytes

    def drop(self, owner: Owner) -> None:
        """Forget a dataset that was deleted, and its chunks."""
        with self.lock:
            self._rooms.pop(owner, None)
            for chunk in self._chunks.pop(owner, {}).values():
                self.held.nbytes -= chunk.nbytes

    def write_out(self, owner: Owner, box: Box | None = None, *, is_kept: bool = False) -> None:
        """Hand over the chunks of a dataset, in the order of the grid.

        Parameters
        ----------
        owner
            The dataset.
        box
            Only chunks with these coords; None for all.
        is_kept
            Keep each chunk to receive more elements, and hand over a copy, unless that was done already.
        """
        chunks = self._chunks.get(owner)
        if not chunks:
            return
        with self.lock:
            for coords in sorted(chunks if box is None else self._in_box(chunks, box)):
                chunk = chunks[coords]
                if not is_kept:
                    self._let_go(owner, chunk)
                elif chunk.is_dirty:
                    copy = chunk.copy()
                    owner.write_partial(copy)
                    chunk.is_dirty = False

    def keep_written(self) -> None:
        """Hand over a copy of each chunk of each dataset, for a checkpoint."""
        with self.lock:
            for owner in list(self._chunks):
                self.write_out(owner, is_kept=True)

    def clear(self) -> None:
        """Forget everything, at the end of the write, which cannot wait for a thread that holds the lock."""
        self._chunks, self._rooms = {}, {}

    def _free(self, nbytes: int) -> None:
        """Let the least recently used chunks go until `nbytes` more fit."""
        limit = self.held.limit_nbytes + sum(self._rooms.values())
        while self.held.nbytes + nbytes > limit:
            oldest = [(next(iter(one.values())), owner) for owner, one in self._chunks.items() if one]
            if not oldest:
                return
            chunk, owner = min(oldest, key=lambda one: one[0].used_at)
            self._let_go(owner, chunk)

    def _let_go(self, owner: Owner, chunk: PartialChunk) -> None:
        # removed afterwards: a chunk that cannot be written now may be written at the end
        if chunk.is_dirty:
            owner.write_partial(chunk)
        chunks = self._chunks.get(owner)
        if chunks and chunks.pop(chunk.coords, None) is not None:  # unless `clear` came first
            self.held.nbytes -= chunk.nbytes

    @staticmethod
    def _in_box(chunks: OrderedDict[tuple[int, ...], PartialChunk], box: Box) -> list[tuple[int, ...]]:
        if math.prod(stop - start for start, stop in box) < len(chunks):
            return [one for one in product(*(range(a, b) for a, b in box)) if one in chunks]
        return [one for one in chunks if all(a <= k < b for k, (a, b) in zip(one, box, strict=True))]


def reaches(box: Box, coords: tuple[int, ...], chunks: tuple[int, ...], ends: Sequence[int | None]) -> bool:
    """Return whether a box of a chunk is all of the chunk that lies before the end of the dataset."""
    return all(
        start == 0 and stop >= (c if end is None else min(c, end - k * c))
        for (start, stop), k, c, end in zip(box, coords, chunks, ends, strict=True)
    )


def union(one: Box, other: Box) -> Box | None:
    """Return the union of two boxes if it is a box, else None."""
    if any(start == stop for start, stop in one):
        return other
    differing = [axis for axis, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    if not differing:
        return one
    if len(differing) == 1:
        (axis,) = differing
        (a, b), (c, d) = one[axis], other[axis]
        return None if c > b or a > d else (*one[:axis], (min(a, c), max(b, d)), *one[axis + 1 :])
    for larger, smaller in ((one, other), (other, one)):
        if all(a <= c and d <= b for (a, b), (c, d) in zip(larger, smaller, strict=True)):
            return larger
    return None
