"""From an array of another format to the target of a write: its chunks copied, or decoded and encoded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from streamh5.conversion.request import ArrayConversion
from streamh5.dask.blocks import block_layout, realigned
from streamh5.dask.graph import Target
from streamh5.dask.stored_chunks import (
    ChunkCopy,
    ListedChunks,
    block_shape,
    hollow_array,
    lazy_array,
    listed_array,
)
from streamh5.errors import FormatError, SourceError
from streamh5.filters.chunk_decoder import chunk_decoder
from streamh5.handles.dataset_plan import plan_dataset

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from streamh5.conversion.request import Request
    from streamh5.dask.stored_chunks import ChunkReader
    from streamh5.filters import Buffer, FilterChain
    from streamh5.format.datatype_class import EncodedDatatype
    from streamh5.format.fill_value import AllocationTime, WriteTime
    from streamh5.format.filter_pipeline import FilterRecord
    from streamh5.model.reference import Parts

__all__ = ["ArrayTarget", "SourceArray", "StoredAs", "copied", "encoded"]


@dataclass(frozen=True, slots=True)
class SourceArray:
    """An array that is to come over.

    Parameters
    ----------
    path
        The dataset that it becomes.
    shape, dtype
        As the dataset has them; ``U`` for text.
    fillvalue
        What missing chunks read as; None for zero.
    read
        Gives the values of a region, as `dtype`.
    chunks
        Its chunks; None where it has none.
    unit
        Shape of what its source reads at once; None for `chunks`.
    identity
        Identity of the source, for a resume.
    maxshape
        Extents up to which the dataset may grow; None for `shape`.
    datatype, raw_fillvalue
        Datatype message and fill value of an HDF5 file, which stay as they are; `fillvalue` is None then.
    type_path
        Path of the named datatype that its type is.
    fill_parts
        Fill value that lies in the global heap.
    times
        When storage of an HDF5 dataset is allocated, while it has the layout that it had, and filled.
    needed
        Gives the ``(n, rank)`` coords of the chunks that hold data, for a chunk shape, in row-major order; None
        where all do.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fillvalue: Any
    read: Callable[[tuple[slice, ...]], Any]
    chunks: tuple[int, ...] | None
    identity: str
    maxshape: tuple[int | None, ...] | None = None
    unit: tuple[int, ...] | None = None
    datatype: EncodedDatatype | None = None
    raw_fillvalue: Parts | None = None
    type_path: str | None = None
    fill_parts: Parts | None = None
    times: tuple[AllocationTime | None, WriteTime | None] = (None, None)
    needed: Callable[[tuple[int, ...]], NDArray[np.intp] | None] | None = None


@dataclass(frozen=True, slots=True)
class StoredAs:
    """How the chunks of an array are stored.

    Parameters
    ----------
    chunks, dtype
        Shape of a chunk, and the element type in it.
    chain
        The filters of chunks that have to be encoded after all.
    filters
        Records of the filters that undo the stored bytes.
    reader, accept
        See `ChunkCopy`.
    what
        What is copied, in words.
    listed
        ``(n, rank)`` coords of the chunks that there are; None where `reader` is asked for each.
    """

    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    chain: FilterChain
    filters: tuple[FilterRecord, ...]
    reader: ChunkReader
    accept: Callable[[Buffer], Buffer | None]
    what: str
    listed: NDArray[np.intp] | None = None


@dataclass(frozen=True, slots=True)
class ArrayTarget:
    """The target of an array, and how it comes over."""

    target: Target
    reason: str

    def report(self) -> ArrayConversion:
        """Return how it came over, once it is written."""
        path, copy = self.target.spec.path, self.target.copy
        if not isinstance(copy, ChunkCopy):
            return ArrayConversion(path, False, self.reason)
        return ArrayConversion(path, True, self.reason, copy.n_copied, copy.n_encoded)


