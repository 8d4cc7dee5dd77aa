"""How the data of a netCDF-4 variable is stored: its ``encoding`` is read, and its dataset is planned.

The keys of an encoding are those of netCDF4-python and of h5netcdf.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da

from streamh5.arguments.keywords import check_flag
from streamh5.dask.blocks import aligned_array, aligned_region
from streamh5.dask.graph import Target
from streamh5.errors import FilterError, SpecError, did_you_mean, listed
from streamh5.filters import FilterOptions, wants_shuffle
from streamh5.filters.registry import FILTERS
from streamh5.handles.dataset_plan import NO_FILTERS, plan_dataset
from streamh5.handles.file_plan import PlannedDataset
from streamh5.model.chunk_shape import auto_chunks
from streamh5.netcdf.quantization import ROUNDING_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from streamh5.arguments.write_options import WriteOptions
    from streamh5.handles.dataset import Dataset
    from streamh5.netcdf.enumerations import NamedEnumeration

COMPRESSION_FLAGS = {row.netcdf.flag: row.netcdf for row in FILTERS if row.netcdf}
"""Keys of netCDF4-python's older style, each of which enables one compression."""

COMPRESSIONS = {name: (row.keyword, row.netcdf) for row in FILTERS if row.netcdf for name in row.netcdf.names}
"""netCDF4-python's names for ``compression``."""

STORAGE_KEYS = frozenset(
    {
        *COMPRESSION_FLAGS,
        *ROUNDING_KEYS,
        "blosc_shuffle",
        "chunksizes",
        "complevel",
        "compression",
        "compression_opts",
        "contiguous",
        "endian",
        "fletcher32",
        "shuffle",
        "szip_coding",
        "szip_pixels_per_block",
    }
)

FLAGS = frozenset({"zlib", "shuffle", "fletcher32", "contiguous"})
"""Keys whose value is True or False."""

IGNORED_KEYS = frozenset({"original_shape", "preferred_chunks", "source", "_FillValue", "dtype"})
"""Keys that describe the file that was read, or that xarray's own encoders have applied."""

DEFAULT_COMPLEVEL = 4
"""Default ``complevel`` of netCDF4-python."""

DEFAULT_FILLVALUES: dict[str, Any] = {
    "S1": b"\0",
    "i1": -127,
    "u1": 255,
    "i2": -32767,
    "u2": 65535,
    "i4": -2147483647,
    "u4": 4294967295,
    "i8": -9223372036854775806,
    "u8": 18446744073709551614,
    "f4": 9.9692099683868690e36,
    "f8": 9.9692099683868690e36,
}
"""``NC_FILL_CHAR`` ... ``NC_FILL_DOUBLE`` of netcdf.h: values of elements that were never written."""

MIN_RECORDS = 512
"""Chunk extent of a short coordinate along an unlimited dimension, so that it can grow (4 KiB of float64)."""


@dataclass(frozen=True, slots=True)
class Storage:
    """How a variable is stored.

    Parameters
    ----------
    chunks
        Chunk shape; None if it is derived from the data.
    contiguous
        Whether the data must not be chunked.
    filters
        Filters, as in h5py.
    byteorder
        ``"<"``, ``">"``, or ``"="`` for the machine's.
    enumeration
        The enumeration that is the type; None for other types.
    """

    chunks: Any = None
    contiguous: bool = False
    filters: FilterOptions = NO_FILTERS
    byteorder: str = "="
    enumeration: NamedEnumeration | None = None


def read_encoding(
    encoding: Mapping[str, Any],
    *,
    path: str,
    is_explicit: bool,
    shape: tuple[int, ...],
    is_unlimited: tuple[bool, ...],
) -> Storage:
    """Read the encoding of a variable.

    Parameters
    ----------
    encoding
        Keys of ``Dataset.to_netcdf`` for either of its engines for netCDF-4.
    path
        Path of the variable, for messages.
    is_explicit
        Whether it was given in this call. The encoding that a variable has from the file that it was
        read from is only a default: keys that do not fit are ignored, as in xarray.
    shape
        Shape of the variable.
    is_unlimited
        Whether each dimension is unlimited.

    Raises
    ------
    SpecError
        Keys are unknown, contradict each other, or cannot be applied.
    """
    given = {key: value for key, value in encoding.items() if key not in IGNORED_KEYS}
    if is_explicit:
        _check_keys(given, path)
    chunks = given.get("chunksizes")
    if not is_explicit and chunks is not None:
        is_changed = "original_shape" in encoding and tuple(encoding["original_shape"]) != shape
        if is_changed or not _fits(chunks, shape, is_unlimited):
            chunks = None
    filters = read_filters(given, path=path, is_explicit=is_explicit)
    is_contiguous = is_explicit and bool(given.get("contiguous"))
    if is_contiguous and (filters.need_chunks or chunks is not None or any(is_unlimited)):
        raise SpecError(
            f"variable {path}: contiguous=True contradicts chunksizes, filters and unlimited dimensions; leave one "
            "of them out",
            path=path,
        )
    return Storage(chunks, is_contiguous, filters, _byteorder(given, path))


