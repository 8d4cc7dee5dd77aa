"""Conversions and `to_netcdf` whose blocks are read and written by worker processes: the same files as by threads."""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numcodecs
import numpy as np
import pytest
import zarr
from dask.delayed import Delayed
from scipy.io import netcdf_file
from zarr.storage import MemoryStore

import streamh5
from streamh5.dask.seen_file import SeenFile
from streamh5.dask.stored_chunks import ChunkCopy
from streamh5.errors import SchedulerError, SinkError, SourceError, SpecError
from tests.conversion.elsewhere import write_damaged, write_zoo_of_sources
from tests.conversion.test_resume_conversion import interrupt, write_big
from tests.conversion.zarr.stores import V2, field, make
from tests.deadlock import DEADLOCK_SECONDS
from tests.readers.hdf5_tools import differs

distributed = pytest.importorskip("distributed")
xr = pytest.importorskip("xarray")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """The client of two worker processes; dask uses it while it is active."""
    keywords = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(**keywords) as cluster, distributed.Client(cluster) as client:
        yield client


def chunks_of(path: Path) -> dict[str, Any]:
    """Every stored chunk by dataset and offsets; text of variable length, whose chunks hold addresses, as values."""
    found: dict[str, Any] = {}

    def visit(name: str, one: Any) -> None:
        if isinstance(one, h5py.Dataset) and one.chunks and one.dtype.kind != "O":
            infos = [one.id.get_chunk_info(i) for i in range(one.id.get_num_chunks())]
            found[name] = {info.chunk_offset: one.id.read_direct_chunk(info.chunk_offset) for info in infos}
        elif isinstance(one, h5py.Dataset) and one.dtype.kind == "O":
            found[name] = one[()].tolist()

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def assert_same(ours: Path, theirs: Path) -> None:
    assert chunks_of(ours) == chunks_of(theirs)
    assert differs(ours, theirs) is None


def zarr_source(**keywords: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        make(folder / "x.zarr", field((70, 90)), (8, 9), **keywords)
        return folder / "x.zarr"

    return write


def sparse_zarr(folder: Path) -> Path:
    root = zarr.create_group(folder / "x.zarr")
    x = root.create_array(
        "x", shape=(160, 18), chunks=(4, 3), dtype="f8", fill_value=np.nan, dimension_names=("a", "b")
    )
    x[:4, :3], x[120:, 15:] = 1.0, 2.0
    text = root.create_array("names", shape=(5,), chunks=(2,), dtype=str, dimension_names=("n",))
    text[:] = np.array(["a", "", "zürich", "b", "c"])
    return folder / "x.zarr"


def mixed_zarr(folder: Path) -> Path:
    """Chunks that can be copied, but one, which is not as long as it should be for HDF5's filter."""
    source = zarr_source(zarr_format=2, **V2["gzip"])(folder)
    part = source / "1.2"
    raw = numcodecs.GZip().decode(part.read_bytes())
    half = len(raw) // 2
    part.write_bytes(numcodecs.GZip(3).encode(raw[:half]) + numcodecs.GZip(3).encode(raw[half:]))
    return source


def hdf5_source(folder: Path) -> Path:
    write_zoo_of_sources(folder / "x.h5")
    return folder / "x.h5"


def npy_source(folder: Path) -> Path:
    np.save(folder / "x.npy", np.asfortranarray(field((210, 340))))
    return folder / "x.npy"


def classic_source(folder: Path) -> Path:
    with netcdf_file(folder / "x.nc", "w", version=2) as file:
        file.createDimension("time", None)
        file.createDimension("x", 5000)
        for name in ("a", "b"):
            file.createVariable(name, "f8", ("time", "x"))[:12] = field((12, 5000), "f8")
    return folder / "x.nc"


CASES: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "zarr 2, copied": (zarr_source(zarr_format=2, **V2["shuffle, zlib"]), {"copy": True}),
    "zarr 3, copied and verified": (zarr_source(), {"copy": True, "verify": True}),
    "zarr shards, copied": (zarr_source(shards=(16, 18)), {"copy": True}),
    "zarr, one chunk encoded": (mixed_zarr, {"copy": True}),
    "zarr, encoded": (zarr_source(zarr_format=2), {"compression": "gzip"}),
    "zarr shards, encoded": (zarr_source(shards=(16, 18)), {"compression": "gzip"}),
    "zarr, sparse and text": (sparse_zarr, {"compression": "gzip"}),
    "HDF5, copied": (hdf5_source, {}),
    "HDF5, encoded": (hdf5_source, {"compression": "gzip", "copy": False}),
    "HDF5, other chunks": (hdf5_source, {"chunks": {"/x": (50, 7)}}),
    "npy": (npy_source, {"chunks": (30, 40)}),
    "netCDF classic": (classic_source, {"chunks": {"/a": (3, 500)}}),
}


