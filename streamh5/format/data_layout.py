"""Data layout message: versions 1 to 5 are read, 3 to 5 are written (specification IV.A.2.i)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import ClassVar, TypeAlias, get_args

from streamh5.errors import ChunkShapeError, over_limit
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.header import decode_stored, encode_stored, stored
from streamh5.format.object_header import Message, MessageType
from streamh5.format.primitives import (
    MAX_CHUNK_NBYTES,
    MAX_COMPACT_NBYTES,
    MAX_RANK,
    UNDEFINED_ADDRESS,
    address,
    concat,
    encoded_length,
    length,
    uint,
)


class _Class(IntEnum):
    COMPACT = 0
    CONTIGUOUS = 1
    CHUNKED = 2
    VIRTUAL = 3


class ChunkIndexKind(Enum):
    """The chunk indexes, by name, in the order of their numbers (``H5D_chunk_index_t``)."""

    V1_BTREE = "v1 B-tree"
    SINGLE_CHUNK = "Single Chunk"
    IMPLICIT = "Implicit"
    FIXED_ARRAY = "Fixed Array"
    EXTENSIBLE_ARRAY = "Extensible Array"
    V2_BTREE = "v2 B-tree"


class _ChunkedFlag(IntEnum):
    DONT_FILTER_PARTIAL_EDGE_CHUNKS = 0x01
    SINGLE_INDEX_WITH_FILTER = 0x02


UNSTATED_NBYTES = -1  # size of contiguous data in versions 1 and 2 of the message, which do not store it


@dataclass(frozen=True, slots=True)
class V1BTreeIndex:
    """The version 1 B-tree whose root is at `address`, for HDF5 before 1.10: the only index of version 3."""

    kind: ClassVar[ChunkIndexKind] = ChunkIndexKind.V1_BTREE
    address: int = UNDEFINED_ADDRESS


@dataclass(frozen=True, slots=True)
class SingleChunkIndex:
    """The only chunk of a dataset, at `address` (undefined if it was never written).

    `stored_nbytes` is its size after filters, None exactly if there are no filters; bit i of `filter_mask` is set if
    filter i was skipped.
    """

    kind: ClassVar[ChunkIndexKind] = ChunkIndexKind.SINGLE_CHUNK
    address: int = UNDEFINED_ADDRESS
    stored_nbytes: int | None = None
    filter_mask: int = 0


@dataclass(frozen=True, slots=True)
class ImplicitIndex:
    """All chunks of the grid, without filters, consecutively from `address`."""

    kind: ClassVar[ChunkIndexKind] = ChunkIndexKind.IMPLICIT
    address: int = UNDEFINED_ADDRESS


@dataclass(frozen=True, slots=True)
class FixedArrayIndex:
    """A Fixed Array whose header is at `address`; that header has the same `page_bits`."""

    kind: ClassVar[ChunkIndexKind] = ChunkIndexKind.FIXED_ARRAY
    page_bits: int = stored(1, "page bits")
    address: int = UNDEFINED_ADDRESS


@dataclass(frozen=True, slots=True)
class ExtensibleArrayIndex:
    """An Extensible Array whose header is at `address`; that header has the same numbers."""

    kind: ClassVar[ChunkIndexKind] = ChunkIndexKind.EXTENSIBLE_ARRAY
    address: int = UNDEFINED_ADDRESS
    max_n_elements_bits: int = stored(1, "max bits", 32)
    n_index_block_elements: int = stored(1, "index elements", 4)
    # The header of the array has the two minima in the other order.
    min_n_data_block_pointers: int = stored(1, "min pointers", 4)
    min_n_data_block_elements: int = stored(1, "min elements", 16)
    page_bits: int = stored(1, "page bits", 10)


@dataclass(frozen=True, slots=True)
class V2BTreeIndex:
    """A version 2 B-tree whose header is at `address`; that header has the same numbers."""

    kind: ClassVar[ChunkIndexKind] = ChunkIndexKind.V2_BTREE
    node_size: int = stored(4, "node size")
    address: int = UNDEFINED_ADDRESS
    split_percent: int = stored(1, "split percent", 100)
    merge_percent: int = stored(1, "merge percent", 40)


ChunkIndex: TypeAlias = (
    V1BTreeIndex | SingleChunkIndex | ImplicitIndex | FixedArrayIndex | ExtensibleArrayIndex | V2BTreeIndex
)


@dataclass(frozen=True, slots=True)
class CompactLayout:
    """Raw data inside the message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ContiguousLayout:
    """Raw data in one block of `nbytes` at `address` (undefined if nothing is stored: reads as fill value)."""

    address: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class ChunkedLayout:
    """Raw data in chunks.

    Parameters
    ----------
    chunks, element_nbytes
        Shape of a chunk, of the dataset's rank, and size of the datatype.
    index
        Record of the chunk index.
    version
        3 with a version 1 B-tree, 4 with the other indexes, 5 for chunks of 4 GiB and more (HDF5 2.0).
    filter_partial_edge_chunks
        Whether chunks that extend beyond the shape are filtered.
    """

    chunks: tuple[int, ...]
    element_nbytes: int
    index: ChunkIndex
    version: int = 4
    filter_partial_edge_chunks: bool = True

    @property
    def index_kind(self) -> ChunkIndexKind:
        """Kind of its index."""
        return self.index.kind


