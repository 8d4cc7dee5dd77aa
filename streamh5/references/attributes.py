"""Attributes as JSON values, the way kerchunk turns them (``SingleHdf5ToZarr._transfer_attrs``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HIDDEN", "NEEDED", "OF_REFERENCES", "is_reference", "json_attributes", "text"]

HIDDEN = frozenset(
    {
        "CLASS",
        "DIMENSION_LIST",
        "NAME",
        "REFERENCE_LIST",
        "_FillValue",
        "_NCProperties",
        "_Netcdf4Coordinates",
        "_Netcdf4Dimid",
        "_nc3_strict",
    }
)
"""What readers of HDF5 need, not people; ``_FillValue`` is zarr's ``fill_value``."""

OF_REFERENCES = frozenset({"DIMENSION_LIST", "REFERENCE_LIST"})
"""Those of them that hold references to objects."""

NEEDED = frozenset({"CLASS", "NAME", "_FillValue", "_Netcdf4Coordinates", "_Netcdf4Dimid"})
"""Those of them from which dimensions and fill values are taken."""


def json_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Turn attributes into JSON values; those that refer to objects of the file are left out.

    Numbers become numbers, one-element vectors scalars, vectors lists, bytes text; everything else (arrays
    of two dimensions, compounds, complex numbers, dates) the text that Python prints for it.
    """
    found = {}
    for name, value in attributes.items():
        if name not in HIDDEN and not is_reference(value):
            found[name] = _json_value(value)
    return found


def text(value: Any) -> str:
    """Text of an attribute that holds text; empty for any other."""
    if isinstance(value, bytes):
        return value.rstrip(b"\0").decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def is_reference(value: Any) -> bool:
    """Whether a value refers to objects of the file, or has members that do."""
    if isinstance(value, (list, tuple)) and value:
        return is_reference(value[0])
    names = ("Reference", "RegionReference")
    return (
        isinstance(value, Reference)
        or type(value).__name__ in names
        or _refers(getattr(value, "dtype", None))
    )


def _refers(dtype: Any) -> bool:
    if not isinstance(dtype, np.dtype):
        return False
    if dtype.names is not None:
        return any(_refers(dtype[name]) for name in dtype.names)
    metadata: Mapping[str, Any] = dtype.metadata or {}
    return (
        "ref" in metadata
        or _refers(metadata.get("vlen"))
        or (dtype.subdtype is not None and _refers(dtype.base))
    )


def _json_value(value: Any) -> Any:
    if isinstance(value, (str, bytes)):
        return text(value)
    if getattr(value, "shape", ()) is None:  # a null dataspace
        return ""
    array = np.asarray(value)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    plain = array.ravel()[0] if array.size == 1 else array
    plain = plain.tolist() if isinstance(plain, (np.ndarray, np.generic)) else plain
    if isinstance(plain, bytes):
        return text(plain)
    if isinstance(plain, list) and array.ndim == 1:
        plain = [text(one) if isinstance(one, bytes) else one for one in plain]
        if all(isinstance(one, (str, int, float)) for one in plain):
            return plain
    return plain if isinstance(plain, (str, int, float)) else str(plain)
