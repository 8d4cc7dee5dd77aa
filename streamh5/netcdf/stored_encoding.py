"""Values in the encoding of a variable that is there: units, calendar, scale, dtype and fill value are the file's.

xarray's encoders store what does not fit without a word: packed values wrap around, times in finer units than the
file's are written in units of their own, a NaN becomes an integer. So each value is decoded again, and refused if it
would read back as another one.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from streamh5.errors import BlockError, DatatypeError, SpecError, shown
from streamh5.netcdf.enumerations import members_only
from streamh5.netcdf.quantization import kept_values, rounding_of
from streamh5.netcdf.storage import default_fill
from streamh5.processes.signals import first_frame_outside

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import NDArray

    from streamh5.netcdf.existing import StoredVariable

TIME_TOLERANCE = np.timedelta64(1, "ms")
"""Times that float64 stores are not exact: "days since" year 1 has steps of 10 microseconds today."""

DATETIME64_CALENDARS = frozenset({"standard", "gregorian", "proleptic_gregorian"})

TIME_UNITS = {"day": "D", "hour": "h", "minute": "m", "second": "s", "millisecond": "ms", "microsecond": "us"}
"""Units of times in CF that a file may count with integers, as numpy names them."""

SHOWN_ATTRIBUTES = ("units", "calendar", "scale_factor", "add_offset", "_FillValue", "missing_value")


def encoded_as_stored(variable: xr.Variable, stored: StoredVariable) -> xr.Variable:
    """Return a variable in the encoding of the stored one; dask arrays are checked when they are computed.

    Raises
    ------
    SpecError
        xarray cannot encode it in this way.
    BlockError
        A value would read back as another one.
    DatatypeError
        The file holds text where the data has numbers, or the reverse.
    """
    from streamh5.netcdf.xarray_encoding import encode_variables

    variable = variable.copy(deep=False)
    _check_kind(variable, stored)
    variable.encoding = encoding_of(variable, stored)
    original = variable.data
    # xarray would load it to look for its type
    if stored.dtype.kind == "O" and isinstance(original, da.Array):
        texts = da.map_blocks(_texts, original, dtype=object, meta=np.empty((0,) * original.ndim, object))
        return variable.copy(data=texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values that do not fit: they are refused below
        encoded = encode_variables("/", {stored.name: variable})[stored.name]
    data = encoded.data
    if stored.dtype.kind == "O":
        return encoded.copy(data=data.astype(object))
    if stored.dtype == np.dtype("S1"):
        return _padded(encoded, stored)
    check = partial(_checked, stored=stored, kind=variable.dtype)
    if isinstance(data, da.Array):
        data = da.map_blocks(
            check, data, original, dtype=stored.dtype, meta=np.empty((0,) * data.ndim, stored.dtype)
        )
    else:
        data = check(np.asarray(data), np.asarray(original))
    return encoded.copy(data=_as_stored(data, stored))


def _as_stored(data: Any, stored: StoredVariable) -> Any:
    """Return values rounded as those that are in the file, which its attributes tell; refuse what is no member."""
    metadata: Mapping[str, Any] = stored.dtype.metadata or {}
    members = metadata.get("enum")
    if members is not None:
        return members_only(data, members, stored.attributes.get("_FillValue"), stored.path)
    fill = stored.attributes.get("_FillValue", default_fill(stored.dtype))
    return rounding_of(stored).apply(data, kept_values(fill, stored.attributes, stored.dtype))


def encoding_of(variable: xr.Variable, stored: StoredVariable) -> dict[str, Any]:
    """Return the encoding of a stored variable as xarray's decoders tell it, for values of the kind of `variable`."""
    one = np.zeros((1,) * len(stored.shape), stored.dtype)
    if stored.dtype.kind == "O":
        return {"dtype": str}
    decoded = _decoded(one, stored, variable)
    found = {"dtype": stored.dtype.newbyteorder("="), **decoded.encoding}
    if "enum" in (stored.dtype.metadata or {}):  # xarray's encoders get the integers
        found["dtype"] = np.dtype(found["dtype"].str)
    return found


