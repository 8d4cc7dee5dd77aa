"""Data layout message, versions 3 to 5, from bytes (specification IV.A.2.i)."""

from __future__ import annotations

from streamh5.errors import ForeignStructureError
from streamh5.format.data_layout import (
    ChunkedLayout,
    ChunkedLayoutV3,
    ChunkIndex,
    CompactLayout,
    ContiguousLayout,
    DataLayout,
    ExtensibleArray,
    FixedArray,
    Implicit,
    SingleChunk,
    V2BTree,
)
from streamh5.format.primitives import MAX_RANK, encoded_length
from streamh5.reader.fields import Fields

__all__ = ["decode_data_layout"]

_COMPACT, _CONTIGUOUS, _CHUNKED, _VIRTUAL = range(4)
_SINGLE_CHUNK = 1
_DONT_FILTER_PARTIAL_EDGE_CHUNKS = 0x01
_SINGLE_INDEX_WITH_FILTER = 0x02


def decode_data_layout(body: bytes) -> DataLayout:
    """Decode a data layout message.

    Raises
    ------
    FormatError
        A field is wrong.
    ForeignStructureError
        A virtual dataset, or a version before 3.
    """
    fields = Fields(body, "data layout message")
    version, layout_class = fields.uint(1, "version"), fields.uint(1, "layout class")
    if version in (1, 2) or layout_class == _VIRTUAL:
        raise ForeignStructureError(f"data layout message: version {version}, class {layout_class}")
    if not 3 <= version <= 5 or layout_class > _VIRTUAL:
        raise fields.error(f"version {version} and class {layout_class} are not known")
    layout: DataLayout
    if layout_class == _COMPACT:
        layout = CompactLayout(fields.take(fields.uint(2, "compact data size"), "compact data"))
    elif layout_class == _CONTIGUOUS:
        layout = ContiguousLayout(fields.address("address"), fields.length("size"))
    elif version == 3:
        layout = _decode_chunked_v3(fields)
    else:
        layout = _decode_chunked(fields, version)
    fields.end()
    return layout


def _decode_chunked_v3(fields: Fields) -> ChunkedLayoutV3:
    n_dims = _dimensionality(fields)
    address = fields.address("B-tree address")
    dims = tuple(fields.uint(4, "chunk dimension size") for _ in range(n_dims))
    _check_dims(fields, dims)
    return ChunkedLayoutV3(dims[:-1], dims[-1], address)


def _decode_chunked(fields: Fields, version: int) -> ChunkedLayout:
    flags = fields.uint(1, "flags")
    if flags & ~(_DONT_FILTER_PARTIAL_EDGE_CHUNKS | _SINGLE_INDEX_WITH_FILTER):
        raise fields.error(f"flags are {flags:#04x}, with reserved bits")
    n_dims = _dimensionality(fields)
    width = fields.uint(1, "dimension size encoded length")
    dims = tuple(fields.uint(width, "chunk dimension size") for _ in range(n_dims))
    _check_dims(fields, dims)
    if width != encoded_length(max(dims)):
        raise fields.error(
            f"dimension sizes take {width} bytes where {encoded_length(max(dims))} hold the largest; "
            "HDF5 2.0 and 2.1 refuse that"
        )
    index = _decode_index(fields, flags)
    return ChunkedLayout(dims[:-1], dims[-1], index, version, not flags & _DONT_FILTER_PARTIAL_EDGE_CHUNKS)


def _decode_index(fields: Fields, flags: int) -> ChunkIndex:
    index_type = fields.uint(1, "chunk indexing type")
    if flags & _SINGLE_INDEX_WITH_FILTER and index_type != _SINGLE_CHUNK:
        raise fields.error(f"flags are {flags:#04x}, but the index is no single chunk")
    match index_type:
        case 1:
            if not flags & _SINGLE_INDEX_WITH_FILTER:
                return SingleChunk(fields.address("chunk address"))
            stored_nbytes = fields.length("size of filtered chunk")
            filter_mask = fields.uint(4, "filters for chunk")
            return SingleChunk(fields.address("chunk address"), stored_nbytes, filter_mask)
        case 2:
            return Implicit(fields.address("address of the chunks"))
        case 3:
            page_bits = fields.uint(1, "page bits")
            return FixedArray(page_bits, fields.address("chunk index address"))
        case 4:
            names = ("max bits", "index elements", "min pointers", "min elements", "page bits")
            numbers = [fields.uint(1, name) for name in names]
            return ExtensibleArray(fields.address("chunk index address"), *numbers)
        case 5:
            node_size = fields.uint(4, "node size")
            split, merge = fields.uint(1, "split percent"), fields.uint(1, "merge percent")
            return V2BTree(node_size, fields.address("chunk index address"), split, merge)
        case _:
            raise fields.error(f"chunk indexing type {index_type} is not known")


def _dimensionality(fields: Fields) -> int:
    n_dims = fields.uint(1, "dimensionality")
    if not 2 <= n_dims <= MAX_RANK + 1:
        raise fields.error(f"dimensionality is {n_dims}, where 2 to {MAX_RANK + 1} must be")
    return n_dims


def _check_dims(fields: Fields, dims: tuple[int, ...]) -> None:
    if min(dims) < 1:
        raise fields.error(f"a chunk dimension of size 0 among {dims}")
