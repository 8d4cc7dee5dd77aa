"""Numbers and sizes of the blocks of an Extensible Array."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from streamh5.format.checksum import SIZEOF_CHECKSUM
from streamh5.format.chunk_index.element import SIZEOF_BLOCK_PREFIX
from streamh5.format.data_layout import ExtensibleArrayIndex
from streamh5.format.page_rule import NO_PAGES, PageRule
from streamh5.format.primitives import SIZEOF_ADDRESS, UNDEFINED_ADDRESS

LIBRARY_PARAMETERS = ExtensibleArrayIndex()
"""The numbers with which the library creates arrays (H5D_EARRAY_...)."""


@dataclass(frozen=True, slots=True)
class ExtensibleArray:
    """The sizes of an Extensible Array.

    Parameters
    ----------
    n_elements
        Number of chunks of the current shape, at least 1.
    element
        The dtype of an element, from `chunk_element`.
    parameters
        Record of the data layout message, whose address does not matter here; by default with the library's numbers.
        The two minima are powers of two, `page_bits` is the binary logarithm of the elements in a page.
    rule, origin
        Where the blocks may lie in a file with pages; position of the index block behind the begin of a page.
    """

    n_elements: int
    element: np.dtype[np.void]
    parameters: ExtensibleArrayIndex = LIBRARY_PARAMETERS
    rule: PageRule = NO_PAGES
    origin: int = 0

    @property
    def n_super_blocks(self) -> int:
        """Number of super blocks for the largest possible number of elements."""
        return (
            1
            + self.parameters.max_n_elements_bits
            - (self.parameters.min_n_data_block_elements.bit_length() - 1)
        )

    @property
    def n_direct_super_blocks(self) -> int:
        """Number of super blocks whose data blocks the index block points to."""
        return 2 * (self.parameters.min_n_data_block_pointers.bit_length() - 1)

    @property
    def n_data_pointers(self) -> int:
        """Number of data blocks that the index block points to."""
        return 2 * (self.parameters.min_n_data_block_pointers - 1)

    @property
    def n_super_pointers(self) -> int:
        """Number of super blocks that the index block points to."""
        return self.n_super_blocks - self.n_direct_super_blocks

    @property
    def sizeof_index_block(self) -> int:
        """Size of the index block in bytes."""
        elements = self.parameters.n_index_block_elements * self.element.itemsize
        pointers = (self.n_data_pointers + self.n_super_pointers) * SIZEOF_ADDRESS
        return SIZEOF_BLOCK_PREFIX + elements + pointers + SIZEOF_CHECKSUM

    @property
    def sizeof_block_offset(self) -> int:
        """Width of the block offset field."""
        return -(-self.parameters.max_n_elements_bits // 8)

    @property
    def sizeof_blocks(self) -> int:
        """Total size in bytes of the index block, and of the super blocks and data blocks that `n_elements` need."""
        blocks = used_super_blocks(self)
        return blocks[-1].end_position if blocks else self.sizeof_index_block

    def position(self, position: int, nbytes: int) -> int:
        """Return the first position relative to the index block for a block of `nbytes`, from `position` on."""
        return self.rule.position(self.origin + position, nbytes) - self.origin

    def end(self, position: int, nbytes: int) -> int:
        """Return the first position for the block that follows one of `nbytes` at `position`."""
        return self.rule.end(self.origin + position, nbytes) - self.origin


@dataclass(frozen=True, slots=True)
class SuperBlock:
    """Numbers and sizes of a super block and its data blocks.

    Parameters
    ----------
    array, index
        The array, and the number of the super block.
    start
        Number of its first element, not counting those of the index block.
    position
        Position relative to the index block, which is followed by the blocks of a new array, and by gaps where those
        would cross the end of a page.
    """

    array: ExtensibleArray
    index: int
    start: int
    position: int = 0

    @property
    def n_data_blocks(self) -> int:
        """Number of its data blocks."""
        return 1 << self.index // 2

    @property
    def n_block_elements(self) -> int:
        """Number of elements in each data block."""
        return self.array.parameters.min_n_data_block_elements << (self.index + 1) // 2

    @property
    def end(self) -> int:
        """First element of the next super block."""
        return self.start + self.n_data_blocks * self.n_block_elements

    @property
    def n_used(self) -> int:
        """Number of its data blocks that contain elements."""
        n_elements = self.array.n_elements - self.array.parameters.n_index_block_elements - self.start
        return min(self.n_data_blocks, -(-n_elements // self.n_block_elements))

    @property
    def is_direct(self) -> bool:
        """Whether the index block points to the data blocks, so that there is no super block."""
        return self.index < self.array.n_direct_super_blocks

    @property
    def n_pages(self) -> int:
        """Number of pages of each data block, 0 if the block has a single checksum."""
        page_size = 1 << self.array.parameters.page_bits
        return self.n_block_elements // page_size if self.n_block_elements > page_size else 0

    @property
    def sizeof_page(self) -> int:
        """Size in bytes of a page."""
        return (self.array.element.itemsize << self.array.parameters.page_bits) + SIZEOF_CHECKSUM

    @property
    def sizeof_prefix(self) -> int:
        """Size in bytes of the prefix of the super block, and of a data block."""
        return SIZEOF_BLOCK_PREFIX + self.array.sizeof_block_offset

    @property
    def sizeof_page_bitmaps(self) -> int:
        """Size in bytes of the page bitmaps of all data blocks."""
        return self.n_data_blocks * -(-self.n_pages // 8)

    @property
    def sizeof_super_block(self) -> int:
        """Size of the super block in bytes, 0 if there is none."""
        if self.is_direct:
            return 0
        pointers = self.n_data_blocks * SIZEOF_ADDRESS
        return self.sizeof_prefix + self.sizeof_page_bitmaps + pointers + SIZEOF_CHECKSUM

    @property
    def sizeof_data_block(self) -> int:
        """Size in bytes of one data block with its pages."""
        elements = self.n_block_elements * self.array.element.itemsize
        return self.sizeof_prefix + elements + (1 + self.n_pages) * SIZEOF_CHECKSUM

    @property
    def positions(self) -> list[int]:
        """Positions relative to the index block of the data blocks that contain elements."""
        position, nbytes = self.array.end(self.position, self.sizeof_super_block), self.sizeof_data_block
        if not self.array.rule.is_paged:
            return [position + i * nbytes for i in range(self.n_used)]
        found = []
        for _ in range(self.n_used):
            found.append(self.array.position(position, nbytes))
            position = self.array.end(found[-1], nbytes)
        return found

    @property
    def end_position(self) -> int:
        """Position relative to the index block of the end of the last of them."""
        return self.positions[-1] + self.sizeof_data_block

    def data_block_addresses(self, index_block_address: int) -> list[int]:
        """Return the address of each data block, undefined for those without elements."""
        used = [index_block_address + position for position in self.positions]
        return used + [UNDEFINED_ADDRESS] * (self.n_data_blocks - self.n_used)


def used_super_blocks(array: ExtensibleArray) -> list[SuperBlock]:
    """Return the super blocks that `array.n_elements` need."""
    blocks: list[SuperBlock] = []
    start, position = 0, array.sizeof_index_block
    while start < array.n_elements - array.parameters.n_index_block_elements:
        block = SuperBlock(array, len(blocks), start)
        block = replace(block, position=array.position(position, block.sizeof_super_block))
        blocks.append(block)
        start = block.end
        position = array.end(block.positions[-1], block.sizeof_data_block)
    return blocks