@dataclass(frozen=True, slots=True)
class VirtualDatasetLayout:
    """Raw data in other datasets; the list of mappings, if any, is object `index` of a global heap collection."""

    collection_address: int
    index: int


DataLayout: TypeAlias = CompactLayout | ContiguousLayout | ChunkedLayout | VirtualDatasetLayout

_NUMBERS = {kind: number for number, kind in enumerate(ChunkIndexKind)}
# In version 4 and 5, where an index has a number; that of the version 1 B-tree is 0, and is refused.
_RECORDS: dict[int, type[ChunkIndex]] = {
    _NUMBERS[record.kind]: record for record in get_args(ChunkIndex) if record is not V1BTreeIndex
}


def encode_data_layout(layout: DataLayout) -> Message:
    """Encode a data layout message.

    Raises
    ------
    LimitError
        Compact data of more than 65,531 bytes, or a chunk of 4 GiB and more below version 5.
    ChunkShapeError
        A chunk dimension below 1.
    """
    match layout:
        case CompactLayout():
            body = _encode_compact(layout)
        case ContiguousLayout():
            body = concat(
                uint(3, 1, "layout version"),
                uint(_Class.CONTIGUOUS, 1, "layout class"),
                address(layout.address, "contiguous data address"),
                length(layout.nbytes, "contiguous data size"),
            )
        case ChunkedLayout():
            body = _encode_chunked(layout)
        case VirtualDatasetLayout():
            body = concat(
                uint(4, 1, "layout version"),
                uint(_Class.VIRTUAL, 1, "layout class"),
                address(layout.collection_address, "global heap address"),
                uint(layout.index, 4, "global heap index"),
            )
    return Message(MessageType.DATA_LAYOUT, body)


def _encode_compact(layout: CompactLayout) -> bytes:
    nbytes = len(layout.data)
    if nbytes > MAX_COMPACT_NBYTES:
        advice = ": store the data contiguous or chunked"
        raise over_limit(f"a compact layout of {nbytes} bytes", MAX_COMPACT_NBYTES, advice, nbytes=nbytes)
    return concat(
        uint(3, 1, "layout version"),
        uint(_Class.COMPACT, 1, "layout class"),
        uint(nbytes, 2, "compact data size"),
        layout.data,
    )


def _encode_chunked(layout: ChunkedLayout) -> bytes:
    _check_chunk(layout, max_nbytes=None if layout.version >= 5 else MAX_CHUNK_NBYTES)
    dims = (*layout.chunks, layout.element_nbytes)
    if layout.version == 3:
        return concat(
            uint(3, 1, "layout version"),
            uint(_Class.CHUNKED, 1, "layout class"),
            uint(len(dims), 1, "dimensionality"),
            address(layout.index.address, "B-tree address"),
            *(uint(size, 4, "chunk dimension size") for size in dims),
        )
    width = encoded_length(max(dims))  # HDF5 2.0 requires the narrowest width for the largest dimension
    flags = 0 if layout.filter_partial_edge_chunks else _ChunkedFlag.DONT_FILTER_PARTIAL_EDGE_CHUNKS
    if isinstance(layout.index, SingleChunkIndex) and layout.index.stored_nbytes is not None:
        flags |= _ChunkedFlag.SINGLE_INDEX_WITH_FILTER
    return concat(
        uint(layout.version, 1, "layout version"),
        uint(_Class.CHUNKED, 1, "layout class"),
        uint(flags, 1, "flags"),
        uint(len(dims), 1, "dimensionality"),
        uint(width, 1, "dimension size encoded length"),
        *(uint(size, width, "chunk dimension size") for size in dims),
        _encode_index(layout.index),
    )


def _encode_index(index: ChunkIndex) -> bytes:
    parts = [uint(_NUMBERS[index.kind], 1, "chunk indexing type")]
    if isinstance(index, SingleChunkIndex) and index.stored_nbytes is not None:
        parts.append(length(index.stored_nbytes, "size of filtered chunk"))
        parts.append(uint(index.filter_mask, 4, "filters for chunk"))
    return concat(*parts, *encode_stored(index), address(index.address, "chunk index address"))


def _check_chunk(layout: ChunkedLayout, *, max_nbytes: int | None) -> None:
    if not layout.chunks or min(layout.chunks) < 1:
        raise ChunkShapeError(
            f"chunks {layout.chunks} must have at least one dimension and no size below 1",
            chunks=layout.chunks,
        )
    nbytes = math.prod(layout.chunks) * layout.element_nbytes
    if max_nbytes is not None and nbytes > max_nbytes:
        raise over_limit(
            f"a chunk {layout.chunks} of {layout.element_nbytes}-byte elements has {nbytes} bytes",
            max_nbytes,
            " before version 2.0: choose smaller chunks",
            chunks=layout.chunks,
            nbytes=nbytes,
        )


