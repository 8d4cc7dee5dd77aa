"""What a dataset's chunk index needs: how many bytes, which layout record, which blocks.

One class for each index, all with the same three members, chosen by `index_plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from streamh5.engine.index_choice import choose_index
from streamh5.format import data_layout
from streamh5.format.chunk_index.extensible_array import (
    SIZEOF_EXTENSIBLE_ARRAY_HEADER,
    encode_extensible_array_blocks,
    encode_extensible_array_header,
)
from streamh5.format.chunk_index.extensible_array_sizes import ExtensibleArray
from streamh5.format.chunk_index.fixed_array import (
    SIZEOF_FIXED_ARRAY_HEADER,
    FixedArray,
    encode_fixed_array_data_block,
    encode_fixed_array_header,
)
from streamh5.format.chunk_index.kind import ChunkIndexKind
from streamh5.format.chunk_index.v1_btree import V1BTree, encode_v1_btree_nodes
from streamh5.format.chunk_index.v2_btree import chunk_btree, encode_chunk_btree_nodes
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.v2_btree import SIZEOF_V2_BTREE_HEADER, encode_v2_btree_header
from streamh5.format.v2_btree_sizes import V2BTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from streamh5.format.chunk_index.element import ChunkColumns
    from streamh5.model.tree import DatasetNode

__all__ = ["IndexPlan", "encode_data", "index_plan", "max_sizeof_data", "sizeof_data"]


MAX_RESERVED_NUMBERS = 1 << 24
"""Chunks that a dataset may have for its whole index to be reserved in front, about 200 MB."""


class IndexPlan(Protocol):
    """An index of one dataset."""

    @property
    def nbytes(self) -> int:
        """Bytes of its blocks: none while no chunk is written, as in the library's own files."""

    @property
    def max_nbytes(self) -> int:
        """Bytes of its blocks if every chunk were written."""

    def layout(self, address: int) -> data_layout.DataLayout:
        """Return the layout record of a dataset whose index blocks begin at `address`."""

    def encode(self, address: int) -> Iterator[tuple[int, bytes]]:
        """Yield address and content of its blocks, which begin at `address`."""


def index_plan(dataset: DatasetNode, *, is_full: bool = False) -> IndexPlan:
    """Plan the index of a dataset that has chunks, as it is now, or if every chunk were stored."""
    n_written = dataset.n_numbers if is_full else dataset.table.n_written
    match choose_index(dataset.spec, dataset.n_numbers, n_written):
        case ChunkIndexKind.SINGLE_CHUNK:
            return _SingleChunk(dataset)
        case ChunkIndexKind.IMPLICIT:
            return _Implicit(dataset)
        case ChunkIndexKind.FIXED_ARRAY:
            return _FixedArray(dataset)
        case ChunkIndexKind.EXTENSIBLE_ARRAY:
            return _ExtensibleArray(dataset)
        case ChunkIndexKind.V2_BTREE:
            return _V2BTree(dataset)
        case ChunkIndexKind.V1_BTREE:
            return _V1BTree(dataset)


def sizeof_data(dataset: DatasetNode) -> int:
    """Bytes that a dataset needs besides chunks and header: its index, or data stored contiguously."""
    if dataset.spec.chunks is not None:
        return index_plan(dataset).nbytes
    return 0 if not dataset.has_value or dataset.spec.is_compact else dataset.spec.value_nbytes


def max_sizeof_data(dataset: DatasetNode) -> int:
    """Most bytes that `sizeof_data` may come to: those of an index if every chunk were written.

    Contiguous data that there is none of yet counts nothing: it may never come. Neither does an index of so many chunks
    that few of them must be expected: it goes to the end of the file.
    """
    if dataset.spec.chunks is None:
        return sizeof_data(dataset)
    return 0 if dataset.n_numbers > MAX_RESERVED_NUMBERS else index_plan(dataset, is_full=True).max_nbytes


