"""From what a person asks of a dataset to its plan and its filters; bad requests end here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from streamh5.errors import (
    BlockError,
    ChunkShapeError,
    DatatypeError,
    FillValueError,
    LimitError,
    PathError,
    ShapeError,
    SpecError,
    shown,
)
from streamh5.filters import FilterChain, chain_from_keywords, check_compression
from streamh5.format.datatype import encode_datatype, sizeof_element
from streamh5.format.datatype_class import EncodedDatatype
from streamh5.format.datatype_from_dtype import innermost
from streamh5.format.primitives import MAX_MESSAGE_NBYTES
from streamh5.model.block_value import as_block, check_one_kind
from streamh5.model.chunk_grid import MAX_CHUNKS
from streamh5.model.chunk_shape import auto_chunks, check_chunks, check_shape
from streamh5.model.dataset_spec import DatasetSpec, check_fillvalue
from streamh5.model.not_an_array import UNREADABLE, check_is_array, check_objects, is_empty
from streamh5.model.object_path import join_path, split_path
from streamh5.model.parts import encode_parts
from streamh5.model.reference import HeapObject, Parts, Reference, RegionReference, sizeof_parts

__all__ = ["as_array", "as_dtype", "check_new_path", "plan_dataset", "shape_of", "without_data"]

MAX_WHOLE_NBYTES = 64 << 10
"""Data without filters of up to this size is stored whole, without chunks, unless chunks are asked for."""

FILL_VALUE_FIELDS_NBYTES = 6
"""Version, flags and size, in front of the value in its message."""

NATIVE_COMPLEX_VERSION = 5
"""Version of a datatype message with the complex class in it."""

_OBJECT_MARKS: dict[type, dict[str, type]] = {
    str: {"vlen": str},
    bytes: {"vlen": bytes},
    Reference: {"ref": Reference},
    RegionReference: {"ref": RegionReference},
}
"""h5py's marks for arrays of objects that are all of one type."""


def plan_dataset(
    path: str,
    *,
    shape: Any,
    dtype: Any,
    chunks: Any = None,
    maxshape: Any = None,
    compression: Any = None,
    compression_opts: Any = None,
    shuffle: bool | None = None,
    fletcher32: bool | None = None,
    scaleoffset: int | bool | None = None,
    fillvalue: Any = None,
    track_order: bool = False,
    alloc_time: str | None = None,
    libver: str = "v110",
    whole: bool = False,
    datatype: EncodedDatatype | None = None,
    raw_fillvalue: Parts | None = None,
    type_path: str | None = None,
    allow_unknown_filter: bool = False,
) -> tuple[DatasetSpec, FilterChain]:
    """Check what is asked of a dataset and decide what is open. See `Group.create_dataset`.

    Parameters
    ----------
    whole
        Store small data without filters whole, when `chunks` is None.
    datatype
        Datatype message that is to be written as it is; `dtype` says what its elements are in memory, and has
        to give them the same bytes: ``V8`` for any type of 8 bytes without pointers into the global heap.
    raw_fillvalue
        Fill value as an element stands in the file, in place of `fillvalue`.
    type_path
        Path of the named datatype that its type is; `dtype` and `datatype` are those of it.
    allow_unknown_filter
        Take the number of any filter as `compression`.
    """
    element = as_dtype(np.float32 if dtype is None else dtype, path)
    _check_datatype(datatype, element, path)
    if shape is None:
        if dtype is None:
            raise ShapeError(f"{path}: give a shape and a dtype, or data")
        spec = DatasetSpec(path, None, element, track_order=track_order, libver=libver)
        return replace(spec, datatype=datatype, type_path=type_path), FilterChain((), 0)
    extents = check_shape(shape, path=path, unknown_length=True)
    bounds = _check_maxshape(maxshape, extents, path)
    if alloc_time is not None and not (isinstance(alloc_time, str) and alloc_time in ("incr", "early")):
        raise SpecError(
            f"{path}: alloc_time must be 'incr' or 'early', not {shown(alloc_time)}", alloc_time=alloc_time
        )
    spec = DatasetSpec(path, extents, element, track_order=track_order, maxshape=bounds, libver=libver)
    spec = replace(spec, datatype=datatype, type_path=type_path)
    spec = _with_fill(fillvalue, spec) if raw_fillvalue is None else _as_element(raw_fillvalue, spec)
    _check_messages(spec)
    wants_filters = bool(compression is not None or shuffle or fletcher32 or scaleoffset is not None)
    can_be_whole = not wants_filters and bounds is None and None not in extents
    if spec.is_kept and alloc_time is not None:
        can_be_whole = False
    if _is_whole(spec, chunks, can_be_whole=can_be_whole, small_data=whole):
        check_compression(compression, compression_opts, allow_unknown_filter=allow_unknown_filter)
        return spec, FilterChain((), 0)
    spec = replace(spec, chunks=_chunks(chunks, spec))
    _check_grid(spec)
    chain = chain_from_keywords(
        dtype=spec.stored_dtype,
        chunk_nbytes=spec.chunk_nbytes,
        compression=compression,
        compression_opts=compression_opts,
        shuffle=shuffle,
        fletcher32=fletcher32,
        scaleoffset=scaleoffset,
        chunks=spec.chunks,
        fillvalue=None if spec.fillvalue is None or spec.is_encoded else spec.fillvalue[()],
        allow_unknown_filter=allow_unknown_filter,
    )
    is_early = alloc_time == "early" and not chain.filters and bounds is None and None not in extents
    if alloc_time == "early" and not is_early:
        raise SpecError(
            f"{path}: alloc_time='early' is for unfiltered datasets of fixed shape; leave compression, shuffle, "
            "fletcher32 and maxshape out, or alloc_time"
        )
    return replace(spec, filters=chain.records, is_early=is_early and 0 not in extents), chain


