"""Turn the arguments of `Group.create_dataset` into the plan and the filters of a dataset, checking them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from streamh5.errors import (
    ChunkShapeError,
    DatatypeError,
    FillValueError,
    LimitError,
    ShapeError,
    SpecError,
    counted,
    shown,
)
from streamh5.filters import FilterChain, FilterOptions
from streamh5.format.datatype import encode_datatype, sizeof_element
from streamh5.format.datatype_class import EncodedDatatype
from streamh5.format.primitives import MAX_MESSAGE_NBYTES
from streamh5.handles.given_data import as_dtype
from streamh5.model.chunk_shape import auto_chunks, check_chunks, check_shape
from streamh5.model.dataset_spec import DatasetSpec, check_fillvalue, check_grid
from streamh5.model.parts import encode_parts
from streamh5.model.reference import HeapObject, Parts, sizeof_parts

MAX_WHOLE_NBYTES = 64 << 10
"""Unfiltered data of up to this size is stored without chunks, unless chunks are requested."""

FILL_VALUE_FIELDS_NBYTES = 6
"""Version, flags and size precede the value in its message."""

NATIVE_COMPLEX_VERSION = 5
"""Version of a datatype message that contains the complex class."""

NO_FILTERS = FilterOptions()
NO_CHAIN = FilterChain((), 0)
"""The filters of data without chunks."""


def plan_dataset(
    path: str,
    *,
    shape: Any,
    dtype: Any,
    chunks: Any = None,
    maxshape: Any = None,
    filters: FilterOptions = NO_FILTERS,
    fillvalue: Any = None,
    track_order: bool = False,
    alloc_time: str | None = None,
    libver: str = "v110",
    datatype: EncodedDatatype | None = None,
    raw_fillvalue: Parts | None = None,
    type_path: str | None = None,
) -> tuple[DatasetSpec, FilterChain]:
    """Check the arguments of `Group.create_dataset` and choose those that were left open.

    Parameters
    ----------
    datatype
        Datatype message to write unchanged; `dtype` is that of its elements in memory and must have the same
        size: ``V8`` for any type of 8 bytes without pointers into the global heap.
    raw_fillvalue
        Fill value as an encoded element, instead of `fillvalue`.
    type_path
        Path of the named datatype of the dataset; `dtype` and `datatype` are those of the named datatype.
    """
    element = as_dtype(np.float32 if dtype is None else dtype, path)
    _check_datatype(datatype, element, path)
    if shape is None and dtype is None:
        raise ShapeError(f"{path}: give a shape and a dtype, or data")
    extents = None if shape is None else check_shape(shape, path=path, unknown_length=True)
    spec = DatasetSpec(
        path,
        extents,
        element,
        maxshape=None if extents is None else check_maxshape(maxshape, extents, path),
        track_order=track_order,
        libver=libver,
        datatype=datatype,
        type_path=type_path,
    )
    if extents is None:
        return spec, NO_CHAIN
    _check_alloc_time(alloc_time, path)
    spec = _with_fill(fillvalue, spec) if raw_fillvalue is None else _as_element(raw_fillvalue, spec)
    _check_messages(spec)
    is_fixed = spec.maxshape is None and None not in extents
    can_be_whole = is_fixed and not filters.need_chunks and (alloc_time is None or not spec.is_kept)
    if _is_whole(spec, chunks, can_be_whole=can_be_whole):
        filters.check_compression()
        return spec, NO_CHAIN
    spec = replace(spec, chunks=_chunks(chunks, spec))
    check_grid(spec)
    chain = filters.chain(
        spec.stored_dtype,
        spec.chunk_nbytes,
        chunks=spec.chunks,
        fillvalue=None if spec.fillvalue is None or spec.is_encoded else spec.fillvalue[()],
    )
    is_early = alloc_time == "early"
    if is_early and (chain.filters or not is_fixed):
        raise SpecError(
            f"{path}: alloc_time='early' is for unfiltered datasets of fixed shape; leave compression, shuffle, "
            "fletcher32 and maxshape out, or alloc_time"
        )
    return replace(spec, filters=chain.records, is_early=is_early and 0 not in extents), chain


def _check_alloc_time(alloc_time: Any, path: str) -> None:
    if alloc_time is not None and not (isinstance(alloc_time, str) and alloc_time in ("incr", "early")):
        raise SpecError(
            f"{path}: alloc_time must be 'incr' or 'early', not {shown(alloc_time)}", alloc_time=alloc_time
        )


def _with_fill(fillvalue: Any, spec: DatasetSpec) -> DatasetSpec:
    """Return the plan with a fill value; see `check_fillvalue`."""
    if fillvalue is None:
        return spec
    if spec.dtype.subdtype is not None or spec.is_kept:
        raise FillValueError(
            f"{spec.path}: a fill value for arrays and references cannot be written; leave it out",
            fillvalue=fillvalue,
            dtype=spec.dtype,
        )
    fill = check_fillvalue(fillvalue, spec.dtype, path=spec.path)
    if fill is None or not spec.is_encoded:
        return replace(spec, fillvalue=fill)
    try:
        return replace(spec, fillvalue=fill, fill_parts=encode_parts(fill, spec.dtype))
    except DatatypeError as error:
        raise FillValueError(
            f"{spec.path}: fill value {fill[()]!r:.80}: {error}", dtype=spec.dtype
        ) from error


def _check_datatype(datatype: EncodedDatatype | None, dtype: np.dtype[Any], path: str) -> None:
    """Refuse a dtype whose size differs from that of the datatype message.

    Raises
    ------
    DatatypeError
        The sizes differ.
    """
    if datatype is not None and datatype.nbytes != sizeof_element(dtype):
        raise DatatypeError(
            f"{path}: elements of dtype {dtype} take {sizeof_element(dtype):,} bytes in the file, the datatype message "
            f"says {datatype.nbytes:,}; pass a dtype of that size, such as 'V{datatype.nbytes}'",
            path=path,
            dtype=dtype,
        )


def _as_element(data: Parts, spec: DatasetSpec) -> DatasetSpec:
    """Return the plan with an encoded fill value.

    Raises
    ------
    FillValueError
        The value is not one element, or has references.
    """
    nbytes = sizeof_parts(data)
    is_known = all(isinstance(part, (bytes, HeapObject)) for part in data)
    if nbytes != spec.element_nbytes or spec.is_encoded or spec.is_kept or not is_known:
        raise FillValueError(
            f"{spec.path}: {nbytes:,} bytes are not a fill value for elements of {spec.element_nbytes:,} bytes, of "
            f"dtype {spec.dtype}",
            fillvalue=data,
            dtype=spec.dtype,
        )
    if any(isinstance(part, HeapObject) for part in data):
        return replace(spec, fill_parts=data)
    joined = b"".join(part for part in data if isinstance(part, bytes))
    return replace(spec, fillvalue=np.frombuffer(joined, spec.stored_dtype).reshape(()))


def _is_whole(spec: DatasetSpec, chunks: Any, *, can_be_whole: bool) -> bool:
    """Return whether data is stored without chunks: where HDF5 needs that, and small data unless chunks are requested.

    Raises
    ------
    SpecError
        An argument needs chunks where data cannot have them.
    """
    is_open = chunks is None or isinstance(chunks, bool) or (isinstance(chunks, str) and chunks == "auto")
    if spec.is_kept and not (can_be_whole and is_open):
        raise SpecError(
            f"{spec.path}: references are stored without chunks, as their addresses are known last; give a shape and "
            "data, without chunks, filters, maxshape and alloc_time",
            path=spec.path,
        )
    if not spec.shape and not is_open:
        raise ChunkShapeError(
            f"{spec.path} is a scalar, which has no chunks; leave chunks={shown(chunks)} out", chunks=chunks
        )
    if chunks is False and spec.shape and not can_be_whole:
        raise ChunkShapeError(
            f"{spec.path}: chunks=False stores data in one piece, which has no filters and no room to grow; leave it "
            "out, or compression, shuffle, fletcher32, scaleoffset and maxshape",
            chunks=chunks,
        )
    if spec.is_kept or not spec.shape or chunks is False:
        return True
    return chunks is None and can_be_whole and spec.value_nbytes <= MAX_WHOLE_NBYTES


def _check_messages(spec: DatasetSpec) -> None:
    """Refuse messages that do not fit the object header, or that the intended readers cannot open.

    Raises
    ------
    LimitError
        A datatype or a fill value that needs more than 65,535 bytes.
    DatatypeError
        Native complex numbers for readers older than HDF5 2.0.
    """
    datatype = encode_datatype(spec.file_datatype)
    if spec.libver != "v200" and datatype[0] >> 4 == NATIVE_COMPLEX_VERSION:
        raise DatatypeError(
            f"{spec.path}: only HDF5 2.0 and later open native complex numbers; pass libver='v200', or a plain dtype",
            path=spec.path,
        )
    fill_nbytes = 0 if spec.fill_data is None else FILL_VALUE_FIELDS_NBYTES + spec.element_nbytes
    for what, nbytes in (("datatype", len(datatype)), ("fill value", fill_nbytes)):
        if nbytes > MAX_MESSAGE_NBYTES:
            raise LimitError(
                f"{spec.path}: its {what} needs {nbytes:,} bytes; an HDF5 header holds {MAX_MESSAGE_NBYTES:,}",
                path=spec.path,
                nbytes=nbytes,
            )


def check_maxshape(
    maxshape: Any, extents: tuple[int | None, ...], path: str
) -> tuple[int | None, ...] | None:
    """Return `maxshape` as a tuple; None if it only repeats the shape."""
    if maxshape is None or maxshape is True:
        return tuple(None for _ in extents) if maxshape is True else None
    given = maxshape if isinstance(maxshape, (tuple, list)) else (maxshape,)
    bounds = tuple(None if n is None else check_shape((n,), path=path)[0] for n in given)
    facts: dict[str, Any] = {"shape": extents, "maxshape": bounds}
    if len(bounds) != len(extents):
        raise ShapeError(
            f"{path}: maxshape {bounds} has {counted(len(bounds), 'dimension')}, shape {extents} {len(extents)}",
            **facts,
        )
    if any(m is not None and n is not None and m < n for n, m in zip(extents, bounds, strict=True)):
        raise ShapeError(f"{path}: maxshape {bounds} is smaller than the shape {extents}", **facts)
    return None if bounds == extents and None not in bounds else bounds


def _chunks(chunks: Any, spec: DatasetSpec) -> tuple[int, ...]:
    if chunks is None or chunks is True or (isinstance(chunks, str) and chunks == "auto"):
        # rows of a dataset of unknown length arrive one by one: a chunk holds one row, or part of one
        return auto_chunks(tuple(1 if n is None else n for n in spec.shape or ()), spec.element_nbytes)
    return check_chunks(chunks, spec.bounds, spec.element_nbytes, path=spec.path, libver=spec.libver)
