"""The chunk index of a dataset: its size in bytes, its layout record and its blocks.

There is one class for each index, chosen by `_index`. An index has no blocks while no chunk is stored, as in files of
the library: the functions of the module check that, so that the classes need not.

In a file with pages, the blocks of an index that fits a page lie one after the other. A larger index begins a page, and
its blocks are spread so that each of them obeys the `PageRule`. Its arrays then have no pages of their own, each of
which would be a block, and is contiguous with the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from streamh5.engine.index_choice import choose_index
from streamh5.format import data_layout
from streamh5.format.chunk_index.extensible_array import (
    SIZEOF_EXTENSIBLE_ARRAY_HEADER,
    encode_extensible_array_blocks,
    encode_extensible_array_header,
)
from streamh5.format.chunk_index.extensible_array_sizes import LIBRARY_PARAMETERS, ExtensibleArray
from streamh5.format.chunk_index.fixed_array import (
    SIZEOF_FIXED_ARRAY_HEADER,
    FixedArray,
    encode_fixed_array_data_block,
    encode_fixed_array_header,
)
from streamh5.format.chunk_index.v1_btree import V1BTree, encode_v1_btree_nodes
from streamh5.format.chunk_index.v2_btree import chunk_btree, chunk_record, encode_chunk_btree_nodes
from streamh5.format.data_layout import ChunkIndexKind
from streamh5.format.page_rule import NO_PAGES, PageRule
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.v2_btree import SIZEOF_V2_BTREE_HEADER, encode_v2_btree_header
from streamh5.format.v2_btree_sizes import V2BTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamh5.model.tree import DatasetNode


GATHERED_INDEX_NBYTES = 1 << 20
"""Blocks of an index are joined up to this size. The index of 1,000,000 chunks has 500 data blocks, and a call of the
sink for each takes as long as encoding them (tests/benchmarks, growth)."""

MAX_RESERVED_NUMBERS = 1 << 24
"""Chunks that a dataset may have for its whole index to be reserved in front, about 200 MB."""


def sizeof_data(dataset: DatasetNode, rule: PageRule = NO_PAGES) -> int:
    """Return the bytes that a dataset needs besides chunks and header: its index, or its contiguous data."""
    if dataset.spec.chunks is not None:
        n_written = dataset.table.counts.n_written
        return _index(dataset, n_written, rule).sizeof_blocks(n_written) if n_written else 0
    return 0 if not dataset.has_value or dataset.spec.is_compact else dataset.spec.value_nbytes


def max_sizeof_data(dataset: DatasetNode, rule: PageRule = NO_PAGES) -> int:
    """Return the most that `sizeof_data` may become: the size of an index of all chunks.

    Contiguous data that was not written yet counts 0, because it may never be written; so does an index of more than
    `MAX_RESERVED_NUMBERS` chunks, few of which will be written: it goes to the end of the file.
    """
    if dataset.spec.chunks is None:
        return sizeof_data(dataset)
    n_numbers = dataset.n_numbers
    if not n_numbers or n_numbers > MAX_RESERVED_NUMBERS:
        return 0
    return _index(dataset, n_numbers, rule).sizeof_blocks(n_numbers)


def index_layout(dataset: DatasetNode, address: int, rule: PageRule = NO_PAGES) -> data_layout.DataLayout:
    """Return the layout record of a dataset whose index blocks begin at `address`."""
    n_written = dataset.table.counts.n_written
    return _index(dataset, n_written, rule).layout(address if n_written else UNDEFINED_ADDRESS)


def encode_data(dataset: DatasetNode, address: int, rule: PageRule = NO_PAGES) -> Iterator[tuple[int, bytes]]:
    """Yield address and content of a dataset's index, or of its contiguous data, from `address` on."""
    if dataset.spec.chunks is not None:
        n_written = dataset.table.counts.n_written
        if n_written:
            yield from _index(dataset, n_written, rule).blocks(address)
    elif dataset.value is not None and not dataset.spec.is_compact:
        yield address, dataset.value_bytes


