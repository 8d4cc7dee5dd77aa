"""Convert blocks from any source to numpy arrays of the dataset's dtype, without loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

# now: `np.ma` would be imported by the first append, and a Ctrl-C in there can leave Python's import lock held
from numpy import ma

from streamh5.errors import BlockError, DatatypeError, StreamH5Error
from streamh5.format.cast import cast_elements
from streamh5.format.dtype import innermost
from streamh5.format.elements import encode_elements, padding_of
from streamh5.model.not_an_array import UNREADABLE, check_is_array

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamh5.model.dataset_spec import DatasetSpec


def as_block(
    value: Any, dtype: np.dtype[Any], *, path: str, fillvalue: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, Any]:
    """Return `value` as a numpy array of `dtype`.

    Arrays of a GPU (with ``get``) are copied to the host, sparse arrays (with ``todense``) become
    dense. A masked array becomes a plain one when nothing in it is masked; masked elements become
    the fill value if the dataset has one. Text is encoded for strings of fixed length.
    For sequences of variable length, the last dimension of an array of numbers is the sequence, as
    in h5py.

    Parameters
    ----------
    value
        Array-like.
    dtype
        Element type of the dataset.
    path
        Name of the dataset, for messages.
    fillvalue
        ``()`` array: the user-defined fill value; None if there is none.

    Raises
    ------
    BlockError
        The block has masked elements but the dataset no fill value, it is not a regular array, or `dtype` cannot
        represent a value (floats may be rounded).
    """
    if not isinstance(value, (np.ndarray, list, tuple)):
        value = _in_memory(value, dtype, path)
    try:
        if isinstance(value, ma.MaskedArray):
            return _unmasked(value, dtype, path, fillvalue)
        block = _read(value, dtype, path)
        if block.dtype == dtype:
            return block
        if dtype.kind == "S" and block.dtype.kind in "UTO":
            return np.frombuffer(encode_elements(block, dtype), dtype).reshape(block.shape)
        if not hasattr(value, "dtype") and _holds(block, dtype):
            return block.astype(dtype)  # Python numbers and lists have no dtype, so only their values matter
        return np.asarray(cast_elements(block, dtype))
    except DatatypeError as error:
        raise BlockError(
            f"{path}: a block of dtype {getattr(value, 'dtype', type(value).__name__)} cannot be stored as {dtype} "
            f"without loss: {error}; convert it first, for example with .astype({str(dtype)!r})",
            path=path,
            dtype=dtype,
        ) from error
    except StreamH5Error:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        # not all of `UNREADABLE`: from the cast, the others would be mistakes of this package
        raise BlockError(f"{path}: a block is not a regular array of {dtype}: {error}", path=path) from error


def as_elements(value: Any, spec: DatasetSpec) -> np.ndarray[Any, Any]:
    """Return an array-like as elements of a dataset: see `as_block` and `as_arrays`."""
    if spec.dtype.subdtype is not None:
        return as_arrays(value, spec.dtype, path=spec.path)
    return as_block(value, spec.dtype, path=spec.path, fillvalue=spec.fillvalue)


def as_arrays(value: Any, dtype: np.dtype[Any], *, path: str) -> np.ndarray[Any, Any]:
    """Return `value` as array elements: opaque bytes, each of the size of one array.

    Parameters
    ----------
    value
        Array-like whose last dimensions are those of an element; with fewer dimensions it is broadcast.
    dtype
        An array dtype, such as ``np.dtype(("f4", (3,)))``.
    path
        Name of the dataset, for messages.

    Raises
    ------
    BlockError
        Wrong dimensions, or elements with pointers into the global heap; see also `as_block`.
    """
    base, shape = innermost(dtype)
    if base.hasobject:
        raise BlockError(
            f"{path}: arrays of text, sequences or references as elements cannot be written; append "
            f"{shape} to the shape of the dataset, and use dtype {base}",
            path=path,
            dtype=dtype,
        )
    block = as_block(value, base, path=path)
    n_outer = max(0, block.ndim - len(shape))
    try:
        whole = np.broadcast_to(block, (*block.shape[:n_outer], *shape))
    except ValueError:
        raise BlockError(
            f"{path}: a block of shape {block.shape} does not end with the shape {shape} of an element",
            path=path,
            block_shape=block.shape,
        ) from None
    # a bytearray, because padding is cleared in it
    data = np.frombuffer(bytearray(whole.tobytes()), np.uint8).reshape(-1, dtype.itemsize)
    padding = padding_of(dtype)
    if padding is not None:
        data[:, padding] = 0
    elements: np.ndarray[Any, Any] = data.view(np.dtype((np.void, dtype.itemsize)))
    return elements.reshape(whole.shape[:n_outer])


def check_one_kind(value: Any, array: np.ndarray[Any, Any]) -> None:
    """Refuse text mixed with bytes or numbers: numpy would silently convert everything to text.

    Parameters
    ----------
    value
        Array-like that numpy converted to `array`.

    Raises
    ------
    DatatypeError
        A list, or an array of objects, mixes str, bytes and other types.
    """
    is_listed = not hasattr(value, "dtype") and array.dtype.kind in "US"
    if not is_listed and array.dtype != object:
        return
    objects = np.asarray(value, object) if is_listed else array
    kinds = {_kind(one) for one in objects.ravel().tolist()}
    if len(kinds) > 1 and kinds & {"str", "bytes"}:
        raise DatatypeError(
            f"values of the kinds {', '.join(sorted(kinds))} in one list or array, which HDF5 cannot store; make them "
            "all str, or write one dataset or attribute for each kind"
        )


def _kind(value: object) -> str:
    return "str" if isinstance(value, str) else "bytes" if isinstance(value, bytes) else type(value).__name__


def _in_memory(value: Any, dtype: np.dtype[Any], path: str) -> Any:
    """Return an array-like that numpy can read: convert sparse arrays to dense ones, and copy arrays of a GPU."""
    try:
        check_is_array(value)
    except DatatypeError as error:
        raise BlockError(f"{path}: {error}", path=path, dtype=dtype) from error
    if hasattr(value, "todense"):
        value = value.todense()
    if hasattr(value, "__cuda_array_interface__") and hasattr(value, "get"):
        value = value.get()
    return value


def _read(value: Any, dtype: np.dtype[Any], path: str) -> np.ndarray[Any, Any]:
    """Return an array-like as an array; whatever goes wrong in the caller's object is a `BlockError`."""
    try:
        return _as_array(value, dtype)
    except StreamH5Error:
        raise
    except UNREADABLE as error:
        raise BlockError(
            f"{path}: a block is not a regular array of {dtype}, or cannot be read: {error}", path=path
        ) from error


