"""Fixed Array from bytes (specification VII.C)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.format.checksum import SIZEOF_CHECKSUM
from streamh5.format.chunk_index.fixed_array import SIZEOF_FIXED_ARRAY_HEADER, FixedArray
from streamh5.format.fields import Fields, check_checksum
from streamh5.format.primitives import SIZEOF_ADDRESS, UNDEFINED_ADDRESS
from streamh5.reader.chunk_index.chunk_map import ChunkFrame, chunk_map
from streamh5.reader.chunk_index.element import (
    concatenate,
    decode_elements,
    decode_page_bitmap,
    decode_pages,
    missing,
)
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from streamh5.format import data_layout
    from streamh5.format.chunk_index.element import ChunkColumns
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["read_fixed_array"]

_MAX_PAGE_BITS = 63


def read_fixed_array(
    file: FileBytes, file_map: FileMap, frame: ChunkFrame, index: data_layout.FixedArray
) -> ChunkMap:
    """Read the chunks of a Fixed Array: element i is chunk i of `frame.max_grid`.

    Raises
    ------
    FormatError
        A field or checksum is wrong, or the array does not fit its dataset or the file.
    """
    structure = "Fixed Array header"
    file.check_range(index.address, SIZEOF_FIXED_ARRAY_HEADER, structure)
    file_map.claim(Kind.INDEX, frame.owner, index.address, SIZEOF_FIXED_ARRAY_HEADER)
    block = file.read(index.address, SIZEOF_FIXED_ARRAY_HEADER, structure)
    fields = Fields(block, structure)
    fields.expect_signature(b"FAHD")
    check_checksum(block, structure)
    if not 1 <= index.page_bits <= _MAX_PAGE_BITS:
        raise fields.error(f"page bits in the layout are {index.page_bits}")
    array = FixedArray(
        frame.n_max_chunks,
        frame.chunk_nbytes,
        filtered=frame.n_filters > 0,
        page_bits=index.page_bits,
        layout_version=frame.layout_version,
    )
    fields.expect(0, 1, "version")
    fields.expect(array.client_id, 1, "client ID")
    fields.expect(array.element_nbytes, 1, "entry size")
    fields.expect(array.page_bits, 1, "page bits")
    fields.expect(array.n_elements, 8, "max number of entries")
    data_block_address = fields.address("data block address")
    if data_block_address == UNDEFINED_ADDRESS:
        return chunk_map(frame, None, missing(filtered=array.filtered))
    numbers, columns = _read_data_block(file, file_map, frame, array, index.address, data_block_address)
    return chunk_map(frame, numbers, columns)


def _read_data_block(
    file: FileBytes,
    file_map: FileMap,
    frame: ChunkFrame,
    array: FixedArray,
    header_address: int,
    address: int,
) -> tuple[NDArray[np.int64] | None, ChunkColumns]:
    """Return the numbers of the elements of written pages, None for ``0 .. n - 1``, and the elements.

    Pages that were never written are not read: time and memory go by what is stored.
    """
    structure = "Fixed Array data block"
    file.check_range(address, array.sizeof_data_block, structure)
    file_map.claim(Kind.INDEX, frame.owner, address, array.sizeof_data_block)
    sizeof_prefix = 4 + 1 + 1 + SIZEOF_ADDRESS + array.sizeof_page_bitmap
    sizeof_start = sizeof_prefix + SIZEOF_CHECKSUM if array.is_paged else array.sizeof_data_block
    start = file.read(address, sizeof_start, structure)
    fields = Fields(start, structure)
    fields.expect_signature(b"FADB")
    check_checksum(start, structure)
    fields.expect(0, 1, "version")
    fields.expect(array.client_id, 1, "client ID")
    fields.expect(header_address, 8, "header address")
    width = array.stored_nbytes_width
    if not array.is_paged:
        elements = fields.take(array.n_elements * array.element_nbytes, "elements")
        return None, decode_elements(elements, stored_nbytes_width=width)
    written = decode_page_bitmap(fields.take(array.sizeof_page_bitmap, "page bitmap"), array.n_pages)
    page_nbytes = (array.element_nbytes << array.page_bits) + SIZEOF_CHECKSUM
    end = address + array.sizeof_data_block
    numbers, parts = [], []
    for first, last in _runs(written, array.n_elements >> array.page_bits):
        at = address + sizeof_start + first * page_nbytes
        raw = file.read(at, min(end, at + (last - first) * page_nbytes) - at, "Fixed Array pages")
        pages = np.ones(last - first, np.bool_)
        parts.append(
            decode_pages(raw, pages, stored_nbytes_width=width, structure=structure, first_page=first)
        )
        start_number = first << array.page_bits
        numbers.append(np.arange(start_number, start_number + len(parts[-1].addresses), dtype=np.int64))
    if not parts:
        return None, missing(filtered=array.filtered)
    return np.concatenate(numbers), concatenate(parts)


def _runs(written: NDArray[np.bool_], n_full: int) -> Iterator[tuple[int, int]]:
    """Yield runs of written pages, first and last + 1; the last page may be shorter, and is alone."""
    steps = np.diff(written[:n_full].view(np.int8), prepend=0, append=0)
    yield from zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True)
    if written[n_full:].any():
        yield n_full, n_full + 1
