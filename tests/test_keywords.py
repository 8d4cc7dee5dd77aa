"""Keywords and words that nobody knows: what was meant is named."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr

import streamh5
from streamh5.errors import FilterError, KeywordError


def _create(path: Path, **keywords: Any) -> None:
    with streamh5.File(path) as file:
        file.create_dataset("x", (4,), **keywords)


CALLS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "create_dataset": (
        lambda path: _create(path, chunk=(2,)),
        "create_dataset has no keyword chunk; did you mean 'chunks'",
    ),
    "File": (
        lambda path: streamh5.File(path, track_ordr=True),  # type: ignore[call-arg]
        "File has no keyword track_ordr; did you mean 'track_order'",
    ),
    "to_fixed_h5": (
        lambda path: da.ones(4).to_fixed_h5(path, "/x", compresion="gzip"),
        "to_fixed_h5 has no keyword compresion; did you mean 'compression'",
    ),
    "to_netcdf": (
        lambda path: xr.Dataset({"x": ("t", np.arange(3))}).streamh5.to_netcdf(path, unlimited_dim=["t"]),
        "to_netcdf has no keyword unlimited_dim; did you mean 'unlimited_dims'",
    ),
    "from_zarr": (
        lambda path: streamh5.from_zarr(path, path, chunk=(2,)),  # type: ignore[call-arg]
        "from_zarr has no keyword chunk; did you mean 'chunks'",
    ),
    "convert": (
        lambda path: streamh5.convert(path, path, compresion="gzip"),  # type: ignore[call-arg]
        "convert has no keyword compresion; did you mean 'compression'",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_unknown_keyword_is_refused_with_the_one_that_was_meant(name: str, tmp_path: Path) -> None:
    call, message = CALLS[name]
    with pytest.raises(KeywordError, match=message) as caught:
        call(tmp_path / "a.h5")
    assert isinstance(caught.value, TypeError)


def test_keywords_of_dask_are_taken(tmp_path: Path) -> None:
    keywords: dict[str, Any] = {"scheduler": "threads", "num_workers": 1, "optimize_graph": True}
    x = da.arange(4, chunks=2)
    x.to_fixed_h5(tmp_path / "a.h5", "/x", **keywords)
    xr.Dataset({"x": ("t", x)}).streamh5.to_netcdf(tmp_path / "a.nc", **keywords)
    for name in ("a.h5", "a.nc"):
        with h5py.File(tmp_path / name) as file:
            assert file["x"][()].tolist() == [0, 1, 2, 3]


def test_keyword_like_none_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with (
        streamh5.File(tmp_path / "a.h5") as file,
        pytest.raises(KeywordError, match=r"keyword qqq; it has alloc_time"),
    ):
        file.create_dataset("x", (4,), qqq=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("word", "meant"), [("gizp", "gzip"), ("GZIP", "gzip"), ("ZLIB", "zlib"), ("zst", "zstd")]
)
def test_compression_that_is_misspelt_is_refused_with_the_one_that_was_meant(
    word: str, meant: str, tmp_path: Path
) -> None:
    with (
        streamh5.File(tmp_path / "a.h5") as file,
        pytest.raises(FilterError, match=f"did you mean '{meant}'"),
    ):
        file.create_dataset("x", (4,), chunks=(2,), compression=word)


def test_signatures_stay_those_of_the_functions() -> None:
    assert "compression" in inspect.signature(streamh5.File.create_dataset).parameters
    assert "compression" in inspect.signature(streamh5.convert).parameters
