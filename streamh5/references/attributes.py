"""Attributes as JSON values, as kerchunk has them (``SingleHdf5ToZarr._transfer_attrs``); names of dimensions."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import DatatypeError
from streamh5.format.elements import has_references
from streamh5.model.dimension_scale import NOT_A_COORDINATE, SCALE_CLASS, WITHOUT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamh5.references.stored_file import StoredArray


_HIDDEN = frozenset(
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
"""Attributes for readers of HDF5, not for users; ``_FillValue`` is zarr's ``fill_value``."""


def json_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Convert attributes to JSON values, without those that refer to objects of the file.

    Numbers stay numbers, vectors of one element become scalars, other vectors lists, and bytes text. Everything else
    (arrays of two dimensions, compounds, complex numbers, dates) becomes the text that Python prints for it.
    """
    found = {}
    for name, value in attributes.items():
        if name not in _HIDDEN and not is_reference(value):
            found[name] = _json_value(value)
    return found


def text(value: Any) -> str:
    """Return the value of a text attribute as str; empty for a value that is not text."""
    if isinstance(value, bytes):
        return value.rstrip(b"\0").decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def is_reference(value: Any) -> bool:
    """Return whether a value refers to objects of the file, or has members that do."""
    if isinstance(value, (list, tuple)) and value:
        return is_reference(value[0])
    if type(value).__name__ in ("Reference", "RegionReference"):  # of streamh5, or of h5py
        return True
    dtype = getattr(value, "dtype", None)
    try:
        return isinstance(dtype, np.dtype) and has_references(dtype)
    except DatatypeError:  # objects of any other type
        return False


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


def is_only_dimension(array: StoredArray) -> bool:
    """Return whether a dataset is the scale of a netCDF dimension without a variable."""
    return _is_scale(array) and text(array.attributes.get("NAME")).startswith(WITHOUT_VARIABLE)


def variable_path(path: str) -> str:
    """Return the path under which a netCDF-4 reader shows a dataset."""
    parent, _, name = path.rpartition("/")
    return f"{parent}/{name.removeprefix(NOT_A_COORDINATE)}"


def dimension_names(arrays: Iterable[StoredArray]) -> dict[str, tuple[str, ...]]:
    """Return the names of the dimensions of every dataset of a file, by the path of the dataset.

    A dimension has the name of its scale. Axes without a scale get the phony names of netCDF-C: axes of the same length
    in a group share one, and the numbers run through the file from its root down.
    """
    arrays = sorted(
        (array for array in arrays if array.shape is not None),
        key=lambda array: (array.path.count("/"), array.path),
    )
    numbers = {
        number: array.name
        for array in arrays
        if _is_scale(array)
        for number in _integers(array.attributes.get("_Netcdf4Dimid"))[:1]
    }
    phony: dict[tuple[str, int, int], str] = {}
    return {array.path: _names(array, numbers, phony) for array in arrays}


def _names(
    array: StoredArray, numbers: dict[int, str], phony: dict[tuple[str, int, int], str]
) -> tuple[str, ...]:
    shape = array.shape or ()
    if _is_scale(array) and shape:
        if len(shape) == 1:
            return (array.name,)
        # a coordinate variable of several dimensions: netCDF-C names them by their numbers
        coordinates = _integers(array.attributes.get("_Netcdf4Coordinates"))
        if len(coordinates) == len(shape) and all(number in numbers for number in coordinates):
            return tuple(numbers[number] for number in coordinates)
    names = []
    n_alike: dict[int, int] = defaultdict(int)
    group = array.path.rpartition("/")[0]
    scales = array.scales if len(array.scales) == len(shape) else (None,) * len(shape)
    for scale, length in zip(scales, shape, strict=True):
        if scale is not None:
            names.append(scale.rpartition("/")[2])
            continue
        key = (group, length, n_alike[length])
        n_alike[length] += 1
        names.append(phony.setdefault(key, f"phony_dim_{len(phony)}"))
    return tuple(names)


def _is_scale(array: StoredArray) -> bool:
    return text(array.attributes.get("CLASS")) == SCALE_CLASS


def _integers(value: Any) -> list[int]:
    """Return the numbers of an integer attribute; an empty list for any other value."""
    numbers = np.ravel(value) if isinstance(value, (int, np.integer, np.ndarray)) else np.zeros(0, int)
    return numbers.tolist() if numbers.dtype.kind in "iu" else []