def read_filters(given: Mapping[str, Any], *, path: str, is_explicit: bool = True) -> FilterOptions:
    """Read the filters of an encoding; see `read_encoding` for the parameters.

    Raises
    ------
    FilterError
        Keys contradict each other.
    """
    name = _compression(given, path, is_explicit=is_explicit)
    fletcher32 = bool(given.get("fletcher32"))
    if name is None or name is False:
        if is_explicit and given.get("compression_opts") is not None:
            raise FilterError(
                f"variable {path}: compression_opts without compression: name the compression too", path=path
            )
        return FilterOptions(fletcher32=fletcher32)
    level, options = given.get("complevel"), given.get("compression_opts")
    if is_explicit and level is not None and options is not None and level != options:
        raise FilterError(
            f"variable {path}: 'complevel' and 'compression_opts' encodings mismatch: {level} and {options}",
            path=path,
        )
    if name in ("zlib", "gzip") and level == 0 and options is None:
        return FilterOptions(fletcher32=fletcher32)  # "a value of zero disables compression"
    shuffle = given.get("shuffle")
    if shuffle is None:
        shuffle = isinstance(name, str) and wants_shuffle(name)
    asked = FilterOptions(
        compression=name, compression_opts=options, shuffle=bool(shuffle), fletcher32=fletcher32
    )
    if not (isinstance(name, str) and name in COMPRESSIONS):
        return asked
    keyword, netcdf = COMPRESSIONS[name]
    keywords = netcdf.keywords(name, DEFAULT_COMPLEVEL if level is None else level, given)
    return replace(asked, compression=keyword, **keywords)


def _check_keys(given: Mapping[str, Any], path: str) -> None:
    for key in FLAGS & given.keys():
        if given[key] is not None:
            check_flag(f"variable {path}: {key}", given[key])
    known = sorted(STORAGE_KEYS | {"_FillValue", "dtype"})
    unknown = sorted(map(str, given.keys() - STORAGE_KEYS))
    if unknown:
        raise SpecError(
            f"variable {path}: unexpected encoding parameters {listed(map(repr, unknown))}"
            + (did_you_mean(unknown[0], known) or f"; the known ones are {', '.join(known)}"),
            path=path,
            keys=unknown,
        )


def _fits(chunks: Any, shape: tuple[int, ...], is_unlimited: tuple[bool, ...]) -> bool:
    try:
        extents = tuple(map(operator.index, chunks))
    except TypeError:
        return False
    return len(extents) == len(shape) and all(
        0 < c <= n or (c > 0 and free) for c, n, free in zip(extents, shape, is_unlimited, strict=True)
    )


def _byteorder(given: Mapping[str, Any], path: str) -> str:
    endian = given.get("endian") or "native"
    try:
        return {"native": "=", "little": "<", "big": ">"}[endian]
    except (KeyError, TypeError):
        raise SpecError(
            f"variable {path}: endian must be 'native', 'little' or 'big', not {endian!r}", path=path
        ) from None


def _compression(given: Mapping[str, Any], path: str, *, is_explicit: bool) -> Any:
    """Return the name, number or filter object of the compression; None without compression."""
    flags = [key for key in COMPRESSION_FLAGS if given.get(key)]
    named = given.get("compression")
    if not flags:
        return named
    flag = flags[-1]
    names = COMPRESSION_FLAGS[flag].names
    same = (flag, *names)
    if is_explicit and (len(flags) > 1 or (named is not None and named not in same)):
        both = " and ".join(map(repr, [*flags, *([] if named is None else ["compression"])]))
        raise FilterError(f"variable {path}: {both} encodings mismatch; name one compression", path=path)
    if named is not None:
        return named
    described = given[flag]
    # how netCDF4-python describes Blosc in a file that it read
    if isinstance(described, dict) and "compressor" in described:
        return described["compressor"]
    return names[0]


