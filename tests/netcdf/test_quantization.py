"""Lossy rounding: the same bits as netCDF4-python writes with the same settings, in each mode and float type."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamh5
from streamh5.errors import AttributeValueError, SpecError
from streamh5.netcdf.quantization import ATTRIBUTES, Rounding

xr = pytest.importorskip("xarray")
nc4 = pytest.importorskip("netCDF4")

FILL = 9.9692099683868690e36
MOST = {
    (mode, dtype): bits if mode == "BitRound" else digits
    for dtype, digits, bits in (("f4", 6, 23), ("f8", 15, 52))
    for mode in ATTRIBUTES
}


def written_by_netcdf(values: Any, fill: Any = None, **options: Any) -> Any:
    """Return what a file of netCDF-C holds after one call has written the values."""
    with nc4.Dataset("a.nc", "w", diskless=True) as file:
        dims = [f"d{i}" for i in range(values.ndim)]
        for dim, length in zip(dims, values.shape, strict=True):
            file.createDimension(dim, length)
        variable = file.createVariable("v", values.dtype, dims, fill_value=fill, **options)
        variable.set_auto_maskandscale(False)
        variable[...] = values
        return variable[...]


def bits(values: Any) -> Any:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


@pytest.mark.parametrize("encoding", [{"significant_digits": 3}, {"least_significant_digit": 1}])
def test_ncdump_shows_the_attributes_as_of_netcdf_c(encoding: dict[str, Any], tmp_path: Path) -> None:
    if shutil.which("ncdump") is None:
        pytest.skip("ncdump is not installed (apt-get install netcdf-bin)")
    example(is_lazy=False).to_netcdf(tmp_path / "ref.nc", engine="netcdf4", encoding={"v": encoding})
    streamh5.to_netcdf(example(), tmp_path / "a.nc", encoding={"v": encoding})
    dumps = [
        subprocess.run(["ncdump", "-n", "a", tmp_path / name], capture_output=True, check=True).stdout
        for name in ("a.nc", "ref.nc")
    ]
    assert dumps[0] == dumps[1]


def stored(path: Path, name: str = "v") -> Any:
    with nc4.Dataset(path) as file:
        file[name].set_auto_maskandscale(False)
        return file[name][...]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("mode", list(ATTRIBUTES))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_quantized_bits_are_those_of_netcdf_c(mode: str, dtype: str, data: st.DataObject) -> None:
    width: Literal[32, 64] = 32 if dtype == "f4" else 64
    patterns = st.integers(0, 2**width - 1) | st.sampled_from([0, 1 << (width - 1)])
    numbers = st.floats(width=width) | st.sampled_from([FILL, -FILL, -999.0, 1.0, 0.1, 1e10])
    values = np.concatenate(
        [
            np.array(data.draw(st.lists(patterns, max_size=40)), f"u{dtype[1]}").view(dtype),
            np.array(data.draw(st.lists(numbers, max_size=40)), dtype),
        ]
    )
    fill = data.draw(st.none() | st.sampled_from([np.nan, -999.0, 0.0, 1e20]))
    digits = data.draw(st.integers(1, MOST[mode, dtype]))
    expected = written_by_netcdf(values, fill, significant_digits=digits, quantize_mode=mode)
    got = Rounding(mode, digits).apply(values, [np.dtype(dtype).type(FILL if fill is None else fill)])
    is_finite = ~np.isinf(values)
    assert np.array_equal(bits(got)[is_finite], bits(expected)[is_finite])
    assert np.array_equal(got[~is_finite], values[~is_finite])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_granular_bits_around_powers_are_those_of_netcdf_c(dtype: str) -> None:
    limits = np.finfo(dtype)
    tens = [float(f"1e{k}") for k in range(int(np.log10(limits.tiny)) - 8, int(np.log10(limits.max)) + 1)]
    twos = np.ldexp(np.ones(2099), np.arange(-1075, 1024))
    with np.errstate(over="ignore", under="ignore"):
        centres = np.concatenate([np.array(tens), twos]).astype(dtype)
    centres = centres[np.isfinite(centres)]
    steps = np.arange(-250, 251).astype(f"i{dtype[1]}")
    values = (bits(centres).view(f"i{dtype[1]}")[:, None] + steps).view(dtype)
    values = np.where(np.isfinite(values), values, 0).ravel()
    for digits in range(1, MOST["GranularBitRound", dtype] + 1):
        expected = written_by_netcdf(values, significant_digits=digits, quantize_mode="GranularBitRound")
        got = Rounding("GranularBitRound", digits).apply(values, [np.dtype(dtype).type(FILL)])
        assert np.array_equal(bits(got), bits(expected)), digits


def test_infinities_stay_where_netcdf_c_loses_them() -> None:
    values = np.array([np.inf, -np.inf, np.inf, np.inf])
    for mode, dtype in MOST:
        got = Rounding(mode, 3).apply(values.astype(dtype), [])
        assert np.array_equal(got, values)
    groomed = written_by_netcdf(values, significant_digits=3, quantize_mode="BitGroom")
    assert np.isnan(groomed).tolist() == [False, True, False, True]  # what this deviation is for


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("digit", [-3, -1, 0, 1, 2, 7, np.int32(2), 1.5])
def test_least_significant_digit_is_that_of_netcdf4_python(digit: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=5000) * 10.0 ** rng.integers(-8, 9, 5000)).astype(dtype)
    values[:4] = [np.nan, np.inf, 0, -np.inf]
    expected = written_by_netcdf(values, least_significant_digit=digit)
    got = Rounding(least_digit=digit).apply(values, [])
    assert np.array_equal(got, expected, equal_nan=True)


@pytest.mark.parametrize("shape", [(), (0, 3)])
@pytest.mark.parametrize("is_lazy", [False, True])
def test_places_of_a_scalar_are_rounded(shape: tuple[int, ...], is_lazy: bool) -> None:
    values = np.full(shape, 1.23456)
    got = Rounding("BitRound", 20, 1).apply(da.from_array(values) if is_lazy else values, [])
    assert np.array_equal(np.asarray(got), np.full(shape, 1.25))


@pytest.mark.parametrize("shape", [(7, 5, 3), (6, 4), (5, 4, 3), (0, 3), (1,), ()])
@pytest.mark.parametrize("chunks", [1, 2, 3, -1])
def test_groomed_bits_do_not_depend_on_blocks(shape: tuple[int, ...], chunks: int) -> None:
    values = np.random.default_rng(1).normal(size=shape).astype("f4")
    expected = written_by_netcdf(values, significant_digits=2) if values.size else values
    got = Rounding("BitGroom", 2).apply(da.from_array(values, chunks=chunks), []).compute()
    assert np.array_equal(got, np.reshape(expected, shape))


def example(*, is_lazy: bool = True) -> Any:
    rng = np.random.default_rng(2)
    values = rng.normal(280, 20, size=(13, 8, 9)).astype("f4")
    values[3, 2] = np.nan
    dataset = xr.Dataset({"v": (("t", "y", "x"), values, {"units": "K"})})
    return dataset.chunk({"t": 4, "y": 3, "x": 9}) if is_lazy else dataset


ENCODINGS = [
    {"significant_digits": 3},
    {"significant_digits": 4, "quantize_mode": "GranularBitRound", "zlib": True},
    {"significant_digits": 9, "quantize_mode": "BitRound", "_FillValue": -999.9},
    {"least_significant_digit": 1, "zlib": True},
    {"least_significant_digit": 2, "significant_digits": 3, "dtype": "f8"},
    {"significant_digits": 3, "scale_factor": 0.01, "add_offset": 273.15, "dtype": "f4"},
]


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_to_netcdf_file_is_that_of_xarray_with_netcdf4(
    encoding: dict[str, Any], is_lazy: bool, tmp_path: Path
) -> None:
    example(is_lazy=False).to_netcdf(tmp_path / "ref.nc", engine="netcdf4", encoding={"v": encoding})
    streamh5.to_netcdf(example(is_lazy=is_lazy), tmp_path / "a.nc", encoding={"v": encoding})
    assert np.array_equal(bits(stored(tmp_path / "a.nc")), bits(stored(tmp_path / "ref.nc")))
    with nc4.Dataset(tmp_path / "a.nc") as file, nc4.Dataset(tmp_path / "ref.nc") as reference:
        assert file["v"].quantization() == reference["v"].quantization()
        assert file["v"].ncattrs() == reference["v"].ncattrs()


def test_to_netcdf_big_endian_values_are_quantized_alike(tmp_path: Path) -> None:
    encoding = {"significant_digits": 2, "endian": "big"}
    streamh5.to_netcdf(example(), tmp_path / "a.nc", encoding={"v": encoding})
    values = example(is_lazy=False)["v"].values
    expected = written_by_netcdf(values, np.nan, significant_digits=2)
    assert stored(tmp_path / "a.nc").dtype == np.dtype(">f4")
    assert np.array_equal(stored(tmp_path / "a.nc"), expected, equal_nan=True)


def test_to_netcdf_missing_values_stay_missing(tmp_path: Path) -> None:
    values = np.array([1.23456, np.nan, 3.33333, np.nan], "f4")
    dataset = xr.Dataset({"v": ("x", values)})
    encoding = {"_FillValue": None, "missing_value": np.float32(-999.9), "significant_digits": 2}
    streamh5.to_netcdf(dataset, tmp_path / "a.nc", encoding={"v": encoding})
    with xr.open_dataset(tmp_path / "a.nc", engine="netcdf4") as read:
        assert np.isnan(read["v"].values).tolist() == [False, True, False, True]


@pytest.mark.parametrize("value", [[[1], [1, 2]], 10**400])
def test_missing_values_of_no_type_are_refused_as_attributes(value: Any, tmp_path: Path) -> None:
    dataset = xr.Dataset({"v": ("x", [1.0], {"missing_value": value})})
    with pytest.raises(AttributeValueError, match="/v: attribute 'missing_value'"):
        streamh5.to_netcdf(dataset, tmp_path / "a.nc", encoding={"v": {"significant_digits": 2}})


def test_to_netcdf_inherited_least_digit_is_kept_where_it_fits(tmp_path: Path) -> None:
    example(is_lazy=False).to_netcdf(
        tmp_path / "ref.nc", engine="netcdf4", encoding={"v": {"least_significant_digit": 1}}
    )
    with xr.open_dataset(tmp_path / "ref.nc", engine="netcdf4") as read:
        read["text"] = ("y", list("abcdefgh"), {}, {"least_significant_digit": 1})
        streamh5.to_netcdf(read, tmp_path / "a.nc")
    with nc4.Dataset(tmp_path / "a.nc") as file:
        assert file["v"].least_significant_digit == 1
        assert "least_significant_digit" not in file["text"].ncattrs()


@pytest.mark.parametrize("encoding", ENCODINGS[:-1])
@pytest.mark.parametrize("is_lazy", [False, True])
def test_append_to_a_quantized_variable_is_quantized_as_netcdf_c_does(
    encoding: dict[str, Any], is_lazy: bool, tmp_path: Path
) -> None:
    first, second = example(is_lazy=False).isel(t=slice(6)), example(is_lazy=False).isel(t=slice(6, None))
    for name in ("ref.nc", "a.nc"):
        first.to_netcdf(tmp_path / name, engine="netcdf4", encoding={"v": encoding}, unlimited_dims=["t"])
    values = second["v"].fillna(encoding.get("_FillValue", np.nan)).values
    with nc4.Dataset(tmp_path / "ref.nc", "a") as file:
        file["v"].set_auto_maskandscale(False)
        file["v"][6:] = values
    part = second.chunk({"t": 3, "x": 4}) if is_lazy else second
    streamh5.to_netcdf(part, tmp_path / "a.nc", append_dim="t")
    assert np.array_equal(bits(stored(tmp_path / "a.nc")), bits(stored(tmp_path / "ref.nc")))


def test_a_variable_tells_one_rounding_where_the_data_had_another(tmp_path: Path) -> None:
    streamh5.to_netcdf(example(), tmp_path / "a.nc", encoding={"v": {"significant_digits": 2}})
    with xr.open_dataset(tmp_path / "a.nc", engine="netcdf4") as read:
        assert ATTRIBUTES["BitGroom"] in read["v"].attrs  # xarray keeps it there
        encoding = {"significant_digits": 9, "quantize_mode": "BitRound"}
        streamh5.to_netcdf(read, tmp_path / "b.nc", encoding={"v": encoding})
    with nc4.Dataset(tmp_path / "b.nc") as file:
        assert file["v"].quantization() == (9, "BitRound")
        assert ATTRIBUTES["BitGroom"] not in file["v"].ncattrs()


def test_append_to_a_variable_with_two_modes_takes_that_of_netcdf_c(tmp_path: Path) -> None:
    first, second = example(is_lazy=False).isel(t=slice(6)), example(is_lazy=False).isel(t=slice(6, None))
    first["v"].attrs[ATTRIBUTES["GranularBitRound"]] = np.int32(2)
    for name in ("ref.nc", "a.nc"):
        encoding = {"significant_digits": 12, "quantize_mode": "BitRound"}
        first.to_netcdf(tmp_path / name, engine="netcdf4", encoding={"v": encoding}, unlimited_dims=["t"])
    with nc4.Dataset(tmp_path / "ref.nc", "a") as file:
        assert file["v"].quantization() == (2, "GranularBitRound")
        file["v"].set_auto_maskandscale(False)
        file["v"][6:] = second["v"].values
    streamh5.to_netcdf(second, tmp_path / "a.nc", append_dim="t")
    assert np.array_equal(bits(stored(tmp_path / "a.nc")), bits(stored(tmp_path / "ref.nc")))


def test_space_is_filled_with_quantized_values(tmp_path: Path) -> None:
    whole = example(is_lazy=False).assign_coords(t=np.arange(13))
    streamh5.create_space(whole, tmp_path / "a.nc", encoding={"v": {"significant_digits": 2}})
    for begin in (0, 4, 8, 12):
        streamh5.to_netcdf(whole.isel(t=slice(begin, begin + 4)), tmp_path / "a.nc", region="auto")
    # 72 values a step: each part begins with an even number
    expected = written_by_netcdf(whole["v"].values, np.nan, significant_digits=2)
    assert np.array_equal(stored(tmp_path / "a.nc"), expected, equal_nan=True)


def test_resume_of_a_quantized_write_computes_only_what_is_missing(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=(8, 1000))
    fails, calls = True, 0

    def produce(block: Any, block_id: Any = None) -> Any:
        nonlocal calls
        calls += 1
        if fails and block_id[0] == 5:
            raise RuntimeError("power cut")
        return block

    data = da.from_array(values, chunks=(1, 1000)).map_blocks(produce, meta=np.empty((0, 0)))
    dataset = xr.Dataset({"v": (("t", "x"), data)})
    encoding = {"v": {"significant_digits": 3}}
    options: dict[str, Any] = {
        "encoding": encoding,
        "resume": True,
        "resume_key": "k",
        "scheduler": "synchronous",
    }
    with pytest.raises(RuntimeError, match="power cut"):
        streamh5.to_netcdf(dataset, tmp_path / "a.nc", **options)
    fails, calls = False, 0
    streamh5.to_netcdf(dataset, tmp_path / "a.nc", **options)
    assert 0 < calls < 8
    assert np.array_equal(stored(tmp_path / "a.nc"), written_by_netcdf(values, np.nan, significant_digits=3))


def test_name_of_rounded_arrays_tells_their_settings() -> None:
    data = da.ones((4, 6), chunks=3)
    names = [
        rounding.apply(data, kept).name
        for rounding in (Rounding("BitGroom", 3), Rounding("BitRound", 3), Rounding("BitGroom", 4))
        for kept in ([], [np.float64(1)])
        for _ in range(2)
    ]
    assert names[::2] == names[1::2]  # so that a resumed write knows its source
    assert len(set(names)) == 6


@pytest.mark.parametrize(
    ("dtype", "encoding", "match"),
    [
        ("f4", {"significant_digits": 0}, "/v.*from 1 to 6"),
        ("f4", {"significant_digits": 7}, "/v.*from 1 to 6"),
        ("f8", {"significant_digits": 16, "quantize_mode": "GranularBitRound"}, "/v.*from 1 to 15"),
        ("f4", {"significant_digits": 24, "quantize_mode": "BitRound"}, "/v.*from 1 to 23.*bits"),
        ("f8", {"significant_digits": 53, "quantize_mode": "BitRound"}, "/v.*from 1 to 52.*bits"),
        ("f8", {"significant_digits": 2.5}, "/v.*must be an int"),
        ("f8", {"significant_digits": True}, "/v.*must be an int"),
        ("f8", {"significant_digits": 3, "quantize_mode": "BitRond"}, "/v.*did you mean 'BitRound'"),
        ("i4", {"significant_digits": 3}, "/v.*float32 and float64.*int32"),
        (
            "f4",
            {"significant_digits": 3, "dtype": "i2", "scale_factor": 0.1, "_FillValue": -1},
            "/v.*float32 and float64.*int16",
        ),
        ("f4", {"least_significant_digit": "two"}, "/v.*must be a number"),
        ("f4", {"least_significant_digit": 400}, "/v.*from -300 to 300"),
        ("U3", {"least_significant_digit": 1}, "/v.*for floats"),
    ],
)
def test_rounding_that_netcdf_refuses_is_refused_before_any_work(
    dtype: str, encoding: dict[str, Any], match: str, tmp_path: Path
) -> None:
    def explode(_block: Any) -> Any:
        raise AssertionError("a block was computed")

    data: Any = np.array(["abc"] * 4)
    if dtype != "U3":
        data = da.zeros(4, chunks=2, dtype=dtype).map_blocks(explode, meta=np.empty(0, dtype))
    with pytest.raises(SpecError, match=match):
        streamh5.to_netcdf(xr.Dataset({"v": ("x", data)}), tmp_path / "a.nc", encoding={"v": encoding})
    assert not (tmp_path / "a.nc").exists()


def test_limits_of_netcdf_c_are_the_same() -> None:
    for (mode, dtype), most in MOST.items():
        written_by_netcdf(np.ones(3, dtype), significant_digits=most, quantize_mode=mode)
        with pytest.raises(RuntimeError, match="Invalid argument"):
            written_by_netcdf(np.ones(3, dtype), significant_digits=most + 1, quantize_mode=mode)