def copied(source: SourceArray, stored: StoredAs, request: Request, *, track_order: bool) -> ArrayTarget:
    """Plan an array whose stored chunks are copied.

    Raises
    ------
    SpecError, DatatypeError, LimitError
        See `plan_dataset`.
    """
    maxshape = source.maxshape
    if maxshape is None and 0 not in source.shape:
        # H5D__chunk_construct: no chunk is larger than the dataset may become
        maxshape = tuple(map(max, source.shape, stored.chunks))
    spec, _ = plan_dataset(
        source.path,
        shape=source.shape,
        dtype=stored.dtype,
        chunks=stored.chunks,
        maxshape=maxshape,
        fillvalue=source.fillvalue,
        track_order=track_order,
        libver=request.libver,
        datatype=source.datatype,
        raw_fillvalue=source.raw_fillvalue,
        type_path=source.type_path,
    )
    allocation_time, write_time = source.times
    spec = replace(spec, filters=stored.filters, allocation_time=allocation_time, write_time=write_time)
    accept = _verifying(stored) if request.verify else stored.accept
    can_encode = stored.chain.records == stored.filters
    decode = source.read if can_encode else partial(_damaged, source.path)
    copy = ChunkCopy(stored.reader, accept, decode, stored.listed)
    if stored.listed is None:
        block = block_shape(source.shape, stored.chunks, stored.dtype.itemsize)
        hollow = hollow_array(source.shape, block, stored.dtype)
    else:
        hollow = listed_array(len(stored.listed), stored.chunks, stored.dtype)
    return ArrayTarget(Target(spec, stored.chain, hollow, source.identity, copy), stored.what)


def encoded(
    source: SourceArray,
    request: Request,
    reason: str,
    *,
    track_order: bool,
    filters: dict[str, Any] | None = None,
) -> ArrayTarget:
    """Plan an array that is decoded and encoded by dask's workers.

    `filters` are those of the source, as keywords of `plan_dataset`; None for the default.

    Raises
    ------
    SpecError, DatatypeError, LimitError
        See `plan_dataset`.
    """
    shape, dtype = source.shape, source.dtype
    array = _lazy(source)
    chunks: Any = request.chunks_of(source.path, shape)
    if chunks is None and source.chunks is not None:
        chunks = _within(source.chunks, source.maxshape or shape)
    if shape:
        blocks, chunks = block_layout(
            source.path, array, "auto" if chunks is None else chunks, source.maxshape
        )
        array = realigned(source.path, array, blocks)
    if not shape:
        filters = {}
        request = replace(request, compression="keep")
    spec, chain = plan_dataset(
        source.path,
        shape=shape,
        dtype=dtype,
        chunks=chunks if shape else None,
        maxshape=source.maxshape,
        fillvalue=source.fillvalue
        if dtype.kind not in "OUT" or isinstance(source.fillvalue, (str, bytes))
        else None,
        track_order=track_order,
        libver=request.libver,
        datatype=source.datatype,
        raw_fillvalue=source.raw_fillvalue,
        type_path=source.type_path,
        **(filters if filters is not None and request.keeps_filters else request.filters),
    )
    spec = replace(
        spec,
        allocation_time=source.times[0],
        write_time=source.times[1],
        fill_parts=spec.fill_parts if source.fill_parts is None else source.fill_parts,
    )
    needed = source.needed(spec.chunks) if source.needed is not None and spec.chunks is not None else None
    if needed is None:
        return ArrayTarget(Target(spec, chain, array, source.identity), reason)
    hollow = listed_array(len(needed), spec.chunks or (), dtype)
    copy = ListedChunks(needed, source.read)
    return ArrayTarget(Target(spec, chain, hollow, source.identity, copy), reason)


def _within(chunks: tuple[int, ...], bounds: tuple[int | None, ...]) -> tuple[int, ...]:
    """Chunks that are no larger than what the dataset may become."""
    return tuple(c if not n else min(c, n) for c, n in zip(chunks, bounds, strict=True))


def _lazy(source: SourceArray) -> da.Array:
    """Return the array as a dask array in blocks of whole units."""
    itemsize = 64 if source.dtype.kind in "OUT" else source.dtype.itemsize
    unit = source.unit or source.chunks or (1,) * len(source.shape)
    block = block_shape(source.shape, tuple(max(1, n) for n in unit), itemsize)
    dtype = np.dtype(object) if source.dtype.kind in "UT" else source.dtype
    return lazy_array(source.read, source.shape, block, dtype, source.path, source.identity)


def _damaged(path: str, region: tuple[slice, ...]) -> Any:
    raise SourceError(
        f"{path}: the stored chunk of {region} does not decode to a whole chunk; it is damaged", path=path
    )


def _verifying(stored: StoredAs) -> Callable[[Buffer], Buffer | None]:
    """Also undo the filters of what is accepted, as a reader of HDF5 will."""
    decoder = chunk_decoder(stored.filters, 0, stored.chain.chunk_nbytes)
    if decoder.unknown_filters:
        raise SourceError(
            f"filters {decoder.unknown_filters} cannot be undone here, so copied chunks cannot be verified; leave "
            "verify out"
        )

    def accept(data: Buffer) -> Buffer | None:
        taken = stored.accept(data)
        if taken is not None:
            try:
                decoder.check(memoryview(taken).cast("B"))  # type: ignore[arg-type]
            except FormatError:
                return None
        return taken

    return accept
