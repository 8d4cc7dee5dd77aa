"""Arrays that go into stored datasets: what fits is planned, and what contradicts the dataset is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamh5.errors import (
    BlockError,
    ChunkShapeError,
    FillValueError,
    FilterError,
    LimitError,
    ShapeError,
    SpecError,
)
from streamh5.filters import FilterOptions
from streamh5.handles.dataset_plan import plan_dataset
from streamh5.handles.region_plan import append_axis, plan_append, plan_region
from streamh5.handles.stored_settings import check_stored_settings
from streamh5.model.dataset_spec import DatasetSpec

F4 = np.dtype("f4")


def stored(shape: Any = (10, 6), dtype: Any = "f4", **keywords: Any) -> DatasetSpec:
    keywords = {"chunks": (4, 3), **keywords}
    return plan_dataset("/x", shape=shape, dtype=dtype, **keywords)[0]


@pytest.mark.parametrize(
    ("axis", "shape", "maxshape", "grown", "bounds", "origin"),
    [
        (0, (5, 6), None, (15, 6), None, (10, 0)),
        (-2, (5, 6), (None, 6), (15, 6), (None, 6), (10, 0)),
        (0, (5, 6), (12, 8), (15, 6), (15, 8), (10, 0)),
        (0, (2, 6), (12, 8), (12, 6), (12, 8), (10, 0)),
        (-1, (10, 1), None, (10, 7), None, (0, 6)),
        (1, (10, 0), None, (10, 6), None, (0, 6)),
    ],
)
def test_append_raises_the_maxshape_where_it_is_too_small(
    axis: int, shape: Any, maxshape: Any, grown: Any, bounds: Any, origin: Any
) -> None:
    spec = stored(maxshape=maxshape)
    planned = plan_append(spec, shape, F4, axis)
    assert planned.stored is spec
    assert (planned.spec.shape, planned.spec.maxshape, planned.origin) == (grown, bounds, origin)
    assert planned.spec.bounds == (bounds or grown)


@pytest.mark.parametrize("shape", [(5, 5), (5,), (5, 6, 1), ()])
def test_append_of_another_shape_off_the_axis_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"/x: an array of shape .* axis 0 of the dataset \(10, 6\)"):
        plan_append(stored(), shape, F4, 0)


@pytest.mark.parametrize("axis", [2, -3])
def test_axis_outside_the_dataset_is_refused(axis: int) -> None:
    with pytest.raises(SpecError, match=r"append_dim=-?\d is not an axis of a dataset of 2 dimensions"):
        append_axis(axis, 2, path="/x")


@pytest.mark.parametrize("axis", ["time", 1.0, True, None, (0,)])
def test_append_dim_that_is_not_an_axis_is_refused(axis: Any) -> None:
    with pytest.raises(SpecError, match=r"/x: append_dim must be an axis"):
        append_axis(axis, 2, path="/x")


def test_data_in_one_piece_cannot_grow() -> None:
    with pytest.raises(ShapeError, match=r"stored in one piece.*convert"):
        plan_append(stored(chunks=False), (5, 6), F4, 0)


def test_chunks_with_fixed_addresses_are_not_changed() -> None:
    spec = stored(alloc_time="early")
    for plan in (lambda: plan_append(spec, (5, 6), F4, 0), lambda: plan_region(spec, (10, 6), F4, ...)):
        with pytest.raises(SpecError, match="alloc_time='early'"):
            plan()


def test_more_chunks_than_hdf5_has_are_refused() -> None:
    spec = stored((2**31, 6), chunks=(1, 6))
    plan_append(spec, (2**31 - 1, 6), F4, 0)
    with pytest.raises(LimitError, match=r"4,294,967,296"):
        plan_append(spec, (2**31, 6), F4, 0)


@pytest.mark.parametrize("dtype", ["c8", "i4", "S4", "M8[s]"])
def test_dtype_of_which_the_dataset_holds_no_value_is_refused(dtype: str) -> None:
    spec = stored(dtype="i2" if dtype != "i4" else "S4")
    with pytest.raises(BlockError, match=r"/x.*cannot be stored.*without loss"):
        plan_append(spec, (5, 6), np.dtype(dtype), 0)
    with pytest.raises(BlockError, match=r"/x.*cannot be stored.*without loss"):
        plan_region(spec, (10, 6), np.dtype(dtype), ...)


@pytest.mark.parametrize(
    ("region", "shape", "origin", "extents"),
    [
        ((slice(2, 5), slice(None)), (3, 6), (2, 0), (3, 6)),
        (slice(-3, None), (3, 6), (7, 0), (3, 6)),
        ((..., slice(4, 6)), (10, 2), (0, 4), (10, 2)),
        (3, (6,), (3, 0), (1, 6)),
        ((slice(0, 4), -1), (4,), (0, 5), (4, 1)),
        ((3, 2), (), (3, 2), (1, 1)),
        ((slice(5, 5), ...), (0, 6), (5, 0), (0, 6)),
    ],
)
def test_region_has_the_form_of_an_index_of_numpy(region: Any, shape: Any, origin: Any, extents: Any) -> None:
    assert np.zeros((10, 6))[region].shape == shape
    planned, found = plan_region(stored(), shape, F4, region)
    assert (planned.origin, found) == (origin, extents)
    assert planned.spec is planned.stored


@pytest.mark.parametrize(
    ("region", "shape"),
    [
        (slice(5, 11), (6, 6)),
        (11, (6,)),
        ((slice(0, 4, 2), ...), (2, 6)),
        ((0, 0, 0), ()),
        (slice(0, 4), (5, 6)),
    ],
)
def test_region_that_does_not_fit_is_refused(region: Any, shape: Any) -> None:
    with pytest.raises(BlockError, match=r"^/x"):
        plan_region(stored(), shape, F4, region)


def test_region_auto_is_left_to_datasets_with_coordinates() -> None:
    with pytest.raises(SpecError, match=r"region='auto' is for datasets with coordinates"):
        plan_region(stored(), (10, 6), F4, "auto")


STORED = stored(
    filters=FilterOptions(compression="gzip", compression_opts=6, shuffle=True),
    fillvalue=-1,
    maxshape=(None, 6),
)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"chunks": None, "fillvalue": None, "maxshape": None, "shuffle": None},
        {"chunks": (4, 3)},
        {"chunks": [4, 3]},
        {"chunks": True},
        {"chunks": "auto"},
        {"compression": "gzip"},
        {"compression": "zlib", "compression_opts": 6},
        {"compression": 6},
        {"shuffle": True, "fletcher32": False},
        {"fillvalue": -1.0},
        {"maxshape": (None, 6)},
    ],
)
def test_settings_that_the_dataset_has_are_accepted(given: dict[str, Any]) -> None:
    check_stored_settings(STORED, given)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"chunks": (4, 6)}, ChunkShapeError),
        ({"chunks": (4,)}, ChunkShapeError),
        ({"compression": None}, FilterError),
        ({"compression": "lzf"}, FilterError),
        ({"compression": "gzip", "compression_opts": 4}, FilterError),
        ({"compression": 9}, FilterError),
        ({"shuffle": False}, FilterError),
        ({"fletcher32": True}, FilterError),
        ({"scaleoffset": 2}, FilterError),
        ({"fillvalue": 0}, FillValueError),
        ({"maxshape": True}, ShapeError),
        ({"maxshape": (None, 12)}, ShapeError),
    ],
)
def test_settings_that_contradict_the_dataset_are_refused(
    given: dict[str, Any], error: type[Exception]
) -> None:
    (name,) = {*given} - {"compression"} or {"compression"}
    with pytest.raises(error, match=rf"/x: {name}"):
        check_stored_settings(STORED, given)
