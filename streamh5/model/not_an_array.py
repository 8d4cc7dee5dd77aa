"""Refuse Python objects that HDF5 has no datatype for, and say what to give instead."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from datetime import date, time, timedelta
from typing import Any

import numpy as np

from streamh5.errors import DatatypeError

UNREADABLE = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""Errors of array-likes of other libraries that cannot be read, such as a dataset of a closed file."""

_INSTEAD: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "leave it out, or give h5py.Empty(dtype)"),
    (Mapping, "use create_group and one dataset or attribute for each key, or give text: json.dumps(value)"),
    (os.PathLike, "give str(path)"),
    (date, "give numpy.datetime64(value), or value.isoformat()"),
    (timedelta, "give numpy.timedelta64(value)"),
    (time, "give value.isoformat()"),
    (Iterator, "create the dataset with shape=(None, ...) and append() what it yields, or give list(value)"),
    (int, "give an array of a dtype of integers, or, where 64 bits do not hold them, text or floats"),
    ((list, tuple, str, bytes), "give text, for example str(value)"),
    (Collection, "give list(value)"),
    (object, "give text, for example str(value)"),
)


def _refusal(value: object) -> DatatypeError:
    instead = next(text for kind, text in _INSTEAD if isinstance(value, kind))
    return DatatypeError(f"a value of type {type(value).__name__}, for which HDF5 has no datatype; {instead}")


def check_is_array(value: Any) -> None:
    """Refuse values that numpy would convert to one object: a dictionary, a set, a generator, a path, a date.

    Raises
    ------
    DatatypeError
        The value is refused; the message says what to give instead.
    """
    if isinstance(value, (np.ndarray, np.generic, list, tuple, str, bytes, int, float, complex, range)):
        return
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return  # before Iterator is refused: numpy's `flatiter` is one
    is_view = isinstance(value, Collection) and not hasattr(value, "__getitem__")
    kinds = (type(None), os.PathLike, date, timedelta, time, Iterator, Mapping)
    if isinstance(value, kinds) or (is_view and not hasattr(value, "__dask_graph__")):
        raise _refusal(value)


def check_objects(items: list[object]) -> None:
    """Refuse objects that are not str or bytes in a list of texts.

    Raises
    ------
    DatatypeError
        The value is refused; the message says what to give instead.
    """
    for item in items:
        if not isinstance(item, (str, bytes)):
            raise _refusal(item)


def is_empty(value: Any) -> bool:
    """Return whether a value is an `h5py.Empty` (its shape is None), without importing h5py."""
    return getattr(value, "shape", ()) is None
