"""Files with pages from the workers of a cluster, and as objects of a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import fsspec
import h5py
import numpy as np
import pytest
from distributed import Client, LocalCluster

import streamh5
from streamh5.errors import SpecError
from streamh5.sinks import part_sizes
from tests.deadlock import DEADLOCK_SECONDS
from tests.readers.page_buffer import assert_paged

VALUES = np.arange(240_000).reshape(400, 600)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
        Client(cluster, set_as_default=False, timeout=DEADLOCK_SECONDS) as client,
    ):
        yield client


@pytest.mark.parametrize("page", [True, 512, 1 << 16, "4 MiB"])
def test_workers_write_a_file_with_pages(page: Any, client: Client, tmp_path: Path) -> None:
    x = da.from_array(VALUES, chunks=(20, 100))
    summary = streamh5.to_fixed_h5(
        tmp_path / "a.h5", "/x", x, page=page, compression="gzip", scheduler=client, maxshape=(None, 600)
    )
    assert isinstance(summary, streamh5.WriteSummary)
    assert summary.shared is not None
    assert_paged(tmp_path / "a.h5")
    assert not streamh5.verify(tmp_path / "a.h5").n_unbuffered
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["x"][()], VALUES)


@pytest.mark.parametrize("page", [True, 4096, "4 MiB"])
def test_object_with_pages_is_written_in_parts(page: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(part_sizes, "PART_NBYTES", 1 << 20)
    url = f"memory://pages/{tmp_path.name}.h5"
    system = fsspec.filesystem("memory")
    with streamh5.File(url, page=page) as file:
        rows = file.create_dataset("rows", (None, 600), "i8", chunks=(7, 100))
        grid = file.create_dataset("grid", VALUES.shape, "i8", chunks=(20, 100))
        grid.attrs["units"] = "K"
        grid[...] = VALUES
        rows.append(VALUES)
        rows.attrs["text"] = "a" * 3000
    path = tmp_path / "a.h5"
    path.write_bytes(system.cat_file(url))
    system.rm_file(url)
    assert_paged(path)
    assert not streamh5.verify(path).n_unbuffered
    with h5py.File(path) as file:
        assert np.array_equal(file["rows"][()], VALUES)
        assert np.array_equal(file["grid"][()], VALUES)


def test_wrong_pages_of_an_object_are_refused_before_any_request(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="page must be"):
        streamh5.File(f"memory://pages/{tmp_path.name}.h5", page=1000)
