"""New shapes of a dataset: what `Dataset.resize` accepts, and what changes with the shape."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from streamh5.errors import LimitError, ShapeError, SpecError, counted, shown
from streamh5.model.chunk_grid import MAX_CHUNKS, ChunkGrid
from streamh5.model.chunk_shape import check_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.model.dataset_spec import DatasetSpec

    Shapes = tuple[tuple[int, ...], tuple[int | None, ...] | None]


def new_shapes(spec: DatasetSpec, size: Any, axis: Any, maxshape: Any) -> Shapes:
    """Check the arguments of `Dataset.resize`; return the new shape and maximum shape, None for a fixed shape.

    Raises
    ------
    ShapeError
        Another rank, an axis that the dataset does not have, or a shape beyond the maximum shape.
    SpecError
        The dataset has no dimensions, or a length that follows from what is written.
    LimitError
        It would have more chunks than HDF5 allows.
    """
    path, old = spec.path, spec.shape
    if not old:
        raise SpecError(f"{path} has no dimensions, so it cannot be resized", path=path)
    if spec.is_early:
        raise SpecError(
            f"{path} has alloc_time='early', so its shape is fixed; leave alloc_time out", path=path
        )
    if None in old:
        raise SpecError(
            f"{path} was created with an unknown length, which follows from what is written; create it with shape=(0, "
            "...) and maxshape=(None, ...) to resize it",
            path=path,
        )
    shape = _new_shape(tuple(n or 0 for n in old), size, axis, path)
    bounds = _new_bounds(spec, shape, maxshape)
    facts: dict[str, Any] = {"path": path, "shape": shape, "maxshape": bounds}
    for n, most in zip(shape, bounds, strict=True):
        if most is not None and n > most:
            raise ShapeError(
                f"{path}: shape {shape} exceeds its maxshape {bounds}; pass maxshape= with a larger extent, or None, "
                "for which the chunk index is written anew",
                **facts,
            )
    fixed = None if bounds == shape else bounds
    if spec.chunks is not None:
        n_numbers = ChunkGrid(shape, spec.chunks, fixed).n_numbers or 0
        if n_numbers > MAX_CHUNKS:
            raise LimitError(
                f"{path}: shape {shape} and maxshape {bounds} make {n_numbers:,} chunks; the maximum is "
                f"{MAX_CHUNKS:,}: use None in maxshape",
                **facts,
            )
    return shape, fixed


def _new_shape(old: tuple[int, ...], size: Any, axis: Any, path: str) -> tuple[int, ...]:
    if axis is None:
        shape = tuple(n or 0 for n in check_shape(size, path=path))
        if len(shape) != len(old):
            raise ShapeError(
                f"{path}: the new shape {shape} has {counted(len(shape), 'dimension')}, the dataset has {len(old)}",
                path=path,
            )
        return shape
    try:
        number = operator.index(axis)
    except TypeError:
        number = -1
    if not 0 <= number < len(old):
        raise ShapeError(f"{path}: axis {shown(axis)} is not one of its axes 0 to {len(old) - 1}", path=path)
    (extent,) = check_shape((size,), path=path)
    return (*old[:number], extent or 0, *old[number + 1 :])


def _new_bounds(spec: DatasetSpec, shape: tuple[int, ...], maxshape: Any) -> tuple[int | None, ...]:
    """Return the maximum shape that a resize asks for; without `maxshape`, it stays."""
    if maxshape is None:
        return spec.bounds
    if maxshape is True:
        return tuple(None for _ in shape)
    given = maxshape if isinstance(maxshape, (tuple, list)) else (maxshape,)
    bounds = tuple(None if n is None else check_shape((n,), path=spec.path)[0] for n in given)
    if len(bounds) != len(shape):
        raise ShapeError(
            f"{spec.path}: maxshape {bounds} has {counted(len(bounds), 'dimension')}, the shape {shape} {len(shape)}",
            path=spec.path,
        )
    return bounds


def cut_regions(
    old: tuple[int, ...], new: tuple[int, ...], chunks: tuple[int, ...]
) -> Iterator[tuple[slice, ...]]:
    """Yield the regions that a smaller shape cuts off chunks of which it keeps a part.

    They get the fill value, as in ``H5D__chunk_prune_by_extent``: it is what readers see there if the dataset grows
    again.
    """
    for axis, (was, now, chunk) in enumerate(zip(old, new, chunks, strict=True)):
        stop = min(-(-now // chunk) * chunk, was)
        if now < stop:
            kept = [slice(0, min(n, m)) for n, m in zip(old, new, strict=True)]
            wider = [
                slice(0, min(-(-m // c) * c, n)) for n, m, c in zip(old, new, chunks, strict=True)
            ]  # the axes after this one still have what is to be cut off
            yield (*kept[:axis], slice(now, stop), *wider[axis + 1 :])