def _with_fill(fillvalue: Any, spec: DatasetSpec) -> DatasetSpec:
    """Return the plan with a fill value; see `check_fillvalue`."""
    if fillvalue is not None and (spec.dtype.subdtype is not None or spec.is_kept):
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
    """Refuse elements of another size than their datatype message says.

    Raises
    ------
    DatatypeError
        They are.
    """
    if datatype is not None and datatype.nbytes != sizeof_element(dtype):
        raise DatatypeError(
            f"{path}: elements of dtype {dtype} take {sizeof_element(dtype):,} bytes in the file, the datatype message "
            f"says {datatype.nbytes:,}; pass a dtype of that size, such as 'V{datatype.nbytes}'",
            path=path,
            dtype=dtype,
        )


def _as_element(data: Parts, spec: DatasetSpec) -> DatasetSpec:
    """Return the plan with a fill value that stands as it is in the file.

    Raises
    ------
    FillValueError
        It is not one element, or has references.
    """
    nbytes = sizeof_parts(data)
    is_known = all(isinstance(part, (bytes, HeapObject)) for part in data)
    if nbytes != spec.element_nbytes or spec.is_encoded or spec.is_kept or not is_known:
        raise FillValueError(
            f"{spec.path}: {nbytes:,} bytes are no fill value for elements of {spec.element_nbytes:,} bytes, of "
            f"dtype {spec.dtype}",
            fillvalue=data,
            dtype=spec.dtype,
        )
    if any(isinstance(part, HeapObject) for part in data):
        return replace(spec, fill_parts=data)
    joined = b"".join(part for part in data if isinstance(part, bytes))
    return replace(spec, fillvalue=np.frombuffer(joined, spec.stored_dtype).reshape(()))


