"""Where the chunks of a dataset lie, from its own index, over the grid of its present shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.data_layout import ChunkedLayout, ChunkedLayoutV3
from streamh5.reader.chunk_index.read_index import read_chunk_map
from streamh5.references.stored_file import ChunkColumns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap
    from streamh5.reader.object_content import DatasetMessages

__all__ = ["NO_COLUMNS", "chunk_columns", "compact_columns", "in_grid", "one_chunk"]

NO_COLUMNS = ChunkColumns(np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint64), None)

MAX_HEADER_NBYTES = 64 << 10
"""Bytes of an object header in which compact data is searched for."""

_MAX_CHUNKS = 2**62
"""Chunk numbers stay exact in 8 bytes."""


def one_chunk(address: int, nbytes: int) -> ChunkColumns:
    """Return data without chunks as one chunk."""
    return ChunkColumns(
        np.zeros(1, np.int64), np.array([address], np.uint64), np.array([nbytes], np.uint64), None
    )


def compact_columns(raw: FileBytes, address: int, content: bytes) -> tuple[ChunkColumns, bytes | None]:
    """Find compact data in the object header at `address`; its bytes where it is not there (in a continuation)."""
    if not content:
        return NO_COLUMNS, None
    n_there = max(0, min(MAX_HEADER_NBYTES + len(content), raw.nbytes - address))
    header = raw.read(address, n_there, "object header")
    # data layout message, version 3 or 4: its class, the size, the data
    begins = [bytes((version, 0)) + len(content).to_bytes(2, "little") for version in (3, 4)]
    position = max(header.find(begin + content) for begin in begins)
    if position < 0:
        return NO_COLUMNS, content
    return one_chunk(raw.base_address + address + position + len(begins[0]), len(content)), None


def chunk_columns(
    raw: FileBytes, file_map: FileMap, path: str, messages: DatasetMessages
) -> tuple[ChunkColumns, str | None]:
    """Read the index of a chunked dataset: its chunks, or why they cannot be referred to.

    Raises
    ------
    FormatError
        The index is damaged.
    ForeignStructureError
        An index that is not read.
    """
    layout, frame = messages.layout, messages.frame(path)
    if frame is None or not isinstance(layout, (ChunkedLayout, ChunkedLayoutV3)):
        raise FormatError(f"{path}: a chunk index of a dataset without chunks")
    if isinstance(layout, ChunkedLayout) and frame.n_filters and not layout.filter_partial_edge_chunks:
        return NO_COLUMNS, "chunks at its edge are stored without filters (H5Pset_chunk_opts)"
    found = read_chunk_map(raw, file_map, frame, layout)
    if found.impossible.any():
        return NO_COLUMNS, f"{int(np.count_nonzero(found.impossible)):,} chunks lie outside the file"
    addresses = found.addresses.view(np.uint64)
    if raw.base_address:
        addresses = addresses + np.uint64(raw.base_address)
    columns = ChunkColumns(
        found.numbers,
        addresses,
        found.stored_nbytes.view(np.uint64),
        found.filter_masks,
    )
    if not len(found) or found.grid[1:] == frame.grid[1:]:
        n_chunks = math.prod(frame.grid)
        return (_selected(columns, found.numbers < n_chunks), None) if len(found) else (columns, None)
    return in_grid(frame.shape, frame.chunks, np.unravel_index(found.numbers, found.grid), columns)


def in_grid(
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    coords: Sequence[NDArray[np.int64]],
    columns: ChunkColumns,
) -> tuple[ChunkColumns, str | None]:
    """Give chunks their numbers in the grid of the present shape, and leave out those outside it.

    Parameters
    ----------
    shape, chunks
        Of the dataset.
    coords
        ``(n,) int64`` for each dimension.
    columns
        ``(n,)`` each; its numbers are replaced.
    """
    grid = tuple(-(-n // chunk) for n, chunk in zip(shape, chunks, strict=True))
    if math.prod(grid) > _MAX_CHUNKS:
        return NO_COLUMNS, f"its grid of {math.prod(grid):,} chunks is more than can be numbered"
    numbers = np.zeros(len(columns.numbers), np.int64)
    inside = np.ones(len(numbers), np.bool_)
    for size, coord in zip(grid, coords, strict=True):
        inside &= coord < size
        numbers = numbers * size + coord
    numbered = ChunkColumns(numbers, columns.addresses, columns.stored_nbytes, columns.filter_masks)
    return _selected(numbered, inside), None


def _selected(columns: ChunkColumns, rows: NDArray[np.bool_]) -> ChunkColumns:
    if rows.all():
        return columns
    masks = columns.filter_masks
    return ChunkColumns(
        columns.numbers[rows],
        columns.addresses[rows],
        columns.stored_nbytes[rows],
        None if masks is None else masks[rows],
    )
