"""Element types and fill values, as zarr's version 2 writes them."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from streamh5.errors import ReferencesError

__all__ = ["encode_fill_value", "zarr_dtype"]


def zarr_dtype(dtype: np.dtype[Any], *, path: str) -> str | list[list[Any]]:
    """Return the ``dtype`` of an array's metadata.

    Parameters
    ----------
    dtype
        Of the elements as they are stored.
    path
        Dataset, for messages.

    Raises
    ------
    ReferencesError
        A type that zarr has no name for.
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
    members: list[list[Any]] = []
    fields: Any = dtype.fields
    position = 0
    for name in dtype.names or ():
        member, offset = fields[name][:2]
        if member.names is not None:
            raise ReferencesError(
                f"{path}: member {name!r} is a compound itself, which zarr 3 does not read",
                path=path,
                dtype=dtype,
            )
        if offset != position:
            break
        members.append([name, zarr_dtype(member, path=path)])
        position += member.itemsize
    if position != dtype.itemsize:
        raise ReferencesError(
            f"{path}: a compound type with padding between its members, or with members out of order, has no "
            "counterpart in zarr; store it packed",
            path=path,
            dtype=dtype,
        )
    return members


def encode_fill_value(value: np.ndarray[Any, Any]) -> Any:
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