def _is_whole(spec: DatasetSpec, chunks: Any, *, can_be_whole: bool, small_data: bool) -> bool:
    """Whether data is stored whole, without chunks: where it must be, and small data unless asked otherwise.

    Raises
    ------
    SpecError
        It must be, and something was asked for that needs chunks.
    """
    is_open = chunks is None or isinstance(chunks, bool) or (isinstance(chunks, str) and chunks == "auto")
    if spec.is_kept and not (can_be_whole and is_open):
        raise SpecError(
            f"{spec.path}: references are stored whole, as their addresses are known at the end; give a shape and "
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
    return small_data and chunks is None and can_be_whole and spec.value_nbytes <= MAX_WHOLE_NBYTES


def _check_messages(spec: DatasetSpec) -> None:
    """Refuse what does not fit the object header, or what its readers do not open.

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


def _check_grid(spec: DatasetSpec) -> None:
    """Refuse more chunks than a table can hold.

    Raises
    ------
    LimitError
        More than 2^32 - 1 over the maximum shape.
    """
    n_numbers = spec.grid.n_numbers or 0
    if n_numbers > MAX_CHUNKS:
        raise LimitError(
            f"{spec.path}: shape {spec.shape}, maxshape {spec.maxshape} and chunks {spec.chunks} make {n_numbers:,} "
            f"chunks; {MAX_CHUNKS:,} are the most: use larger chunks, or None in maxshape",
            n_chunks=n_numbers,
        )


def _check_maxshape(
    maxshape: Any, extents: tuple[int | None, ...], path: str
) -> tuple[int | None, ...] | None:
    """Return `maxshape` as a tuple; None where it only repeats the shape."""
    if maxshape is None or maxshape is True:
        return tuple(None for _ in extents) if maxshape is True else None
    given = maxshape if isinstance(maxshape, (tuple, list)) else (maxshape,)
    bounds = tuple(None if n is None else check_shape((n,), path=path)[0] for n in given)
    facts: dict[str, Any] = {"shape": extents, "maxshape": bounds}
    if len(bounds) != len(extents):
        raise ShapeError(
            f"{path}: maxshape {bounds} has {len(bounds)} dimensions, shape {extents} {len(extents)}", **facts
        )
    if any(m is not None and n is not None and m < n for n, m in zip(extents, bounds, strict=True)):
        raise ShapeError(f"{path}: maxshape {bounds} is smaller than the shape {extents}", **facts)
    return None if bounds == extents and None not in bounds else bounds


def _chunks(chunks: Any, spec: DatasetSpec) -> tuple[int, ...]:
    shape = spec.shape or ()
    bounds = shape if spec.maxshape is None else spec.maxshape
    if chunks is None or chunks is True or (isinstance(chunks, str) and chunks == "auto"):
        # rows of an open-ended dataset come one by one: a chunk holds one row, or part of one
        return auto_chunks(tuple(1 if n is None else n for n in shape), spec.element_nbytes)
    return check_chunks(chunks, bounds, spec.element_nbytes, path=spec.path, libver=spec.libver)


def as_dtype(dtype: Any, path: str) -> np.dtype[Any]:
    """Return a dtype that can be written; numpy's text (U) becomes UTF-8 of variable length.

    Raises
    ------
    DatatypeError
        Not a dtype, or one that HDF5 cannot hold.
    """
    try:
        element: np.dtype[Any] = np.dtype(dtype)
    except UNREADABLE as error:
        raise DatatypeError(f"{path}: {shown(dtype)} is not a dtype: {error}", path=path) from error
    if element.kind == "U":
        element = np.dtype("O", metadata={"vlen": str})
    try:
        encode_datatype(element)
    except DatatypeError as error:
        raise DatatypeError(f"{path}: {error}", path=path, dtype=element) from error
    return element


def as_array(data: Any, dtype: Any, path: str) -> np.ndarray[Any, Any]:
    """Return `data` as an array of a dtype that can be written; objects of one kind say their type.

    Text, bytes, `Reference` and `RegionReference` become what h5py makes of them.

    Raises
    ------
    SpecError
        A dask collection.
    DatatypeError
        A dtype that cannot be written.
    BlockError
        Not a regular array, or values that the dtype cannot hold.
    """
    graph = getattr(data, "__dask_graph__", None)  # xarray's and pint's in-memory arrays have one, too: None
    if graph is not None and graph() is not None:
        raise SpecError(
            f"{path}: data is a dask collection; write it with streamh5.to_fixed_h5(file, {shown(path)}, x)"
        )
    try:
        check_is_array(data)
    except DatatypeError as error:
        raise DatatypeError(f"{path}: {error}", path=path) from error
    element = None if dtype is None else as_dtype(dtype, path)
    if np.ma.isMaskedArray(data):  # stays one: what is masked must not become data unnoticed
        return np.ma.asarray(data)
    if element is not None:
        return as_block(data, innermost(element)[0], path=path)
    try:
        array: np.ndarray[Any, Any] = np.asarray(data)
    except UNREADABLE as error:
        what = type(data).__name__
        raise BlockError(
            f"{path}: {what} is not a regular array, or cannot be read: {error}", path=path
        ) from error
    try:
        check_one_kind(data, array)
        if array.dtype == object and not array.dtype.metadata:
            array = _marked(array)
    except DatatypeError as error:
        raise DatatypeError(f"{path}: {error}", path=path) from error
    return array


def _marked(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return objects of one kind with h5py's mark for it."""
    items = array.ravel().tolist()
    for kind, marks in _OBJECT_MARKS.items():
        if all(isinstance(item, kind) for item in items):
            return array.astype(np.dtype("O", metadata=marks))
    check_objects(items)
    return array


def without_data(data: Any, dtype: Any, path: str) -> tuple[Any, Any]:
    """Return the dtype and None for an `h5py.Empty`, both as they are for anything else.

    Raises
    ------
    BlockError
        Data that cannot be read: a dataset of a file that is closed.
    """
    try:
        if data is not None and is_empty(data):
            return data.dtype if dtype is None else dtype, None
    except UNREADABLE as error:
        raise BlockError(
            f"{path}: data of type {type(data).__name__} cannot be read: {error}", path=path
        ) from error
    return dtype, data


def check_new_path(path: str) -> str:
    """Absolute form of a dataset's path.

    Raises
    ------
    PathError
        It is the root group, or HDF5 cannot hold it.
    """
    names = split_path(path)
    if not names:
        raise PathError(f"{shown(path)} is the root group; name a dataset in it, for example '/x'", path=path)
    return join_path(names)


def shape_of(shape: Any, array: np.ndarray[Any, Any] | None, dtype: Any, path: str) -> Any:
    """Shape of a dataset, from what was asked for and the data, which must agree.

    Raises
    ------
    ShapeError
        They do not.
    """
    if array is None:
        return shape
    inner = () if dtype is None else innermost(np.dtype(dtype))[1]
    outer = array.shape[: max(0, array.ndim - len(inner))]
    if shape is not None and check_shape(shape, path=path) != outer:
        raise ShapeError(
            f"{path}: shape {shape} differs from the data's {outer}; leave shape out", shape=shape
        )
    return outer
