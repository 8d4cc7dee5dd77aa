"""Extensible Array: the index of a chunked dataset with one unlimited dimension (specification VII.D).

Element i is chunk i of the row-major grid with the unlimited dimension moved to the front. The first
elements stand in the index block. Behind them come data blocks whose size doubles with every second
super block; the index block points to the data blocks of the first super blocks itself, and to the
other super blocks, which point to theirs. A large data block is cut into pages with a checksum each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamh5.format.checksum import SIZEOF_CHECKSUM, append_checksum
from streamh5.format.chunk_index.element import (
    SIZEOF_FILTER_MASK,
    ChunkColumns,
    ClientId,
    encode_elements,
    encode_page_bitmap,
    encode_pages,
    pages_written,
    sizeof_stored_nbytes,
)
from streamh5.format.primitives import SIZEOF_ADDRESS, UNDEFINED_ADDRESS, address, length, uint

SIZEOF_EXTENSIBLE_ARRAY_HEADER = 72
_SIZEOF_PREFIX = 4 + 1 + 1 + SIZEOF_ADDRESS  # signature, version, client ID, header address


@dataclass(frozen=True, slots=True)
class ExtensibleArray:
    """The sizes of an Extensible Array.

    Parameters
    ----------
    n_elements
        One more than the last chunk that may be written, at least 1: chunks of the current shape.
    chunk_nbytes
        Raw bytes of a chunk.
    filtered
        Whether the dataset has filters.
    max_n_elements_bits, n_index_block_elements, min_n_data_block_elements, min_n_data_block_pointers
        The library's creation parameters; the last two and `page_bits` count in powers of two.
    page_bits
        Binary logarithm of the elements in a page.
    layout_version
        Of the data layout message.
    """

    n_elements: int
    chunk_nbytes: int
    filtered: bool
    max_n_elements_bits: int = 32
    n_index_block_elements: int = 4
    min_n_data_block_elements: int = 16
    min_n_data_block_pointers: int = 4
    page_bits: int = 10
    layout_version: int = 4

    @property
    def client_id(self) -> int:
        """The kind of element."""
        return ClientId.FILTERED_CHUNKS if self.filtered else ClientId.UNFILTERED_CHUNKS

    @property
    def stored_nbytes_width(self) -> int | None:
        """Width of an element's stored size, None without filters."""
        return sizeof_stored_nbytes(self.chunk_nbytes, self.layout_version) if self.filtered else None

    @property
    def element_nbytes(self) -> int:
        """Bytes of one element."""
        width = self.stored_nbytes_width
        return SIZEOF_ADDRESS if width is None else SIZEOF_ADDRESS + width + SIZEOF_FILTER_MASK

    @property
    def n_super_blocks(self) -> int:
        """Super blocks that all possible elements would need."""
        return 1 + self.max_n_elements_bits - (self.min_n_data_block_elements.bit_length() - 1)

    @property
    def n_direct_super_blocks(self) -> int:
        """Super blocks whose data blocks the index block points to."""
        return 2 * (self.min_n_data_block_pointers.bit_length() - 1)

    @property
    def sizeof_index_block(self) -> int:
        """Bytes of the index block."""
        n_pointers = 2 * (self.min_n_data_block_pointers - 1)
        n_pointers += self.n_super_blocks - self.n_direct_super_blocks
        elements = self.n_index_block_elements * self.element_nbytes
        return _SIZEOF_PREFIX + elements + n_pointers * SIZEOF_ADDRESS + SIZEOF_CHECKSUM

    @property
    def sizeof_block_offset(self) -> int:
        """Width of the block offset field."""
        return -(-self.max_n_elements_bits // 8)

    @property
    def sizeof_blocks(self) -> int:
        """Bytes of the index block, super blocks and data blocks that `n_elements` need."""
        return self.sizeof_index_block + sum(block.nbytes for block in _used_super_blocks(self))


@dataclass(frozen=True, slots=True)
class _SuperBlock:
    """A super block and its data blocks: counts, sizes, and where they stand behind the index block."""

    array: ExtensibleArray
    index: int
    start: int  # first element, not counting those of the index block
    position: int  # from the start of the index block

    @property
    def n_data_blocks(self) -> int:
        return 1 << self.index // 2

    @property
    def n_block_elements(self) -> int:
        return self.array.min_n_data_block_elements << (self.index + 1) // 2

    @property
    def n_used(self) -> int:
        """Data blocks of it that hold elements."""
        n_elements = self.array.n_elements - self.array.n_index_block_elements - self.start
        return min(self.n_data_blocks, -(-n_elements // self.n_block_elements))

    @property
    def is_direct(self) -> bool:
        """Whether the index block points to the data blocks, so that there is no super block."""
        return self.index < self.array.n_direct_super_blocks

    @property
    def n_pages(self) -> int:
        """Pages of each data block, 0 when it has one checksum."""
        page_size = 1 << self.array.page_bits
        return self.n_block_elements // page_size if self.n_block_elements > page_size else 0

    @property
    def sizeof_page_bitmaps(self) -> int:
        return self.n_data_blocks * -(-self.n_pages // 8)

    @property
    def sizeof_super_block(self) -> int:
        if self.is_direct:
            return 0
        pointers = self.n_data_blocks * SIZEOF_ADDRESS
        prefix = _SIZEOF_PREFIX + self.array.sizeof_block_offset
        return prefix + self.sizeof_page_bitmaps + pointers + SIZEOF_CHECKSUM

    @property
    def sizeof_data_block(self) -> int:
        elements = self.n_block_elements * self.array.element_nbytes
        prefix = _SIZEOF_PREFIX + self.array.sizeof_block_offset
        return prefix + elements + (1 + self.n_pages) * SIZEOF_CHECKSUM

    @property
    def nbytes(self) -> int:
        return self.sizeof_super_block + self.n_used * self.sizeof_data_block

    def data_block_addresses(self, index_block_address: int) -> list[int]:
        """One address for each data block, undefined for those without elements."""
        first = index_block_address + self.position + self.sizeof_super_block
        used = [first + i * self.sizeof_data_block for i in range(self.n_used)]
        return used + [UNDEFINED_ADDRESS] * (self.n_data_blocks - self.n_used)


def _used_super_blocks(array: ExtensibleArray) -> list[_SuperBlock]:
    blocks: list[_SuperBlock] = []
    start, position = 0, array.sizeof_index_block
    while start < array.n_elements - array.n_index_block_elements:
        block = _SuperBlock(array, len(blocks), start, position)
        blocks.append(block)
        start += block.n_data_blocks * block.n_block_elements
        position += block.nbytes
    return blocks


def encode_extensible_array_header(array: ExtensibleArray, index_block_address: int) -> bytes:
    """Encode the header, `SIZEOF_EXTENSIBLE_ARRAY_HEADER` bytes.

    The data layout message has the parameters in another order.
    """
    used = _used_super_blocks(array)
    super_blocks = [block for block in used if not block.is_direct]
    n_realized = sum(block.n_used * block.n_block_elements for block in used)
    return append_checksum(
        b"".join(
            (
                b"EAHD",
                uint(0, 1, "extensible array header version"),
                uint(array.client_id, 1, "client ID"),
                uint(array.element_nbytes, 1, "element size"),
                uint(array.max_n_elements_bits, 1, "max bits of number of elements"),
                uint(array.n_index_block_elements, 1, "index block elements"),
                uint(array.min_n_data_block_elements, 1, "min elements of a data block"),
                uint(array.min_n_data_block_pointers, 1, "min data block pointers of a super block"),
                uint(array.page_bits, 1, "page bits"),
                length(len(super_blocks), "number of super blocks"),
                length(sum(block.sizeof_super_block for block in super_blocks), "super block size"),
                length(sum(block.n_used for block in used), "number of data blocks"),
                length(sum(block.n_used * block.sizeof_data_block for block in used), "data block size"),
                length(array.n_elements, "max index set"),
                length(array.n_index_block_elements + n_realized, "number of elements"),
                address(index_block_address, "index block address"),
            )
        )
    )


def encode_extensible_array_blocks(
    array: ExtensibleArray,
    header_address: int,
    index_block_address: int,
    addresses: NDArray[np.uint64],
    *,
    stored_nbytes: NDArray[np.unsignedinteger] | None = None,
    filter_masks: NDArray[np.uint32] | None = None,
) -> Iterator[bytes]:
    """Encode all blocks as consecutive pieces of a few MiB at most, the index block first.

    The columns are read in slices; none is copied as a whole.

    Parameters
    ----------
    array, header_address, index_block_address
        Sizes, and where header and index block are; the other blocks follow the index block.
    addresses
        ``(n_elements,) uint64``; 0 marks a chunk that was never written.
    stored_nbytes
        ``(n_elements,) uint32`` or ``uint64``; None without filters.
    filter_masks
        ``(n_elements,) uint32``; None for all zero.

    Raises
    ------
    LimitError
        A stored size does not fit its field.
    """
    columns = ChunkColumns(addresses, stored_nbytes, filter_masks)
    behind_index_block = columns[array.n_index_block_elements :]
    blocks = _used_super_blocks(array)
    yield _encode_index_block(array, columns, blocks, header_address, index_block_address)
    for block in blocks:
        end = block.start + block.n_used * block.n_block_elements
        part = behind_index_block[block.start : end]
        if not block.is_direct:
            yield _encode_super_block(block, part, header_address, index_block_address)
        for i in range(block.n_used):
            start = i * block.n_block_elements
            one = part[start : start + block.n_block_elements].padded(block.n_block_elements)
            yield _encode_data_block(block, one, header_address, block.start + start)


def _encode_prefix(signature: bytes, array: ExtensibleArray, header_address: int) -> bytes:
    return b"".join(
        (
            signature,
            uint(0, 1, "extensible array block version"),
            uint(array.client_id, 1, "client ID"),
            address(header_address, "header address"),
        )
    )


def _encode_index_block(
    array: ExtensibleArray,
    columns: ChunkColumns,
    blocks: list[_SuperBlock],
    header_address: int,
    index_block_address: int,
) -> bytes:
    own = columns[: array.n_index_block_elements].padded(array.n_index_block_elements)
    data_blocks: list[int] = []
    super_blocks: list[int] = []
    for block in blocks:
        if block.is_direct:
            data_blocks += block.data_block_addresses(index_block_address)
        else:
            super_blocks.append(index_block_address + block.position)
    data_blocks += [UNDEFINED_ADDRESS] * (2 * (array.min_n_data_block_pointers - 1) - len(data_blocks))
    n_super_pointers = array.n_super_blocks - array.n_direct_super_blocks
    super_blocks += [UNDEFINED_ADDRESS] * (n_super_pointers - len(super_blocks))
    return append_checksum(
        b"".join(
            (
                _encode_prefix(b"EAIB", array, header_address),
                encode_elements(own, stored_nbytes_width=array.stored_nbytes_width),
                *(address(block, "data block address") for block in data_blocks),
                *(address(block, "super block address") for block in super_blocks),
            )
        )
    )


def _encode_super_block(
    block: _SuperBlock, columns: ChunkColumns, header_address: int, index_block_address: int
) -> bytes:
    """Encode a super block. The bits of its data blocks' pages follow each other without padding."""
    bitmaps = b""
    if block.n_pages:
        n_pages = block.n_used * block.n_pages
        n_elements = block.n_used * block.n_block_elements
        bitmaps = encode_page_bitmap(pages_written(columns.padded(n_elements).addresses, n_pages))
    return append_checksum(
        b"".join(
            (
                _encode_prefix(b"EASB", block.array, header_address),
                uint(block.start, block.array.sizeof_block_offset, "block offset"),
                bitmaps.ljust(block.sizeof_page_bitmaps, b"\0"),
                *(
                    address(one, "data block address")
                    for one in block.data_block_addresses(index_block_address)
                ),
            )
        )
    )


def _encode_data_block(
    block: _SuperBlock, columns: ChunkColumns, header_address: int, block_offset: int
) -> bytes:
    width = block.array.stored_nbytes_width
    prefix = b"".join(
        (
            _encode_prefix(b"EADB", block.array, header_address),
            uint(block_offset, block.array.sizeof_block_offset, "block offset"),
        )
    )
    if not block.n_pages:
        return append_checksum(prefix + encode_elements(columns, stored_nbytes_width=width))
    return append_checksum(prefix) + encode_pages(columns, block.n_pages, stored_nbytes_width=width)
