"""Fixed Array from bytes (specification VII.C)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.format.checksum import SIZEOF_CHECKSUM
from streamh5.format.chunk_index.fixed_array import SIZEOF_FIXED_ARRAY_HEADER, FixedArray
from streamh5.format.primitives import SIZEOF_ADDRESS, UNDEFINED_ADDRESS
from streamh5.reader.chunk_index.chunk_map import ChunkFrame, ChunkMap, chunk_map
from streamh5.reader.chunk_index.element import (
    concatenate,
    decode_elements,
    decode_page_bitmap,
    decode_pages,
    missing,
)
from streamh5.reader.fields import Fields, check_checksum
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from streamh5.format import data_layout
    from streamh5.format.chunk_index.element import ChunkColumns
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
        columns = missing(filtered=array.filtered)
    else:
        columns = _read_data_block(file, file_map, frame, array, index.address, data_block_address)
    return chunk_map(frame, None, columns, file_nbytes=file.nbytes)


def _read_data_block(
    file: FileBytes,
    file_map: FileMap,
    frame: ChunkFrame,
    array: FixedArray,
    header_address: int,
    address: int,
) -> ChunkColumns:
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
        return decode_elements(elements, stored_nbytes_width=width)
    written = decode_page_bitmap(fields.take(array.sizeof_page_bitmap, "page bitmap"), array.n_pages)
    page_nbytes = (array.element_nbytes << array.page_bits) + SIZEOF_CHECKSUM
    n_full = array.n_elements >> array.page_bits
    parts = []
    at = address + sizeof_start
    for pages, nbytes in ((written[:n_full], n_full * page_nbytes), (written[n_full:], None)):
        if len(pages):
            n_left = address + array.sizeof_data_block - at
            raw = file.read(at, n_left if nbytes is None else nbytes, "Fixed Array pages")
            parts.append(
                decode_pages(raw, pages, stored_nbytes_width=width, structure="Fixed Array data block")
            )
            at += len(raw)
    return concatenate(parts)