@pytest.mark.parametrize("case", CASES)
def test_conversion_on_a_cluster_is_that_of_threads(
    case: str, tmp_path: Path, client: Any, hdf5_tools: None
) -> None:
    write, keywords = CASES[case]
    source = write(tmp_path)
    theirs = streamh5.convert(
        source, tmp_path / "threads.h5", progress=False, scheduler="threads", **keywords
    )
    ours = streamh5.convert(source, tmp_path / "cluster.h5", progress=False, **keywords)
    assert ours.summary.shared is not None
    assert ours.summary.shared.n_writers >= 1
    assert theirs.summary.shared is None
    assert ours.arrays == theirs.arrays
    assert ours.notes == theirs.notes
    assert ours.summary.n_chunks == theirs.summary.n_chunks
    assert ours.summary.n_missing == theirs.summary.n_missing
    assert_same(tmp_path / "cluster.h5", tmp_path / "threads.h5")


def test_region_that_cannot_be_read_is_left_out_on_a_cluster_with_the_same_note(
    tmp_path: Path, client: Any
) -> None:
    write_damaged(tmp_path / "x.h5")
    keywords: dict[str, Any] = {"compression": "gzip", "skip_unsupported": True, "progress": False}
    theirs = streamh5.convert(tmp_path / "x.h5", tmp_path / "a.h5", scheduler="threads", **keywords)
    ours = streamh5.convert(tmp_path / "x.h5", tmp_path / "b.h5", scheduler=client, **keywords)
    assert len(ours.notes) == 1
    assert ours.notes == theirs.notes
    assert_same(tmp_path / "b.h5", tmp_path / "a.h5")


@pytest.mark.parametrize("kind", ["zarr", "HDF5", "npy"])
@pytest.mark.parametrize("copy", [None, False])
def test_source_that_workers_do_not_see_is_an_error_with_host_and_path(
    kind: str, copy: bool | None, tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"zarr": zarr_source(), "HDF5": hdf5_source, "npy": npy_source}[kind](tmp_path)
    # on this machine the workers see every file, so one that they see otherwise stands in for one they do not see
    real = SeenFile.of
    monkeypatch.setattr(SeenFile, "of", lambda path: replace(real(path), mtime_ns=0))
    with pytest.raises(SourceError, match=rf"^{re.escape(str(tmp_path))}/x\.") as caught:
        streamh5.convert(source, tmp_path / "out.h5", progress=False, copy=copy)
    assert socket.gethostname() in str(caught.value)
    assert not (tmp_path / "out.h5").exists()


def test_list_of_chunks_goes_to_each_worker_and_not_with_each_block(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamh5.dask.stored_chunks.BLOCK_NBYTES", 1 << 12)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=field((400, 400)), chunks=(20, 20), compression="gzip")
    n_pickled = 0

    def reduce(copy: ChunkCopy) -> tuple[Any, ...]:
        nonlocal n_pickled
        n_pickled += 1
        return ChunkCopy, (copy.reader, copy.accept, copy.decoded, copy.grid, copy.listed)

    # the scheduler, which sends the tasks of blocks one by one, runs in this process
    monkeypatch.setattr(ChunkCopy, "__reduce__", reduce, raising=False)
    done = streamh5.convert(tmp_path / "x.h5", tmp_path / "y.h5", progress=False)
    assert done.arrays[0].n_copied == 400
    assert 1 <= n_pickled <= 6


def files_open_in_workers(client: Any, folder: Path) -> list[str]:
    def find() -> list[str]:
        import os

        found = []
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"/proc/self/fd/{name}"))
        return found

    return [name for names in client.run(find).values() for name in names if name.startswith(f"{folder}/")]


@pytest.mark.parametrize("copy", [None, False])
def test_workers_close_the_source(copy: bool | None, tmp_path: Path, client: Any) -> None:
    streamh5.convert(hdf5_source(tmp_path), tmp_path / "out.h5", progress=False, copy=copy)
    end = time.monotonic() + DEADLOCK_SECONDS
    while files_open_in_workers(client, tmp_path):  # the scheduler tells them after the client has gone on
        assert time.monotonic() < end
        time.sleep(0.01)


def test_zarr_group_is_converted_on_a_cluster_and_a_store_in_memory_by_threads(
    tmp_path: Path, client: Any
) -> None:
    data, store = field((70, 90)), MemoryStore()
    for source in (tmp_path / "x.zarr", store):
        zarr.create_group(source).create_array("x", data=data, chunks=(8, 9))
    for name, source in (("disk", tmp_path / "x.zarr"), ("memory", store)):
        done = streamh5.from_zarr(source, tmp_path / f"{name}.h5", progress=False)
        assert (done.summary.shared is None) == (name == "memory")
        with h5py.File(tmp_path / f"{name}.h5") as file:
            assert np.array_equal(file["x"][...], data)


