"""How one array is converted: its stored chunks *copied*, or decoded and *encoded* again, block by block.

A source describes an array (`SourceArray`) and, where it can, how its chunks are stored (`StoredAs`); `plan_array`
decides between the two and says why.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.encoded_blocks import chunk_shape, chunks_within, shared_blocks, unit_block
from streamh5.conversion.request import ArrayConversion, NotCopiable
from streamh5.conversion.verified_accept import VerifiedAccept
from streamh5.dask.copied_blocks import BlockCopy
from streamh5.dask.stored_chunks import (
    BlockEncoding,
    ChunkCopy,
    HollowBlocks,
    Regions,
    block_shape,
    check_n_blocks,
    listed_blocks,
)
from streamh5.errors import FilterError, SourceError
from streamh5.handles.dataset_plan import NO_FILTERS, plan_dataset
from streamh5.handles.file_plan import PlannedDataset

if TYPE_CHECKING:
    from collections.abc import Callable

    import dask.array as da
    from numpy.typing import NDArray

    from streamh5.conversion.request import Request
    from streamh5.dask.graph import Target
    from streamh5.dask.stored_chunks import ChunkReader, CopyBlock, CopyCounts
    from streamh5.filters import Buffer, FilterChain, FilterOptions
    from streamh5.format.datatype_class import EncodedDatatype
    from streamh5.format.fill_value import AllocationTime, WriteTime
    from streamh5.format.filter_pipeline import FilterRecord
    from streamh5.handles.dataset import Dataset
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.reference import Parts


def file_identity(path: str | os.PathLike[str], *parts: str) -> str:
    """Return what identifies a file, or a part of it, to a resumed write: another file, or a changed one, differs."""
    return source_identity(os.path.realpath(path), os.stat(path).st_mtime_ns, *parts)


def source_identity(*facts: str | int) -> str:
    """Return what identifies a source to a resumed write: a digest of the facts that tell it from others."""
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class SourceFilters:
    """The filters of an array whose source uses those of HDF5.

    Parameters
    ----------
    names
        What messages call them.
    options
        The same filters as options; None where streamh5 cannot apply them.
    chain
        What encodes exactly as they do, with the same client values; None where streamh5 has no such chain.
    has_checksums
        Whether Fletcher32 is among them.
    """

    names: tuple[str, ...]
    options: FilterOptions | None
    chain: FilterChain | None
    has_checksums: bool


@dataclass(frozen=True, slots=True)
class SourceArray:
    """An array to convert.

    Parameters
    ----------
    path
        Path of the new dataset.
    shape, dtype
        As the dataset has them; ``U`` for text. A shape of None is a null dataspace.
    regions
        Reads the values of a region, as `dtype`.
    identity
        Identity of the source, for a resume.
    fillvalue
        What missing chunks read as; None for zero.
    chunks
        Its chunks; None where it has none.
    unit
        Shape of what its source reads in one call; None for `chunks`.
    is_contiguous
        Whether its elements lie in row-major order without filters, so that a part is read without the rest.
    maxshape
        Extents up to which the dataset may grow; None for `shape`.
    track_order
        Whether the creation order of its attributes is tracked.
    begin
        See `PlannedDataset`.
    filters
        Its filters, where they are filters of HDF5.
    datatype, raw_fillvalue
        Datatype message and fill value of an HDF5 file, kept unchanged; `fillvalue` is None then.
    type_path
        Path of its named datatype.
    times
        When storage of an HDF5 dataset is allocated (if its layout does not change), and when it is filled.
    needed
        Gives the ``(n, rank)`` coords of the chunks that contain data, for a chunk shape, in row-major order; None
        where all do.
    heap_nbytes
        Bytes that an element has in the global heap on average.
    """

    path: str
    shape: tuple[int, ...] | None
    dtype: np.dtype[Any]
    regions: Regions
    identity: str | None = None
    fillvalue: Any = None
    chunks: tuple[int, ...] | None = None
    unit: tuple[int, ...] | None = None
    is_contiguous: bool = False
    maxshape: tuple[int | None, ...] | None = None
    track_order: bool = False
    begin: Callable[[Dataset], None] | None = None
    filters: SourceFilters | None = None
    datatype: EncodedDatatype | None = None
    raw_fillvalue: Parts | None = None
    type_path: str | None = None
    times: tuple[AllocationTime | None, WriteTime | None] = (None, None)
    needed: Callable[[tuple[int, ...]], NDArray[np.intp] | None] | None = None
    heap_nbytes: int = 0

    @property
    def element_nbytes(self) -> int:
        """Size in bytes of an element, with what it has in the global heap."""
        return self.dtype.itemsize + self.heap_nbytes


@dataclass(frozen=True, slots=True)
class StoredAs:
    """How the chunks of an array are stored.

    Parameters
    ----------
    chunks, dtype
        Shape of a chunk, and the element type in it.
    chain
        The filters for chunks that cannot be copied and have to be encoded.
    filters
        Records of the filters that undo the stored bytes.
    reader, accept
        See `ChunkCopy`.
    what
        What is copied, in words.
    listed
        ``(n, rank)`` coords of the existing chunks, in the order in which they are copied; None where `reader` is asked
        for each chunk.
    unit
        Shape of chunks that lie together and should be copied by one task; None for `chunks`.
    """

    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    chain: FilterChain
    filters: tuple[FilterRecord, ...]
    reader: ChunkReader
    accept: Callable[[Buffer], Buffer | None] | None
    what: str
    listed: NDArray[np.intp] | None = None
    unit: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ArrayPlan:
    """One array of a conversion, and how it is converted.

    Parameters
    ----------
    dataset
        The new dataset and its attributes.
    reason
        Why it is converted in this way.
    blocks
        Its blocks, which tasks write, without data where `copy` reads what it needs; None where `dataset` writes the
        value in one call.
    copy
        What writes a block, where that is not simply encoded: see `Target`.
    is_local
        Whether only this process can read the source.
    """

    dataset: PlannedDataset
    reason: str
    blocks: da.Array | HollowBlocks | None = None
    copy: CopyBlock | None = None
    is_local: bool = False

    def targets(self) -> list[Target]:
        """Return the targets that tasks write: one or none."""
        from streamh5.dask.graph import Target  # imports dask, which a copy does without
        from streamh5.dask.source_arrays import hollow_array

        if self.blocks is None:
            return []
        array = hollow_array(self.blocks) if isinstance(self.blocks, HollowBlocks) else self.blocks
        return [Target(self.dataset.spec, array, self.copy, is_local=self.is_local)]

    @property
    def needs_dask(self) -> bool:
        """Whether its blocks are those of a dask array."""
        return self.blocks is not None and not isinstance(self.blocks, HollowBlocks)

    def block_copies(self) -> list[BlockCopy]:
        """Return the blocks that are written without dask: of one dataset or none."""
        if self.copy is None or not isinstance(self.blocks, HollowBlocks):
            return []
        return [BlockCopy(self.dataset.spec.path, self.blocks, self.copy)]

    def report(self, counts: CopyCounts) -> ArrayConversion:
        """Return how it was converted, from the counts of its write."""
        is_copied = isinstance(self.copy, ChunkCopy)
        n_chunks = counts.n_copied, counts.n_encoded, counts.n_resumed
        return ArrayConversion(self.dataset.spec.path, is_copied, self.reason, *n_chunks)


def plan_array(
    source: SourceArray,
    request: Request,
    find_stored: Callable[[], StoredAs],
    notes: list[str],
) -> ArrayPlan:
    """Decide whether the chunks of an array are copied or encoded, and plan that.

    Parameters
    ----------
    source
        The array.
    request
        How arrays are to be stored.
    find_stored
        Returns how its chunks are stored, or raises `NotCopiable` with the reason why they cannot be copied.
    notes
        Receives a line about filters that are not kept.

    Raises
    ------
    FilterError
        ``copy=True`` was requested, and its chunks cannot be copied.
    SpecError, DatatypeError, LimitError
        See `plan_dataset`.
    """
    own, request = request, request.for_cloud(source)
    try:
        request.check_copy()
        if request is not own and request.cloud is not None:
            raise NotCopiable(request.cloud.reasons[source.path])
        stored = find_stored()
    except NotCopiable as reason:
        if request.copy:
            raise FilterError(
                f"{source.path}: its chunks cannot be copied: {reason}; leave copy=True out to have them decoded and "
                "encoded",
                path=source.path,
            ) from reason
        return encoded(source, request, str(reason), notes)
    return _copied(source, stored, request)


def plan_whole(source: SourceArray, libver: str) -> PlannedDataset:
    """Plan an array without chunks and filters, whose value is written in one piece by `begin`, if at all."""
    spec, chain = _spec(source, libver, False, NO_FILTERS)
    return PlannedDataset(spec, chain, begin=source.begin)


def _copied(source: SourceArray, stored: StoredAs, request: Request) -> ArrayPlan:
    shape = source.shape or ()
    if source.maxshape is None and 0 not in shape:
        # H5D__chunk_construct: no chunk is larger than the dataset may become
        source = replace(source, maxshape=tuple(map(max, shape, stored.chunks)))
    spec, _ = _spec(replace(source, dtype=stored.dtype), request.libver, stored.chunks, NO_FILTERS)
    spec = replace(spec, filters=stored.filters)
    accept = stored.accept
    if request.verify:
        accept = VerifiedAccept.of(stored.filters, stored.chain.chunk_nbytes, accept)
    can_encode = stored.chain.records == stored.filters
    decoded = source.regions if can_encode else Regions(partial(_damaged, source.path))
    copy = ChunkCopy(stored.reader, accept, decoded, spec.grid, stored.listed)
    if stored.listed is None:
        block = block_shape(shape, stored.unit or stored.chunks, stored.dtype.itemsize)
        hollow = HollowBlocks(shape, block, stored.dtype)
    else:
        hollow = listed_blocks(len(stored.listed), stored.chunks, stored.dtype)
    dataset = PlannedDataset(spec, stored.chain, source.identity, source.begin)
    return ArrayPlan(dataset, stored.what, hollow, copy)


def encoded(source: SourceArray, request: Request, reason: str, notes: list[str]) -> ArrayPlan:
    """Plan an array that is decoded and encoded, for the `reason`; see `plan_array`."""
    shape, dtype = source.shape or (), source.dtype
    if not shape:
        spec, chain = _spec(source, request.libver, None, NO_FILTERS)
        return ArrayPlan(PlannedDataset(spec, chain, source.identity, source.begin), reason, lazy(source))
    asked: Any = request.chunks_of(source.path, shape)
    if asked is None:
        asked = "auto" if source.chunks is None else chunks_within(source.chunks, source.maxshape or shape)
    chunks = chunk_shape(source, asked)
    if dtype.kind in "OUT" and not isinstance(source.fillvalue, (str, bytes)):
        source = replace(source, fillvalue=None)  # zarr's fill value 0, which is not a string
    spec, chain = _spec(source, request.libver, chunks, _filters(source, request, notes))
    dataset = PlannedDataset(spec, chain, source.identity, source.begin)
    needed = None if source.needed is None else source.needed(chunks)
    if needed is not None:
        hollow = listed_blocks(len(needed), chunks, dtype, source.element_nbytes)
        return ArrayPlan(dataset, reason, hollow, BlockEncoding(source.regions, spec.grid, needed))
    block = None if dtype.kind in "OUT" else shared_blocks(source, chunks)
    if block is None and source.regions.are_read_where_stored:
        block = block_shape(shape, chunks, source.element_nbytes)
    if block is None:
        from streamh5.dask.blocks import aligned_region

        return ArrayPlan(dataset, reason, aligned_region(source.path, lazy(source), chunks))
    check_n_blocks(source.path, shape, block)
    return ArrayPlan(
        dataset, reason, HollowBlocks(shape, block, dtype), BlockEncoding(source.regions, spec.grid)
    )


def _spec(
    source: SourceArray, libver: str, chunks: Any, filters: FilterOptions
) -> tuple[DatasetSpec, FilterChain]:
    """Plan a dataset with everything the source specifies."""
    spec, chain = plan_dataset(
        source.path,
        shape=source.shape,
        dtype=source.dtype,
        chunks=chunks,
        maxshape=source.maxshape,
        filters=filters,
        fillvalue=source.fillvalue,
        track_order=source.track_order,
        libver=libver,
        datatype=source.datatype,
        raw_fillvalue=source.raw_fillvalue,
        type_path=source.type_path,
    )
    allocation_time, write_time = source.times
    return replace(spec, allocation_time=allocation_time, write_time=write_time), chain


def _filters(source: SourceArray, request: Request, notes: list[str]) -> FilterOptions:
    """Return the filters of what is encoded: those of the source where it has any and they are kept."""
    own, asked = source.filters, request.filters
    if own is None:
        return asked
    if request.keeps_filters:
        if own.options is not None:
            return own.options
        notes.append(
            f"{source.path}: its filters ({', '.join(own.names)}) cannot be applied by streamh5; gzip replaces them"
        )
    elif own.has_checksums and request.fletcher32 is None:
        if request.compression is not None:
            return replace(asked, fletcher32=True)
        notes.append(f"{source.path}: its checksums are removed with the filters; fletcher32=True keeps them")
    return asked


def lazy(source: SourceArray) -> da.Array:
    """Return the array as a dask array in blocks of whole units."""
    from streamh5.dask.source_arrays import lazy_array

    dtype = np.dtype(object) if source.dtype.kind in "UT" else source.dtype
    return lazy_array(
        source.regions.read,
        source.shape or (),
        unit_block(source),
        dtype,
        source.path,
        source.identity or "",
    )


def _damaged(path: str, region: tuple[slice, ...]) -> Any:
    raise SourceError(
        f"{path}: the stored chunk of {region} does not decode to a whole chunk; it is damaged", path=path
    )
