"""Blocks as they come from a source -> numpy arrays of the dataset's dtype, where nothing is lost."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamh5.errors import BlockError

__all__ = ["as_arrays", "as_block"]


def as_block(
    value: Any, dtype: np.dtype[Any], *, path: str, fillvalue: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, Any]:
    """Return `value` as a numpy array of `dtype`.

    Arrays of a GPU (with ``get``) are copied to the host, sparse arrays (with ``todense``) become
    dense. A masked array becomes a plain one when nothing in it is masked; masked elements become
    the fill value when one was given for the dataset.

    Parameters
    ----------
    value
        Array-like.
    dtype
        Element type of the dataset.
    path
        Name of the dataset, for messages.
    fillvalue
        ``()`` array: the user-defined fill value, None when there is none.

    Raises
    ------
    BlockError
        Masked elements and no fill value, not a regular array, or a dtype whose values `dtype`
        cannot hold (numpy's "same_kind" casting).
    """
    if hasattr(value, "todense") and not isinstance(value, np.ndarray):
        value = value.todense()
    if hasattr(value, "__cuda_array_interface__") and hasattr(value, "get"):
        value = value.get()
    if isinstance(value, np.ma.MaskedArray):
        if not np.ma.is_masked(value):
            value = value.data
        elif fillvalue is not None:
            value = value.filled(fillvalue.item())
        else:
            raise BlockError(
                f"{path}: a block has {int(np.ma.getmaskarray(value).sum()):,} masked elements and the dataset no fill "
                "value; pass fillvalue=..., or fill them first with dask.array.ma.filled",
                path=path,
            )
    try:
        block = np.asarray(value)
    except ValueError as error:
        raise BlockError(f"{path}: a block is not a regular array: {error}", path=path) from error
    if block.dtype == dtype:
        return block
    if not hasattr(value, "dtype") and _holds(block, dtype):
        return block.astype(dtype)  # numbers and lists have no dtype of their own: their values count
    if not np.can_cast(block.dtype, dtype, casting="same_kind"):
        raise BlockError(
            f"{path}: a block of dtype {block.dtype} cannot be stored as {dtype} without loss; "
            f"convert it first, for example with .astype({str(dtype)!r})",
            path=path,
            block_dtype=block.dtype,
            dtype=dtype,
        )
    return block.astype(dtype)


def as_arrays(value: Any, dtype: np.dtype[Any], *, path: str) -> np.ndarray[Any, Any]:
    """Return `value` as elements that are arrays: opaque bytes of the size of one.

    Parameters
    ----------
    value
        Array-like whose last dimensions are those of an element; fewer are repeated.
    dtype
        An array dtype, such as ``np.dtype(("f4", (3,)))``.
    path
        Name of the dataset, for messages.

    Raises
    ------
    BlockError
        Other dimensions; see also `as_block`.
    """
    block = as_block(value, dtype.base, path=path)
    n_outer = max(0, block.ndim - len(dtype.shape))
    try:
        whole = np.broadcast_to(block, (*block.shape[:n_outer], *dtype.shape))
    except ValueError:
        raise BlockError(
            f"{path}: a block of shape {block.shape} does not end in the shape {dtype.shape} of an element",
            path=path,
            block_shape=block.shape,
        ) from None
    elements: np.ndarray[Any, Any] = np.frombuffer(whole.tobytes(), np.dtype((np.void, dtype.itemsize)))
    return elements.reshape(whole.shape[:n_outer])


def _holds(block: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    """Whether `dtype` holds the values of a block of numbers exactly."""
    if block.dtype.kind not in "biu" or dtype.kind not in "biufc":
        return False
    with np.errstate(all="ignore"):
        return bool(np.array_equal(block.astype(dtype), block))
