"""Names and attributes in the form that netCDF-C stores them."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np

from streamh5.errors import AttributeValueError, PathError
from streamh5.model.attribute_spec import AttributeSpec, attribute_spec, text_attribute

MAX_NETCDF_NAME_NBYTES = 255
"""``NC_MAX_NAME`` is 256, but netCDF4-python 1.7.5 reads past the end of a name of 256 bytes."""

RESERVED = frozenset(
    {
        "CLASS",
        "DIMENSION_LIST",
        "NAME",
        "REFERENCE_LIST",
        "_Codecs",
        "_Format",
        "_IsNetcdf4",
        "_NCProperties",
        "_Netcdf4Coordinates",
        "_Netcdf4Dimid",
        "_SuperblockVersion",
        "_nc3_strict",
    }
)
"""Names of attributes that netCDF-4 reserves (``NC_reserved`` of ``libsrc4/nc4internal.c``)."""

NUMBERS = frozenset({"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"})
"""The numeric types of netCDF-4, as numpy's kind and size."""


def netcdf_name(name: Any, what: str, where: str) -> str:
    """Return the name of a dimension, variable, group or attribute, as netCDF-C stores it (Unicode NFC).

    Parameters
    ----------
    name
        The name.
    what
        The kind of object that it names, for messages.
    where
        Path of the group that holds it, for messages.

    Raises
    ------
    PathError
        A name that ``NC_check_name`` of netCDF-C refuses.
    """
    problem = _problem(name)
    if problem:
        raise PathError(
            f"{what} of {where}: netCDF forbids the name {name!r:.300}. {problem}; rename it", name=name
        )
    return unicodedata.normalize("NFC", name)


def _problem(name: Any) -> str | None:
    """Return what is wrong with a name, as a sentence; None for a valid name."""
    if not isinstance(name, str):
        return f"A name is a str, not {type(name).__name__}"
    if not name:
        return "A name is not empty"
    if "/" in name:
        return "Forward slashes '/' are not allowed, as they separate groups"
    try:
        nbytes = len(unicodedata.normalize("NFC", name).encode("utf-8"))
    except UnicodeEncodeError as error:
        return f"It cannot be encoded as UTF-8 ({error.reason})"
    if nbytes > MAX_NETCDF_NAME_NBYTES:
        return f"It has {nbytes} bytes, more than {MAX_NETCDF_NAME_NBYTES}"
    if name[0].isascii() and not (name[0].isalnum() or name[0] == "_"):
        return "A name begins with a letter, a digit or an underscore"
    if any(character < " " or character == "\x7f" for character in name):
        return "It has a control character"
    if name[-1] == " ":
        return "A name does not end with a space"
    return None


def netcdf_attribute(name: Any, value: Any, *, where: str) -> AttributeSpec:
    """Plan an attribute the way netCDF-C stores the same value.

    ASCII text becomes characters (NC_CHAR), which every netCDF tool reads; other text and lists of text
    become strings (NC_STRING); numbers become a vector, with one element for a scalar.

    Parameters
    ----------
    name
        Name of the attribute.
    value
        str, bytes or number, or a list or 1-d array of them.
    where
        Path of the variable or group that carries it, for messages.

    Raises
    ------
    AttributeValueError
        A name or a value that netCDF-4 cannot hold.
    LimitError
        See `attribute_spec`.
    """
    try:
        name = netcdf_name(name, "attribute", where)
    except PathError as error:
        raise AttributeValueError(str(error), **error.facts) from error
    if name in RESERVED:
        raise AttributeValueError(
            f"{where}: attribute {name!r} is reserved by netCDF-4; rename it or leave it out",
            path=where,
            name=name,
        )
    if isinstance(value, bytes):
        return text_attribute(name, bytes(value))
    array = _as_array(name, value, where)
    if array.dtype.kind in "SU":
        texts = [
            text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in array.tolist()
        ]
        if len(texts) == 1 and texts[0].isascii():
            return text_attribute(name, texts[0].encode())
        return string_attribute(name, texts, where=where)
    if f"{array.dtype.kind}{array.dtype.itemsize}" not in NUMBERS:
        raise AttributeValueError(
            f"{where}: attribute {name!r} has values of dtype {array.dtype}, which netCDF-4 has no type for; give "
            "numbers of 8 to 64 bits, or text",
            path=where,
            name=name,
        )
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not array.size:
        return AttributeSpec(name, array.dtype, None, value=array)
    return attribute_spec(name, array, path=where)


def string_attribute(name: str, texts: list[str], *, where: str) -> AttributeSpec:
    """Plan an attribute of strings of variable length (NC_STRING), as a vector."""
    return attribute_spec(name, np.array(texts, object), path=where)


def _as_array(name: str, value: Any, where: str) -> np.ndarray[Any, Any]:
    """Return a 1-d array of numbers or text."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    if array.dtype.kind == "T" or (
        array.dtype == object and array.size and all(isinstance(x, str) for x in array.ravel().tolist())
    ):
        array = array.astype("U") if array.size else array.astype("U1")
    if array.ndim > 1 or array.dtype == object:
        raise AttributeValueError(
            f"{where}: attribute {name!r} is {value!r:.100}; netCDF-4 stores numbers, text, and 1-d lists of one of "
            "them",
            path=where,
            name=name,
        )
    return array.reshape(-1)


def shown_value(value: Any) -> Any:
    """Return the value of a stored attribute as xarray's engines do: text as str, one number as a scalar."""
    if value is None:  # a null dataspace
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind in "OS":
        texts = [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in value.ravel()]
        return texts[0] if len(texts) == 1 else texts
    return value.ravel()[0] if value.size == 1 else value