def _as_array(value: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return an array-like as an array; tuples become structured values, and lists sequences."""
    marks: Mapping[str, Any] = dtype.metadata or {}
    vlen = marks.get("vlen")
    if vlen is not None and vlen not in (str, bytes):
        return _sequences(value)
    if dtype.names is not None and not hasattr(value, "dtype"):
        return np.asarray(value, dtype)
    array = np.asarray(value)
    if array.dtype.kind in "US" and not hasattr(value, "dtype") and not isinstance(value, (str, bytes)):
        check_one_kind(value, array)
    return array


def _sequences(value: Any) -> np.ndarray[Any, Any]:
    """Return an object array of 1-d arrays; an array of numbers is split along its last dimension."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.empty(len(value), object)
        for i, one in enumerate(value):
            array[i] = np.asarray(one)
    if array.dtype == object or not array.ndim:
        return array
    sequences = np.empty(array.shape[:-1], object)
    for index in np.ndindex(sequences.shape):
        sequences[index] = array[index]
    return sequences


def _unmasked(
    value: ma.MaskedArray[Any, Any],
    dtype: np.dtype[Any],
    path: str,
    fillvalue: np.ndarray[Any, Any] | None,
) -> np.ndarray[Any, Any]:
    """Return a masked array without its mask."""
    mask = ma.getmaskarray(value)
    if not mask.size:
        return np.asarray(cast_elements(value.data, dtype))
    fields = np.ascontiguousarray(mask).view(bool).reshape(*mask.shape, -1)
    is_masked = fields.any(axis=-1)
    if not is_masked.any():
        return np.asarray(cast_elements(value.data, dtype))
    if fillvalue is None:
        raise BlockError(
            f"{path}: a block has {int(is_masked.sum()):,} masked elements, but the dataset has no fill value; pass "
            "fillvalue=..., or fill them first with dask.array.ma.filled",
            path=path,
        )
    if mask.dtype.names is not None:
        return np.asarray(cast_elements(value.filled(fillvalue.item()), dtype))
    block: np.ndarray[Any, Any] = np.full(value.shape, fillvalue, dtype)
    block[~is_masked] = cast_elements(value.data[~is_masked], dtype)
    return block


def _holds(block: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    """Return whether `dtype` represents the values of a block of numbers exactly."""
    if block.dtype.kind not in "biuf" or dtype.kind not in "biufc":
        return False
    with np.errstate(all="ignore"):
        return bool(np.array_equal(block.astype(dtype), block))