def default_fill(dtype: np.dtype[Any]) -> Any:
    """Return the default fill value of netCDF-C; for text, the empty string."""
    if dtype.kind == "U":
        return ""
    return DEFAULT_FILLVALUES[f"{dtype.kind}{dtype.itemsize}"]


def plan_variable(
    path: str,
    array: Any,
    dtype: np.dtype[Any],
    storage: Storage,
    maxshape: tuple[int | None, ...],
    fillvalue: Any,
    options: WriteOptions,
    origin: tuple[int, ...] | None = None,
    shape: tuple[int, ...] | None = None,
) -> tuple[PlannedDataset, Target | None]:
    """Plan the dataset of a variable and the blocks that tasks write; None for data in memory, which the plan writes.

    Parameters
    ----------
    path
        Path of the dataset.
    array
        A dask array, which is written by tasks, or a numpy array.
    dtype
        Element type in the file; ``U`` for strings.
    storage
        How the variable is stored.
    maxshape
        Length of each dimension, None for an unlimited one.
    fillvalue
        Value of elements that were never written.
    options
        How the file is written.
    origin, shape
        Where the array begins in the variable, and the shape of the variable; None if the array is all of it.

    Raises
    ------
    SpecError, DatatypeError, LimitError
        The variable cannot be written in this way.
    """
    is_streamed = isinstance(array, da.Array)
    if storage.contiguous and is_streamed and array.ndim:
        raise SpecError(
            f"variable {path}: contiguous=True is for data in memory, and this is a dask array; leave contiguous "
            "out, or load the variable first",
            path=path,
        )
    chunks: Any = storage.chunks if array.ndim else None
    if is_streamed:
        array, chunks = aligned_array(path, array, "auto" if chunks is None else chunks, maxshape)
        if origin is not None and any(origin):
            array = aligned_region(path, array, chunks, origin)
    elif array.ndim and chunks is None and (storage.filters.need_chunks or None in maxshape):
        chunks = _record_chunks(shape or array.shape, maxshape, 16 if dtype.kind == "U" else dtype.itemsize)
    spec, chain = plan_dataset(
        path,
        shape=array.shape if shape is None else shape,
        dtype=dtype,
        chunks=chunks,
        maxshape=maxshape if None in maxshape else None,
        filters=NO_FILTERS if chunks is None else storage.filters,
        fillvalue=fillvalue,
        track_order=True,
        libver=options.libver,
        datatype=None if storage.enumeration is None else storage.enumeration.datatype,
        type_path=None if storage.enumeration is None else storage.enumeration.path,
    )
    if chunks is None and spec.chunks is not None:
        spec = replace(spec, chunks=None)
    key = options.resume_key
    if not is_streamed:
        if spec.chunks is None and array.size and array.shape == spec.shape:
            return PlannedDataset(spec, chain, key, value=array), None
        return PlannedDataset(spec, chain, key, partial(_write, value=array, origin=origin)), None
    return PlannedDataset(spec, chain, array.name if key is None else key), Target(spec, array, origin=origin)


def _write(dataset: Dataset, value: np.ndarray[Any, Any], origin: tuple[int, ...] | None) -> None:
    """Write the data of a new variable that is in memory, unless it is stored already, after a resume."""
    is_stored = dataset.chunks is not None and dataset.is_stored(origin or (0,) * value.ndim, value.shape)
    if not is_stored:
        write_values(dataset, value, origin)


def write_values(
    dataset: Dataset, value: np.ndarray[Any, Any], origin: tuple[int, ...] | None = None
) -> None:
    """Write the data of a variable that is in memory; `origin` is the index of its first element, or None."""
    start = origin or (0,) * value.ndim
    if not value.size:
        return
    if dataset.chunks is None and value.shape == dataset.shape:
        dataset[()] = value
    else:
        dataset[tuple(slice(i, i + n) for i, n in zip(start, value.shape, strict=True))] = value


def _record_chunks(
    shape: tuple[int, ...], maxshape: tuple[int | None, ...], itemsize: int
) -> tuple[int, ...]:
    """Return the chunk shape of data in memory: that of `auto_chunks`, with room to grow for a short vector."""
    if len(shape) == 1 and maxshape[0] is None:
        shape = (max(shape[0], MIN_RECORDS),)
    return auto_chunks(shape, itemsize)