def decoded_like(variable: xr.Variable, stored: StoredVariable, values: NDArray[Any]) -> NDArray[Any]:
    """Return stored values decoded to the kind that `variable` has: times, intervals, or numbers."""
    if stored.dtype.kind == "O":
        return values
    decoded: NDArray[Any] = _decoded(values, stored, variable).to_numpy()
    return decoded


def first_difference(
    original: NDArray[Any], decoded: NDArray[Any], stored: StoredVariable
) -> tuple[int, ...] | None:
    """Return the index of the first value that reads back as another one; None if there is none.

    Parameters
    ----------
    original, decoded
        Arrays of one shape: values, and what the file would give for them.
    stored
        The variable, whose precision decides what equal means.
    """
    is_lost = _are_lost(original, decoded, stored)
    if not is_lost.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(is_lost)), is_lost.shape))


def _decoded(values: NDArray[Any], stored: StoredVariable, like: xr.Variable) -> xr.Variable:
    import xarray as xr
    from xarray import conventions

    raw = xr.Variable(stored.dims, values, stored.attributes)
    has_times = _has_times(like)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decoded: xr.Variable = conventions.decode_cf_variable(
            stored.name,
            raw,
            decode_times=xr.coders.CFDatetimeCoder(use_cftime=True if has_times == "cftime" else None)
            if has_times
            else False,
            decode_timedelta=like.dtype.kind == "m",
        )
    return decoded


def _has_times(variable: xr.Variable) -> str:
    """Return ``"datetime64"`` or ``"cftime"`` for times, otherwise an empty text."""
    if variable.dtype.kind == "M":
        return "datetime64"
    if variable.dtype.kind == "O" and variable.size:
        first = variable[(0,) * variable.ndim].values.item()
        return "cftime" if type(first).__module__.startswith("cftime") else ""
    return ""


def _check_kind(variable: xr.Variable, stored: StoredVariable) -> None:
    """Refuse types that xarray does not write, text for numbers, numbers for text, and numbers in other units."""
    if not _is_netcdf_type(stored.dtype):
        raise DatatypeError(
            f"variable {stored.path} has dtype {stored.dtype} in the file, a type of its own or one that is not of "
            "netCDF; write it with streamh5.File(path, 'a')",
            dtype=stored.dtype,
        )
    has_times = "" if stored.dtype.kind == "O" else _has_times(variable)  # which loads a block of objects
    is_text = variable.dtype.kind in "USTO" and not has_times
    if is_text != (stored.dtype.kind in "OS"):
        raise DatatypeError(
            f"Mismatched dtypes for variable {stored.path}: the file has dtype {stored.dtype}, the data to write "
            f"{variable.dtype}; convert the data",
            dtype=variable.dtype,
        )
    given, there = variable.attrs.get("units"), stored.attributes.get("units")
    if isinstance(given, str) and isinstance(there, str) and " since " in there and given != there:
        raise SpecError(
            f"variable {stored.path}: the data are numbers in units {given!r}, the file's are {there!r}; decode them "
            "(xarray.decode_cf), so that they are written in the file's units",
            path=stored.path,
        )
    if isinstance(given, str) and isinstance(there, str) and given != there:
        caller = first_frame_outside()
        warnings.warn_explicit(
            f"variable {stored.path}: the data have units {shown(given, 40)} and the file {shown(there, 40)}: the "
            "numbers are written unchanged, and the units of the file stay; convert the data if they are not the same",
            UserWarning,
            caller.f_code.co_filename,
            caller.f_lineno,
        )
    calendar = str(stored.attributes.get("calendar", "standard")).lower()
    if variable.dtype.kind == "M" and calendar not in DATETIME64_CALENDARS:
        raise DatatypeError(
            f"variable {stored.path} has calendar {calendar!r} in the file, and the data are datetime64; convert them "
            f"with .convert_calendar({calendar!r})",
            dtype=variable.dtype,
        )
    if has_times and (not isinstance(there, str) or " since " not in there):
        raise DatatypeError(
            f"variable {stored.path} has no units of time in the file ({there!r}), and the data are times; convert "
            "them to numbers",
            dtype=variable.dtype,
        )


