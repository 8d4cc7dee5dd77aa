"""Compare a dataset with the arguments of `Group.require_dataset`, and take those of `create_dataset` from another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import DatatypeError, ShapeError
from streamh5.handles.dataset_facts import DatasetFacts
from streamh5.handles.given_data import as_dtype
from streamh5.model.chunk_shape import check_shape

if TYPE_CHECKING:
    from types import EllipsisType


def check_same(
    dataset: DatasetFacts,
    shape: Any,
    dtype: Any,
    *,
    is_exact: bool,
    maxshape: tuple[int | None, ...] | EllipsisType,
) -> None:
    """Check that a dataset is the one that `Group.require_dataset` asks for, with the rules of h5py.

    Parameters
    ----------
    dataset
        The dataset that is there.
    shape, dtype, is_exact
        See `Group.require_dataset`.
    maxshape
        Maximum shape that is given, which may be equal instead of the shape; ``...`` if none is.

    Raises
    ------
    ShapeError, DatatypeError
        It has another shape or dtype.
    """
    name, extents = dataset.name, check_shape(shape, path=dataset.name, unknown_length=True)
    facts = {"shape": extents, "found": dataset.shape}
    if extents != dataset.shape and maxshape is ...:
        raise ShapeError(f"{name} is there with the shape {dataset.shape}, not {extents}", **facts)
    if extents != dataset.shape and maxshape != dataset.maxshape:
        raise ShapeError(f"{name} is there with the maxshape {dataset.maxshape}, not {maxshape}", **facts)
    element = as_dtype(dtype, name)
    is_same = element == dataset.dtype if is_exact else np.can_cast(element, dataset.dtype)
    if not is_same:
        problem = "not" if is_exact else "which does not hold all values of"
        raise DatatypeError(
            f"{name} is there with the dtype {dataset.dtype}, {problem} {element}", dtype=element
        )


def keywords_of(other: Any) -> dict[str, Any]:
    """Return the keywords of `Group.create_dataset` that make a dataset like `other`, of streamh5 or h5py."""
    names = (
        "shape",
        "dtype",
        "chunks",
        "compression",
        "compression_opts",
        "scaleoffset",
        "shuffle",
        "fletcher32",
    )
    keywords = {name: getattr(other, name) for name in (*names, "fillvalue")}
    if other.maxshape != other.shape:
        keywords["maxshape"] = other.maxshape
    if isinstance(other, DatasetFacts):
        keywords.update(other.compression_keywords, track_order=other.node.track_order)
    return keywords