def decode_data_layout(body: bytes, encoding: Encoding = ENCODING) -> DataLayout:
    """Decode a data layout message of version 1 to 5.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "data layout message", encoding)
    version = fields.version(1, 2, 3, 4, 5)
    layout = _decode_old(fields) if version < 3 else _decode(fields, version)
    fields.end()
    return layout


def _decode(fields: Fields, version: int) -> DataLayout:
    """Decode the fields after the version in versions 3 to 5."""
    layout_class = fields.uint(1, "layout class")
    if layout_class == _Class.COMPACT:
        return CompactLayout(fields.take(fields.uint(2, "compact data size"), "compact data"))
    if layout_class == _Class.CONTIGUOUS:
        return ContiguousLayout(fields.address("address"), fields.length("size"))
    if layout_class == _Class.CHUNKED:
        if version > 3:
            return _decode_chunked(fields, version)
        n_dims, btree_address = _decode_dimensionality(fields), fields.address("B-tree address")
        return ChunkedLayout(*_decode_dims(fields, n_dims, 4), V1BTreeIndex(btree_address), 3)
    if layout_class == _Class.VIRTUAL and version > 3:
        return VirtualDatasetLayout(
            fields.address("global heap address"), fields.uint(4, "global heap index")
        )
    raise fields.error(f"version {version} and class {layout_class} are not known")


def _decode_old(fields: Fields) -> DataLayout:
    """Decode the fields after the version in versions 1 and 2."""
    n_dims = fields.uint(1, "dimensionality")
    layout_class = fields.uint(1, "layout class")
    if not 1 <= n_dims <= MAX_RANK + 1 or layout_class > _Class.CHUNKED:
        raise fields.error(f"dimensionality {n_dims} and class {layout_class} are not known")
    fields.take(5, "reserved bytes")
    data_address = fields.address("data address") if layout_class != _Class.COMPACT else 0
    if layout_class == _Class.CHUNKED:
        if n_dims < 2:
            raise fields.error("chunks without dimensions")
        return ChunkedLayout(*_decode_dims(fields, n_dims, 4), V1BTreeIndex(data_address), 3)
    fields.take(4 * n_dims, "dimension sizes")
    if layout_class == _Class.COMPACT:
        return CompactLayout(fields.take(fields.uint(4, "compact data size"), "compact data"))
    return ContiguousLayout(data_address, UNSTATED_NBYTES)


def _decode_chunked(fields: Fields, version: int) -> ChunkedLayout:
    flags = fields.flags(_ChunkedFlag)
    n_dims = _decode_dimensionality(fields)
    width = fields.uint(1, "dimension size encoded length")
    chunks, element_nbytes = _decode_dims(fields, n_dims, width)
    fewest = encoded_length(max(*chunks, element_nbytes))
    if width != fewest:
        raise fields.error(
            f"dimension sizes have {width} bytes, but {fewest} are enough for the largest; HDF5 2.0 and 2.1 refuse that"
        )
    index = _decode_index(fields, flags)
    filters_edges = not flags & _ChunkedFlag.DONT_FILTER_PARTIAL_EDGE_CHUNKS
    return ChunkedLayout(chunks, element_nbytes, index, version, filters_edges)


def _decode_index(fields: Fields, flags: int) -> ChunkIndex:
    number = fields.uint(1, "chunk indexing type")
    if number not in _RECORDS:
        raise fields.error(f"chunk indexing type {number} is not known")
    record = _RECORDS[number]
    values: dict[str, int] = {}
    if flags & _ChunkedFlag.SINGLE_INDEX_WITH_FILTER:
        if record is not SingleChunkIndex:
            raise fields.error(f"flags are {flags:#04x}, but the index is not a single chunk")
        values["stored_nbytes"] = fields.length("size of filtered chunk")
        values["filter_mask"] = fields.uint(4, "filters for chunk")
    values |= decode_stored(fields, record)
    return record(address=fields.address("chunk index address"), **values)


def _decode_dimensionality(fields: Fields) -> int:
    n_dims = fields.uint(1, "dimensionality")
    if not 2 <= n_dims <= MAX_RANK + 1:
        raise fields.error(f"dimensionality is {n_dims}; it must be 2 to {MAX_RANK + 1}")
    return n_dims


def _decode_dims(fields: Fields, n_dims: int, width: int) -> tuple[tuple[int, ...], int]:
    """Return the shape of a chunk and the size of its elements, which is stored as the last dimension."""
    dims = tuple(fields.uint(width, "chunk dimension size") for _ in range(n_dims))
    if min(dims) < 1:
        raise fields.error(f"a chunk dimension of size 0 among {dims}")
    return dims[:-1], dims[-1]
