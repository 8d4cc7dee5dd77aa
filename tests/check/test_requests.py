"""How many requests readers make of a file of streamh5 on a server: the metadata lies in the first MiB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pytest
import zarr
from zarr.storage import FsspecStore

import streamh5
from tests.check.test_objects import N_DATASETS, many_datasets
from tests.stores.http_server import RangeServer, range_server

BLOCK = 1 << 20
LAST = f"group{(N_DATASETS - 1) % 7}/x{N_DATASETS - 1}"
"""A dataset whose chunks lie behind the first MiB."""


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with range_server() as found:
        yield found


def expected() -> Any:
    return np.random.default_rng(N_DATASETS - 1).integers(0, 1 << 16, (64, 128), "u2")


def list_everything(file: h5py.File) -> int:
    """Visit all datasets with shape, dtype, chunks and the values of their attributes."""
    found: list[Any] = []

    def visit(_name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            found.append((node.shape, node.dtype, node.chunks, dict(node.attrs)))

    file.visititems(visit)
    return len(found)


def test_inspect_makes_one_request(server: RangeServer, tmp_path: Path) -> None:
    url = server.add("a.h5", many_datasets(tmp_path / "a.h5").read_bytes())
    assert len(streamh5.inspect(url).datasets) == N_DATASETS
    assert server.requests == [("GET", "/a.h5", f"bytes=0-{BLOCK - 1}")]


def test_h5py_over_fsspec_makes_one_request_and_one_more_for_a_chunk(
    server: RangeServer, tmp_path: Path
) -> None:
    content = many_datasets(tmp_path / "a.h5").read_bytes()
    url = server.add("a.h5", content)
    system = fsspec.filesystem("http", skip_instance_cache=True)
    options = {"block_size": BLOCK, "cache_type": "blockcache", "size": len(content)}
    with system.open(url, **options) as there, h5py.File(there) as file:
        assert list_everything(file) == N_DATASETS
        assert len(server.requests) == 1
        np.testing.assert_array_equal(file[LAST][:16], expected()[:16])
        assert len(server.requests) == 2


def test_verify_over_http_agrees_with_the_file(server: RangeServer, tmp_path: Path) -> None:
    path = many_datasets(tmp_path / "a.h5")
    url = server.add("a.h5", path.read_bytes())
    for safe in (False, True):
        found = streamh5.verify(url, safe=safe)
        assert found.ok
        assert found.n_decoded_chunks == streamh5.verify(path).n_decoded_chunks


def test_references_over_http_are_read_by_zarr(server: RangeServer, tmp_path: Path) -> None:
    url = server.add("a.h5", many_datasets(tmp_path / "a.h5").read_bytes())
    made = streamh5.read_references(url).to_kerchunk()
    assert len(server.requests) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zarr, about its future
        system = fsspec.filesystem(
            "reference",
            fo=made,
            remote_protocol="http",
            asynchronous=True,
            remote_options={"asynchronous": True},
        )
        store = FsspecStore(system, read_only=True, path="")
        found = zarr.open_array(store, path=LAST, mode="r", zarr_format=2)[...]
    np.testing.assert_array_equal(found, expected())


def test_ros3_driver_of_h5py_reads_it(server: RangeServer, tmp_path: Path) -> None:
    if not h5py.h5.get_config().ros3:
        pytest.skip("reader missing: the ROS3 driver (h5py is built without it)")
    url = server.add("a.h5", many_datasets(tmp_path / "a.h5").read_bytes())
    with h5py.File(url, driver="ros3") as file:
        assert list_everything(file) == N_DATASETS
        np.testing.assert_array_equal(file[LAST][:], expected())