def test_worker_path_is_where_workers_write(tmp_path: Path, client: Any) -> None:
    source = zarr_source()(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "there").symlink_to(tmp_path / "here")
    paths = {str(tmp_path / "here"): str(tmp_path / "there")}
    done = streamh5.from_zarr(source, tmp_path / "here/x.h5", worker_path=paths, progress=False)
    assert done.summary.shared is not None
    with pytest.raises(SpecError, match="worker_path has no prefix"):
        streamh5.convert(source, tmp_path / "here/y.h5", worker_path={"/elsewhere": "/there"}, progress=False)
    with pytest.raises(SinkError, match=r"does not see .*/elsewhere/"):
        streamh5.convert(source, tmp_path / "here/y.h5", worker_path="/elsewhere/y.h5", progress=False)
    assert os.listdir(tmp_path / "here") == ["x.h5"]


def test_what_workers_cannot_write_is_written_by_threads_unless_a_client_is_given(
    tmp_path: Path, client: Any
) -> None:
    source = zarr_source()(tmp_path)
    with h5py.File(tmp_path / "block.h5", "w", userblock_size=512) as file:
        file.create_dataset("x", data=field((70, 90)), chunks=(8, 9), compression="gzip")
    done = streamh5.convert(tmp_path / "block.h5", tmp_path / "same.h5", progress=False)
    assert done.summary.shared is None
    assert differs(tmp_path / "block.h5", tmp_path / "same.h5") is None
    assert streamh5.from_zarr(source, io.BytesIO(), progress=False).summary.shared is None
    with pytest.raises(SchedulerError, match=r"cannot write to .*other\.h5.*user block.*scheduler='threads'"):
        streamh5.convert(tmp_path / "block.h5", tmp_path / "other.h5", progress=False, scheduler=client)
    with pytest.raises(SchedulerError, match=r"not a path.*scheduler='threads'"):
        streamh5.from_zarr(source, io.BytesIO(), progress=False, scheduler=client)
    assert not (tmp_path / "other.h5").exists()
    with dask.config.set(scheduler="processes"):
        assert streamh5.from_zarr(source, tmp_path / "x.h5", progress=False).summary.shared is None


def test_conversion_in_a_child_process_uses_no_cluster(tmp_path: Path, client: Any) -> None:
    source = npy_source(tmp_path)
    with pytest.raises(SpecError, match=r"safe=True .*leave scheduler and worker_path out"):
        streamh5.convert(source, tmp_path / "x.h5", safe=True, scheduler=client)
    assert streamh5.convert(source, tmp_path / "x.h5", safe=True, progress=False).summary.shared is None


def test_interrupted_conversion_is_resumed_on_a_cluster(tmp_path: Path, client: Any) -> None:
    source = zarr_source(zarr_format=2, **V2["zlib"])(tmp_path)
    keywords: dict[str, Any] = {"copy": True, "progress": False, "resume": True}
    whole = (source / "8.9").read_bytes()
    (source / "8.9").write_bytes(b"damaged")
    with pytest.raises(SourceError, match="/data"):
        streamh5.from_zarr(source, tmp_path / "x.h5", **keywords)
    (source / "8.9").write_bytes(whole)
    streamh5.from_zarr(source, tmp_path / "x.h5", **keywords)
    streamh5.from_zarr(source, tmp_path / "y.h5", copy=True, scheduler="threads", progress=False)
    assert_same(tmp_path / "x.h5", tmp_path / "y.h5")


