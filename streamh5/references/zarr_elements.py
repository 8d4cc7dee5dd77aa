"""Elements in version 2 of zarr: dtypes, fill values, filters as numcodecs codecs, and strings."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import ReferencesError
from streamh5.filters.registry import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamh5.format.filter_pipeline import FilterRecord

_MAX_TEXT_ELEMENTS = 1 << 20
"""Maximum number of strings of one dataset that are copied into the references: they would make these as large as the
data itself, and readers load references as a whole."""


def check_expressible(dtype: np.dtype[Any], filters: tuple[FilterRecord, ...], *, path: str) -> None:
    """Refuse what references cannot express, as far as this is known before any data is written.

    Raises
    ------
    ReferencesError
        The dtype has no equivalent in zarr, or a filter has no codec.
    """
    if not is_text(dtype):
        zarr_dtype(dtype, path=path)
        numcodecs_filters(filters, path=path)


def zarr_dtype(dtype: np.dtype[Any], *, path: str) -> str | list[list[Any]]:
    """Return the ``dtype`` of an array's metadata.

    Parameters
    ----------
    dtype
        Type of the stored elements.
    path
        Path of the dataset, for messages.

    Raises
    ------
    ReferencesError
        zarr has no name for the type.
    """
    if dtype.names is not None:
        return _members(dtype, path)
    sizes = {"f": (2, 4, 8), "c": (8, 16)}.get(dtype.kind, (dtype.itemsize,))
    is_plain = dtype.kind in "biufcSmM" or (dtype.kind == "V" and dtype.type is np.void)
    if not is_plain or dtype.itemsize not in sizes or dtype.subdtype is not None:
        what = "an array element type" if dtype.subdtype is not None else f"dtype {dtype}"
        raise ReferencesError(f"{path}: zarr has no type for {what}", path=path, dtype=dtype)
    return dtype.str


def _members(dtype: np.dtype[Any], path: str) -> list[list[Any]]:
    inner = {name: dtype[name] for name in dtype.names or ()}
    for name, member in inner.items():
        if member.names is not None:
            raise ReferencesError(
                f"{path}: member {name!r} is itself a compound, which zarr 3 does not read",
                path=path,
                dtype=dtype,
            )
    if dtype != np.dtype(list(inner.items())):
        raise ReferencesError(
            f"{path}: a compound type with padding between its members, or with members out of order, has no "
            "counterpart in zarr; store it packed",
            path=path,
            dtype=dtype,
        )
    return [[name, zarr_dtype(member, path=path)] for name, member in inner.items()]


def zarr_fill_value(value: np.ndarray[Any, Any]) -> Any:
    """Return the ``fill_value`` of an array's metadata (zarr specification, version 2).

    Parameters
    ----------
    value
        ``()`` array of the array's type.
    """
    kind = value.dtype.kind
    if kind == "O":
        plain = value[()]
        return plain.decode("utf-8", "replace") if isinstance(plain, bytes) else str(plain)
    if kind in "SV":
        return base64.b64encode(value.tobytes()).decode("ascii")
    if kind in "mM":
        return int(value.astype(value.dtype.newbyteorder("=")).view(np.int64))
    if kind == "c":
        return [_float(value[()].real), _float(value[()].imag)]
    return _float(value[()]) if kind == "f" else value.tolist()


def _float(value: Any) -> float | str:
    number = float(value)
    if math.isnan(number):
        return "NaN"
    return number if math.isfinite(number) else ("Infinity" if number > 0 else "-Infinity")


def numcodecs_filters(filters: Iterable[FilterRecord], *, path: str) -> list[dict[str, Any]]:
    """Return the numcodecs configurations of a filter pipeline, in the order in which the writer applied it.

    Parameters
    ----------
    filters
        Filters in that order.
    path
        Path of the dataset, for messages.

    Raises
    ------
    ReferencesError
        numcodecs has no codec for a filter.
    """
    configurations = []
    for record in filters:
        row = REGISTRY.get(record.filter_id)
        if row is None or row.numcodecs is None:
            name = record.name.split(";")[0] if row is None else row.keyword
            raise ReferencesError(
                f"{path}: numcodecs has no codec for {name or 'filter'} (filter {record.filter_id}) as HDF5 stores it; "
                "write the dataset with gzip, zstd, blosc or bzip2",
                path=path,
                filter_id=record.filter_id,
            )
        configurations.append(row.numcodecs(record.client_values))
    return configurations


def is_text(dtype: np.dtype[Any]) -> bool:
    """Return whether elements are strings of variable length."""
    metadata: Mapping[str, Any] = dtype.metadata or {}
    return dtype.kind == "O" and metadata.get("vlen") in (str, bytes)


def check_n_texts(shape: tuple[int, ...]) -> None:
    """Refuse more strings of variable length than are copied into references.

    In the file they lie in the global heap, to which references cannot refer.

    Raises
    ------
    ReferencesError
        There are more than 1,048,576.
    """
    n_elements = math.prod(shape)
    if n_elements > _MAX_TEXT_ELEMENTS:
        raise ReferencesError(
            f"{n_elements:,} strings of variable length, which lie in HDF5's heap; up to {_MAX_TEXT_ELEMENTS:,} are "
            "put into the references: store strings of fixed length instead"
        )


def encode_texts(texts: Any) -> bytes:
    """Encode strings as numcodecs stores them.

    Raises
    ------
    TypeError, UnicodeEncodeError
        An element is not a str, or has surrogates, which UTF-8 cannot encode.
    """
    from numcodecs.vlen import VLenUTF8

    encoded: bytes = bytes(VLenUTF8().encode(np.ascontiguousarray(texts, object).reshape(-1)))
    return encoded
