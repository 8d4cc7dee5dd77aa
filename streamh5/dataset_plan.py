"""From what a person asks of a dataset to its plan and its filters; bad requests end here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from streamh5.errors import ChunkShapeError, DatatypeError, FillValueError, PathError, ShapeError, SpecError
from streamh5.filters import FilterChain, chain_from_keywords
from streamh5.format.datatype import encode_datatype
from streamh5.plan.chunk_shape import auto_chunks, check_chunks, check_shape
from streamh5.plan.dataset_spec import DatasetSpec, check_fillvalue
from streamh5.plan.object_path import join_path, split_path

__all__ = ["LIBVERS", "as_array", "as_dtype", "check_new_path", "plan_dataset"]

LIBVERS = ("v108", "v110", "v200")

MAX_WHOLE_NBYTES = 64 << 10
"""Data without filters of up to this size is stored whole, without chunks, unless chunks are asked for."""

AUTO = (None, True, "auto")


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
) -> tuple[DatasetSpec, FilterChain]:
    """Check what is asked of a dataset and decide what is open. See `Group.create_dataset`.

    Parameters
    ----------
    whole
        Store small data without filters whole, when `chunks` is None.
    """
    element = as_dtype(np.float32 if dtype is None else dtype, path)
    if shape is None:
        if dtype is None:
            raise ShapeError(f"{path}: give a shape and a dtype, or data")
        return DatasetSpec(path, None, element, track_order=track_order), FilterChain((), 0)
    extents = check_shape(shape, path=path, unknown_length=True)
    bounds = _check_maxshape(maxshape, extents, path)
    if alloc_time not in (None, "incr", "early"):
        raise SpecError(
            f"{path}: alloc_time must be 'incr' or 'early', not {alloc_time!r}", alloc_time=alloc_time
        )
    spec = DatasetSpec(path, extents, element, track_order=track_order, maxshape=bounds, libver=libver)
    fill = check_fillvalue(fillvalue, element, path=path)
    if fill is not None and spec.is_encoded:
        raise FillValueError(f"{path}: a fill value for dtype {element} cannot be written; leave it out")
    wants_filters = bool(compression is not None or shuffle or fletcher32 or scaleoffset is not None)
    is_small = bounds is None and None not in extents and spec.value_nbytes <= MAX_WHOLE_NBYTES
    if not extents or (whole and chunks is None and not wants_filters and is_small):
        if not extents and chunks not in AUTO:
            raise ChunkShapeError(f"{path} is a scalar, which has no chunks; leave chunks={chunks!r} out")
        return replace(spec, fillvalue=fill), FilterChain((), 0)
    spec = replace(spec, fillvalue=fill, chunks=_chunks(chunks, spec))
    chain = chain_from_keywords(
        dtype=spec.stored_dtype,
        chunk_nbytes=spec.chunk_nbytes,
        compression=compression,
        compression_opts=compression_opts,
        shuffle=shuffle,
        fletcher32=fletcher32,
        scaleoffset=scaleoffset,
        chunks=spec.chunks,
        fillvalue=None if fill is None else fill[()],
    )
    is_early = alloc_time == "early" and not chain.filters and bounds is None and None not in extents
    if alloc_time == "early" and not is_early:
        raise SpecError(
            f"{path}: alloc_time='early' is for unfiltered datasets of fixed shape; leave compression, shuffle, "
            "fletcher32 and maxshape out, or alloc_time"
        )
    return replace(spec, filters=chain.records, is_early=is_early and 0 not in extents), chain


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
    except TypeError as error:
        raise DatatypeError(f"{path}: {dtype!r} is not a dtype: {error}", path=path) from error
    if element.kind == "U":
        element = np.dtype("O", metadata={"vlen": str})
    try:
        encode_datatype(element)
    except DatatypeError as error:
        raise DatatypeError(f"{path}: {error}", path=path, dtype=element) from error
    return element


def as_array(data: Any, dtype: Any, path: str) -> np.ndarray[Any, Any]:
    """Return `data` as an array of a dtype that can be written; objects that are all str become text.

    Raises
    ------
    SpecError
        A dask collection.
    DatatypeError
        A dtype that cannot be written.
    """
    if hasattr(data, "__dask_graph__"):
        raise SpecError(
            f"{path}: data is a dask collection; write it with streamh5.to_fixed_h5(file, {path!r}, x)"
        )
    array = np.asarray(data, dtype)
    if array.dtype == object and not array.dtype.metadata and all(isinstance(x, str) for x in array.ravel()):
        return array.astype(as_dtype("U", path))
    return array


def check_new_path(path: str) -> str:
    """Absolute form of a dataset's path.

    Raises
    ------
    PathError
        It is the root group, or HDF5 cannot hold it.
    """
    names = split_path(path)
    if not names:
        raise PathError(f"{path!r} is the root group; name a dataset in it, for example '/x'", path=path)
    return join_path(names)
