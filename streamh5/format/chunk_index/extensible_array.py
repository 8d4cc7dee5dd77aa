"""Extensible Array: the index of a chunked dataset with one unlimited dimension (specification VII.D).

Element i is chunk i of the row-major grid with the unlimited dimension moved to the front. The first elements are
in the index block, the others in data blocks, whose size doubles with every second super block. The index block
points to the data blocks of the first super blocks directly, and to the other super blocks. A large data block is
divided into pages, each with a checksum:

    header -> index block -> data blocks of the first super blocks
                          -> super block -> data block, page, page, ...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from streamh5.format.checksum import SIZEOF_CHECKSUM, append_checksum
from streamh5.format.chunk_index.element import (
    ChunkColumns,
    client_id,
    decode_block_prefix,
    decode_elements,
    decode_page_bitmap,
    decode_pages,
    encode_block_prefix,
    encode_columns,
    encode_page_bitmap,
    encode_pages,
    pages_written,
)
from streamh5.format.chunk_index.extensible_array_sizes import (
    ExtensibleArray,
    SuperBlock,
    used_super_blocks,
)
from streamh5.format.header import ADDRESS, LENGTH, Header, stored
from streamh5.format.primitives import UNDEFINED_ADDRESS, address, concat, uint

INDEX_BLOCK = "Extensible Array index block"
SUPER_BLOCK = "Extensible Array super block"
EXTENSIBLE_ARRAY_DATA_BLOCK = "Extensible Array data block"
_INDEX, _SUPER, _DATA = b"EAIB", b"EASB", b"EADB"
_MAX_BITS = 64  # those of the largest index of an element


@dataclass(frozen=True, slots=True)
class ExtensibleArrayHeader(Header):
    """The header of an Extensible Array; the data layout message has the parameters in another order."""

    structure: ClassVar[str] = "Extensible Array header"
    signature: ClassVar[bytes] = b"EAHD"

    client_id: int = stored(1, "client ID")
    element_nbytes: int = stored(1, "element size")
    max_n_elements_bits: int = stored(1, "max bits of number of elements")
    n_index_block_elements: int = stored(1, "index block elements")
    min_n_data_block_elements: int = stored(1, "min elements of a data block")
    min_n_data_block_pointers: int = stored(1, "min data block pointers of a super block")
    page_bits: int = stored(1, "page bits")
    n_super_blocks: int = stored(LENGTH, "number of super blocks")
    super_blocks_nbytes: int = stored(LENGTH, "super block size")
    n_data_blocks: int = stored(LENGTH, "number of data blocks")
    data_blocks_nbytes: int = stored(LENGTH, "data block size")
    max_index_set: int = stored(LENGTH, "max index set")
    n_elements: int = stored(LENGTH, "number of elements")
    index_block_address: int = stored(ADDRESS, "index block address")


SIZEOF_EXTENSIBLE_ARRAY_HEADER = ExtensibleArrayHeader.sizeof()


def encode_extensible_array_header(array: ExtensibleArray, index_block_address: int) -> bytes:
    """Encode the header, `SIZEOF_EXTENSIBLE_ARRAY_HEADER` bytes.

    The data layout message has the parameters in another order.
    """
    used = used_super_blocks(array)
    super_blocks = [block for block in used if not block.is_direct]
    n_realized = sum(block.n_used * block.n_block_elements for block in used)
    return ExtensibleArrayHeader(
        **_parameters(array),
        n_super_blocks=len(super_blocks),
        super_blocks_nbytes=sum(block.sizeof_super_block for block in super_blocks),
        n_data_blocks=sum(block.n_used for block in used),
        data_blocks_nbytes=sum(block.n_used * block.sizeof_data_block for block in used),
        max_index_set=array.n_elements,
        n_elements=array.parameters.n_index_block_elements + n_realized,
        index_block_address=index_block_address,
    ).encode()


def decode_extensible_array_header(array: ExtensibleArray, block: bytes) -> ExtensibleArrayHeader:
    """Decode the header of an array whose layout message has the parameters of `array`.

    Raises
    ------
    FormatError
        A field or the checksum is wrong, or the parameters are impossible.
    """
    found = ExtensibleArrayHeader.decode(block)
    layout = array.parameters
    elements, pointers = layout.min_n_data_block_elements, layout.min_n_data_block_pointers
    powers = all(number and not number & (number - 1) for number in (elements, pointers))
    if not powers or pointers < 2 or not 1 <= layout.max_n_elements_bits <= _MAX_BITS or not layout.page_bits:
        raise found.error("the layout has impossible parameters")
    if array.n_super_pointers < 0:
        raise found.error(f"the layout has {pointers} pointers for {array.n_super_blocks} super blocks")
    found.check(**_parameters(array))
    return found


def _parameters(array: ExtensibleArray) -> dict[str, int]:
    """Return the fields of the header that describe the structure of the array, not its content."""
    numbers = asdict(array.parameters)
    del numbers["address"]  # of the header itself
    return {"client_id": client_id(array.element), "element_nbytes": array.element.itemsize, **numbers}


def encode_extensible_array_blocks(
    array: ExtensibleArray,
    header_address: int,
    index_block_address: int,
    columns: ChunkColumns,
) -> Iterator[bytes]:
    """Encode all blocks as consecutive pieces of at most a few MiB, the index block first.

    The columns are read in slices and never copied completely.

    Parameters
    ----------
    array, header_address, index_block_address
        Sizes of the array, and addresses of its header and index block; the other blocks follow the index block.
    columns
        ``(n_elements,)`` each; address 0 marks a chunk that was never written.

    Raises
    ------
    LimitError
        A stored size does not fit its field.
    """
    after_index_block = columns[array.parameters.n_index_block_elements :]
    blocks = used_super_blocks(array)
    yield _encode_index_block(array, columns, blocks, header_address, index_block_address)
    end_position = array.sizeof_index_block
    for block in blocks:
        end = block.start + block.n_used * block.n_block_elements
        part = after_index_block[block.start : end]
        if not block.is_direct:
            gap = bytes(block.position - end_position)
            yield gap + _encode_super_block(block, part, header_address, index_block_address)
            end_position = block.position + block.sizeof_super_block
        for i, position in enumerate(block.positions):
            start = i * block.n_block_elements
            one = part[start : start + block.n_block_elements].padded(block.n_block_elements)
            gap = bytes(position - end_position)
            yield gap + _encode_data_block(block, one, header_address, block.start + start)
            end_position = position + block.sizeof_data_block


def _encode_index_block(
    array: ExtensibleArray,
    columns: ChunkColumns,
    blocks: list[SuperBlock],
    header_address: int,
    index_block_address: int,
) -> bytes:
    own = columns[: array.parameters.n_index_block_elements].padded(array.parameters.n_index_block_elements)
    data_blocks: list[int] = []
    super_blocks: list[int] = []
    for block in blocks:
        if block.is_direct:
            data_blocks += block.data_block_addresses(index_block_address)
        else:
            super_blocks.append(index_block_address + block.position)
    data_blocks += [UNDEFINED_ADDRESS] * (array.n_data_pointers - len(data_blocks))
    super_blocks += [UNDEFINED_ADDRESS] * (array.n_super_pointers - len(super_blocks))
    return append_checksum(
        encode_block_prefix(_INDEX, array.element, header_address),
        encode_columns(own, array.element),
        *(address(block, "data block address") for block in data_blocks),
        *(address(block, "super block address") for block in super_blocks),
    )


def _encode_super_block(
    block: SuperBlock, columns: ChunkColumns, header_address: int, index_block_address: int
) -> bytes:
    """Encode a super block. The page bitmaps of its data blocks follow each other without padding."""
    bitmaps = b""
    if block.n_pages:
        n_pages = block.n_used * block.n_pages
        n_elements = block.n_used * block.n_block_elements
        bitmaps = encode_page_bitmap(pages_written(columns.padded(n_elements).addresses, n_pages))
    return append_checksum(
        encode_block_prefix(_SUPER, block.array.element, header_address),
        uint(block.start, block.array.sizeof_block_offset, "block offset"),
        bitmaps.ljust(block.sizeof_page_bitmaps, b"\0"),
        *(address(one, "data block address") for one in block.data_block_addresses(index_block_address)),
    )


def _encode_data_block(
    block: SuperBlock, columns: ChunkColumns, header_address: int, block_offset: int
) -> bytes:
    element = block.array.element
    prefix = concat(
        encode_block_prefix(_DATA, element, header_address),
        uint(block_offset, block.array.sizeof_block_offset, "block offset"),
    )
    if not block.n_pages:
        return append_checksum(prefix + encode_columns(columns, element))
    return append_checksum(prefix) + encode_pages(columns, block.n_pages, element)


def decode_index_block(
    array: ExtensibleArray, header_address: int, block: bytes
) -> tuple[ChunkColumns, list[int], list[int]]:
    """Decode the index block: its elements, and the addresses of data blocks and super blocks.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    """
    fields = decode_block_prefix(block, INDEX_BLOCK, _INDEX, array.element, header_address)
    own = fields.take(array.parameters.n_index_block_elements * array.element.itemsize, "elements")
    return (
        decode_elements(own, array.element),
        [fields.address("data block address") for _ in range(array.n_data_pointers)],
        [fields.address("super block address") for _ in range(array.n_super_pointers)],
    )


def decode_super_block(
    block: SuperBlock, header_address: int, raw: bytes
) -> tuple[list[int], NDArray[np.bool_]]:
    """Decode a super block: the addresses of its data blocks, and which of their pages are written.

    Returns
    -------
    addresses, and ``(n_data_blocks, n_pages) bool``

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    """
    fields = decode_block_prefix(raw, SUPER_BLOCK, _SUPER, block.array.element, header_address)
    fields.expect(block.start, block.array.sizeof_block_offset, "block offset")
    bitmaps = fields.take(block.sizeof_page_bitmaps, "page bitmaps")
    bits = decode_page_bitmap(bitmaps, block.n_data_blocks * block.n_pages)
    addresses = [fields.address("data block address") for _ in range(block.n_data_blocks)]
    return addresses, bits.reshape(block.n_data_blocks, block.n_pages)


def decode_data_block(
    block: SuperBlock, number: int, header_address: int, raw: bytes, pages: NDArray[np.bool_] | None
) -> ChunkColumns:
    """Decode data block `number` of a super block; `pages` tells which of its pages are written.

    Raises
    ------
    FormatError
        A field or a checksum is wrong.
    """
    element = block.array.element
    end = block.sizeof_prefix + SIZEOF_CHECKSUM if block.n_pages else len(raw)
    fields = decode_block_prefix(raw[:end], EXTENSIBLE_ARRAY_DATA_BLOCK, _DATA, element, header_address)
    start = block.start + number * block.n_block_elements
    offset = fields.uint(block.array.sizeof_block_offset, "block offset")
    # For data blocks of the index block, the library also counts the data blocks before them (H5EA__lookup_elmt).
    n_before = sum(1 << before // 2 for before in range(block.index)) if block.is_direct else 0
    if offset not in (start, block.start + (n_before + number) * block.n_block_elements):
        raise fields.error(f"block offset is {offset:,}; it must be {start:,}")
    if block.n_pages and pages is not None:
        return decode_pages(memoryview(raw)[end:], pages, element, structure=EXTENSIBLE_ARRAY_DATA_BLOCK)
    return decode_elements(fields.take(block.n_block_elements * element.itemsize, "elements"), element)
