"""Extensible Array, read block by block (specification VII.D)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.chunk_index.element import ChunkColumns, concatenate, no_chunks
from streamh5.format.chunk_index.extensible_array import (
    DATA_BLOCK,
    INDEX_BLOCK,
    SIZEOF_EXTENSIBLE_ARRAY_HEADER,
    SUPER_BLOCK,
    ExtensibleArrayHeader,
    decode_data_block,
    decode_extensible_array_header,
    decode_index_block,
    decode_super_block,
)
from streamh5.format.chunk_index.extensible_array_sizes import ExtensibleArray, SuperBlock
from streamh5.format.primitives import UNDEFINED_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from streamh5.format import data_layout
    from streamh5.reader.chunk_index.chunk_frame import ChunkFrame
    from streamh5.reader.structure_reader import StructureReader

__all__ = ["read_extensible_array"]


def read_extensible_array(
    reader: StructureReader, frame: ChunkFrame, index: data_layout.ExtensibleArrayIndex
) -> tuple[NDArray[np.int64] | None, ChunkColumns]:
    """Read the chunks of an Extensible Array: their numbers in `frame.grid`, and where they are.

    Raises
    ------
    FormatError
        A field or checksum is wrong, or the array does not fit its dataset or the file.
    """
    _unlimited_first(frame)
    array = ExtensibleArray(
        frame.n_max_chunks,
        frame.chunk_nbytes,
        frame.n_filters > 0,
        max_n_elements_bits=index.max_n_elements_bits,
        n_index_block_elements=index.n_index_block_elements,
        min_n_data_block_elements=index.min_n_data_block_elements,
        min_n_data_block_pointers=index.min_n_data_block_pointers,
        page_bits=index.page_bits,
        layout_version=frame.layout_version,
    )
    block = reader.read(index.address, SIZEOF_EXTENSIBLE_ARRAY_HEADER, ExtensibleArrayHeader.structure)
    header = decode_extensible_array_header(array, block)
    if header.index_block_address == UNDEFINED_ADDRESS:
        return None, no_chunks(filtered=array.filtered)
    starts, parts = zip(*_read_blocks(reader, array, index.address, header), strict=True)
    columns = concatenate(parts)
    elements = np.concatenate(
        [np.arange(start, start + len(part.addresses)) for start, part in zip(starts, parts, strict=True)]
    )
    written = np.flatnonzero(columns.addresses)
    elements = elements[written]
    if len(elements) and int(elements.max()) >= array.n_elements:
        raise header.error(
            f"element {int(elements.max()):,} is written, but the shape has {array.n_elements:,}"
        )
    return _grid_numbers(frame, elements), columns.take(written)


def _read_blocks(
    reader: StructureReader, array: ExtensibleArray, header_address: int, header: ExtensibleArrayHeader
) -> Iterator[tuple[int, ChunkColumns]]:
    """Yield the elements of the index block and of each data block, with the number of the first."""
    raw = reader.read(header.index_block_address, array.sizeof_index_block, INDEX_BLOCK)
    own, data_blocks, super_blocks = decode_index_block(array, header_address, raw)
    yield 0, own
    start, n_own = 0, array.n_index_block_elements
    for number in range(array.n_super_blocks):
        if start + n_own >= header.max_index_set:
            break
        block = SuperBlock(array, number, start)
        start = block.end
        addresses: list[int] = []
        pages: NDArray[np.bool_] | None = None
        if block.is_direct:
            addresses, data_blocks = data_blocks[: block.n_data_blocks], data_blocks[block.n_data_blocks :]
            if block.n_pages:
                raise FormatError(f"{INDEX_BLOCK}: a data block with pages has no super block")
        elif (at := super_blocks[number - array.n_direct_super_blocks]) != UNDEFINED_ADDRESS:
            raw = reader.read(at, block.sizeof_super_block, SUPER_BLOCK)
            addresses, pages = decode_super_block(block, header_address, raw)
        for i, at in enumerate(addresses):
            if at != UNDEFINED_ADDRESS:
                raw = reader.read(at, block.sizeof_data_block, DATA_BLOCK)
                written = None if pages is None else pages[i]
                first = n_own + block.start + i * block.n_block_elements
                yield first, decode_data_block(block, i, header_address, raw, written)


def _unlimited_first(frame: ChunkFrame) -> tuple[int, tuple[int, ...]]:
    """Return which dimension is unlimited, and the chunks along the others in their order.

    Raises
    ------
    FormatError
        Not exactly one is unlimited, which readers refuse (H5D__earray_idx_init).
    """
    unlimited = [axis for axis, most in enumerate(frame.maxshape) if most is None]
    if len(unlimited) != 1:
        raise FormatError(
            f"an Extensible Array for maximum shape {frame.maxshape}: it takes one unlimited size"
        )
    axis = unlimited[0]
    return axis, frame.grid.counts[:axis] + frame.grid.counts[axis + 1 :]


def _grid_numbers(frame: ChunkFrame, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn element numbers into row-major chunk numbers of the grid."""
    axis, others = _unlimited_first(frame)
    if axis == 0 or not len(numbers):
        return numbers
    coords = list(np.unravel_index(numbers, (frame.grid.counts[axis], *others)))
    coords.insert(axis, coords.pop(0))
    return np.ravel_multi_index(coords, frame.grid.counts).astype(np.int64)
