"""Fixed Array: the index of a chunked dataset of fixed maximum shape (specification VII.C).

Element i is chunk i of the row-major grid of the *maximum* shape. Up to ``2**page_bits`` elements are in the data
block with one checksum. More elements are divided into pages: each page has its own checksum and a bit in the data
block's bitmap that tells whether any of its chunks is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM, append_checksum
from streamh5.format.chunk_index.element import (
    SIZEOF_BLOCK_PREFIX,
    ChunkColumns,
    client_id,
    decode_block_prefix,
    decode_elements,
    decode_page_bitmap,
    encode_block_prefix,
    encode_columns,
    encode_page_bitmap,
    encode_pages,
    pages_written,
)
from streamh5.format.header import ADDRESS, LENGTH, Header, stored

FIXED_ARRAY_DATA_BLOCK = "Fixed Array data block"
_DATA_BLOCK_SIGNATURE = b"FADB"
_MAX_PAGE_BITS = 63  # more cannot be the logarithm of a number of elements
_PIECE_NBYTES = 2 << 20  # stays in cache: 10 million chunks in 0.08 s, against 0.6 s in one piece


@dataclass(frozen=True, slots=True)
class FixedArrayHeader(Header):
    """The header of a Fixed Array."""

    structure: ClassVar[str] = "Fixed Array header"
    signature: ClassVar[bytes] = b"FAHD"

    client_id: int = stored(1, "client ID")
    element_nbytes: int = stored(1, "entry size")
    page_bits: int = stored(1, "page bits")
    n_elements: int = stored(LENGTH, "max number of entries")
    data_block_address: int = stored(ADDRESS, "data block address")


SIZEOF_FIXED_ARRAY_HEADER = FixedArrayHeader.sizeof()


@dataclass(frozen=True, slots=True)
class FixedArray:
    """The sizes of a Fixed Array.

    Parameters
    ----------
    n_elements
        Number of chunks in the grid of the maximum shape.
    element
        The dtype of an element, from `chunk_element`.
    page_bits
        Binary logarithm of the elements in a page, at least 1; 10 in the library.
    """

    n_elements: int
    element: np.dtype[np.void]
    page_bits: int = 10

    @property
    def is_paged(self) -> bool:
        """Whether there are more elements than fit one page."""
        return self.n_elements > 1 << self.page_bits

    @property
    def n_pages(self) -> int:
        """Number of pages of the data block, 0 unless it is paged."""
        return -(-self.n_elements >> self.page_bits) if self.is_paged else 0

    @property
    def sizeof_page(self) -> int:
        """Size in bytes of a page with all its elements."""
        return (self.element.itemsize << self.page_bits) + SIZEOF_CHECKSUM

    @property
    def sizeof_page_bitmap(self) -> int:
        """Size of the page bitmap in bytes."""
        return -(-self.n_pages // 8)

    @property
    def sizeof_prefix(self) -> int:
        """Size in bytes of the data block before its elements or pages, without a checksum."""
        return SIZEOF_BLOCK_PREFIX + self.sizeof_page_bitmap

    @property
    def sizeof_data_block(self) -> int:
        """Size in bytes of the data block with its pages."""
        elements = self.n_elements * self.element.itemsize
        return self.sizeof_prefix + elements + (1 + self.n_pages) * SIZEOF_CHECKSUM


def _parameters(fixed_array: FixedArray) -> dict[str, int]:
    """Return the fields of the header, but for the address of the data block."""
    return {
        "client_id": client_id(fixed_array.element),
        "element_nbytes": fixed_array.element.itemsize,
        "page_bits": fixed_array.page_bits,
        "n_elements": fixed_array.n_elements,
    }


def encode_fixed_array_header(fixed_array: FixedArray, data_block_address: int) -> bytes:
    """Encode the header, `SIZEOF_FIXED_ARRAY_HEADER` bytes."""
    return FixedArrayHeader(**_parameters(fixed_array), data_block_address=data_block_address).encode()


def decode_fixed_array_header(fixed_array: FixedArray, block: bytes) -> int:
    """Decode the header of an array with these sizes; return the address of its data block.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    """
    if not 1 <= fixed_array.page_bits <= _MAX_PAGE_BITS:
        raise FormatError(
            f"{FixedArrayHeader.structure}: page bits in the layout are {fixed_array.page_bits}"
        )
    found = FixedArrayHeader.decode(block)
    found.check(**_parameters(fixed_array))
    return found.data_block_address


def encode_fixed_array_data_block(
    fixed_array: FixedArray,
    header_address: int,
    columns: ChunkColumns,
) -> Iterator[bytes]:
    """Encode the data block as consecutive pieces of a few MiB (an unpaged block: one piece).

    The columns are read in slices and never copied completely.

    Parameters
    ----------
    fixed_array, header_address
        Sizes of the array, and address of its header.
    columns
        ``(n_elements,)`` each; address 0 marks a chunk that was never written.

    Raises
    ------
    LimitError
        A stored size does not fit its field.
    """
    prefix = encode_block_prefix(_DATA_BLOCK_SIGNATURE, fixed_array.element, header_address)
    if not fixed_array.is_paged:
        yield append_checksum(prefix + encode_columns(columns, fixed_array.element))
        return
    yield append_checksum(prefix + _encode_page_bitmap(fixed_array, columns.addresses))
    yield from _encode_pages(fixed_array, columns)


def decode_fixed_array_data_block(
    fixed_array: FixedArray, header_address: int, block: bytes
) -> ChunkColumns | NDArray[np.bool_]:
    """Decode the data block up to its own checksum.

    Returns
    -------
    ChunkColumns
        The elements; for a block with pages, which follow it, ``(n_pages,) bool``: which of them are written.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    """
    element = fixed_array.element
    fields = decode_block_prefix(
        block, FIXED_ARRAY_DATA_BLOCK, _DATA_BLOCK_SIGNATURE, element, header_address
    )
    if fixed_array.is_paged:
        return decode_page_bitmap(
            fields.take(fixed_array.sizeof_page_bitmap, "page bitmap"), fixed_array.n_pages
        )
    return decode_elements(fields.take(fixed_array.n_elements * element.itemsize, "elements"), element)


def _encode_page_bitmap(fixed_array: FixedArray, addresses: NDArray[np.uint64]) -> bytes:
    n_full = fixed_array.n_elements >> fixed_array.page_bits
    end_full = n_full << fixed_array.page_bits
    written = np.zeros(fixed_array.n_pages, bool)
    written[:n_full] = pages_written(addresses[:end_full], n_full)
    written[n_full:] = addresses[end_full:].any()
    return encode_page_bitmap(written)


def _encode_pages(fixed_array: FixedArray, columns: ChunkColumns) -> Iterator[bytes]:
    page_size = 1 << fixed_array.page_bits
    element = fixed_array.element
    n_full = fixed_array.n_elements >> fixed_array.page_bits
    pages_per_piece = max(1, _PIECE_NBYTES // (page_size * element.itemsize))
    for page in range(0, n_full, pages_per_piece):
        n_pages = min(pages_per_piece, n_full - page)
        part = columns[page * page_size : (page + n_pages) * page_size]
        yield encode_pages(part, n_pages, element)
    if n_full < fixed_array.n_pages:
        yield encode_pages(columns[n_full * page_size :], 1, element)
