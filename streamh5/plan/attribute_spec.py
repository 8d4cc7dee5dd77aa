"""What an attribute holds: a Python value -> datatype, dataspace and bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import AttributeValueError, DatatypeError, LimitError
from streamh5.format.attribute import Attribute, encode_attribute_body
from streamh5.format.dataspace import Dataspace
from streamh5.format.datatype import Datatype
from streamh5.format.datatype_class import VariableLengthString
from streamh5.format.primitives import MAX_MESSAGE_NBYTES
from streamh5.plan.string_heap import blank_elements

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AttributeSpec", "attribute_spec"]


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """An attribute before it has addresses.

    Parameters
    ----------
    name
        Attribute name.
    datatype
        Type of the elements in the file.
    shape
        ``()`` for a scalar, None for a null dataspace.
    data
        Raw bytes of the elements; for strings, empty.
    strings
        UTF-8 bytes of each element of a variable-length string attribute; None for other types.
    value
        The value as it was given.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...] | None
    data: bytes
    strings: tuple[bytes, ...] | None = None
    value: Any = None

    def attribute(self, elements: Callable[[AttributeSpec], bytes]) -> Attribute:
        """Return the attribute record; `elements` gives the 16 bytes that refer to each string."""
        data = self.data if self.strings is None else elements(self)
        return Attribute(self.name, self.datatype, Dataspace(self.shape), data)


def attribute_spec(name: str, value: Any, *, path: str) -> AttributeSpec:
    """Plan an attribute the way h5py stores the same value.

    A str, or an array of str, becomes variable-length UTF-8; numbers and bools keep their numpy
    dtype; a list becomes an array.

    Parameters
    ----------
    name
        Attribute name.
    value
        Scalar, array-like of numbers or str, or an `h5py.Empty`-like object (with a ``dtype`` and the
        shape None).
    path
        Object that carries the attribute, for messages.

    Raises
    ------
    AttributeValueError
        A name or a value that cannot be written.
    LimitError
        The attribute message would pass 64 KiB (``H5O__attr_create``: object header messages hold
        65,535 bytes).
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise AttributeValueError(
            f"{path}: an attribute name must be a non-empty str without NUL, not {name!r}",
            path=path,
            name=name,
        )
    try:
        name.encode("utf-8")
        spec = _spec(name, value)
    except UnicodeEncodeError as error:
        raise AttributeValueError(
            f"attribute {name!r} of {path} cannot be encoded as UTF-8: {error.reason}", path=path
        ) from error
    except DatatypeError as error:
        raise AttributeValueError(f"attribute {name!r} of {path}: {error}", path=path, name=name) from error
    nbytes = len(encode_attribute_body(spec.attribute(blank_elements)))
    if nbytes > MAX_MESSAGE_NBYTES:
        raise LimitError(
            f"attribute {name!r} of {path} needs {nbytes:,} bytes; an attribute in an object header holds "
            f"{MAX_MESSAGE_NBYTES:,}: store it as a dataset",
            path=path,
            name=name,
            nbytes=nbytes,
        )
    return replace(spec, value=value)


def _spec(name: str, value: Any) -> AttributeSpec:
    if isinstance(value, (str, bytes)):
        value = np.asarray(value, dtype=object) if isinstance(value, str) else np.bytes_(value)
    if getattr(value, "shape", ()) is None:  # h5py.Empty, without importing h5py
        return AttributeSpec(name, np.dtype(value.dtype), None, b"")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DatatypeError(f"{value!r} is not a scalar or a regular array") from error
    if array.dtype.kind in "UT" or array.dtype == object:
        strings = array.astype(object).ravel().tolist()
        for item in strings:
            if not isinstance(item, str):
                raise DatatypeError(
                    f"a value of type {type(item).__name__} cannot be an attribute; give numbers, str or arrays"
                )
        encoded = tuple(item.encode("utf-8") for item in strings)
        return AttributeSpec(name, VariableLengthString(), array.shape, b"", encoded)
    return AttributeSpec(name, array.dtype, array.shape, array.tobytes())
