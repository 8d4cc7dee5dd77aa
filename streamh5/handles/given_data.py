"""Data and element types as a person gives them, as what can be written; bad ones end here."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamh5.errors import BlockError, DatatypeError, ShapeError, SpecError, shown
from streamh5.format.datatype import encode_datatype
from streamh5.format.dtype import innermost
from streamh5.model.block_value import as_block, check_one_kind
from streamh5.model.chunk_shape import check_shape
from streamh5.model.not_an_array import UNREADABLE, check_is_array, check_objects, is_empty
from streamh5.model.reference import Reference, RegionReference

__all__ = ["as_array", "as_dtype", "shape_of", "without_data"]

_OBJECT_MARKS: dict[type, dict[str, type]] = {
    str: {"vlen": str},
    bytes: {"vlen": bytes},
    Reference: {"ref": Reference},
    RegionReference: {"ref": RegionReference},
}
"""h5py's marks for arrays of objects that are all of one type."""


def as_dtype(dtype: Any, path: str) -> np.dtype[Any]:
    """Return a dtype that can be written; numpy's text (U) becomes UTF-8 of variable length.

    Raises
    ------
    DatatypeError
        Not a dtype, or one that HDF5 cannot hold.
    """
    try:
        element: np.dtype[Any] = np.dtype(dtype)
    except UNREADABLE as error:
        raise DatatypeError(f"{path}: {shown(dtype)} is not a dtype: {error}", path=path) from error
    if element.kind == "U":
        element = np.dtype("O", metadata={"vlen": str})
    try:
        encode_datatype(element)
    except DatatypeError as error:
        raise DatatypeError(f"{path}: {error}", path=path, dtype=element) from error
    return element


def as_array(data: Any, dtype: Any, path: str) -> np.ndarray[Any, Any]:
    """Return `data` as an array of a dtype that can be written; objects of one kind say their type.

    Text, bytes, `Reference` and `RegionReference` become what h5py makes of them.

    Raises
    ------
    SpecError
        A dask collection.
    DatatypeError
        A dtype that cannot be written.
    BlockError
        Not a regular array, or values that the dtype cannot hold.
    """
    graph = getattr(data, "__dask_graph__", None)  # xarray's and pint's in-memory arrays have one, too: None
    if graph is not None and graph() is not None:
        raise SpecError(
            f"{path}: data is a dask collection; write it with streamh5.to_fixed_h5(file, {shown(path)}, x)"
        )
    try:
        check_is_array(data)
    except DatatypeError as error:
        raise DatatypeError(f"{path}: {error}", path=path) from error
    element = None if dtype is None else as_dtype(dtype, path)
    if np.ma.isMaskedArray(data):  # stays one: what is masked must not become data unnoticed
        return np.ma.asarray(data)
    if element is not None:
        return as_block(data, innermost(element)[0], path=path)
    try:
        array: np.ndarray[Any, Any] = np.asarray(data)
    except UNREADABLE as error:
        what = type(data).__name__
        raise BlockError(
            f"{path}: {what} is not a regular array, or cannot be read: {error}", path=path
        ) from error
    try:
        check_one_kind(data, array)
        if array.dtype == object and not array.dtype.metadata:
            array = _marked(array)
    except DatatypeError as error:
        raise DatatypeError(f"{path}: {error}", path=path) from error
    return array


def _marked(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return objects of one kind with h5py's mark for it."""
    items = array.ravel().tolist()
    for kind, marks in _OBJECT_MARKS.items():
        if all(isinstance(item, kind) for item in items):
            return array.astype(np.dtype("O", metadata=marks))
    check_objects(items)
    return array


def without_data(data: Any, dtype: Any, path: str) -> tuple[Any, Any]:
    """Return the dtype and None for an `h5py.Empty`, both as they are for anything else.

    Raises
    ------
    BlockError
        Data that cannot be read: a dataset of a file that is closed.
    """
    try:
        if data is not None and is_empty(data):
            return data.dtype if dtype is None else dtype, None
    except UNREADABLE as error:
        raise BlockError(
            f"{path}: data of type {type(data).__name__} cannot be read: {error}", path=path
        ) from error
    return dtype, data


def shape_of(shape: Any, array: np.ndarray[Any, Any] | None, dtype: Any, path: str) -> Any:
    """Shape of a dataset, from what was asked for and the data, which must agree.

    Raises
    ------
    ShapeError
        They do not.
    """
    if array is None:
        return shape
    inner = () if dtype is None else innermost(np.dtype(dtype))[1]
    outer = array.shape[: max(0, array.ndim - len(inner))]
    if shape is not None and check_shape(shape, path=path) != outer:
        raise ShapeError(
            f"{path}: shape {shape} differs from the data's {outer}; leave shape out", shape=shape
        )
    return outer
