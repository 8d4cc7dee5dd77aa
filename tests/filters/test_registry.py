"""The keywords mean what they mean to h5py."""

from __future__ import annotations

import io
from typing import Any

import h5py
import numpy as np
import pytest

from streamh5.errors import FilterError
from streamh5.filters import FilterOptions

F4 = np.dtype("<f4")


def pipeline_of_h5py(**keywords: Any) -> list[tuple[Any, ...]]:
    """Return (id, flags, client values) of a dataset that h5py creates and really writes."""
    with h5py.File(io.BytesIO(), "w") as file:
        plist = file.create_dataset("x", (64,), F4, chunks=(64,), **keywords).id.get_create_plist()
        return [(one[0], one[1], tuple(one[2])) for one in map(plist.get_filter, range(plist.get_nfilters()))]


def pipeline_of_ours(**keywords: Any) -> list[tuple[Any, ...]]:
    records = FilterOptions(**keywords).chain(F4, 256).records
    return [(record.filter_id, int(record.flags), record.client_values) for record in records]


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"compression": None, "shuffle": None},
        {"compression": "gzip"},
        {"compression": True},
        {"compression": True, "compression_opts": 7},
        {"compression": False},
        {"compression": 0},
        {"compression": 9},
        {"compression": np.int64(3)},
        {"compression": "gzip", "compression_opts": 0},
        {"compression": "gzip", "compression_opts": np.int32(6)},
        {"compression": h5py.filters.Gzip(5)},
        {"fletcher32": True, "shuffle": True, "compression": "gzip"},
    ],
    ids=str,
)
def test_keywords_give_the_pipeline_of_h5py(keywords: dict[str, Any]) -> None:
    assert pipeline_of_ours(**keywords) == pipeline_of_h5py(**keywords)


@pytest.mark.parametrize(
    "keywords",
    [
        {"compression": "zip"},
        {"compression": "GZIP"},
        {"compression": 12345},
        {"compression": 4, "compression_opts": 4},
        {"compression": "gzip", "compression_opts": 10},
        {"compression_opts": 4},
        {"compression": 4.5},
        {"compression": ["gzip"]},
    ],
    ids=str,
)
def test_keywords_refused_by_h5py_are_a_filter_error(keywords: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        pipeline_of_h5py(**keywords)
    with pytest.raises(FilterError):
        pipeline_of_ours(**keywords)


def test_unknown_compression_names_what_can_be_written() -> None:
    with pytest.raises(FilterError, match="'gzip'") as caught:
        pipeline_of_ours(compression="zip")
    assert caught.value.facts == {"compression": "zip"}


def test_mapping_that_is_no_filter_object_is_refused() -> None:
    with pytest.raises(FilterError, match="compression_opts"):
        pipeline_of_ours(compression={"level": 3})
