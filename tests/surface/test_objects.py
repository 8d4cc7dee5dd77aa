"""Objects of an S3 server: the bytes of the local file, and what other people's programs read of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr

import streamh5
from streamh5 import errors
from streamh5.sinks import part_sizes
from streamh5.stores import attempts
from tests.readers import Reader
from tests.stores.servers import S3Server

VALUES = np.random.default_rng(1).integers(0, 200, (1600, 2000), dtype="u2")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_sizes, "PART_NBYTES", 5 << 20)  # the smallest that S3 takes


def array(path: Any, **keywords: Any) -> None:
    x = da.from_array(VALUES, chunks=(100, 2000))
    attrs = {"units": "counts"}
    x.to_fixed_h5(path, "/x", attrs=attrs, compression=None, scheduler="synchronous", **keywords)


def stream(path: Any, **keywords: Any) -> None:
    with streamh5.File(path, "x", threads=1, **keywords) as f:
        d = f.create_dataset("group/rows", shape=(None, 2000), dtype="u2", chunks=(100, 2000))
        for i in range(0, 1600, 160):
            d.append(VALUES[i : i + 160])
        f.create_dataset("text", data=["a", "long text" * 100], dtype=h5py.string_dtype())
        f.attrs["late"] = np.arange(5000)


def netcdf(path: Any, **keywords: Any) -> None:
    ds = xr.Dataset({"t": (("y", "x"), da.from_array(VALUES, chunks=(400, 2000)))}, {"y": np.arange(1600.0)})
    ds.streamh5.to_netcdf(path, mode="x", scheduler="synchronous", **keywords)


WRITES = [array, stream, netcdf]


def body(server: S3Server, url: str) -> bytes:
    s3fs = pytest.importorskip("s3fs")
    content: bytes = s3fs.S3FileSystem(**server.options(), skip_instance_cache=True).cat_file(url)
    return content


@pytest.mark.parametrize("write", WRITES, ids=lambda one: one.__name__)
def test_object_has_the_bytes_of_the_local_file(
    write: Callable[..., None], s3_server: S3Server, tmp_path: Path
) -> None:
    url = s3_server.url()
    write(url, storage_options=s3_server.options())
    write(tmp_path / "out.h5")
    assert body(s3_server, url) == (tmp_path / "out.h5").read_bytes()
    with pytest.raises(errors.DestinationExistsError):
        write(url, storage_options=s3_server.options())


def test_every_reader_reads_a_downloaded_copy(s3_server: S3Server, reader: Reader, tmp_path: Path) -> None:
    url = s3_server.url()
    array(url, storage_options=s3_server.options())
    (tmp_path / "copy.h5").write_bytes(body(s3_server, url))
    np.testing.assert_array_equal(reader.read(tmp_path / "copy.h5", "/x").data, VALUES)


@pytest.mark.parametrize("cache", ["none", "blockcache", "readahead"])
def test_h5py_reads_through_s3fs(cache: str, s3_server: S3Server) -> None:
    s3fs = pytest.importorskip("s3fs")
    url = s3_server.url()
    stream(url, storage_options=s3_server.options())
    system = s3fs.S3FileSystem(**s3_server.options(), skip_instance_cache=True)
    with system.open(url, "rb", cache_type=cache, block_size=1 << 20) as file, h5py.File(file) as f:
        np.testing.assert_array_equal(f["group/rows"][...], VALUES)
        assert f["text"].asstr()[1] == "long text" * 100


def test_xarray_reads_through_s3fs(s3_server: S3Server) -> None:
    pytest.importorskip("h5netcdf")
    s3fs = pytest.importorskip("s3fs")
    url = s3_server.url("out.nc")
    netcdf(url, storage_options=s3_server.options())
    system = s3fs.S3FileSystem(**s3_server.options(), skip_instance_cache=True)
    with system.open(url, "rb") as file, xr.open_dataset(file, engine="h5netcdf") as ds:
        np.testing.assert_array_equal(ds["t"].values, VALUES)


def test_conversions_write_objects(s3_server: S3Server, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    store = zarr.create_array(tmp_path / "in.zarr", shape=VALUES.shape, chunks=(100, 2000), dtype="u2")
    store[...] = VALUES
    url, options = s3_server.url(), s3_server.options()
    streamh5.from_zarr(tmp_path / "in.zarr", url, "/x", storage_options=options)
    (tmp_path / "a.h5").write_bytes(body(s3_server, url))
    again = s3_server.url()
    streamh5.convert(tmp_path / "a.h5", again, storage_options=options)
    (tmp_path / "b.h5").write_bytes(body(s3_server, again))
    for name in ("a.h5", "b.h5"):
        with h5py.File(tmp_path / name) as f:
            np.testing.assert_array_equal(f["x"][...], VALUES)


def test_two_writers_of_one_object(s3_server: S3Server, tmp_path: Path) -> None:
    url, options = s3_server.url(), s3_server.options()
    files = [streamh5.File(url, "w", storage_options=options) for _ in range(2)]
    for i, f in enumerate(files):
        d = f.create_dataset("x", shape=(None, 2000), dtype="u2", chunks=(100, 2000), compression=None)
        d.append(VALUES + i)
    for i, f in enumerate(files):
        f.close()
        (tmp_path / "copy.h5").write_bytes(body(s3_server, url))
        with h5py.File(tmp_path / "copy.h5") as copy:
            np.testing.assert_array_equal(copy["x"][...], VALUES + i)
    with streamh5.File(url, "w", storage_options=options) as f:
        f["x"] = 1
    assert len(body(s3_server, url)) < 10_000


def test_credentials_are_nowhere(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"key": "AKIDNOTHERE", "secret": "topsecretvalue", "endpoint_url": "http://127.0.0.1:1"}
    monkeypatch.setattr(attempts, "ATTEMPTS", attempts.Attempts(2, 0.0, 0.0))
    with pytest.raises(errors.SinkError) as caught:
        streamh5.File(s3_server.url(), "w", storage_options=options)
    error: BaseException | None = caught.value
    while error is not None:
        assert "topsecret" not in f"{error} {error!r} {getattr(error, 'facts', '')}"
        error = error.__cause__
    f = streamh5.File(s3_server.url(), "w", storage_options=s3_server.options())
    assert "topsecret" not in repr(f) + repr(f.session.options) + repr(f.session.sink)
    assert s3_server.options()["secret"] not in repr(f.session.options)
    f.abort()
