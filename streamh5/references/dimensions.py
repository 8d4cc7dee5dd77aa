"""Names of dimensions, as readers of netCDF-4 find them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.references.attributes import text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamh5.references.stored_file import StoredArray

__all__ = ["dimension_names", "is_only_dimension", "variable_path"]

WITHOUT_VARIABLE = "This is a netCDF dimension but not a netCDF variable."
"""``DIM_WITHOUT_VARIABLE`` of netCDF-C: how NAME of a scale begins that is no variable."""

NOT_A_COORDINATE = "_nc4_non_coord_"
"""``NON_COORD_PREPEND`` of netCDF-C: before the name of a variable whose own a dimension has."""


def is_only_dimension(array: StoredArray) -> bool:
    """Whether a dataset is the scale of a netCDF dimension without a variable."""
    return _is_scale(array) and text(array.attributes.get("NAME")).startswith(WITHOUT_VARIABLE)


def variable_path(path: str) -> str:
    """Path under which a reader of netCDF-4 shows a dataset."""
    parent, _, name = path.rpartition("/")
    return f"{parent}/{name.removeprefix(NOT_A_COORDINATE)}"


def dimension_names(arrays: Iterable[StoredArray]) -> dict[str, tuple[str, ...]]:
    """Name the dimensions of every dataset of a file, by its path.

    A dimension is named like its scale. Axes without a scale get netCDF-C's phony names: those of one length
    share one in each group, numbers go through the file, from its root down.
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
    return text(array.attributes.get("CLASS")) == "DIMENSION_SCALE"


def _integers(value: Any) -> list[int]:
    """Numbers of an attribute that holds integers; none for any other."""
    numbers = np.ravel(value) if isinstance(value, (int, np.integer, np.ndarray)) else np.zeros(0, int)
    return numbers.tolist() if numbers.dtype.kind in "iu" else []
