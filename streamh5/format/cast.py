"""Casts of values to the dtype of a dataset that change them by no more than rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamh5.format.dtype import field_path, innermost, refusal


def cast_elements(values: np.ndarray[Any, Any], dtype: np.dtype[Any], *, path: str = "") -> Any:
    """Return `values` as `dtype`.

    Integers may be cast to integers of any width that can represent the values, floats to floats of sufficient range,
    text and bytes to longer types, times to units that represent them exactly, fields to fields of the same names.

    Parameters
    ----------
    values
        Array of any shape.
    dtype
        The dtype to cast to, without dimensions of its own.
    path
        Name of the field that contains the values, for messages.

    Returns
    -------
    ndarray
        `values` itself if it has that dtype already.

    Raises
    ------
    DatatypeError
        A value would change by more than rounding.
    """
    if values.dtype == dtype:
        return values
    if dtype.names is not None and values.dtype.names is not None:
        return _cast_fields(values, dtype, path)
    are_integers = values.dtype.kind in "iu" and dtype.kind in "iu"
    if not are_integers and not np.can_cast(values.dtype, dtype, "same_kind"):
        raise refusal(f"{values.dtype} where {dtype} is expected", path)
    with np.errstate(all="ignore"):  # what overflows is found below, and reported with its numbers
        result = values.astype(dtype)
    # numpy calls a cast to a finer unit of time safe even when the time overflows in that unit
    if values.size and (dtype.kind in "mM" or not np.can_cast(values.dtype, dtype, "safe")):
        _check_kept(values, result, path)
    return result


def _cast_fields(values: np.ndarray[Any, Any], dtype: np.dtype[Any], path: str) -> np.ndarray[Any, Any]:
    """Cast field by field, because numpy would match fields by order and not by name."""
    if values.dtype.names != dtype.names:
        raise refusal(f"it has the fields {values.dtype.names}, the dataset {dtype.names}", path)
    result = np.zeros(values.shape, dtype)
    for name in dtype.names or ():
        _, shape = innermost(values.dtype[name])
        base, wanted = innermost(dtype[name])
        inner = field_path(path, name)
        if shape != wanted:
            raise refusal(f"its arrays have shape {shape}, not {wanted}", inner)
        result[name] = cast_elements(values[name], base, path=inner)
    return result


def _check_kept(given: np.ndarray[Any, Any], result: np.ndarray[Any, Any], path: str) -> None:
    """Raise an error for values that an unsafe cast of the same kind has changed."""
    from_kind, kind = given.dtype.kind, result.dtype.kind
    if from_kind in "iu" and kind in "iu":
        least, most, bounds = int(given.min()), int(given.max()), np.iinfo(result.dtype)
        if least < bounds.min or most > bounds.max:
            raise refusal(
                f"its values reach from {least} to {most}, those of {result.dtype} from {bounds.min} to {bounds.max}",
                path,
            )
    elif from_kind in "iufc" and kind in "fc":
        n_lost = int(np.count_nonzero(np.isfinite(given) & ~np.isfinite(result)))
        if n_lost:
            raise refusal(f"{n_lost:,} of its values are too large for {result.dtype}", path)
    elif kind == "S" and from_kind == "S":
        if not (result == given).all():
            raise refusal(f"its text of up to {given.dtype.itemsize} bytes does not fit {result.dtype}", path)
    elif kind == from_kind and kind in "mM":
        back = result.astype(given.dtype)
        if not ((back == given) | (np.isnat(back) & np.isnat(given))).all():
            raise refusal(f"{result.dtype} cannot count its times of {given.dtype}", path)
    elif result.dtype.type is np.void and result.dtype.itemsize < given.dtype.itemsize:
        raise refusal(f"its {given.dtype.itemsize} bytes do not fit {result.dtype}", path)
    elif kind != from_kind:
        raise refusal(f"{given.dtype} where {result.dtype} is expected", path)
