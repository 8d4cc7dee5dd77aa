"""Extensible Array from bytes (specification VII.D)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM
from streamh5.format.chunk_index.extensible_array import SIZEOF_EXTENSIBLE_ARRAY_HEADER, ExtensibleArray
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
    from numpy.typing import NDArray

    from streamh5.format import data_layout
    from streamh5.format.chunk_index.element import ChunkColumns
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["read_extensible_array", "unlimited_first"]

_SIZEOF_PREFIX = 4 + 1 + 1 + SIZEOF_ADDRESS
_STATISTICS = (
    "number of super blocks",
    "super block size",
    "number of data blocks",
    "data block size",
    "max index set",
    "number of elements",
)


@dataclass(frozen=True, slots=True)
class _Reader:
    """What every block of one array needs."""

    file: FileBytes
    file_map: FileMap
    owner: str
    array: ExtensibleArray
    header_address: int

    def block(self, address: int, nbytes: int, n_checked: int, signature: bytes, structure: str) -> Fields:
        """Claim `nbytes`, read the first `n_checked` with their checksum, and check the prefix."""
        self.file.check_range(address, nbytes, structure)
        self.file_map.claim(Kind.INDEX, self.owner, address, nbytes)
        block = self.file.read(address, n_checked, structure)
        fields = Fields(block, structure)
        fields.expect_signature(signature)
        check_checksum(block, structure)
        fields.expect(0, 1, "version")
        fields.expect(self.array.client_id, 1, "client ID")
        fields.expect(self.header_address, 8, "header address")
        return fields


@dataclass(frozen=True, slots=True)
class _Part:
    """Consecutive elements from number `start` on."""

    start: int
    columns: ChunkColumns


@dataclass(frozen=True, slots=True)
class _SuperBlock:
    """Sizes of super block `index`, whose first element is `start`."""

    array: ExtensibleArray
    index: int
    start: int

    @property
    def n_data_blocks(self) -> int:
        return 1 << self.index // 2

    @property
    def n_before(self) -> int:
        """Data blocks that the index block points to before those of this super block."""
        is_direct = self.index < self.array.n_direct_super_blocks
        return sum(1 << before // 2 for before in range(self.index)) if is_direct else 0

    @property
    def n_block_elements(self) -> int:
        return self.array.min_n_data_block_elements << (self.index + 1) // 2

    @property
    def n_pages(self) -> int:
        page_size = 1 << self.array.page_bits
        return self.n_block_elements // page_size if self.n_block_elements > page_size else 0


def unlimited_first(frame: ChunkFrame) -> tuple[int, tuple[int, ...]]:
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
    return axis, frame.max_grid[:axis] + frame.max_grid[axis + 1 :]


def read_extensible_array(
    file: FileBytes, file_map: FileMap, frame: ChunkFrame, index: data_layout.ExtensibleArray
) -> ChunkMap:
    """Read the chunks of an Extensible Array.

    Raises
    ------
    FormatError
        A field or checksum is wrong, or the array does not fit its dataset or the file.
    """
    unlimited_first(frame)
    structure = "Extensible Array header"
    nbytes = SIZEOF_EXTENSIBLE_ARRAY_HEADER
    file.check_range(index.address, nbytes, structure)
    file_map.claim(Kind.INDEX, frame.owner, index.address, nbytes)
    block = file.read(index.address, nbytes, structure)
    fields = Fields(block, structure)
    fields.expect_signature(b"EAHD")
    check_checksum(block, structure)
    _check_parameters(fields, index)
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
    fields.expect(0, 1, "version")
    fields.expect(array.client_id, 1, "client ID")
    fields.expect(array.element_nbytes, 1, "element size")
    fields.expect(array.max_n_elements_bits, 1, "max bits of number of elements")
    fields.expect(array.n_index_block_elements, 1, "index block elements")
    fields.expect(array.min_n_data_block_elements, 1, "min elements of a data block")
    fields.expect(array.min_n_data_block_pointers, 1, "min data block pointers of a super block")
    fields.expect(array.page_bits, 1, "page bits")
    statistics = {name: fields.length(name) for name in _STATISTICS}
    index_block_address = fields.address("index block address")
    if index_block_address == UNDEFINED_ADDRESS:
        return chunk_map(frame, None, missing(filtered=array.filtered))
    reader = _Reader(file, file_map, frame.owner, array, index.address)
    parts = _read_index_block(reader, index_block_address, statistics["max index set"])
    columns = concatenate([part.columns for part in parts])
    elements = np.concatenate(
        [np.arange(part.start, part.start + len(part.columns.addresses)) for part in parts]
    )
    written = np.flatnonzero(columns.addresses)
    elements = elements[written]
    if len(elements) and int(elements.max()) >= array.n_elements:
        raise fields.error(
            f"element {int(elements.max()):,} is written, but the shape has {array.n_elements:,}"
        )
    numbers = _grid_numbers(frame, elements)
    return chunk_map(frame, numbers, columns.take(written))


def _check_parameters(fields: Fields, index: data_layout.ExtensibleArray) -> None:
    elements, pointers = index.min_n_data_block_elements, index.min_n_data_block_pointers
    powers = all(number and not number & (number - 1) for number in (elements, pointers))
    if not powers or pointers < 2 or not 1 <= index.max_n_elements_bits <= 64 or not index.page_bits:
        raise fields.error("the layout has parameters that no Extensible Array can have")
    n_super_blocks = 1 + index.max_n_elements_bits - (elements.bit_length() - 1)
    if n_super_blocks < 2 * (pointers.bit_length() - 1):
        raise fields.error(f"the layout has {pointers} pointers for {n_super_blocks} super blocks")


def _read_index_block(reader: _Reader, address: int, n_set: int) -> list[_Part]:
    array = reader.array
    nbytes = array.sizeof_index_block
    fields = reader.block(address, nbytes, nbytes, b"EAIB", "Extensible Array index block")
    width = array.stored_nbytes_width
    own = fields.take(array.n_index_block_elements * array.element_nbytes, "elements")
    parts = [_Part(0, decode_elements(own, stored_nbytes_width=width))]
    n_data_pointers = 2 * (array.min_n_data_block_pointers - 1)
    n_super_pointers = array.n_super_blocks - array.n_direct_super_blocks
    data_blocks = iter([fields.address("data block address") for _ in range(n_data_pointers)])
    super_blocks = [fields.address("super block address") for _ in range(n_super_pointers)]
    start = 0
    for number in range(array.n_super_blocks):
        if start + array.n_index_block_elements >= n_set:
            break
        block = _SuperBlock(array, number, start)
        bitmaps: NDArray[np.bool_] | None = None
        if number < array.n_direct_super_blocks:
            addresses = [next(data_blocks) for _ in range(block.n_data_blocks)]
            if block.n_pages:
                raise fields.error("a data block with pages has no super block")
        else:
            at = super_blocks[number - array.n_direct_super_blocks]
            addresses, bitmaps = _read_super_block(reader, block, at)
        parts += _read_data_blocks(reader, block, addresses, bitmaps)
        start += block.n_data_blocks * block.n_block_elements
    return parts


def _read_super_block(
    reader: _Reader, block: _SuperBlock, address: int
) -> tuple[list[int], NDArray[np.bool_] | None]:
    """Return the addresses of the data blocks and ``(n_data_blocks, n_pages) bool``, if they have pages."""
    if address == UNDEFINED_ADDRESS:
        return [], None
    width = reader.array.sizeof_block_offset
    bitmap_nbytes = block.n_data_blocks * -(-block.n_pages // 8)
    nbytes = _SIZEOF_PREFIX + width + bitmap_nbytes + block.n_data_blocks * SIZEOF_ADDRESS + SIZEOF_CHECKSUM
    fields = reader.block(address, nbytes, nbytes, b"EASB", "Extensible Array super block")
    fields.expect(block.start, width, "block offset")
    raw = fields.take(bitmap_nbytes, "page bitmaps")
    bitmaps = None
    if block.n_pages:
        # The bits of the data blocks follow each other without padding.
        bits = decode_page_bitmap(raw, block.n_data_blocks * block.n_pages)
        bitmaps = bits.reshape(block.n_data_blocks, block.n_pages)
    return [fields.address("data block address") for _ in range(block.n_data_blocks)], bitmaps


def _read_data_blocks(
    reader: _Reader, block: _SuperBlock, addresses: list[int], bitmaps: NDArray[np.bool_] | None
) -> list[_Part]:
    array = reader.array
    structure = "Extensible Array data block"
    width = array.stored_nbytes_width
    sizeof_offset = array.sizeof_block_offset
    elements_nbytes = block.n_block_elements * array.element_nbytes
    nbytes = _SIZEOF_PREFIX + sizeof_offset + elements_nbytes + (1 + block.n_pages) * SIZEOF_CHECKSUM
    parts = []
    for i, address in enumerate(addresses):
        if address == UNDEFINED_ADDRESS:
            continue
        n_checked = _SIZEOF_PREFIX + sizeof_offset + SIZEOF_CHECKSUM if block.n_pages else nbytes
        fields = reader.block(address, nbytes, n_checked, b"EADB", structure)
        start = block.start + i * block.n_block_elements
        offset = fields.uint(sizeof_offset, "block offset")
        # The library counts data blocks of the index block from its first one (H5EA__lookup_elmt).
        if offset not in (start, block.start + (block.n_before + i) * block.n_block_elements):
            raise fields.error(f"block offset is {offset:,}, where {start:,} must be")
        if bitmaps is None:
            columns = decode_elements(fields.take(elements_nbytes, "elements"), stored_nbytes_width=width)
        else:
            raw = reader.file.read(address + n_checked, nbytes - n_checked, structure)
            columns = decode_pages(raw, bitmaps[i], stored_nbytes_width=width, structure=structure)
        parts.append(_Part(array.n_index_block_elements + start, columns))
    return parts


def _grid_numbers(frame: ChunkFrame, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn element numbers into row-major chunk numbers of the grid."""
    axis, others = unlimited_first(frame)
    if axis == 0 or not len(numbers):
        return numbers
    coords = list(np.unravel_index(numbers, (frame.max_grid[axis], *others)))
    coords.insert(axis, coords.pop(0))
    return np.ravel_multi_index(coords, frame.max_grid).astype(np.int64)
