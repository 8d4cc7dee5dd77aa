"""Stored chunks that receive new elements: they are read, decoded and merged.

::

    block ── whole_pieces ──▶ its whole chunks, as a view
                        └───▶ one chunk for each that it fills in part ◀── read, decoded: the other elements

Everything works on stored elements: strings and sequences are pointers into the global heap, whose objects stay where
they are.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from streamh5.errors import FormatError
from streamh5.filters.chunk_decoder import chunk_decoder
from streamh5.write.chunk_cache import PartialChunk
from streamh5.write.library_decoder import decode_by_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from streamh5.filters.base import Bytes
    from streamh5.model.chunk_grid import Box
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.write.chunk_writer import ChunkWriter
    from streamh5.write.place import Place


class StoredChunkSource(NamedTuple):
    """Where the stored chunks of one dataset are found; both functions are thread-safe.

    Parameters
    ----------
    find
        Returns the records of those of ``(n,)`` chunk numbers that are stored.
    read
        Reads a number of bytes at an address.
    """

    find: Callable[[NDArray[np.uint64]], ChunkRecords]
    read: Callable[[int, int], bytes]


class Overlap(NamedTuple):
    """What a region and one chunk have in common: the coords of the chunk, and the place in each of them."""

    coords: tuple[int, ...]
    in_chunk: tuple[slice, ...]
    in_region: tuple[slice, ...]


def overlaps(
    chunks: tuple[int, ...], box: Box, origin: tuple[int, ...], shape: tuple[int, ...]
) -> Iterator[Overlap]:
    """Yield what a region has in common with each chunk of a box.

    Parameters
    ----------
    chunks
        Chunk shape.
    box
        Ranges of chunk coords that overlap the region.
    origin, shape
        First element and shape of the region.
    """
    axes = []
    for (a, b), c, o, n in zip(box, chunks, origin, shape, strict=True):
        ranges = ((k, k * c, max(o, k * c), min(o + n, (k + 1) * c)) for k in range(a, b))
        axes.append(
            [(k, slice(start - e, stop - e), slice(start - o, stop - o)) for k, e, start, stop in ranges]
        )
    for one in product(*axes):
        yield Overlap(*zip(*one, strict=True))


def read_chunk(chunks: ChunkWriter, number: int, source: StoredChunkSource) -> NDArray[Any] | None:
    """Return the elements of a stored chunk, of the chunk shape and read-only; None if it is not stored.

    Raises
    ------
    FilterError
        Neither streamh5 nor the HDF5 library can decode one of the filters.
    FormatError
        The stored bytes are damaged.
    """
    records = source.find(np.array([number], np.uint64))
    if not len(records):
        return None
    address, nbytes = int(records["address"][0]), int(records["stored_nbytes"][0])
    try:
        stored = source.read(address, nbytes)
        if len(stored) != nbytes:
            raise FormatError(f"the file ends before byte {address + nbytes:,}")
        raw = _decode(chunks, stored, int(records["filter_mask"][0]))
    except Exception as error:
        error.add_note(
            f"while reading {chunks.spec.path} chunk {chunks.grid.coords(number)} to add elements to it"
        )
        raise
    return np.frombuffer(raw, chunks.spec.stored_dtype).reshape(chunks.grid.chunks)


def _decode(chunks: ChunkWriter, stored: bytes, filter_mask: int) -> Bytes:
    filters, nbytes = chunks.spec.filters, chunks.chain.chunk_nbytes
    decoder = chunk_decoder(filters, filter_mask, nbytes)
    if decoder.unknown_filters:
        return decode_by_library(filters, filter_mask, nbytes, stored)
    return decoder.decode(stored)


def new_partial_chunk(chunks: ChunkWriter, coords: tuple[int, ...]) -> PartialChunk:
    """Return a chunk of which no element is set yet."""
    grid = chunks.grid
    extents = tuple(
        c if n is None else min(c, n - k * c)
        for k, c, n in zip(coords, grid.chunks, grid.unbounded.shape, strict=True)
    )
    return PartialChunk(coords, grid.chunks, extents, chunks.spec.stored_dtype)


def fill_up(chunks: ChunkWriter, chunk: PartialChunk, source: StoredChunkSource, place: Place) -> None:
    """Set the missing elements of a chunk: to those of the stored chunk, or to the fill value.

    Raises
    ------
    FilterError, FormatError
        See `read_chunk`.
    """
    # what lies outside the present shape is the fill value in each chunk
    is_complete = chunk.is_complete or chunk.covers(chunks.grid.shape)
    base = None if is_complete else read_chunk(chunks, chunks.grid.number(chunk.coords), source)
    if base is None:
        chunk.fill(partial(chunks.filled, place=place))
    else:
        chunk.merge(base)


def whole_pieces(
    chunks: ChunkWriter,
    elements: NDArray[Any],
    origin: tuple[int, ...],
    source: StoredChunkSource,
    place: Place,
) -> Iterator[tuple[NDArray[Any], tuple[int, ...], PartialChunk | None]]:
    """Divide a block into pieces that fill whole chunks; chunks that it fills in part get their other elements.

    Nobody else may write these chunks meanwhile.

    Parameters
    ----------
    chunks
        The chunk writer of the dataset.
    elements
        Stored elements.
    origin
        Index of the first of them in the dataset.
    source
        The stored chunks.
    place
        Where objects of the fill value go, for elements that were never written.

    Yields
    ------
    tuple
        Elements, the index of the first, and the chunk if the block fills it only in part. The piece that needs
        nothing else is a view of the block.
    """
    grid = chunks.grid
    whole, edges = grid.parts(origin, elements.shape)
    if whole is not None:
        yield *inside(elements, origin, whole, grid.chunks), None
    for box in edges:
        for coords, in_chunk, in_region in overlaps(grid.chunks, box, origin, elements.shape):
            chunk = new_partial_chunk(chunks, coords)
            chunk.put(in_chunk, elements[in_region])
            fill_up(chunks, chunk, source, place)
            yield chunk.elements, chunk.origin, chunk


def inside(
    elements: NDArray[Any], origin: tuple[int, ...], box: Box, chunks: tuple[int, ...]
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return the part of a block that lies in a box of chunks, and the index of its first element."""
    starts = tuple(max(o, a * c) for o, (a, _), c in zip(origin, box, chunks, strict=True))
    keys = tuple(
        slice(start - o, b * c - o) for start, o, (_, b), c in zip(starts, origin, box, chunks, strict=True)
    )
    return elements[keys], starts
