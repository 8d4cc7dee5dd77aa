"""HDF5 files in Azure and Google Cloud Storage, written with a URL: h5py reads them over adlfs and gcsfs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import fsspec
import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.errors import StoreError
from streamh5.sinks import part_sizes
from streamh5.stores import attempts
from streamh5.stores.open_store import open_store
from tests.stores.gcs_mock import TOKEN


class Place(NamedTuple):
    """An object that nobody else has, and the file system of others that reads it."""

    url: str
    options: dict[str, Any]
    system: Any
    secret: str

    @contextmanager
    def opened(self) -> Iterator[h5py.File]:
        """Open the object as an h5py file, over the file system."""
        with self.system.open(self.url, "rb") as raw, h5py.File(raw, "r") as f:
            yield f


def _azure(request: pytest.FixtureRequest) -> Place:
    pytest.importorskip("adlfs")
    server = request.getfixturevalue("azurite")
    return Place(server.url(), server.options(), fsspec.filesystem("az", **server.options()), server.key)


def _gcs(request: pytest.FixtureRequest) -> Place:
    gcsfs = pytest.importorskip("gcsfs")
    server = request.getfixturevalue("gcs")
    # the newer class asks for the kind of bucket by gRPC first, which the mock does not speak
    return Place(server.url(), server.options(), gcsfs.core.GCSFileSystem(**server.options()), TOKEN)


KINDS: dict[str, Callable[[pytest.FixtureRequest], Place]] = {"azure": _azure, "gcs": _gcs}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(part_sizes, "PART_NBYTES", 5 << 20)
    monkeypatch.setattr(attempts, "ATTEMPTS", attempts.Attempts(n_attempts=3, first_seconds=0, max_seconds=0))
    return KINDS[request.param](request)


def uploads(place: Place) -> list[str]:
    return [one.upload for one in open_store(place.url, place.options).list_uploads()]


@pytest.mark.parametrize("n_rows", [10, 2500])  # one request, and parts
def test_array_is_what_h5py_reads(place: Place, n_rows: int) -> None:
    x = da.random.default_rng(1).random((n_rows, 1000), chunks=(100, 1000))
    summary = x.to_fixed_h5(place.url, "/x", compression=None, storage_options=place.options)
    assert summary.file_nbytes == place.system.size(place.url)
    with place.opened() as f:
        np.testing.assert_array_equal(f["x"][...], x.compute())
    assert uploads(place) == []


def test_rows_of_unknown_number_are_what_h5py_reads(place: Place) -> None:
    with streamh5.File(place.url, "w", storage_options=place.options) as f:
        d = f.create_dataset("a", shape=(None, 1000), dtype="f8", chunks=(10, 1000), compression=None)
        for i in range(200):
            d.append(np.full((7, 1000), i, float))
        f.attrs["late"] = "x" * 2000
    with place.opened() as f:
        np.testing.assert_array_equal(f["a"][:, 5], np.repeat(np.arange(200.0), 7))
        assert f.attrs["late"] == "x" * 2000


def test_object_that_is_there_is_replaced_only_when_asked(place: Place) -> None:
    old, new = np.zeros(10), da.ones((2500, 1000), chunks=(100, 1000))
    streamh5.to_fixed_h5(place.url, "/x", old, storage_options=place.options)
    with pytest.raises(errors.DestinationExistsError, match="overwrite=True"):
        new.to_fixed_h5(place.url, "/x", compression=None, storage_options=place.options)
    with place.opened() as f:
        np.testing.assert_array_equal(f["x"][...], old)
    assert uploads(place) == []
    new.to_fixed_h5(place.url, "/x", compression=None, overwrite=True, storage_options=place.options)
    place.system.invalidate_cache()
    with h5py.File(io.BytesIO(place.system.cat_file(place.url)), "r") as f:
        assert f["x"].shape == new.shape


def test_write_that_fails_leaves_nothing(place: Place) -> None:
    def fail(block: np.ndarray[Any, Any], block_info: Any = None) -> np.ndarray[Any, Any]:
        if block_info[0]["chunk-location"][0] == 24:
            raise KeyError("of the source")
        return block

    x = da.ones((2500, 1000), chunks=(100, 1000)).map_blocks(fail, dtype=float, meta=np.ones((1, 1)))
    with pytest.raises(KeyError, match="of the source"):
        x.to_fixed_h5(place.url, "/x", compression=None, storage_options=place.options)
    assert uploads(place) == []
    assert not place.system.exists(place.url)


def test_write_over_an_object_that_fails_leaves_it(place: Place) -> None:
    streamh5.to_fixed_h5(place.url, "/x", np.zeros(10), storage_options=place.options)
    f = streamh5.File(place.url, "w", storage_options=place.options)
    d = f.create_dataset("a", shape=(2500, 1000), dtype="f8", chunks=(100, 1000), compression=None)
    d[:2000] = 1
    with pytest.warns(match="after a week") if place.url.startswith("az:") else nullcontext():
        f.abort()
    with place.opened() as found:
        np.testing.assert_array_equal(found["x"][...], np.zeros(10))
    left = uploads(place)
    if not place.url.startswith("az:"):
        assert left == []
        return
    assert len(left) == 1  # Azure could drop the blocks only with the object
    with pytest.raises(StoreError, match="after a week"):
        open_store(place.url, place.options).abort_upload(left[0])


def test_write_that_was_interrupted_is_resumed(place: Place, tmp_path: Path) -> None:
    values = np.random.default_rng(2).random((2500, 1000))
    source = da.from_array(values, chunks=(100, 1000))
    n_computed, left = 0, 18

    def count(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        nonlocal n_computed, left
        left -= 1
        if not left:
            raise KeyError("of the source")
        n_computed += 1
        return block

    x = source.map_blocks(count, dtype=float, meta=np.ones((1, 1)))
    keywords: dict[str, Any] = {
        "compression": None,
        "journal": tmp_path / "journal",
        "storage_options": place.options,
        "scheduler": "synchronous",
        "overwrite": True,
        "resume": True,
        "resume_key": "values",
    }
    streamh5.to_fixed_h5(place.url, "/x", np.zeros(10), storage_options=place.options)
    with pytest.raises(KeyError, match="of the source"):
        x.to_fixed_h5(place.url, "/x", **keywords)
    assert len(uploads(place)) == 1
    journal = (tmp_path / "journal").read_bytes()
    assert place.secret.encode() not in journal
    n_before, n_computed = n_computed, 0
    x.to_fixed_h5(place.url, "/x", **keywords)
    assert n_computed <= 25 - n_before + 2  # what was kept was not computed again
    with place.opened() as f:
        np.testing.assert_array_equal(f["x"][...], values)
    assert uploads(place) == []
    assert not (tmp_path / "journal").exists()


def test_verify_and_inspect_read_the_object(place: Place) -> None:
    streamh5.to_fixed_h5(place.url, "/x", np.arange(1000.0), storage_options=place.options)
    assert streamh5.verify(place.url, storage_options=place.options).ok
    assert "/x" in str(streamh5.inspect(place.url, storage_options=place.options))


def test_parts_from_the_workers_of_a_cluster_are_what_h5py_reads(place: Place) -> None:
    distributed = pytest.importorskip("distributed")
    x = da.random.default_rng(3).random((4000, 1000), chunks=(1000, 1000))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster),
    ):
        x.to_fixed_h5(place.url, "/x", compression=None, storage_options=place.options)
        with place.opened() as f:
            np.testing.assert_array_equal(f["x"][...], x.compute())
    assert uploads(place) == []
