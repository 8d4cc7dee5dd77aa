"""`inspect`: what a file contains and where it lies, without its data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.paths import LocalPath
from streamh5.check.inspection import (
    CELL_LETTERS,
    USER_BLOCK,
    USER_BLOCK_LETTER,
    DatasetInspection,
    FileInspection,
    GroupInspection,
    MetadataPlaces,
    Region,
)
from streamh5.filters.registry import filter_name
from streamh5.format.data_layout import (
    ChunkedLayout,
    CompactLayout,
    ContiguousLayout,
    ImplicitIndex,
    SingleChunkIndex,
    VirtualDatasetLayout,
)
from streamh5.format.datatype_class import datatype_name
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.model.chunk_cells import ChunkCells, chunk_cells
from streamh5.reader.elements import refers_elsewhere
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_content import read_file_content
from streamh5.reader.file_map import Kind
from streamh5.stores.open_store import open_readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamh5.format.filter_pipeline import FilterRecord
    from streamh5.reader.file_content import FileContent, ObjectContent
    from streamh5.reader.file_map import FileMap
    from streamh5.reader.object_content import DatasetMessages


_N_CELLS = 72  # of the map: a line of a terminal
_METADATA = (Kind.SUPERBLOCK, Kind.HEADER, Kind.INDEX, Kind.HEAP)


@check_keywords
def inspect(path: LocalPath, *, storage_options: Mapping[str, Any] | None = None) -> FileInspection:
    """List the objects of a file, and where they lie, without reading its data.

    Use it to see how a file is stored: chunk indexes, filters, compression ratios, and space to which nothing refers.

    Parameters
    ----------
    path
        Path or URL of the file, which may have been written by any program. A damaged file is shown as far as it can be
        read. Of an object in a store, only the metadata is requested; for a file of streamh5 that is one request, of
        1 MiB, unless it has more metadata than that.
    storage_options
        For a URL: credentials and the like, as for fsspec's file system of its protocol.

    Returns
    -------
    FileInspection
        Its `repr` is a page of text with a map of the file.

    Raises
    ------
    FormatError
        The file has no readable superblock.
    UnreadableError
        The file does not exist or cannot be read.

    Examples
    --------
    >>> with streamh5.File("x.h5", "w") as f:
    ...     f["x"] = np.zeros((1000, 1000))
    >>> found = streamh5.inspect("x.h5")
    >>> found.datasets[0].storage, found.datasets[0].stored_nbytes
    ('Single Chunk', 8000000)
    """
    with FileBytes(open_readable(path, storage_options)) as file:
        content = read_file_content(file)
    base = content.superblock.base_address
    heaps = _element_heaps(content)
    return FileInspection(
        path=file.name,
        file_nbytes=content.file_nbytes,
        superblock_version=content.superblock.version,
        page_nbytes=content.page_nbytes,
        is_open_for_writing=content.superblock.is_open_for_writing,
        groups=tuple(
            GroupInspection(
                group.path,
                group.address + base,
                len(group.messages.links),
                len(group.messages.common.attributes),
            )
            for group in content.groups
        ),
        datasets=tuple(_inspect_dataset(dataset, base, heaps) for dataset in content.datasets),
        regions=tuple(_regions(content.file_map, base)),
        cells=_cells(content.file_map, base),
        damaged=tuple(content.damages),
        unchecked=tuple(content.unchecked),
        metadata=_metadata_places(content, heaps),
    )


def _element_heaps(content: FileContent) -> dict[str, int]:
    """Return the size of the heaps with the elements of each dataset that has elements in heaps."""
    heaps = {one.path: 0 for one in content.datasets if refers_elsewhere(one.messages.datatype)}
    for extent in content.file_map.structures():
        if extent.kind is Kind.HEAP and extent.owner in heaps:
            heaps[extent.owner] += extent.nbytes
    return heaps


def _metadata_places(content: FileContent, heaps: dict[str, int]) -> MetadataPlaces:
    found = [
        (extent.address, extent.nbytes)
        for extent in content.file_map.structures()
        if extent.kind is not Kind.DATA and not (extent.kind is Kind.HEAP and extent.owner in heaps)
    ]
    places = np.array(found, np.int64).reshape(-1, 2)
    starts = places[:, 0] + content.superblock.base_address
    return MetadataPlaces(starts, starts + places[:, 1])


def _regions(file_map: FileMap, base_address: int) -> Iterator[Region]:
    if base_address:
        yield Region(USER_BLOCK, 1, base_address, 0, base_address)
    for total in file_map.totals():
        start, stop = total.start + base_address, total.stop + base_address
        yield Region(total.kind.value, total.n_extents, total.nbytes, start, stop)


def _inspect_dataset(
    dataset: ObjectContent[DatasetMessages], base_address: int, heaps: Mapping[str, int]
) -> DatasetInspection:
    messages = dataset.messages
    chunks, index_address, storage, largest = None, None, "contiguous", 0
    n_chunks = n_missing = stored_nbytes = 0
    cells: ChunkCells | None = None
    data: tuple[int | None, int | None] = (None, None)
    match messages.layout:
        case CompactLayout(content):
            storage, stored_nbytes = "compact", len(content)
        case ContiguousLayout(address, nbytes) if address != UNDEFINED_ADDRESS:
            stored_nbytes, data = nbytes, (address, address + nbytes)
        case ContiguousLayout() if messages.external_files:
            storage = "external files"
        case VirtualDatasetLayout():
            storage = "virtual"
        case ChunkedLayout() as layout:
            chunks, storage = layout.chunks, layout.index_kind.value
            # these have no block of their own
            if not isinstance(layout.index, (SingleChunkIndex, ImplicitIndex)):
                index_address = layout.index.address
    if dataset.chunks is not None:
        n_missing, stored_nbytes = dataset.chunks.n_missing, dataset.chunks.nbytes
        found = dataset.chunks.chunk_map
        n_chunks = len(found)
        if found.grid.n_chunks:
            present = found.present()
            cells = chunk_cells(present.grid, present.numbers, present.stored_nbytes)
        if n_chunks:
            data = int(found.addresses.min()), int((found.addresses + found.stored_nbytes).max())
            largest = int(found.stored_nbytes.max())
    return DatasetInspection(
        path=dataset.path,
        shape=messages.dataspace.shape,
        maxshape=messages.dataspace.maxshape,
        dtype=datatype_name(messages.datatype),
        chunks=chunks,
        storage=storage,
        filters=tuple(map(_filter_name, messages.filters)),
        n_chunks=n_chunks,
        n_missing=n_missing,
        nbytes=messages.nbytes,
        stored_nbytes=stored_nbytes,
        n_attributes=len(messages.common.attributes),
        chunk_nbytes=None if chunks is None else math.prod(chunks) * messages.datatype.nbytes,
        largest_chunk_nbytes=largest,
        is_variable_length=dataset.path in heaps,
        heap_nbytes=heaps.get(dataset.path, 0),
        header_address=dataset.address + base_address,
        index_address=_position(index_address, base_address),
        data_start=_position(data[0], base_address),
        data_stop=_position(data[1], base_address),
        chunk_cells=cells,
    )


def _position(address: int | None, base_address: int) -> int | None:
    return None if address in (None, UNDEFINED_ADDRESS) else address + base_address


def _filter_name(record: FilterRecord) -> str:
    name = filter_name(record)
    return f"{name}({', '.join(map(str, record.client_values))})" if record.client_values else name


def _cells(file_map: FileMap, base_address: int) -> str:
    n_user_block = round(_N_CELLS * base_address / max(1, base_address + file_map.file_nbytes))
    n_cells = _N_CELLS - n_user_block
    coverage = file_map.coverage(n_cells)
    metadata = np.stack([coverage[kind] for kind in _METADATA])
    letters = np.array([CELL_LETTERS[kind] for kind in _METADATA])[metadata.argmax(axis=0)]
    has_data = coverage[Kind.DATA] >= coverage[Kind.UNUSED]
    others = np.where(has_data, CELL_LETTERS[Kind.DATA], CELL_LETTERS[Kind.UNUSED])
    return USER_BLOCK_LETTER * n_user_block + "".join(np.where(metadata.sum(axis=0) > 0, letters, others))
