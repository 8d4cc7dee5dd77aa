"""`to_netcdf`: what xarray's own engines read back from what streamh5 wrote."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from tests.deadlock import DEADLOCK_SECONDS
from tests.real_data import real_files

xr = pytest.importorskip("xarray")
pytest.importorskip("netCDF4")
pytest.importorskip("h5netcdf")

ENGINES = ("netcdf4", "h5netcdf")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def reread(path: Path, engine: str, **options: Any) -> Any:
    with xr.open_dataset(path, engine=engine, **options) as dataset:
        return dataset.load()


def climate(chunks: tuple[int, ...] | None = (4, 20, 15)) -> Any:
    """A dataset with times, coordinates of two kinds, text, characters, missing values and a scalar."""
    rng = np.random.default_rng(0)
    values = rng.normal(280, 5, (12, 40, 30)).astype("f4")
    values[0, 3, 4] = np.nan
    data = values if chunks is None else da.from_array(values, chunks=chunks)
    return xr.Dataset(
        {
            "t": (("time", "y", "x"), data, {"units": "K", "long_name": "temperature"}),
            "mask": (("y", "x"), values[0] > 280),
            "count": ("n", np.arange(5, dtype="u2")),
        },
        coords={
            "time": np.datetime64("2000-01-01", "ns") + np.arange(12) * np.timedelta64(30, "D"),
            "x": np.linspace(0, 1, 30),
            "lat": (("y", "x"), values[1]),
            "station": ("y", [f"s{i}-é" for i in range(40)]),
            "code": ("y", np.array([b"ab", b"c"] * 20)),
            "height": 2.5,
        },
        attrs={"title": "test", "författare": "å", "numbers": [1, 2, 3], "empty": "", "words": ["a", "b"]},
    )


def test_to_netcdf_dataset_is_identical(engine: str, tmp_path: Path) -> None:
    expected = climate()
    summary = expected.streamh5.to_netcdf(tmp_path / "a.nc")
    xr.testing.assert_identical(reread(tmp_path / "a.nc", engine), expected.compute())
    assert summary.path == str(tmp_path / "a.nc")


def test_to_netcdf_file_has_what_xarray_writes_itself(engine: str, tmp_path: Path) -> None:
    expected = climate()
    encoding = {"t": {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -9999}}
    expected.streamh5.to_netcdf(tmp_path / "ours.nc", encoding=encoding)
    expected.to_netcdf(tmp_path / "theirs.nc", encoding=encoding, engine="netcdf4")
    options: dict[str, Any] = {"decode_cf": False}
    ours, theirs = (reread(tmp_path / name, engine, **options) for name in ("ours.nc", "theirs.nc"))
    xr.testing.assert_identical(ours, theirs)
    assert list(ours.variables) == list(theirs.variables)


def test_to_netcdf_test_dataset_of_xarray_is_identical(engine: str, tmp_path: Path) -> None:
    helpers = pytest.importorskip("xarray.tests")
    expected = helpers.create_test_data(seed=0, use_extension_array=False)
    expected.chunk({"dim1": 3}).streamh5.to_netcdf(tmp_path / "a.nc")
    xr.testing.assert_identical(reread(tmp_path / "a.nc", engine), expected)


@pytest.mark.parametrize("source", real_files(), ids=lambda path: path.stem)
def test_to_netcdf_real_data_is_identical(source: Path, engine: str, tmp_path: Path) -> None:
    # COADS counts its months in "hours since 0000-01-01", which is no date of the calendar
    with xr.open_dataset(source, engine="scipy", decode_times=False) as lazy:
        streamh5.to_netcdf(lazy, tmp_path / "a.nc", compression="gzip")
        expected = lazy.load()
    actual = reread(tmp_path / "a.nc", engine, decode_times=False)
    xr.testing.assert_identical(actual, expected)


@pytest.mark.parametrize("unlimited", [["time"], ["time", "y"], "time"])
def test_to_netcdf_unlimited_dimensions_are_so(unlimited: Any, engine: str, tmp_path: Path) -> None:
    expected = climate()
    expected.streamh5.to_netcdf(tmp_path / "a.nc", unlimited_dims=unlimited)
    actual = reread(tmp_path / "a.nc", engine)
    xr.testing.assert_identical(actual, expected.compute())
    assert actual.encoding["unlimited_dims"] == set(np.atleast_1d(unlimited).tolist())


def test_to_netcdf_unlimited_dimension_of_the_encoding_is_kept(tmp_path: Path) -> None:
    dataset = xr.Dataset({"a": ("t", np.arange(3))})
    dataset.encoding["unlimited_dims"] = {"t"}
    streamh5.to_netcdf(dataset, tmp_path / "a.nc")
    with h5py.File(tmp_path / "a.nc") as file:
        assert file["a"].maxshape == file["t"].maxshape == (None,)


@pytest.mark.parametrize("n", [0, 1])
def test_to_netcdf_short_unlimited_dimension_is_identical(n: int, engine: str, tmp_path: Path) -> None:
    expected = xr.Dataset({"a": (("t", "x"), np.ones((n, 3)))}, coords={"t": np.arange(n, dtype="f8")})
    for name, dataset in {"numpy": expected, "dask": expected.chunk()}.items():
        streamh5.to_netcdf(dataset, tmp_path / name, unlimited_dims="t")
        xr.testing.assert_identical(reread(tmp_path / name, engine), expected)


def test_to_netcdf_encoding_of_filters_is_stored(tmp_path: Path) -> None:
    dataset = xr.Dataset({name: (("y", "x"), np.zeros((64, 64), "f4")) for name in "abcdefg"})
    encoding: dict[str, dict[str, Any]] = {
        "a": {"zlib": True, "complevel": 7, "chunksizes": (16, 64), "fletcher32": True},
        "b": {"compression": "gzip", "compression_opts": 2, "shuffle": False},
        "c": {"compression": "zstd", "complevel": 5},
        "d": {"compression": "blosc_lz4", "complevel": 3, "blosc_shuffle": 2},
        "e": {"compression": "szip", "szip_coding": "ec", "szip_pixels_per_block": 16},
        "f": {"contiguous": True},
        "g": {"zlib": True, "complevel": 0},
    }
    pytest.importorskip("hdf5plugin")
    pytest.importorskip("imagecodecs")  # szip
    streamh5.to_netcdf(dataset, tmp_path / "a.nc", encoding=encoding)
    with h5py.File(tmp_path / "a.nc") as file:
        a, b, c, d, e = (file[name] for name in "abcde")
        assert (a.compression, a.compression_opts, a.shuffle, a.fletcher32, a.chunks) == (
            ("gzip", 7, True, True, (16, 64))
        )
        assert (b.compression, b.compression_opts, b.shuffle) == ("gzip", 2, False)
        assert (c._filters["32015"], c.shuffle) == ((5,), True)
        assert d._filters["32001"][4:] == (3, 2, 1)
        assert (e.compression, e.compression_opts) == ("szip", ("ec", 16))
        assert file["f"].chunks is file["g"].chunks is None
        assert not np.any(a[()])


def test_to_netcdf_encoding_of_a_read_file_is_kept(engine: str, tmp_path: Path) -> None:
    asked = {"zlib": True, "complevel": 6, "shuffle": True, "chunksizes": (6, 20, 10)}
    climate().to_netcdf(tmp_path / "theirs.nc", engine=engine, encoding={"t": asked})
    with xr.open_dataset(tmp_path / "theirs.nc", engine=engine) as dataset:
        streamh5.to_netcdf(dataset, tmp_path / "ours.nc")
        streamh5.to_netcdf(dataset.isel(time=slice(3)), tmp_path / "part.nc")
    actual = reread(tmp_path / "ours.nc", engine)["t"].encoding
    assert {key: actual[key] for key in asked} == asked
    part = reread(tmp_path / "part.nc", engine)["t"]
    assert part.sizes["time"] == 3
    assert part.encoding["zlib"]


def test_to_netcdf_compression_keyword_leaves_small_and_named_alone(tmp_path: Path) -> None:
    dataset = xr.Dataset(
        {"big": ("x", np.zeros(20_000)), "named": ("x", np.zeros(20_000))}, coords={"x": np.arange(20_000.0)}
    ).assign(small=("k", np.zeros(5)))
    streamh5.to_netcdf(
        dataset, tmp_path / "a.nc", compression="gzip", encoding={"named": {"compression": None}}
    )
    with h5py.File(tmp_path / "a.nc") as file:
        assert {name: file[name].compression for name in ("big", "x", "small", "named")} == {
            "big": "gzip",
            "x": "gzip",
            "small": None,
            "named": None,
        }
        assert file["big"].shuffle


@pytest.mark.parametrize("endian", ["big", "little", "native"])
def test_to_netcdf_endian_is_stored(endian: str, tmp_path: Path) -> None:
    dataset = xr.Dataset({"a": ("x", np.arange(5, dtype=">i4"))})
    streamh5.to_netcdf(dataset, tmp_path / "a.nc", encoding={"a": {"endian": endian}})
    with h5py.File(tmp_path / "a.nc") as file:
        assert file["a"].dtype == {"big": np.dtype(">i4"), "little": np.dtype("<i4")}.get(endian, "=i4")
        assert file["a"][()].tolist() == [0, 1, 2, 3, 4]


def test_to_netcdf_dask_variables_compute_shared_work_once(tmp_path: Path) -> None:
    lock, n_calls = threading.Lock(), 0

    def produce(block: Any) -> Any:
        nonlocal n_calls
        with lock:
            n_calls += 1
        return block + 1

    shared = da.zeros((8, 10), chunks=(1, 10)).map_blocks(produce, meta=np.empty((0, 0)))
    dataset = xr.Dataset({"a": (("y", "x"), shared), "b": (("y", "x"), shared * 2)})
    streamh5.to_netcdf(dataset, tmp_path / "a.nc")
    assert n_calls == 8


def test_to_netcdf_lazy_variable_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamh5.netcdf.xarray_encoding.STREAMED_NBYTES", 1 << 16)
    monkeypatch.setattr("streamh5.dask.stored_chunks.BLOCK_NBYTES", 1 << 16)
    values = np.random.default_rng(0).random((64, 40, 50))
    xr.Dataset({"a": (("t", "y", "x"), values)}).to_netcdf(tmp_path / "in.nc", engine="netcdf4")
    largest = 0
    from xarray.backends.netCDF4_ import NetCDF4ArrayWrapper

    original = NetCDF4ArrayWrapper._getitem

    def spy(self: Any, key: Any) -> Any:
        nonlocal largest
        block = original(self, key)
        largest = max(largest, block.nbytes)
        return block

    monkeypatch.setattr(NetCDF4ArrayWrapper, "_getitem", spy)
    with xr.open_dataset(tmp_path / "in.nc", engine="netcdf4", cache=False) as lazy:
        streamh5.to_netcdf(lazy, tmp_path / "out.nc", encoding={"a": {"chunksizes": (1, 40, 50)}})
    assert 0 < largest <= 1 << 16
    with h5py.File(tmp_path / "out.nc") as file:
        assert np.array_equal(file["a"], values)


def test_to_netcdf_many_small_lazy_variables_are_not_in_memory_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xarray.backends.netCDF4_ import NetCDF4ArrayWrapper

    values = np.arange(20_000.0).reshape(200, 100)
    expected = xr.Dataset({f"v{i}": (("y", "x"), values + i) for i in range(6)} | {"n": ("k", [1, 2])})
    expected["flag"] = ("y", "x"), values > 70  # 20 kB
    expected.to_netcdf(tmp_path / "in.nc", engine="netcdf4")
    read: list[str] = []
    original = NetCDF4ArrayWrapper._getitem

    def spy(self: Any, key: Any) -> Any:
        read.append(self.variable_name)
        return original(self, key)

    monkeypatch.setattr(NetCDF4ArrayWrapper, "_getitem", spy)
    for held, is_cut in ((960_000, True), (1 << 20, False)):
        monkeypatch.setattr("streamh5.netcdf.xarray_encoding.HELD_NBYTES", held)
        with xr.open_dataset(tmp_path / "in.nc", engine="netcdf4", cache=False) as lazy:
            read.clear()
            delayed: Any = streamh5.to_netcdf(lazy, tmp_path / "out.nc", compute=False)
            assert set(read) == ({"n", "flag"} if is_cut else set(expected.variables))
            delayed.compute()
        xr.testing.assert_identical(reread(tmp_path / "out.nc", "h5netcdf"), expected)


def test_to_netcdf_compute_false_writes_when_computed(tmp_path: Path) -> None:
    expected = climate()
    delayed = expected.streamh5.to_netcdf(tmp_path / "a.nc", compute=False)
    assert not (tmp_path / "a.nc").exists()
    (summary,) = dask.base.compute(delayed)
    assert summary.path == str(tmp_path / "a.nc")
    xr.testing.assert_identical(reread(tmp_path / "a.nc", "h5netcdf"), expected.compute())


def test_to_netcdf_compute_false_in_memory_writes_when_computed(tmp_path: Path) -> None:
    expected = climate(chunks=None)
    expected.streamh5.to_netcdf(tmp_path / "a.nc", compute=False).compute()
    xr.testing.assert_identical(reread(tmp_path / "a.nc", "h5netcdf"), expected)


def test_to_netcdf_failure_keeps_the_old_file(tmp_path: Path) -> None:
    old = xr.Dataset({"a": ("x", [1])})
    old.streamh5.to_netcdf(tmp_path / "a.nc")
    broken = da.ones(8, chunks=4).map_blocks(lambda block: block / "no", meta=np.empty(0))
    with pytest.raises(TypeError):
        xr.Dataset({"a": ("x", broken)}).streamh5.to_netcdf(tmp_path / "a.nc")
    xr.testing.assert_identical(reread(tmp_path / "a.nc", "netcdf4"), old)


def test_to_netcdf_mode_x_refuses_an_existing_file(tmp_path: Path) -> None:
    dataset = xr.Dataset({"a": ("x", [1])})
    dataset.streamh5.to_netcdf(tmp_path / "a.nc", mode="x")
    with pytest.raises(FileExistsError):
        dataset.streamh5.to_netcdf(tmp_path / "a.nc", mode="x")
    dataset.streamh5.to_netcdf(tmp_path / "a.nc")


def test_to_netcdf_resume_computes_only_what_is_missing(tmp_path: Path) -> None:
    fail, calls = True, 0

    def produce(block: Any, block_id: Any = None) -> Any:
        nonlocal calls
        calls += 1
        if fail and block_id[0] == 5:
            raise RuntimeError("power cut")
        return block + block_id[0]

    x = da.zeros((8, 1000), chunks=(1, 1000)).map_blocks(produce, meta=np.empty((0, 0)))
    dataset = xr.Dataset({"a": (("y", "x"), x)}, coords={"x": np.arange(1000)})
    options: dict[str, Any] = {"resume": True, "resume_key": "k", "scheduler": "synchronous"}
    encoding = {"x": {"zlib": True}}
    with pytest.raises(RuntimeError, match="power cut"):
        dataset.streamh5.to_netcdf(tmp_path / "a.nc", encoding=encoding, **options)
    fail, calls = False, 0
    dataset.streamh5.to_netcdf(tmp_path / "a.nc", encoding=encoding, **options)
    assert 0 < calls < 8
    actual = reread(tmp_path / "a.nc", "netcdf4")
    assert actual["a"].values[:, 0].tolist() == list(range(8))
    assert actual["x"].values.tolist() == list(range(1000))


def test_to_netcdf_no_path_returns_the_file(tmp_path: Path) -> None:
    expected = climate()
    image = expected.streamh5.to_netcdf()
    (tmp_path / "a.nc").write_bytes(image)
    xr.testing.assert_identical(reread(tmp_path / "a.nc", "netcdf4"), expected.compute())


@pytest.mark.parametrize("name", [None, "x", "v"])
def test_to_netcdf_data_array_is_what_xarray_reads_back(name: str | None, tmp_path: Path) -> None:
    expected = xr.DataArray(np.arange(3.0), dims="x", coords={"x": [1, 2, 3]}, name=name)
    expected.streamh5.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataarray(tmp_path / "a.nc") as actual:
        xr.testing.assert_identical(actual.load(), expected)


def test_to_netcdf_group_is_read_back(engine: str, tmp_path: Path) -> None:
    expected = climate()
    expected.streamh5.to_netcdf(tmp_path / "a.nc", group="model/run1")
    xr.testing.assert_identical(reread(tmp_path / "a.nc", engine, group="model/run1"), expected.compute())
    assert not reread(tmp_path / "a.nc", engine).variables


@pytest.mark.parametrize("inherited", [False, True])
def test_to_netcdf_tree_shares_dimensions_of_parents(inherited: bool, engine: str, tmp_path: Path) -> None:
    root = xr.Dataset(coords={"x": [1, 2]})
    child = xr.Dataset({"a": ("x", [3.0, 4.0]), "b": (("z", "x"), np.ones((3, 2)))})
    nodes = {"/": root, "/c": child, "/c/d": xr.Dataset({"e": ("z", [1, 2, 3])})}
    expected = xr.DataTree.from_dict({**nodes, "/o": xr.Dataset({"e": ("z", [1, 2, 3, 4])})})
    expected.streamh5.to_netcdf(tmp_path / "a.nc", write_inherited_coords=inherited)
    with xr.open_datatree(tmp_path / "a.nc", engine=engine) as actual:
        xr.testing.assert_identical(actual.load(), expected)
    with h5py.File(tmp_path / "a.nc") as file:
        assert ("x" in file["c"]) is inherited
        scale = file["c/a"].dims[0][0].name
        inner = file["c/d/e"].dims[0][0].name
    assert (scale, inner) == ("/x", "/c/z")


def test_to_netcdf_variable_with_the_name_of_another_dimension_is_read_back(
    engine: str, tmp_path: Path
) -> None:
    expected = xr.Dataset({"x": ("y", [1, 2, 3]), "a": (("x", "y"), np.ones((2, 3)))})
    expected.streamh5.to_netcdf(tmp_path / "a.nc")
    xr.testing.assert_identical(reread(tmp_path / "a.nc", engine), expected)


def test_to_netcdf_names_are_stored_composed(tmp_path: Path) -> None:
    decomposed, composed = "e\u0301", "\u00e9"
    xr.Dataset({decomposed: (decomposed + "d", [1])}).streamh5.to_netcdf(tmp_path / "a.nc")
    actual = reread(tmp_path / "a.nc", "netcdf4")
    assert list(actual.variables) == [composed]
    assert actual[composed].dims == (composed + "d",)


def test_accessor_shows_the_parameters_of_the_function() -> None:
    shown = inspect.signature(xr.Dataset().streamh5.to_netcdf).parameters
    _, *own = inspect.signature(streamh5.to_netcdf).parameters.values()  # the first is the dataset
    assert len(own) > 20
    assert [*shown] == [one.name for one in own]
    assert [one.default for one in shown.values()] == [one.default for one in own]


@pytest.mark.parametrize("imports", ["streamh5, xarray", "xarray, streamh5"])
@pytest.mark.parametrize("is_late", [False, True])
def test_accessor_is_registered_whatever_is_imported_first(imports: str, is_late: bool) -> None:
    block = "import sys; sys.modules['xarray'] = None; import dask.array; del sys.modules['xarray']; "
    code = (block if is_late else "") + (
        f"import {imports}; import xarray as xr; ds = xr.Dataset({{'a': ('x', [1])}}); "
        "print([hasattr(x, 'streamh5') for x in (ds, ds.a, xr.DataTree(ds))], xr.__spec__.loader.__class__.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=DEADLOCK_SECONDS
    )
    assert done.stdout.strip() == "[True, True, True] SourceFileLoader"
