"""The grid of chunks over a dataset, and the numbers of its chunks.

A chunk's *coords* are its place in the grid, its *origin* is its first element
(``coords * chunks``), its *number* is the row-major index of its coords in the grid: the index of
its element in a Fixed Array (HDF5 File Format Specification, "Fixed Array Index").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

MAX_CHUNKS = 2**32 - 1
"""A Fixed Array of this size has 32 GiB; an Extensible Array cannot have more elements (32 bits)."""

MAX_NUMBERS = 2**62
"""Number of chunks in the largest grid: arithmetic with chunk numbers is exact in 8 bytes."""

Box = tuple[tuple[int, int], ...]
"""Half-open ranges ``(start, stop)``, one for each dimension."""


@dataclass(frozen=True, slots=True)
class ChunkGrid:
    """A regular grid of chunks.

    Parameters
    ----------
    shape
        Shape of the dataset; the leading extent may be None if it is not known yet.
    chunks
        Shape of a chunk, with the same rank; every extent is at least 1.
    maxshape
        Maximum extents of the dataset, each None if unlimited; None for `shape`.
    """

    shape: tuple[int | None, ...]
    chunks: tuple[int, ...]
    maxshape: tuple[int | None, ...] | None = None

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks along each dimension of the grid that numbers them, which covers the maximum shape.

        An unlimited dimension has its present extent (it is the leading one, or the index uses coords), and an
        unknown leading extent counts as 0.
        """
        extents = self.shape if self.maxshape is None else tuple(map(_bound, self.shape, self.maxshape))
        return tuple(-(-(n or 0) // c) for n, c in zip(extents, self.chunks, strict=True))

    @property
    def n_numbers_per_row(self) -> int:
        """Difference of the numbers of two neighbours along the leading dimension."""
        return math.prod(self.counts[1:])

    @property
    def n_numbers(self) -> int | None:
        """Chunks of the grid that numbers them; None if the leading extent is unknown."""
        if self.shape[0] is None and (self.maxshape is None or self.maxshape[0] is None):
            return None
        return math.prod(self.counts)

    @property
    def n_chunks(self) -> int | None:
        """Chunks of the present shape; None if the leading extent is unknown."""
        return self.present.n_numbers

    def with_length(self, n_rows: int) -> ChunkGrid:
        """Return the same grid with a known leading extent."""
        return ChunkGrid((n_rows, *self.shape[1:]), self.chunks, self.maxshape)

    @property
    def present(self) -> ChunkGrid:
        """The grid over the present shape only, which has other numbers if the maximum shape is larger."""
        return ChunkGrid(self.shape, self.chunks)

    def coords(self, number: int) -> tuple[int, ...]:
        """Return the coords of chunk `number`."""
        coords = []
        for n in reversed(self.counts[1:]):
            number, coord = divmod(number, n)
            coords.append(coord)
        return (number, *reversed(coords))

    @property
    def unbounded(self) -> ChunkGrid:
        """The grid over the maximum shape: a chunk at the end of the present shape may receive more elements."""
        return self if self.maxshape is None else ChunkGrid(self.maxshape, self.chunks)

    def number(self, coords: Sequence[int]) -> int:
        """Return the number of the chunk at some coords."""
        number = 0
        for n, coord in zip(self.counts, coords, strict=True):
            number = number * n + coord
        return number

    def origin(self, number: int) -> tuple[int, ...]:
        """Return the first element of chunk `number`."""
        return tuple(i * c for i, c in zip(self.coords(number), self.chunks, strict=True))

    def coords_of(self, numbers: NDArray[Any]) -> tuple[NDArray[np.intp], ...]:
        """Return the coords of chunks: ``(n,)`` for each dimension."""
        if not len(numbers):  # numpy refuses a grid with an empty dimension
            return (np.zeros(0, np.intp),) * len(self.counts)
        # The leading dimension is computed separately because its extent may not be known.
        row, inner = np.divmod(numbers.astype(np.intp, copy=False), self.n_numbers_per_row)
        return (row, *np.unravel_index(inner, self.counts[1:])) if self.counts[1:] else (row,)

    def locate(
        self, coords: Sequence[NDArray[Any]] | NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the numbers of the chunks at some coords, and which of the coords are inside the grid.

        Parameters
        ----------
        coords
            ``(n,)`` integers for each dimension, none negative.

        Returns
        -------
        tuple of ndarray
            ``(n,) int64``, without meaning for coords outside the grid, and ``(n,) bool``.
        """
        numbers = np.zeros(len(coords[0]), np.int64)
        is_inside = np.ones(len(numbers), np.bool_)
        if not len(numbers):  # a dimension of an empty grid may be too long for numpy's integers
            return numbers, is_inside
        for n, coord in zip(self.counts, coords, strict=True):
            is_inside &= coord < n
            numbers = numbers * n + coord.astype(np.int64, copy=False)
        return numbers, is_inside

    def covering(self, origin: tuple[int, ...], shape: tuple[int, ...]) -> Box:
        """Return the coords of the chunks that overlap a region, given its first element and its shape."""
        return tuple((o // c, -(-(o + n) // c)) for o, n, c in zip(origin, shape, self.chunks, strict=True))

    def parts(self, origin: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Box | None, list[Box]]:
        """Divide the chunks that overlap a region into those that it fills and those that it fills in part.

        A chunk that reaches beyond the end of the dataset is filled by what lies inside. The extent of a leading
        dimension that is not known yet has no end.

        Parameters
        ----------
        origin, shape
            First element and shape of the region, inside the dataset.

        Returns
        -------
        tuple
            The box of the chunks that are filled, None if there are none; and disjoint boxes of the others.
        """
        covering = self.covering(origin, shape)
        if 0 in shape:
            return None, []
        whole = tuple(
            (-(-o // c), -(-(o + n) // c) if o + n == extent else (o + n) // c)
            for o, n, c, extent in zip(origin, shape, self.chunks, self.shape, strict=True)
        )
        if whole == covering:
            return whole, []
        if any(stop <= start for start, stop in whole):
            return None, [covering]
        edges: list[Box] = []
        for axis, ((a, b), (start, stop)) in enumerate(zip(covering, whole, strict=True)):
            # filled along the axes before this one, any chunk along those after it: no chunk is in two boxes
            head, tail = whole[:axis], covering[axis + 1 :]
            edges += [(*head, one, *tail) for one in ((a, start), (stop, b)) if one[0] < one[1]]
        return whole, edges

    def region(self, coords: Sequence[int] | NDArray[np.intp]) -> tuple[slice, ...]:
        """Return the region of a chunk, clipped to the shape."""
        starts = [int(k) * c for k, c in zip(coords, self.chunks, strict=True)]
        return tuple(
            slice(o, o + c if n is None else min(o + c, n))
            for o, c, n in zip(starts, self.chunks, self.shape, strict=True)
        )

    def numbers(self, box: Box) -> NDArray[np.uint64]:
        """Return the numbers of the chunks whose coords are in `box`, in row-major order of the box.

        Parameters
        ----------
        box
            Ranges of chunk coords, inside the grid.

        Returns
        -------
        ndarray, ``(n_chunks_in_box,)`` uint64
        """
        numbers: NDArray[Any] = np.arange(box[0][0], box[0][1], dtype=np.uint64)
        for (start, stop), n in zip(box[1:], self.counts[1:], strict=True):
            if n == 1 and start < stop:  # it changes no number: frames, of which `append` takes one at a time
                continue
            numbers = numbers[..., None] * np.uint64(n) + np.arange(start, stop, dtype=np.uint64)
        return numbers.ravel()

    def batches(self, counts: tuple[int, ...], n_max: int) -> Iterator[Box]:
        """Split a box of chunks into boxes of at most `n_max` chunks, in row-major order.

        Each batch has whole trailing dimensions, a run along one dimension and one chunk along those
        before it, so that chunk numbers and stored bytes are in order.

        Parameters
        ----------
        counts
            Number of chunks of the box along each dimension.
        n_max
            Maximum number of chunks in a batch, at least 1.

        Yields
        ------
        Box
            Ranges of chunk coords, relative to the box.
        """
        inner = 1
        axis = len(counts)
        while axis > 0 and inner * counts[axis - 1] <= n_max:
            axis -= 1
            inner *= counts[axis]
        tail = tuple((0, n) for n in counts[axis:])
        if axis == 0:
            yield tail
            return
        run = max(1, n_max // inner)
        for lead in np.ndindex(*counts[: axis - 1]):
            head = tuple((i, i + 1) for i in lead)
            for start in range(0, counts[axis - 1], run):
                yield (*head, (start, min(start + run, counts[axis - 1])), *tail)


def _bound(extent: int | None, most: int | None) -> int | None:
    return extent if most is None else most