def _is_netcdf_type(dtype: np.dtype[Any]) -> bool:
    """Return whether a variable has a type that is written here: numbers, enumerations, characters and strings."""
    metadata: Mapping[str, Any] = dtype.metadata or {}
    if dtype.kind == "O":
        return metadata.get("vlen") in (str, bytes)
    return dtype == np.dtype("S1") or (dtype.kind in "iuf" and dtype.itemsize > 0)


def _texts(block: NDArray[Any]) -> NDArray[Any]:
    """Return a block of text as str objects; missing elements, None or NaN, are empty, as in xarray."""

    def text(one: Any) -> str:
        if isinstance(one, bytes):
            return one.decode()
        return one if isinstance(one, str) else "" if one is None or one != one else str(one)

    found: NDArray[Any] = np.array([text(one) for one in block.ravel()], object).reshape(block.shape)
    return found


def _padded(encoded: xr.Variable, stored: StoredVariable) -> xr.Variable:
    """Return characters with the length that the file has for them."""
    import xarray as xr

    length = stored.shape[-1] if stored.shape else 1
    given = encoded.shape[-1] if encoded.ndim == len(stored.shape) and stored.shape else 1
    if given > length:
        raise BlockError(
            f"Mismatched dtypes for variable {stored.path}: the data has text of {given} bytes, and dimension "
            f"{stored.dims[-1]!r} of the file holds {length}; shorten the text",
            path=stored.path,
        )
    if given == length:
        return encoded
    widths = [(0, 0)] * (encoded.ndim - 1) + [(0, length - given)]
    data = encoded.data.compute() if isinstance(encoded.data, da.Array) else encoded.data
    return xr.Variable(encoded.dims, np.pad(data, widths, constant_values=b""), encoded.attrs)


def _checked(
    block: NDArray[Any], original: NDArray[Any], *, stored: StoredVariable, kind: np.dtype[Any]
) -> NDArray[Any]:
    """Return encoded values in the dtype of the file; refuse those that would read back as others."""
    import xarray as xr

    with np.errstate(all="ignore"):
        values = block.astype(stored.dtype, copy=False)
    if _is_exact(original.dtype, stored):
        return values
    if _has_exact_integers(original, stored):
        is_lost = (values != original) | _are_fills(values, stored)
    else:
        like = xr.Variable(stored.dims, original)
        is_lost = _are_lost(original, _decoded(values, stored, like).to_numpy(), stored)
    if is_lost.any():
        at = np.unravel_index(int(np.argmax(is_lost)), is_lost.shape)
        reads = _decoded(values[at].reshape((1,) * values.ndim), stored, xr.Variable(stored.dims, original))
        how = {key: stored.attributes[key] for key in SHOWN_ATTRIBUTES if key in stored.attributes}
        how = {key: one.item() if isinstance(one, np.generic) else one for key, one in how.items()}
        why = _between_units(original[is_lost], stored, xr.Variable(stored.dims, original)) or (
            f"the first is {original[at]}, which would read as {reads.to_numpy().ravel()[0]}. Change the values, or "
            "write the data to a new file"
        )
        raise BlockError(
            f"variable {stored.path}: {int(is_lost.sum()):,} of {values.size:,} values cannot be stored in the file's "
            f"encoding (dtype {stored.dtype}{''.join(f', {key} {shown(one, 40)}' for key, one in how.items())}): "
            f"{why}",
            path=stored.path,
        )
    return values


