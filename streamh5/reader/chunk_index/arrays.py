"""Fixed Arrays (specification VII.C) and Extensible Arrays (VII.D) of chunks, which are read block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM
from streamh5.format.chunk_index.element import ChunkColumns, concatenate, decode_pages, no_chunks
from streamh5.format.chunk_index.extensible_array import (
    EXTENSIBLE_ARRAY_DATA_BLOCK,
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
from streamh5.format.chunk_index.fixed_array import (
    FIXED_ARRAY_DATA_BLOCK as FIXED_ARRAY_DATA_BLOCK,
)
from streamh5.format.chunk_index.fixed_array import (
    SIZEOF_FIXED_ARRAY_HEADER,
    FixedArray,
    FixedArrayHeader,
    decode_fixed_array_data_block,
    decode_fixed_array_header,
)
from streamh5.format.primitives import UNDEFINED_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from streamh5.format import data_layout
    from streamh5.reader.chunk_index.chunk_frame import ChunkFrame
    from streamh5.reader.file_map import StructureReader


def read_fixed_array(
    reader: StructureReader, frame: ChunkFrame, index: data_layout.FixedArrayIndex
) -> tuple[NDArray[np.int64] | None, ChunkColumns]:
    """Read the chunks of a Fixed Array, whose element i is chunk i of `frame.grid`.

    Returns
    -------
    tuple of ndarray or None, `ChunkColumns`
        Numbers of the chunks, ``(n,) int64`` or None for ``0 .. n - 1``, and where they are stored.

    Raises
    ------
    FormatError
        A field or a checksum is wrong, or the array does not fit the dataset or the file.
    """
    array = FixedArray(frame.n_max_chunks, frame.chunk_element, index.page_bits)
    header = reader.read(index.address, SIZEOF_FIXED_ARRAY_HEADER, FixedArrayHeader.structure)
    address = decode_fixed_array_header(array, header)
    if address == UNDEFINED_ADDRESS:
        return None, no_chunks(array.element)
    sizeof_start = array.sizeof_prefix + SIZEOF_CHECKSUM if array.is_paged else array.sizeof_data_block
    pages = (sizeof_start, array.sizeof_page) if array.is_paged else None
    start = reader.read(
        address, array.sizeof_data_block, FIXED_ARRAY_DATA_BLOCK, n_read=sizeof_start, pages=pages
    )
    found = decode_fixed_array_data_block(array, index.address, start)
    if isinstance(found, ChunkColumns):
        return None, found
    return _read_pages(reader, array, address + sizeof_start, address + array.sizeof_data_block, found)


def _read_pages(
    reader: StructureReader, array: FixedArray, address: int, end: int, written: NDArray[np.bool_]
) -> tuple[NDArray[np.int64] | None, ChunkColumns]:
    """Read only the pages that were written, so that time and memory depend on the stored chunks."""
    page_nbytes = array.sizeof_page
    numbers, parts = [], []
    for first, last in _runs(written, array.n_elements >> array.page_bits):
        at = address + first * page_nbytes
        raw = reader.file.read(at, min(end, at + (last - first) * page_nbytes) - at, "Fixed Array pages")
        pages = np.ones(last - first, np.bool_)
        parts.append(
            decode_pages(raw, pages, array.element, structure=FIXED_ARRAY_DATA_BLOCK, first_page=first)
        )
        start_number = first << array.page_bits
        numbers.append(np.arange(start_number, start_number + len(parts[-1].addresses), dtype=np.int64))
    if not parts:
        return None, no_chunks(array.element)
    return np.concatenate(numbers), concatenate(parts)


def _runs(written: NDArray[np.bool_], n_full: int) -> Iterator[tuple[int, int]]:
    """Yield runs of written pages, first and last + 1. The last page may be shorter, and is a run of its own."""
    steps = np.diff(written[:n_full].view(np.int8), prepend=0, append=0)
    yield from zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True)
    if written[n_full:].any():
        yield n_full, n_full + 1


def read_extensible_array(
    reader: StructureReader, frame: ChunkFrame, index: data_layout.ExtensibleArrayIndex
) -> tuple[NDArray[np.int64] | None, ChunkColumns]:
    """Read the chunks of an Extensible Array: their numbers in `frame.grid`, and where they are stored.

    Raises
    ------
    FormatError
        A field or a checksum is wrong, or the array does not fit the dataset or the file.
    """
    _unlimited_first(frame)  # raises before anything is read
    array = ExtensibleArray(frame.n_max_chunks, frame.chunk_element, index)
    block = reader.read(index.address, SIZEOF_EXTENSIBLE_ARRAY_HEADER, ExtensibleArrayHeader.structure)
    header = decode_extensible_array_header(array, block)
    if header.index_block_address == UNDEFINED_ADDRESS:
        return None, no_chunks(array.element)
    starts, parts = zip(*_read_blocks(reader, array, index.address, header), strict=True)
    columns = concatenate(parts)
    elements = np.concatenate(
        [np.arange(start, start + len(part.addresses)) for start, part in zip(starts, parts, strict=True)]
    )
    written = np.flatnonzero(columns.addresses)
    elements = elements[written]
    if len(elements) and int(elements.max()) >= array.n_elements:
        raise header.error(
            f"element {int(elements.max()):,} is used, but the shape has {array.n_elements:,} chunks"
        )
    return _grid_numbers(frame, elements), columns.take(written)


def _read_blocks(
    reader: StructureReader, array: ExtensibleArray, header_address: int, header: ExtensibleArrayHeader
) -> Iterator[tuple[int, ChunkColumns]]:
    """Yield the number of the first element and the elements of the index block and of each data block."""
    raw = reader.read(header.index_block_address, array.sizeof_index_block, INDEX_BLOCK)
    own, data_blocks, super_blocks = decode_index_block(array, header_address, raw)
    yield 0, own
    start, n_own = 0, array.parameters.n_index_block_elements
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
                sizes = block.sizeof_prefix + SIZEOF_CHECKSUM, block.sizeof_page
                raw = reader.read(
                    at,
                    block.sizeof_data_block,
                    EXTENSIBLE_ARRAY_DATA_BLOCK,
                    pages=sizes if block.n_pages else None,
                )
                written = None if pages is None else pages[i]
                first = n_own + block.start + i * block.n_block_elements
                yield first, decode_data_block(block, i, header_address, raw, written)


def _unlimited_first(frame: ChunkFrame) -> tuple[int, tuple[int, ...]]:
    """Return the unlimited dimension, and the numbers of chunks along the other dimensions in their order.

    Raises
    ------
    FormatError
        Not exactly one dimension is unlimited, which the library refuses (H5D__earray_idx_init).
    """
    unlimited = [axis for axis, most in enumerate(frame.maxshape) if most is None]
    if len(unlimited) != 1:
        raise FormatError(
            f"an Extensible Array for the maximum shape {frame.maxshape}, which must have one unlimited size"
        )
    axis = unlimited[0]
    return axis, frame.grid.counts[:axis] + frame.grid.counts[axis + 1 :]


def _grid_numbers(frame: ChunkFrame, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the chunk numbers of elements: they are row-major with the unlimited dimension first."""
    axis, others = _unlimited_first(frame)
    if axis == 0 or not len(numbers):
        return numbers
    coords = list(np.unravel_index(numbers, (frame.grid.counts[axis], *others)))
    coords.insert(axis, coords.pop(0))
    return np.ravel_multi_index(coords, frame.grid.counts).astype(np.int64)
