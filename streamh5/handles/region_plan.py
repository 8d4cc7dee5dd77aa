"""Plan how an array goes into a dataset that is there: appended along an axis, or into a region.

Everything is checked against the stored dataset before anything is written.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import (
    BlockError,
    PathError,
    ShapeError,
    SpecError,
    counted,
    shown,
)
from streamh5.handles.dataset import Dataset
from streamh5.handles.given_data import parse_region
from streamh5.handles.stored_settings import check_changeable
from streamh5.model.block_value import as_block
from streamh5.model.dataset_spec import check_grid
from streamh5.model.tree import DatasetNode, find
from streamh5.write.library_decoder import check_decodable

if TYPE_CHECKING:
    from streamh5.handles.file import File
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.tree import GroupNode


@dataclass(frozen=True, slots=True, eq=False)
class PlannedRegion:
    """A region of a stored dataset to write; a `FilePlan` has it at the path of the dataset.

    Parameters
    ----------
    stored
        The dataset as it was when the write was planned.
    spec
        The same, with the shape and the maxshape that it will have.
    origin
        First element of the region.
    source
        Identity of the source that the region is written from, for a resume.
    """

    stored: DatasetSpec
    spec: DatasetSpec
    origin: tuple[int, ...]
    source: str | None = None

    def open(self, file: File) -> Dataset:
        """Return the dataset of the open file, with its new shape.

        Raises
        ------
        SpecError
            It is not the dataset that was planned for.
        ResumeError
            The interrupted write had another source.
        """
        node = find(file.session.root, self.spec.path)
        if isinstance(node, DatasetNode):
            # before the handle gets the chunks of an interrupted write from this source
            node.source = self.source
        dataset = file[self.spec.path]
        if not isinstance(dataset, Dataset):
            raise PathError(f"{self.spec.path} is not a dataset any more; call again", path=self.spec.path)
        found = dataset.node.spec
        facts = ("shape", "maxshape", "dtype", "chunks", "filters")
        if any(getattr(found, fact) != getattr(self.stored, fact) for fact in facts):
            raise SpecError(
                f"{self.spec.path}: it was {_described(self.stored)} when this write was planned, and is "
                f"{_described(found)} now, because something else was written to {file.filename}; call again",
                path=self.spec.path,
            )
        if self.spec.shape != self.stored.shape:
            is_raised = self.spec.bounds != self.stored.bounds
            dataset.resize(self.spec.shape, maxshape=self.spec.bounds if is_raised else None)
        return dataset


def plan_append(
    stored: DatasetSpec, shape: tuple[int, ...], dtype: np.dtype[Any], axis: Any
) -> PlannedRegion:
    """Plan to append an array along an axis; the maxshape of the dataset is raised where it is smaller.

    Parameters
    ----------
    stored
        The dataset.
    shape, dtype
        Those of the array.
    axis
        The axis; negative ones count from the last.

    Raises
    ------
    SpecError
        It is not an axis, or the chunks of the dataset have fixed addresses.
    ShapeError
        The dataset cannot grow, because it has no chunks, or the array differs from it off the axis.
    BlockError
        It cannot hold the dtype of the array.
    LimitError
        There would be too many chunks.
    FilterError
        The last chunks are not full, and cannot be decoded.
    """
    path, old = stored.path, _present_shape(stored)
    number = append_axis(axis, len(old), path=path)
    if stored.chunks is None:
        raise ShapeError(
            f"{path}: its data of shape {old} is stored in one piece, which cannot grow; give it chunks first, with "
            "File(path, 'a')[name].resize(shape, maxshape=...), or with streamh5.convert(..., chunks=...)",
            path=path,
            shape=old,
        )
    _check_writable(stored, dtype)
    if len(shape) != len(old) or any(
        i != number and n != m for i, (n, m) in enumerate(zip(shape, old, strict=True))
    ):
        raise ShapeError(
            f"{path}: an array of shape {shape} cannot be appended along axis {number} of the dataset {old}: all other "
            "extents must be equal",
            path=path,
            shape=shape,
        )
    new = tuple(n + m if i == number else m for i, (n, m) in enumerate(zip(shape, old, strict=True)))
    bounds = tuple(None if m is None else max(m, n) for n, m in zip(new, stored.bounds, strict=True))
    spec = replace(stored, shape=new, maxshape=None if stored.maxshape is None else bounds)
    check_grid(spec)
    origin = tuple(n if i == number else 0 for i, n in enumerate(old))
    _check_edges(spec, origin, shape)
    return PlannedRegion(stored, spec, origin)


def append_axis(axis: Any, rank: int, *, path: str) -> int:
    """Return an axis of a dataset of `rank` dimensions, counted from the first.

    Raises
    ------
    SpecError
        It is not an axis.
    """
    try:
        number: int = operator.index(str(axis) if isinstance(axis, (bool, np.bool_)) else axis)  # type: ignore[arg-type]
    except TypeError:
        raise SpecError(
            f"{path}: append_dim must be an axis, not {shown(axis)}; names of dimensions are known to "
            "Dataset.streamh5.to_netcdf",
            path=path,
            append_dim=axis,
        ) from None
    if not -rank <= number < rank:
        raise SpecError(
            f"{path}: append_dim={number} is not an axis of a dataset of {counted(rank, 'dimension')}",
            append_dim=axis,
        )
    return number % rank


def plan_region(
    stored: DatasetSpec, shape: tuple[int, ...], dtype: np.dtype[Any], region: Any
) -> tuple[PlannedRegion, tuple[int, ...]]:
    """Plan to write an array to a region; return also the shape of the region, with the axes that an int removes.

    Parameters
    ----------
    stored
        The dataset.
    shape, dtype
        Those of the array, whose shape is that of the region exactly.
    region
        Slices without steps, ints and ``...``.

    Raises
    ------
    SpecError
        The chunks of the dataset have fixed addresses, or the region is text.
    BlockError
        It exceeds the dataset, or the array has another shape, or a dtype that the dataset cannot hold.
    FilterError
        It begins or ends inside chunks that cannot be decoded.
    """
    path, old = stored.path, _present_shape(stored)
    if isinstance(region, str):
        raise SpecError(
            f"{path}: region={region!r} is for datasets with coordinates (Dataset.streamh5.to_netcdf); give slices, "
            "such as region=(slice(0, 10), ...)",
            path=path,
            region=region,
        )
    origin, extents, kept = parse_region(region, old, path=path)
    if kept != shape:
        raise BlockError(
            f"{path}: an array of shape {shape} does not fit the region of shape {kept}; they must be equal",
            path=path,
            block_shape=shape,
            region_shape=kept,
        )
    _check_writable(stored, dtype)
    _check_edges(stored, origin, extents)
    return PlannedRegion(stored, stored, origin), extents


def _check_writable(stored: DatasetSpec, dtype: np.dtype[Any]) -> None:
    """Refuse a dataset whose chunks are overwritten in place, and a dtype of which it can hold no value."""
    if stored.is_early:
        raise SpecError(
            f"{stored.path}: its chunks have fixed addresses (alloc_time='early') and would be overwritten in place, "
            "so that a crash could leave half of a change; copy the file (streamh5.convert), and write to the copy",
            path=stored.path,
        )
    if stored.dtype.subdtype is not None:
        raise SpecError(
            f"{stored.path}: its elements are arrays, {stored.dtype}; write it with streamh5.File(path, 'a')",
            path=stored.path,
        )
    # zero is a value that any range of numbers has, so that only the kinds of the dtypes matter here
    as_block(np.zeros(0 if dtype.hasobject else 1, dtype), stored.dtype, path=stored.path)


def _check_edges(spec: DatasetSpec, origin: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Refuse a region that begins or ends inside chunks that cannot be decoded."""
    if spec.chunks is not None and spec.grid.parts(origin, shape)[1]:
        check_decodable(spec)


def find_stored(root: GroupNode, path: str, *, is_changed: bool = False) -> DatasetSpec | None:
    """Return the dataset at a path of an existing file; None if there is no object.

    Parameters
    ----------
    root
        The tree of the file.
    path
        The path.
    is_changed
        Whether its elements are to be changed.

    Raises
    ------
    PathError
        The object is not a dataset.
    SpecError
        Its elements cannot be changed.
    """
    node = find(root, path)
    if node is None:
        return None
    if not isinstance(node, DatasetNode):
        raise PathError(
            f"{path} is not a dataset, so no array can be written to it; choose another name", path=path
        )
    if is_changed:
        check_changeable(node)
    return node.spec


def _present_shape(stored: DatasetSpec) -> tuple[int, ...]:
    if stored.shape is None:
        raise ShapeError(f"{stored.path} has a null dataspace: it holds no value", path=stored.path)
    return tuple(n or 0 for n in stored.shape)


def _described(spec: DatasetSpec) -> str:
    return f"of shape {spec.shape}, maxshape {spec.bounds}, {spec.dtype}, chunks {spec.chunks}"
