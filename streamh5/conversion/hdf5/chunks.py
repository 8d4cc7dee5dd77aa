"""Where the data of an HDF5 dataset is stored: its chunks and filters, and the sources of a virtual dataset."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.array_plan import SourceFilters, StoredAs
from streamh5.conversion.hdf5.chunk_reader import StoredChunkReader
from streamh5.conversion.hdf5.decoded_regions import DecodedRegions, can_decode
from streamh5.conversion.hdf5.partly_read import MAX_PARTLY_READ_NBYTES, PartlyReadChunks
from streamh5.conversion.hdf5.problems import reading
from streamh5.conversion.hdf5.source_bytes import SharedBytes
from streamh5.conversion.request import NotCopiable
from streamh5.dask.shared_dataset import virtual_places
from streamh5.errors import FormatError, StreamH5Error
from streamh5.filters import FilterChain, FilterOptions
from streamh5.filters.deflate import ROW as DEFLATE
from streamh5.filters.fletcher32 import ROW as FLETCHER32
from streamh5.filters.registry import REGISTRY, filter_name
from streamh5.filters.shuffle import ROW as SHUFFLE
from streamh5.format.fill_value import WriteTime
from streamh5.model.chunk_grid import MAX_NUMBERS, ChunkGrid
from streamh5.model.chunk_map import ChunkMap
from streamh5.model.parts import stored_elements
from streamh5.reader.chunk_index.chunk_frame import ChunkFrame
from streamh5.reader.chunk_index.read_index import read_present_chunks
from streamh5.reader.chunk_iteration import iterate_chunks, tells_coords
from streamh5.reader.file_map import FileMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.conversion.hdf5.dataset import SourceDataset
    from streamh5.conversion.hdf5.source_bytes import SourceBytes
    from streamh5.conversion.request import Request
    from streamh5.dask.stored_chunks import Regions

MAX_LISTED = 50_000_000
"""Most chunks in a list of those that contain data, 8 bytes each; with more, all are assumed to contain data."""


@dataclass(frozen=True, slots=True, eq=False)
class ChunkList:
    """The stored chunks of a dataset.

    Attributes
    ----------
    map
        Those of the present shape, ascending; addresses count from the end of the user block.
    is_edge_raw
        Whether chunks that extend past the shape are stored without filters (`H5Pset_chunk_opts`).
    is_certain
        False where the library may return wrong coords.
    has_places
        False where it may return wrong addresses.
    """

    map: ChunkMap
    is_edge_raw: bool = False
    is_certain: bool = True
    has_places: bool = True


def find_chunks(dataset: SourceDataset, stored: SourceBytes | None) -> ChunkList | None:
    """Find the chunks of a dataset: from its index with the reader of this package, otherwise through the library.

    None for a dataset without chunks, or with more than can be numbered.

    Raises
    ------
    SourceError
        The index is damaged.
    """
    if dataset.chunks is None or (ChunkGrid(dataset.shape or (), dataset.chunks).n_chunks or 0) > MAX_NUMBERS:
        return None
    if stored is not None:
        try:
            return _from_index(dataset, stored)
        except FormatError:
            pass
    return _from_library(dataset, stored)


def _from_index(dataset: SourceDataset, stored: SourceBytes) -> ChunkList:
    layout = stored.chunked_layout(dataset.address)
    frame = ChunkFrame(dataset.path, dataset.shape or (), dataset.maxshape, layout, dataset.filters)
    found = read_present_chunks(stored.file, FileMap(stored.file.nbytes), frame)
    return ChunkList(_sorted(found), is_edge_raw=not layout.filter_partial_edge_chunks)


def _from_library(dataset: SourceDataset, stored: SourceBytes | None) -> ChunkList:
    grid = ChunkGrid(dataset.shape or (), dataset.chunks or ())
    with reading(f"the chunk index of {dataset.path}", dataset.path):
        found = ChunkMap.at(grid, *iterate_chunks(dataset.id))
    has_places = stored is None or not stored.file.base_address
    return ChunkList(_sorted(found), is_certain=tells_coords(dataset.maxshape), has_places=has_places)


def _sorted(chunks: ChunkMap) -> ChunkMap:
    return chunks.take(np.argsort(chunks.numbers, kind="stable"))


def needed_chunks(
    boxes: NDArray[np.intp], shape: tuple[int, ...], chunks: tuple[int, ...]
) -> NDArray[np.intp] | None:
    """Return which chunks overlap boxes that contain data; None for all, or where finding out takes too long.

    Parameters
    ----------
    boxes
        ``(n, 2, rank)``: start and stop of each.
    shape, chunks
        Of the dataset.

    Returns
    -------
    ndarray, ``(n, rank) intp``
        In row-major order.
    """
    grid = ChunkGrid(shape, chunks)
    n_all = math.prod(grid.counts)
    if not len(boxes) or not n_all:
        return np.zeros((0, len(shape)), np.intp)
    size = np.array(chunks, np.intp)
    starts = boxes[:, 0] // size
    spans = np.minimum(-(-boxes[:, 1] // size), np.array(grid.counts)) - starts
    most = spans.max(axis=0)
    if (
        math.prod(most.tolist()) >= n_all
        or math.prod(most.tolist()) * len(boxes) > MAX_LISTED
        or n_all > MAX_NUMBERS
    ):
        return None
    found: NDArray[np.int64] = np.zeros(0, np.int64)
    # numpy works on all boxes together: a step adds one chunk of each, the one at the same offset from its first
    for offset in np.ndindex(*most.tolist()):
        inside = (np.array(offset) < spans).all(axis=1)
        found = np.union1d(found, grid.locate((starts[inside] + offset).T)[0])
    if len(found) == n_all:
        return None
    return np.stack(grid.coords_of(found), axis=1)


def stored_as(
    dataset: SourceDataset,
    filters: SourceFilters,
    chunks: ChunkList | None,
    stored: SourceBytes | None,
    request: Request,
) -> StoredAs:
    """Return how the chunks of a dataset can be copied.

    Raises
    ------
    NotCopiable
        They cannot or should not be copied.
    """
    if dataset.chunks is None or chunks is None:
        raise NotCopiable("it has no chunks")
    request.check_copied_chunks(dataset.path, dataset.shape or (), dataset.chunks)
    if dataset.kind.has_pointers:
        raise NotCopiable("its elements lie outside its chunks")
    if stored is None:
        raise NotCopiable("the file is not one file on disk")
    if not chunks.has_places:
        raise NotCopiable("the file has a user block")
    if not chunks.is_certain:
        raise NotCopiable(
            "HDF5 may not tell where its chunks are when a dimension but the first is unlimited"
        )
    if request.verify and chunks.map.filter_masks.any():
        raise NotCopiable("some chunks skipped filters, which verify=True does not decode")
    found = chunks.map
    is_edge = np.zeros(len(found), bool)
    if chunks.is_edge_raw:
        is_edge = (found.origins() + np.array(dataset.chunks) > np.array(dataset.shape)).any(axis=1)
    records = dataset.filters
    reader = StoredChunkReader(
        dataset.path, SharedBytes(stored.file), found, len(records), is_edge, filters.chain
    )
    chain = FilterChain((), math.prod(dataset.chunks) * dataset.kind.nbytes)
    what = ", ".join(filters.names) or "no filters"
    # in the order of the file, so that it is read from its beginning to its end
    listed = found.take(np.argsort(found.addresses, kind="stable")).coords()
    return StoredAs(dataset.chunks, dataset.dtype, chain, records, reader, None, what, listed)


def decoded_regions(
    dataset: SourceDataset,
    chunks: ChunkList | None,
    stored: SourceBytes | None,
    library: Regions,
    kept: PartlyReadChunks,
) -> Regions:
    """Return what reads regions of a dataset: `library`, or its stored chunks where this package decodes them."""
    if chunks is None or stored is None or dataset.kind.has_pointers or not can_decode(dataset.filters):
        return library
    if chunks.is_edge_raw or not chunks.has_places or not chunks.is_certain:
        return library
    is_edge = np.zeros(len(chunks.map), bool)
    reader = StoredChunkReader(
        dataset.path, SharedBytes(stored.file), chunks.map, len(dataset.filters), is_edge, None
    )
    fill = None if dataset.fill_value is None else stored_elements(dataset.fill_value, None)
    if dataset.times[1] is WriteTime.NEVER:  # then the library leaves zeroed memory as it is
        fill = None
    read = DecodedRegions(reader, dataset.filters, dataset.dtype, library.read, fill, kept)
    return replace(library, read=read, kept_nbytes=MAX_PARTLY_READ_NBYTES)


def source_filters(dataset: SourceDataset) -> SourceFilters:
    """Return the filters of a dataset, as options and as a chain where streamh5 can apply the same ones."""
    found = {record.filter_id: record.client_values for record in dataset.filters}
    options, chain = _options(found), None
    if options is not None:
        chunks = dataset.chunks or (1,)
        try:
            chain = options.chain(dataset.dtype, math.prod(chunks) * dataset.kind.nbytes, chunks=chunks)
        except StreamH5Error:
            options = None
    same = [(one.filter_id, one.client_values) for one in dataset.filters]
    if chain is not None and [(one.filter_id, one.client_values) for one in chain.records] != same:
        chain = None  # another order, or client values that another version chooses
    names = tuple(map(filter_name, dataset.filters))
    return SourceFilters(names, options, chain, FLETCHER32.filter_id in found)


def _options(found: dict[int, tuple[int, ...]]) -> FilterOptions | None:
    """Return options for the client values of filters by their numbers; None for several compressions."""
    options = FilterOptions(shuffle=SHUFFLE.filter_id in found, fletcher32=FLETCHER32.filter_id in found)
    compressions = [number for number in found if number not in (SHUFFLE.filter_id, FLETCHER32.filter_id)]
    if len(compressions) > 1:
        return None
    for number in compressions:
        values = found[number]
        if number == DEFLATE.filter_id and values:
            options = replace(options, compression="gzip", compression_opts=values[0])
        else:
            row = REGISTRY.get(number)
            # without those that the filter adds itself, such as the size of a chunk, which may be another one now
            given = values if row is None or row.given_values is None else row.given_values(values)
            options = replace(options, compression=number, compression_opts=given)
    return options


def virtual_parts(dataset: Any, file: Any) -> tuple[NDArray[np.intp] | None, list[str]]:
    """Look for the sources of a virtual dataset.

    Parameters
    ----------
    dataset
        `h5py.h5d.DatasetID`.
    file
        The `h5py.File` that it is in.

    Returns
    -------
    boxes
        ``(n, 2, rank) intp``: start and stop of the bounds of the mappings whose source exists; None where they are
        not known.
    missing
        ``file:dataset`` of the missing sources.
    """
    shape, plist = dataset.shape, dataset.get_create_plist()
    known: dict[tuple[str, str], bool] = {}
    boxes: list[list[tuple[int, ...]]] = []
    missing: dict[str, None] = {}
    is_bounded = True
    for i in range(plist.get_virtual_count()):
        name, path = plist.get_virtual_filename(i), plist.get_virtual_dsetname(i)
        if "%" in name or "%" in path:  # a pattern: one name for each block, without limit
            is_bounded = False
            continue
        if (name, path) not in known:
            known[name, path] = _is_there(file, name, path)
        if not known[name, path]:
            missing[f"{name}:{path}"] = None
            continue
        start, end = _bounds(plist.get_virtual_vspace(i))
        stop = tuple(min(n, extent) for n, extent in zip(end, shape, strict=True))
        boxes.append([tuple(min(a, b) for a, b in zip(start, stop, strict=True)), stop])
    found = np.array(boxes, np.intp).reshape(len(boxes), 2, len(shape)) if is_bounded else None
    if found is not None:
        found = found[(found[:, 1] > found[:, 0]).all(axis=1)]
    return found, list(missing)


def _bounds(space: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return start and stop of a selection, of which one dimension may be unlimited.

    h5py asks for the number of elements before the bounds, which fails for an unlimited selection.
    """
    from h5py import h5s

    if space.get_select_type() != h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        start, last = space.get_select_bounds()
        return start, tuple(n + 1 for n in last)
    start, stride, count, block = space.get_regular_hyperslab()
    rows = zip(start, stride, count, block, strict=True)
    return start, tuple(a + s * (c - 1) + b for a, s, c, b in rows)


def _is_there(file: Any, name: str, path: str) -> bool:
    """Whether a source can be opened, in the places where the library looks for it."""
    import h5py

    if name == ".":
        return _has(file, path)
    for place in virtual_places(name, file.filename):
        if os.path.isfile(place):
            try:
                with h5py.File(place, "r") as source:
                    return _has(source, path)
            except OSError:
                continue
    return False


def _has(file: Any, path: str) -> bool:
    try:
        return path in file
    except (KeyError, ValueError, RuntimeError, OSError):
        return False