def _between_units(values: NDArray[Any], stored: StoredVariable, like: xr.Variable) -> str:
    """Return what is wrong with times that are no whole number of the units of a variable of integers; else nothing."""
    unit = str(stored.attributes.get("units", "")).partition(" ")[0].lower()
    step: Any = TIME_UNITS.get(unit.rstrip("s"))
    if stored.dtype.kind not in "iu" or step is None or not (like.dtype.kind == "m" or _has_times(like)):
        return ""
    zero = _decoded(np.zeros((1,) * len(stored.shape), stored.dtype), stored, like).to_numpy().ravel()[0]
    past_zero = np.asarray(values - zero).astype("m8[us]")
    is_between = (past_zero % np.timedelta64(1, step) != np.timedelta64(0, "us")) & ~np.isnat(past_zero)
    if not is_between.any():
        return ""
    first = values[int(np.argmax(is_between))]
    return f"{first} is between two whole {unit}. Write a new file with finer units (encoding)"


def _is_exact(dtype: np.dtype[Any], stored: StoredVariable) -> bool:
    """Return whether the file holds every value of a dtype, so that there is nothing to check."""
    is_packed = {"scale_factor", "add_offset", "_Unsigned"} & stored.attributes.keys()
    fills = [stored.attributes[key] for key in ("_FillValue", "missing_value") if key in stored.attributes]
    if is_packed or not all(np.isreal(one) and np.isnan(one) for one in np.ravel(fills)):
        return False
    return dtype.kind in "iufb" and np.can_cast(dtype, stored.dtype, "safe")


def _has_exact_integers(original: NDArray[Any], stored: StoredVariable) -> bool:
    is_packed = {"scale_factor", "add_offset", "_Unsigned"} & stored.attributes.keys()
    return original.dtype.kind in "iu" and stored.dtype.kind in "iu" and not is_packed


def _are_fills(values: NDArray[Any], stored: StoredVariable) -> NDArray[Any]:
    fills = [
        np.ravel(stored.attributes[key])
        for key in ("_FillValue", "missing_value")
        if key in stored.attributes
    ]
    return np.isin(values, np.concatenate(fills)) if fills else np.zeros(values.shape, bool)


def _are_lost(original: NDArray[Any], decoded: NDArray[Any], stored: StoredVariable) -> NDArray[Any]:
    """Return which values read back as others."""
    kinds = original.dtype.kind + decoded.dtype.kind
    if kinds in ("MM", "mm"):
        is_near: NDArray[Any] = abs(original - decoded) < TIME_TOLERANCE
        return ~(is_near | (np.isnat(original) & np.isnat(decoded)))
    if set(kinds) <= set("biuf"):
        return _are_other_numbers(original, decoded, stored)
    pairs = zip(original.ravel(), decoded.ravel(), strict=True)
    return np.array([not _is_same(a, b) for a, b in pairs], bool).reshape(original.shape)


def _are_other_numbers(original: NDArray[Any], decoded: NDArray[Any], stored: StoredVariable) -> NDArray[Any]:
    """Return which numbers differ by more than the file's precision: half a step of a scale, or its float type's."""
    attributes: Mapping[str, Any] = stored.attributes
    offset, scale = attributes.get("add_offset", 0.0), attributes.get("scale_factor", 1.0)
    is_packed = "add_offset" in attributes or "scale_factor" in attributes
    eps = (
        max(
            float(np.finfo(one).eps)
            for one in (stored.dtype, decoded.dtype, original.dtype)
            if one.kind == "f"
        )
        if ("f" in stored.dtype.kind + decoded.dtype.kind + original.dtype.kind)
        else 0.0
    )
    with np.errstate(all="ignore"):
        a, b = original.astype(np.float64, copy=False), decoded.astype(np.float64, copy=False)
        allowed = np.zeros_like(a)
        if is_packed or stored.dtype.kind == "f":
            allowed = eps * (np.abs(a) + abs(float(offset))) + float(np.finfo(np.float32).tiny)
        if is_packed and stored.dtype.kind in "iu":
            allowed = allowed + 0.5000001 * abs(float(scale))
        is_same = (np.abs(a - b) <= allowed) | (a == b) | (np.isnan(a) & np.isnan(b))
    return ~is_same


def _is_same(a: Any, b: Any) -> bool:
    try:
        return bool(a == b) or bool(abs(a - b) < TIME_TOLERANCE.astype(object))
    except TypeError:  # of two calendars, or not times
        return False
