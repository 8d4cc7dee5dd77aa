"""Data layout and external file list messages from bytes (specification IV.A.2.h and i)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

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
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.primitives import MAX_RANK, encoded_length

__all__ = [
    "UNSTATED_NBYTES",
    "ExternalFileList",
    "ExternalSlot",
    "StoredLayout",
    "VirtualLayout",
    "decode_data_layout",
    "decode_external_file_list",
]

_COMPACT, _CONTIGUOUS, _CHUNKED, _VIRTUAL = range(4)
_SINGLE_CHUNK = 1
_DONT_FILTER_PARTIAL_EDGE_CHUNKS = 0x01
_SINGLE_INDEX_WITH_FILTER = 0x02
_VERSIONS = (1, 2, 3, 4, 5)

UNSTATED_NBYTES = -1
"""Size of contiguous data in versions 1 and 2, which do not say it."""


@dataclass(frozen=True, slots=True)
class VirtualLayout:
    """Raw data in other datasets: `index` of a global heap collection is the list of mappings, if there is any."""

    collection_address: int
    index: int


StoredLayout: TypeAlias = DataLayout | VirtualLayout


@dataclass(frozen=True, slots=True)
class ExternalSlot:
    """A part of the data: where its file's name is in the local heap, where it begins there, and its size."""

    name_offset: int
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class ExternalFileList:
    """The files that hold contiguous data one after the other, with their names in a local heap."""

    heap_address: int
    slots: tuple[ExternalSlot, ...]


def decode_data_layout(body: bytes, encoding: Encoding = ENCODING) -> StoredLayout:
    """Decode a data layout message of version 1 to 5.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "data layout message", encoding)
    version = fields.version(*_VERSIONS)
    layout: StoredLayout
    if version < 3:
        layout = _decode_old(fields)
        fields.end()
        return layout
    layout_class = fields.uint(1, "layout class")
    if layout_class > _VIRTUAL or (layout_class == _VIRTUAL and version < 4):
        raise fields.error(f"version {version} and class {layout_class} are not known")
    if layout_class == _COMPACT:
        layout = CompactLayout(fields.take(fields.uint(2, "compact data size"), "compact data"))
    elif layout_class == _CONTIGUOUS:
        layout = ContiguousLayout(fields.address("address"), fields.length("size"))
    elif layout_class == _VIRTUAL:
        layout = VirtualLayout(fields.address("global heap address"), fields.uint(4, "global heap index"))
    elif version == 3:
        layout = _decode_chunked_v3(fields)
    else:
        layout = _decode_chunked(fields, version)
    fields.end()
    return layout


def decode_external_file_list(body: bytes, encoding: Encoding = ENCODING) -> ExternalFileList:
    """Decode an external file list message.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "external data files message", encoding)
    fields.expect(1, 1, "version")
    fields.take(3, "reserved bytes")
    n_allocated, n_used = fields.uint(2, "allocated slots"), fields.uint(2, "used slots")
    if n_used > n_allocated:
        raise fields.error(f"{n_used} of {n_allocated} slots are used")
    heap_address = fields.address("heap address")
    slots = tuple(
        ExternalSlot(fields.length("name offset"), fields.length("offset"), fields.length("data size"))
        for _ in range(n_used)
    )
    return ExternalFileList(heap_address, slots)


def _decode_old(fields: Fields) -> StoredLayout:
    """Decode what follows the version in versions 1 and 2."""
    n_dims = fields.uint(1, "dimensionality")
    layout_class = fields.uint(1, "layout class")
    if not 1 <= n_dims <= MAX_RANK + 1 or layout_class > _CHUNKED:
        raise fields.error(f"dimensionality {n_dims} and class {layout_class} are not known")
    fields.take(5, "reserved bytes")
    address = fields.address("data address") if layout_class != _COMPACT else 0
    dims = tuple(fields.uint(4, "dimension size") for _ in range(n_dims))
    if layout_class == _COMPACT:
        return CompactLayout(fields.take(fields.uint(4, "compact data size"), "compact data"))
    if layout_class == _CONTIGUOUS:
        return ContiguousLayout(address, UNSTATED_NBYTES)
    if n_dims < 2:
        raise fields.error("chunks without dimensions")
    _check_dims(fields, dims)
    return ChunkedLayoutV3(dims[:-1], dims[-1], address)


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