def encode_data(dataset: DatasetNode, address: int) -> Iterator[tuple[int, bytes]]:
    """Yield address and content of a dataset's index, or of its contiguous data, from `address` on."""
    if dataset.spec.chunks is not None:
        yield from index_plan(dataset).encode(address)
    elif dataset.value is not None and not dataset.spec.is_compact:
        yield address, dataset.value_bytes


def _chunked(dataset: DatasetNode, index: data_layout.ChunkIndex) -> data_layout.ChunkedLayout:
    spec = dataset.spec
    return data_layout.ChunkedLayout(
        spec.chunks or (), spec.element_nbytes, index, version=spec.layout_version
    )


def _follow(address: int, pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Place pieces one after the other."""
    for piece in pieces:
        yield address, piece
        address += len(piece)


def _written(dataset: DatasetNode) -> tuple[NDArray[np.intp], ChunkColumns]:
    """Numbers of the chunks that were written, ascending, and their columns."""
    return dataset.table.written(dataset.n_numbers)


@dataclass(frozen=True, slots=True)
class _SingleChunk:
    dataset: DatasetNode
    nbytes: int = 0
    max_nbytes: int = 0

    def layout(self, address: int) -> data_layout.DataLayout:
        columns = self.dataset.table.first(1)
        stored, masks = columns.stored_nbytes, columns.filter_masks
        chunk_address = int(columns.addresses[0]) or UNDEFINED_ADDRESS
        record = data_layout.SingleChunk(
            chunk_address,
            None if stored is None else int(stored[0]),
            0 if masks is None else int(masks[0]),
        )
        return _chunked(self.dataset, record)

    def encode(self, address: int) -> Iterator[tuple[int, bytes]]:
        yield from ()


@dataclass(frozen=True, slots=True)
class _Implicit:
    dataset: DatasetNode
    nbytes: int = 0
    max_nbytes: int = 0

    def layout(self, address: int) -> data_layout.DataLayout:
        region = self.dataset.chunk_region
        record = data_layout.Implicit(UNDEFINED_ADDRESS if region is None else region.address)
        return _chunked(self.dataset, record)

    def encode(self, address: int) -> Iterator[tuple[int, bytes]]:
        yield from ()


@dataclass(frozen=True, slots=True)
class _FixedArray:
    dataset: DatasetNode

    @property
    def _array(self) -> FixedArray:
        spec = self.dataset.spec
        return FixedArray(
            self.dataset.n_numbers, spec.chunk_nbytes, bool(spec.filters), layout_version=spec.layout_version
        )

    @property
    def nbytes(self) -> int:
        return self.max_nbytes if self.dataset.table.n_written else 0

    @property
    def max_nbytes(self) -> int:
        return SIZEOF_FIXED_ARRAY_HEADER + self._array.sizeof_data_block if self.dataset.n_numbers else 0

    def layout(self, address: int) -> data_layout.DataLayout:
        record = data_layout.FixedArray(
            self._array.page_bits, address if self.dataset.table.n_written else UNDEFINED_ADDRESS
        )
        return _chunked(self.dataset, record)

    def encode(self, address: int) -> Iterator[tuple[int, bytes]]:
        array = self._array
        if not self.dataset.table.n_written:
            return
        block = address + SIZEOF_FIXED_ARRAY_HEADER
        columns = self.dataset.table.first(array.n_elements)
        pieces = encode_fixed_array_data_block(
            array, address, columns.addresses, columns.stored_nbytes, columns.filter_masks
        )
        yield from _follow(block, pieces)
        yield address, encode_fixed_array_header(array, block)


@dataclass(frozen=True, slots=True)
class _ExtensibleArray:
    dataset: DatasetNode

    @property
    def _array(self) -> ExtensibleArray:
        spec = self.dataset.spec
        return ExtensibleArray(
            self.dataset.n_numbers, spec.chunk_nbytes, bool(spec.filters), layout_version=spec.layout_version
        )

    @property
    def nbytes(self) -> int:
        return self.max_nbytes if self.dataset.table.n_written else 0

    @property
    def max_nbytes(self) -> int:
        return SIZEOF_EXTENSIBLE_ARRAY_HEADER + self._array.sizeof_blocks if self.dataset.n_numbers else 0

    def layout(self, address: int) -> data_layout.DataLayout:
        record = data_layout.ExtensibleArray(address if self.dataset.table.n_written else UNDEFINED_ADDRESS)
        return _chunked(self.dataset, record)

    def encode(self, address: int) -> Iterator[tuple[int, bytes]]:
        array = self._array
        if not self.dataset.table.n_written:
            return
        block = address + SIZEOF_EXTENSIBLE_ARRAY_HEADER
        columns = self.dataset.table.first(array.n_elements)
        pieces = encode_extensible_array_blocks(
            array,
            address,
            block,
            columns.addresses,
            stored_nbytes=columns.stored_nbytes,
            filter_masks=columns.filter_masks,
        )
        yield from _follow(block, pieces)
        yield address, encode_extensible_array_header(array, block)


@dataclass(frozen=True, slots=True)
class _V2BTree:
    dataset: DatasetNode

    def _tree(self, n_chunks: int) -> V2BTree:
        spec = self.dataset.spec
        return chunk_btree(
            n_chunks,
            len(spec.chunks or ()),
            chunk_nbytes=spec.chunk_nbytes,
            filtered=bool(spec.filters),
            layout_version=spec.layout_version,
        )

    @property
    def nbytes(self) -> int:
        n_chunks = self.dataset.table.n_written
        return SIZEOF_V2_BTREE_HEADER + self._tree(n_chunks).sizeof_nodes if n_chunks else 0

    @property
    def max_nbytes(self) -> int:
        n_chunks = self.dataset.n_chunks
        return SIZEOF_V2_BTREE_HEADER + self._tree(n_chunks).sizeof_nodes if n_chunks else 0

    def layout(self, address: int) -> data_layout.DataLayout:
        tree = self._tree(1)
        record = data_layout.V2BTree(
            tree.node_size, address if self.dataset.table.n_written else UNDEFINED_ADDRESS
        )
        return _chunked(self.dataset, record)

    def encode(self, address: int) -> Iterator[tuple[int, bytes]]:
        numbers, columns = _written(self.dataset)
        if not len(numbers):
            return
        tree = self._tree(len(numbers))
        nodes = address + SIZEOF_V2_BTREE_HEADER
        pieces = encode_chunk_btree_nodes(
            tree,
            nodes,
            numbers.astype(np.uint64),
            self.dataset.grid.counts,
            addresses=columns.addresses,
            stored_nbytes=columns.stored_nbytes,
            filter_masks=columns.filter_masks,
        )
        yield from _follow(nodes, pieces)
        yield address, encode_v2_btree_header(tree, nodes)


@dataclass(frozen=True, slots=True)
class _V1BTree:
    dataset: DatasetNode

    def _tree(self, n_chunks: int) -> V1BTree:
        spec = self.dataset.spec
        return V1BTree(n_chunks, spec.chunks or (), spec.element_nbytes)

    @property
    def nbytes(self) -> int:
        n_chunks = self.dataset.table.n_written
        return self._tree(n_chunks).sizeof_nodes if n_chunks else 0

    @property
    def max_nbytes(self) -> int:
        n_chunks = self.dataset.n_chunks
        return self._tree(n_chunks).sizeof_nodes if n_chunks else 0

    def layout(self, address: int) -> data_layout.DataLayout:
        n_chunks = self.dataset.table.n_written
        root = address + self._tree(n_chunks).root_position if n_chunks else UNDEFINED_ADDRESS
        spec = self.dataset.spec
        return data_layout.ChunkedLayoutV3(spec.chunks or (), spec.element_nbytes, root)

    def encode(self, address: int) -> Iterator[tuple[int, bytes]]:
        numbers, columns = _written(self.dataset)
        if not len(numbers):
            return
        pieces = encode_v1_btree_nodes(
            self._tree(len(numbers)),
            address,
            numbers.astype(np.uint64),
            self.dataset.grid.counts,
            addresses=columns.addresses,
            stored_nbytes=columns.stored_nbytes,
            filter_masks=columns.filter_masks,
        )
        yield from _follow(address, pieces)