def test_interrupted_copy_of_hdf5_is_resumed_on_a_cluster_for_the_chunks_that_are_missing(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamh5.dask.stored_chunks.BLOCK_NBYTES", 1 << 12)  # a chunk is a block
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write_big(source)
    interrupt(source, path, 50)
    done = {one.path: one for one in streamh5.convert(source, path, resume=True, progress=False).arrays}
    assert done["/big"].n_resumed == 50
    assert done["/big"].n_copied == 150
    assert differs(path, source) is None


def weather() -> Any:
    rng = np.random.default_rng(0)
    values = rng.normal(280, 5, (24, 40, 30)).astype("f4")
    values[0, 3, 4] = np.nan
    texts = np.array([f"run {i}-é" for i in range(240)], object)
    times = np.datetime64("2000-01-01", "ns") + np.arange(24) * np.timedelta64(1, "h")
    return xr.Dataset(
        {
            "t": (("time", "y", "x"), da.from_array(values, (4, 20, 15)), {"units": "K"}),
            "p": (("time", "y", "x"), da.from_array(values * 2, (5, 40, 30))),
            "loaded": (("y", "x"), values[1]),
            "when": (("time",), da.from_array(times, 7)),
            "label": ("run", da.from_array(texts, 50).astype(np.dtypes.StringDType())),
            "scalar": da.from_array(values).mean(),
        },
        {"time": times, "station": ("y", [f"s{i}-é" for i in range(40)])},
        {"title": "weather"},
    )


def assert_reads_back(path: Path, expected: Any, **options: Any) -> None:
    with xr.open_dataset(path, engine="h5netcdf", **options) as found:
        xr.testing.assert_equal(found.load(), expected.compute())


def test_xarray_dataset_is_written_on_a_cluster_as_by_threads(tmp_path: Path, client: Any) -> None:
    encoding = {
        "t": {"zlib": True, "scale_factor": 0.01, "dtype": "i4", "_FillValue": -1},
        "p": {"zlib": True},
    }
    keywords: dict[str, Any] = {"encoding": encoding, "unlimited_dims": ["time"], "progress": False}
    streamh5.to_netcdf(weather(), tmp_path / "threads.nc", scheduler="threads", **keywords)
    summary = weather().streamh5.to_netcdf(tmp_path / "cluster.nc", **keywords)
    assert summary.shared is not None
    assert_same(tmp_path / "cluster.nc", tmp_path / "threads.nc")
    with xr.open_dataset(tmp_path / "threads.nc", engine="netcdf4") as expected:
        assert_reads_back(tmp_path / "cluster.nc", expected)


def test_groups_are_added_on_a_cluster(tmp_path: Path, client: Any) -> None:
    path = tmp_path / "x.nc"
    weather().streamh5.to_netcdf(path, progress=False)
    weather().streamh5.to_netcdf(path, mode="a", group="runs/second", progress=False)
    xr.Dataset({"b": ("z", da.arange(40, chunks=7))}).streamh5.to_netcdf(path, mode="a", progress=False)
    assert_reads_back(path, weather().merge({"b": ("z", np.arange(40))}))
    assert_reads_back(path, weather(), group="runs/second")


def test_lazy_and_loaded_variables_are_written_on_a_cluster(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamh5.netcdf.xarray_encoding.STREAMED_NBYTES", 1 << 16)
    values = field((300, 200), "f8")
    xr.Dataset({"a": (("y", "x"), values)}).to_netcdf(tmp_path / "source.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "source.nc", engine="h5netcdf") as source:
        both: Any = source.assign(loaded=(("y", "x"), values))
        summary = both.streamh5.to_netcdf(tmp_path / "x.nc", compression="gzip", progress=False)
        assert summary.shared is not None
        assert_reads_back(tmp_path / "x.nc", both)


def test_delayed_dataset_is_written_on_a_cluster(tmp_path: Path, client: Any) -> None:
    weather().streamh5.to_netcdf(tmp_path / "x.nc", compute=False, progress=False).compute()
    assert_reads_back(tmp_path / "x.nc", weather())


def test_lazy_variable_whose_file_workers_do_not_see_is_an_error_with_path_and_host(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamh5.netcdf.xarray_encoding.STREAMED_NBYTES", 1 << 16)
    path = tmp_path / "source.nc"
    xr.Dataset({"a": (("y", "x"), field((300, 200), "f8"))}).to_netcdf(path, engine="h5netcdf")
    with xr.open_dataset(path, engine="h5netcdf") as source:
        path.unlink()  # it is still open here
        with pytest.raises(FileNotFoundError, match=re.escape(str(path))) as caught:
            source.streamh5.to_netcdf(tmp_path / "x.nc", progress=False)
    assert f"of /a, on {socket.gethostname()}" in "\n".join(caught.value.__notes__)
    assert os.listdir(tmp_path) == []


def test_arrays_of_any_kind_are_written_together_on_a_cluster(tmp_path: Path, client: Any) -> None:
    data = field((300, 200), "f8")
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file.create_dataset("x", data=data, chunks=(30, 40))
    store = make(tmp_path / "x.zarr", data, (50, 60))
    with h5py.File(tmp_path / "source.h5") as file:
        arrays = {
            "/h5py": file["x"],
            "/zarr": store,
            "/numpy": data,
            "/dask": da.from_array(data, 70),
            "/scalar": 3,
        }
        summary = streamh5.to_fixed_h5(tmp_path / "x.h5", arrays, compression="gzip", progress=False)
    assert not isinstance(summary, Delayed)
    assert summary.shared is not None
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["scalar"][()] == 3
        for name in ("h5py", "zarr", "numpy", "dask"):
            assert np.array_equal(file[name][...], data), name
