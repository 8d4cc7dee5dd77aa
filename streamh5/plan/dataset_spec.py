"""What a dataset is, decided before its first byte."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import FillValueError
from streamh5.plan.chunk_grid import ChunkGrid

if TYPE_CHECKING:
    from streamh5.format.filter_pipeline import FilterRecord

__all__ = ["DatasetSpec", "check_fillvalue"]


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """Everything about a dataset that shapes its bytes.

    Parameters
    ----------
    path
        Absolute path, for messages.
    shape
        None for a null dataspace, ``()`` for a scalar; the leading extent may be None until close.
    dtype
        Element type, as a numpy dtype.
    chunks
        Chunk shape; None for a scalar or null dataset, which have no chunks.
    filters
        Records of the filter pipeline message, in the order of writing.
    fillvalue
        ``()`` array of `dtype` with a user-defined fill value; None for the default, zero.
    track_order
        Track and index the creation order of attributes.
    """

    path: str
    shape: tuple[int | None, ...] | None
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None = None
    filters: tuple[FilterRecord, ...] = ()
    fillvalue: np.ndarray[Any, Any] | None = None
    track_order: bool = False

    @property
    def chunk_nbytes(self) -> int:
        """Raw size of a chunk in bytes."""
        return math.prod(self.chunks or ()) * self.dtype.itemsize

    @property
    def grid(self) -> ChunkGrid:
        """The chunk grid; only for a dataset that has chunks."""
        return ChunkGrid(self.shape or (), self.chunks or ())


def check_fillvalue(fillvalue: Any, dtype: np.dtype[Any], *, path: str) -> np.ndarray[Any, Any] | None:
    """Return `fillvalue` as a ``()`` array of exactly `dtype`.

    Raises
    ------
    FillValueError
        Not a scalar, or a value that `dtype` cannot hold: NaN or 1.5 for an integer, 300 for uint8.
    """
    if fillvalue is None:
        return None
    facts = {"fillvalue": fillvalue, "dtype": dtype}
    hint = f"{path}: fill value {fillvalue!r} cannot be held by dtype {dtype}"
    try:
        given = np.asarray(fillvalue)
        if given.ndim != 0:
            raise FillValueError(
                f"{path}: the fill value must be a scalar, not an array of shape {given.shape}", **facts
            )
        with np.errstate(all="ignore"):
            value = given.astype(dtype)
            exact = _holds(given, value)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, FillValueError):
            raise
        raise FillValueError(f"{hint}: {error}", **facts) from error
    if not exact:
        raise FillValueError(f"{hint} (it would become {value[()]!r}); give a value of that dtype", **facts)
    return value


def _holds(given: np.ndarray[Any, Any], value: np.ndarray[Any, Any]) -> bool:
    """Whether the cast kept the value: exactly for integers, up to rounding for floats."""
    numeric = "biufc"
    if given.dtype.kind not in numeric or value.dtype.kind not in numeric:
        return bool(value.dtype.kind == given.dtype.kind)
    if given.dtype.kind == "c" and value.dtype.kind != "c":
        return False
    if value.dtype.kind in "fc":
        return bool(np.isfinite(value) == np.isfinite(given))
    return bool(given == value)
