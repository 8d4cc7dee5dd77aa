"""Sizes of memory are numbers or text, read as dask reads them, wherever ``max_memory`` is taken."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
from dask.utils import parse_bytes
from numpy.typing import NDArray

import streamh5
from streamh5.arguments.memory_size import read_memory_size
from streamh5.errors import SpecError
from tests.written import traces


@pytest.mark.parametrize("size", ["1 GB", "512MiB", "4096", "1e6", "2.5 kB", 4096, 1e6, np.int64(7)])
def test_memory_size_is_what_dask_reads(size: Any) -> None:
    assert read_memory_size(size, "max_memory") == (parse_bytes(size) if isinstance(size, str) else int(size))
    assert read_memory_size(None, "max_memory") is None


WRONG = ["", "much", "1 QB", "-1 GB", "0", 0, -5, True, float("nan"), float("inf"), "1e999", [1], b"1 GB"]


@pytest.mark.parametrize("size", WRONG, ids=repr)
def test_memory_size_that_is_none_is_refused_by_every_writer_before_any_work(
    size: Any, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", np.arange(8))
    path = tmp_path / "out.h5"
    x = da.ones(8, chunks=4)
    calls: list[Any] = [
        lambda: streamh5.File(path, max_memory=size),
        lambda: streamh5.to_fixed_h5(path, "/x", x, max_memory=size),
        lambda: streamh5.to_netcdf(xr.Dataset({"x": ("d", x)}), path, max_memory=size),
        lambda: streamh5.convert(tmp_path / "a.npy", path, max_memory=size),
    ]
    for call in calls:
        with pytest.raises(SpecError, match="max_memory"):
            call()
    assert traces(tmp_path) == ["a.npy"]


@pytest.mark.filterwarnings("ignore::streamh5.FewThreadsWarning")
def test_memory_as_text_limits_the_workers(tmp_path: Path) -> None:
    threads = set()

    def source(block: NDArray[Any]) -> NDArray[Any]:
        threads.add(threading.current_thread().name)
        return block

    x = da.zeros((40,), chunks=(1,)).map_blocks(source, dtype="f8", meta=np.empty(0))
    x.to_fixed_h5(tmp_path / "a.h5", "/x", max_memory=f"{(64 << 10) + 0.05} KiB")
    assert len(threads) == 1
    with h5py.File(tmp_path / "a.h5") as read:
        assert read["x"].shape == (40,)
    with pytest.raises(SpecError, match="too little"):
        x.to_fixed_h5(tmp_path / "b.h5", "/x", max_memory="64MiB")