@dataclass(frozen=True, slots=True)
class _Index:
    """The index of one dataset: without blocks, unless a subclass has some."""

    dataset: DatasetNode
    rule: PageRule

    def sizeof_blocks(self, n_written: int) -> int:
        """Return the size of its blocks in bytes when `n_written` chunks are stored, at least one."""
        return 0

    def record(self, address: int) -> data_layout.ChunkIndex:
        """Return the index in the layout record when its blocks begin at `address`."""
        raise NotImplementedError

    def layout(self, address: int) -> data_layout.DataLayout:
        """Return the layout record when its blocks begin at `address`."""
        spec, index = self.dataset.spec, self.record(address)
        return data_layout.ChunkedLayout(
            spec.chunks or (), spec.element_nbytes, index, version=spec.layout_version
        )

    def blocks(self, address: int) -> Iterator[tuple[int, bytes]]:
        """Yield address and content of its blocks, which begin at `address`."""
        yield from ()


def _follow(address: int, pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Place pieces one after the other, small ones together: each block is one call of the sink."""
    gathered: list[bytes] = []
    nbytes = 0
    for piece in pieces:
        gathered.append(piece)
        nbytes += len(piece)
        if nbytes >= GATHERED_INDEX_NBYTES:
            yield address, b"".join(gathered)
            address, gathered, nbytes = address + nbytes, [], 0
    if gathered:
        yield address, b"".join(gathered)


class _SingleChunk(_Index):
    __slots__ = ()

    def record(self, address: int) -> data_layout.ChunkIndex:
        columns = self.dataset.table.first(1)
        stored, masks = columns.stored_nbytes, columns.filter_masks
        return data_layout.SingleChunkIndex(
            int(columns.addresses[0]) or UNDEFINED_ADDRESS,
            None if stored is None else int(stored[0]),
            0 if masks is None else int(masks[0]),
        )


class _Implicit(_Index):
    __slots__ = ()

    def record(self, address: int) -> data_layout.ChunkIndex:
        region = self.dataset.chunk_region
        return data_layout.ImplicitIndex(UNDEFINED_ADDRESS if region is None else region.address)


class _FixedArray(_Index):
    __slots__ = ()

    def _sizes(self) -> tuple[FixedArray, int]:
        """Return the sizes of the array, and the position of its data block behind its header."""
        spec = self.dataset.spec
        array = FixedArray(self.dataset.n_numbers, spec.chunk_element)
        if self.rule.holds(SIZEOF_FIXED_ARRAY_HEADER + array.sizeof_data_block):
            return array, SIZEOF_FIXED_ARRAY_HEADER
        array = replace(array, page_bits=max(array.page_bits, array.n_elements.bit_length()))
        return array, self.rule.position(SIZEOF_FIXED_ARRAY_HEADER, array.sizeof_data_block)

    def sizeof_blocks(self, n_written: int) -> int:
        array, position = self._sizes()
        return position + array.sizeof_data_block

    def record(self, address: int) -> data_layout.ChunkIndex:
        return data_layout.FixedArrayIndex(self._sizes()[0].page_bits, address)

    def blocks(self, address: int) -> Iterator[tuple[int, bytes]]:
        array, position = self._sizes()
        block = address + position
        columns = self.dataset.table.first(array.n_elements)
        yield from _follow(block, encode_fixed_array_data_block(array, address, columns))
        yield address, encode_fixed_array_header(array, block)


class _ExtensibleArray(_Index):
    __slots__ = ()

    def _sizes(self) -> ExtensibleArray:
        array = ExtensibleArray(self.dataset.n_numbers, self.dataset.spec.chunk_element)
        if self.rule.holds(SIZEOF_EXTENSIBLE_ARRAY_HEADER + array.sizeof_blocks):
            return array
        page_bits = max(array.parameters.page_bits, array.n_elements.bit_length())
        parameters = replace(LIBRARY_PARAMETERS, page_bits=page_bits)
        return replace(array, parameters=parameters, rule=self.rule, origin=SIZEOF_EXTENSIBLE_ARRAY_HEADER)

    def sizeof_blocks(self, n_written: int) -> int:
        return SIZEOF_EXTENSIBLE_ARRAY_HEADER + self._sizes().sizeof_blocks

    def record(self, address: int) -> data_layout.ChunkIndex:
        return replace(self._sizes().parameters, address=address)

    def blocks(self, address: int) -> Iterator[tuple[int, bytes]]:
        array = self._sizes()
        block = address + SIZEOF_EXTENSIBLE_ARRAY_HEADER
        columns = self.dataset.table.first(array.n_elements)
        yield from _follow(block, encode_extensible_array_blocks(array, address, block, columns))
        yield address, encode_extensible_array_header(array, block)


class _V2BTree(_Index):
    __slots__ = ()

    def _tree(self, n_written: int) -> V2BTree:
        spec = self.dataset.spec
        return chunk_btree(n_written, chunk_record(len(spec.chunks or ()), spec.chunk_element))

    def _nodes_position(self, tree: V2BTree) -> int:
        """Return the position of the nodes behind the header; a multiple of their size lies in one page."""
        fits = self.rule.holds(SIZEOF_V2_BTREE_HEADER + tree.sizeof_nodes)
        return SIZEOF_V2_BTREE_HEADER if fits else tree.node_size

    def sizeof_blocks(self, n_written: int) -> int:
        # It has chunks of the present shape only, although they are numbered over the maximum shape.
        n_chunks = min(n_written, self.dataset.n_chunks)
        tree = self._tree(n_chunks)
        return self._nodes_position(tree) + tree.sizeof_nodes if n_chunks else 0

    def record(self, address: int) -> data_layout.ChunkIndex:
        return data_layout.V2BTreeIndex(self._tree(1).node_size, address)

    def blocks(self, address: int) -> Iterator[tuple[int, bytes]]:
        numbers, columns = self.dataset.table.written(self.dataset.n_numbers)
        tree = self._tree(len(numbers))
        nodes = address + self._nodes_position(tree)
        pieces = encode_chunk_btree_nodes(tree, nodes, numbers, self.dataset.grid.counts, columns)
        yield from _follow(nodes, pieces)
        yield address, encode_v2_btree_header(tree, nodes)


class _V1BTree(_Index):
    __slots__ = ()

    def _tree(self, n_written: int) -> V1BTree:
        spec = self.dataset.spec
        return V1BTree(n_written, spec.chunks or (), spec.element_nbytes)

    def sizeof_blocks(self, n_written: int) -> int:
        n_chunks = min(n_written, self.dataset.n_chunks)  # as in a version 2 B-tree
        return self._tree(n_chunks).sizeof_nodes if n_chunks else 0

    def layout(self, address: int) -> data_layout.DataLayout:
        spec, n_written = self.dataset.spec, self.dataset.table.counts.n_written
        root = address + self._tree(n_written).root_position if n_written else address
        index = data_layout.V1BTreeIndex(root)
        return data_layout.ChunkedLayout(spec.chunks or (), spec.element_nbytes, index, version=3)

    def blocks(self, address: int) -> Iterator[tuple[int, bytes]]:
        numbers, columns = self.dataset.table.written(self.dataset.n_numbers)
        tree = self._tree(len(numbers))
        pieces = encode_v1_btree_nodes(tree, address, numbers, self.dataset.grid.counts, columns)
        yield from _follow(address, pieces)


_INDEXES: dict[ChunkIndexKind, type[_Index]] = {
    ChunkIndexKind.SINGLE_CHUNK: _SingleChunk,
    ChunkIndexKind.IMPLICIT: _Implicit,
    ChunkIndexKind.FIXED_ARRAY: _FixedArray,
    ChunkIndexKind.EXTENSIBLE_ARRAY: _ExtensibleArray,
    ChunkIndexKind.V2_BTREE: _V2BTree,
    ChunkIndexKind.V1_BTREE: _V1BTree,
}


def _index(dataset: DatasetNode, n_written: int, rule: PageRule) -> _Index:
    """Return the index of a dataset that has chunks, when `n_written` of them are stored."""
    return _INDEXES[choose_index(dataset.spec, dataset.n_numbers, n_written)](dataset, rule)
