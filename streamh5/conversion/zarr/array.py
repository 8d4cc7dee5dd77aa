"""How a zarr array is converted: its stored chunks are copied where HDF5 has filters for their codecs."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.array_plan import ArrayPlan, SourceArray, StoredAs, plan_array
from streamh5.conversion.request import NotCopiable
from streamh5.conversion.zarr.chunks import chunk_reader
from streamh5.conversion.zarr.codecs import stored_layout
from streamh5.dask.foreign_errors import foreign_errors
from streamh5.dask.stored_chunks import BLOCK_NBYTES, Regions
from streamh5.netcdf.storage import default_fill

if TYPE_CHECKING:
    from streamh5.conversion.request import Request
    from streamh5.conversion.zarr.codecs import ZarrLayout
    from streamh5.conversion.zarr.tree import StoreArray

SMALL_NBYTES = 64 << 10
"""Arrays of up to this size are not worth a plugin: coordinates stay readable where it is missing."""

FIRST_PLUGIN = 256
"""First number of the filters that are not part of the HDF5 library."""


WIDENED: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype("?"): np.dtype("i1"),
    np.dtype("f2"): np.dtype("f4"),
    np.dtype(">f2"): np.dtype("f4"),
}
"""Substitutes for types that netCDF-4 lacks; netCDF4-python 1.7.5 crashes on half precision."""

BYTE_SEQUENCES = np.dtype("O", metadata={"vlen": np.dtype("u1")})
"""Bytes of variable length: HDF5's strings end at a NUL, its sequences do not."""


def plan_zarr_array(one: StoreArray, request: Request, *, netcdf: bool = False) -> ArrayPlan:
    """Plan an array: copied where that is possible, else decoded and encoded.

    Parameters
    ----------
    one
        The array.
    request
        How arrays are to be stored.
    netcdf
        As a variable of netCDF-4: booleans are integers of a byte, half precision is single, and bytes of
        a fixed length are characters along one more dimension.

    Raises
    ------
    FilterError
        ``copy=True`` was requested, and its chunks cannot be copied.
    SpecError, DatatypeError, LimitError
        See `plan_dataset`.
    """
    with foreign_errors(f"{one.path}: the metadata of the zarr array cannot be used", path=one.path):
        source = _source(one, netcdf=netcdf)
        find_stored = partial(_stored_as, one, source.dtype, request, netcdf=netcdf)
        return replace(plan_array(source, request, find_stored, []), is_local=one.shared.is_local)


def _source(one: StoreArray, *, netcdf: bool) -> SourceArray:
    array = one.array
    dtype = BYTE_SEQUENCES if array.dtype.kind == "O" else array.dtype
    dtype = np.dtype("U") if dtype.kind in "UT" else dtype
    fill = None if dtype.kind in "OU" else array.fill_value
    if dtype.kind == "U":
        # HDF5 reads missing strings of a fill value only from a file that it may write to: none where it is empty
        fill = str(array.fill_value or "") or (default_fill(dtype) if netcdf else None)
    is_regular = array.metadata.zarr_format == 2 or array.metadata.chunk_grid.to_dict()["name"] == "regular"
    chunks, unit = (array.chunks, array.shards) if is_regular else (None, None)
    shape = array.shape
    if netcdf and dtype in WIDENED:
        dtype = WIDENED[dtype]
        fill = None if fill is None else dtype.type(fill)
    elif netcdf and are_characters(dtype):
        last = (dtype.itemsize,)
        shape, chunks, unit = (*shape, *last), chunks and (*chunks, *last), unit and (*unit, *last)
        dtype, fill = np.dtype("S1"), b"\0"
    return SourceArray(
        one.path,
        shape,
        dtype,
        Regions(partial(_read, one, dtype)),
        one.identity,
        fillvalue=fill,
        chunks=chunks,
        unit=unit,
        track_order=netcdf,
    )


def are_characters(dtype: np.dtype[Any]) -> bool:
    """Whether elements are bytes of a fixed length, which netCDF stores as characters along a dimension."""
    return dtype.kind == "S" and dtype.itemsize > 1


def _read(one: StoreArray, dtype: np.dtype[Any], region: tuple[slice, ...]) -> Any:
    if dtype.kind == "O":
        values = one.read(region)
        sequences = np.empty(values.shape, object)
        sequences.ravel()[:] = [np.frombuffer(item or b"", np.uint8) for item in values.ravel().tolist()]
        return sequences
    if len(region) > one.array.ndim:
        values = np.ascontiguousarray(one.read(region[:-1]))
        return values[..., np.newaxis].view("S1")[..., region[-1]]
    values = one.read(region)
    return values.astype(object) if dtype.kind == "U" else values.astype(dtype, copy=False)


def _stored_as(one: StoreArray, dtype: np.dtype[Any], request: Request, *, netcdf: bool) -> StoredAs:
    """Return how the chunks of an array can be copied.

    Raises
    ------
    NotCopiable
        They cannot or should not be copied.
    """
    if netcdf and one.array.dtype.kind == "f" and one.array.dtype in WIDENED:
        raise NotCopiable("netCDF-4 has no type for half precision")
    if netcdf and are_characters(one.array.dtype):
        raise NotCopiable("bytes of a fixed length become characters along a dimension in netCDF-4")
    layout = stored_layout(one.metadata, one.array.dtype)
    request.check_copied_chunks(one.path, one.array.shape, layout.chunks)
    is_larger = any(c > n for c, n in zip(layout.chunks, one.array.shape, strict=True))
    if netcdf and is_larger:
        raise NotCopiable(
            f"chunks {layout.chunks} are larger than the dimensions {one.array.shape}, which netCDF refuses"
        )
    plugins = _plugins(layout)
    if request.copy is None and one.array.nbytes <= SMALL_NBYTES and plugins:
        raise NotCopiable(f"a small array, and readers need a plugin for {', '.join(plugins)}")
    what = f"{', '.join(layout.codecs) or 'no codecs'}" + (" in shards" if layout.shards else "")
    stored_dtype = dtype if dtype.itemsize == 1 else layout.dtype
    reader = chunk_reader(one.shared, layout)
    chain = layout.chain
    return StoredAs(
        layout.chunks, stored_dtype, chain, chain.records, reader, layout.accept, what, unit=_unit(layout)
    )


def _unit(layout: ZarrLayout) -> tuple[int, ...] | None:
    """Shape of a shard that fits into a block: in one with whole shards, all of their chunks lie next to each other."""
    shape = None if layout.shards is None else layout.shards.shape
    if shape is None or math.prod(shape) * layout.dtype.itemsize > BLOCK_NBYTES:
        return None
    return shape


def _plugins(layout: ZarrLayout) -> list[str]:
    """Return codecs whose filters the HDF5 library cannot undo without a plugin (``H5Z_FILTER_RESERVED``)."""
    pairs = zip(layout.codecs, layout.chain.filters, strict=False)  # a CRC-32C, at the end, is not a filter
    return [codec for codec, one in pairs if one.filter_id >= FIRST_PLUGIN]
