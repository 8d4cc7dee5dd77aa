"""The classic model in a netCDF-4 file: ``format="NETCDF4_CLASSIC"``, for programs that know only what netCDF-3 has.

Its rules are those of netCDF-C: no groups, one unlimited dimension, six types. As xarray does, integers of other types
are narrowed where their values allow it, and text becomes characters.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from streamh5.errors import AttributeValueError, BlockError, DatatypeError, SpecError, listed
from streamh5.netcdf.enumerations import enumeration_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import xarray as xr
    from numpy.typing import NDArray

    from streamh5.netcdf.existing import ExistingNetcdf
    from streamh5.netcdf.netcdf4 import NetcdfGroup

CLASSIC_NAME = "NETCDF4_CLASSIC"

FORMATS = ("NETCDF4", CLASSIC_NAME)

NARROWER = {"i8": "i4", "u8": "i4", "u4": "i4", "u2": "i2", "u1": "i1", "b1": "i1"}
"""The type that stands for one that netCDF-3 lacks (``_nc3_dtype_coercions`` of ``xarray.backends.netcdf3``)."""


def read_format(format: Any, existing: ExistingNetcdf) -> bool:
    """Return whether a new file follows the classic model.

    Parameters
    ----------
    format
        As in xarray's ``to_netcdf``.
    existing
        The file that is added to; an empty one if there is none.

    Raises
    ------
    SpecError
        streamh5 does not write the format, or the file has the other one.
    """
    name = "NETCDF4" if format is None else format.upper() if isinstance(format, str) else ""
    if name not in FORMATS:
        reason = (
            "that is not HDF5; use xarray's own to_netcdf"
            if name.startswith("NETCDF3")
            else "there is no such format"
        )
        raise SpecError(
            f"format must be {' or '.join(map(repr, FORMATS))}, not {format!r:.100}: {reason}", format=format
        )
    if not existing.is_there:
        return name == CLASSIC_NAME
    there = CLASSIC_NAME if existing.is_classic else "NETCDF4"
    if format is not None and name != there:
        raise SpecError(
            f"{existing.name} has format {there!r}, not {format!r}; leave format out", format=format
        )
    return False


def classic_variable(variable: xr.Variable, path: str) -> xr.Variable:
    """Return an encoded variable with a type and attributes of the classic model.

    Raises
    ------
    DatatypeError
        The model has no type for its values.
    AttributeValueError
        It has none for those of an attribute.
    """
    variable = variable.copy(deep=False)
    if enumeration_dtype(variable) is not None:
        raise DatatypeError(
            f"variable {path}: the classic model has no enumerations; remove dtype from its encoding to store the "
            "integers",
            dtype=variable.dtype,
        )
    # text is characters by now
    variable.encoding = {key: one for key, one in variable.encoding.items() if key != "dtype"}
    variable.attrs = classic_attributes(variable.attrs, path)
    wanted = _narrower(variable.dtype)
    if wanted is None:
        return variable
    narrow = partial(_narrowed, dtype=wanted, path=path)
    data = variable.data
    if isinstance(data, da.Array):
        return variable.copy(
            data=da.map_blocks(narrow, data, dtype=wanted, meta=np.empty((0,) * data.ndim, wanted))
        )
    return variable.copy(data=narrow(variable.to_numpy()))


def refuse_strings(encoding: Mapping[Any, Mapping[str, Any]]) -> None:
    """Refuse encodings that ask for strings.

    Raises
    ------
    SpecError
        The classic model has none; text is stored as characters.
    """
    for name, given in encoding.items():
        if given.get("dtype") is str:
            raise SpecError(
                f"variable {name!r}: dtype=str asks for strings, which {CLASSIC_NAME} has not; leave "
                "it out to store characters",
                name=name,
            )


def classic_attributes(attributes: Mapping[Any, Any], where: str) -> dict[Any, Any]:
    """Return attributes with values of the classic model: text as bytes, integers narrowed."""
    return {name: _classic_value(name, value, where) for name, value in attributes.items()}


def check_model(groups: Iterable[NetcdfGroup]) -> None:
    """Refuse groups and a second unlimited dimension.

    Raises
    ------
    SpecError
        The classic model has none.
    """
    for group in groups:
        if group.path != "/":
            raise SpecError(
                f"group {group.path}: the classic model ({CLASSIC_NAME}) has no groups; write format='NETCDF4'",
                path=group.path,
            )
        names = [one.name for one in group.dimensions.values() if one.is_unlimited]
        if len(names) > 1:
            raise SpecError(
                f"dimensions {listed(map(repr, names))} are unlimited, and {CLASSIC_NAME} allows one; name "
                "it in unlimited_dims, or write format='NETCDF4'",
                names=names,
            )


def _narrower(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    found = NARROWER.get(f"{dtype.kind}{dtype.itemsize}")
    return None if found is None else np.dtype(found)


def _narrowed(block: NDArray[Any], *, dtype: np.dtype[Any], path: str) -> NDArray[Any]:
    narrow = block.astype(dtype)
    is_other = narrow != block
    if is_other.any():
        raise BlockError(
            f"variable {path}: {int(is_other.sum()):,} of {block.size:,} values do not fit {dtype}, the type that the "
            f"classic model has for {block.dtype}: the first is {block[is_other][0]}. Encode it with dtype='float64', "
            "or write format='NETCDF4'",
            path=path,
        )
    return narrow


def _classic_value(name: Any, value: Any, where: str) -> Any:
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths are refused where all attributes are checked
        return value
    texts = array.ravel().tolist()
    if array.dtype.kind in "SUTO" and all(isinstance(one, str | bytes) for one in texts):
        if array.size == 1:
            return value if isinstance(value, bytes) else _as_bytes(texts[0])
        raise AttributeValueError(
            f"{where}: attribute {name!r} is a list of {array.size:,}; the classic model has one text, or numbers; "
            "join them",
            path=where,
            name=name,
        )
    wanted = _narrower(array.dtype)
    if wanted is None:
        return value
    narrow = array.astype(wanted)
    if not np.array_equal(narrow, array):
        raise AttributeValueError(
            f"{where}: attribute {name!r} is {value!r:.100}, which does not fit {wanted}, the type that the classic "
            f"model has for {array.dtype}; store it as float",
            path=where,
            name=name,
        )
    return narrow


def _as_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
