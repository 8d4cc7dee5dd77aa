"""Repacked files, time series, days that are appended, and repositories that refer to files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.deadlock import DEADLOCK_SECONDS
from tests.recipes.pages import FOLDER, printed, run_page


def test_every_recipe_is_in_the_index() -> None:
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    for page in FOLDER.glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing")


def h5diff(*arguments: object) -> None:
    done = subprocess.run(
        ["h5diff", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_repacked_files_of_the_recipe_have_the_values_and_chunks_that_it_says(tmp_path: Path) -> None:
    needs("h5diff")
    hdf5plugin = pytest.importorskip("hdf5plugin")
    output = run_page("repack", tmp_path, N_MIB=8)
    assert "64 chunks copied as stored" not in output
    assert "8 chunks copied as stored: shuffle, gzip" in output
    with h5py.File(tmp_path / "big.h5") as file:
        expected = file["run1/x"][...]
        stored = [file["run1/x"].id.read_direct_chunk((64 * i, 0)) for i in range(8)]
    for name, chunks, filters in (
        ("copy.h5", (64, 4096), ["2", "1"]),
        ("squares.h5", (512, 512), ["2", "1"]),
        ("zstd.h5", (64, 4096), ["2", str(hdf5plugin.ZSTD_ID)]),
    ):
        with h5py.File(tmp_path / name) as file:
            x = file["run1/x"]
            plist = x.id.get_create_plist()
            assert x.chunks == chunks
            assert [str(plist.get_filter(i)[0]) for i in range(plist.get_nfilters())] == filters
            np.testing.assert_array_equal(x[...], expected)
            if name == "copy.h5":
                assert [x.id.read_direct_chunk((64 * i, 0)) for i in range(8)] == stored


def test_h5repack_makes_of_the_recipes_file_what_the_recipe_makes(tmp_path: Path) -> None:
    needs("h5diff", "h5repack")
    run_page("repack", tmp_path, N_MIB=8)
    page = (FOLDER / "repack.md").read_text(encoding="utf-8")
    commands = [line[2:].split() for line in page.splitlines() if line.startswith("$ h5repack")]
    assert [command[-1] for command in commands] == ["copy.h5", "squares.h5"]
    for command in commands:
        by_h5repack = tmp_path / f"h5repack-{command[-1]}"
        subprocess.run([*command[:-1], by_h5repack], cwd=tmp_path, check=True, timeout=DEADLOCK_SECONDS)
        h5diff(by_h5repack, tmp_path / command[-1])
        with h5py.File(by_h5repack) as one, h5py.File(tmp_path / command[-1]) as other:
            assert one["run1/x"].chunks == other["run1/x"].chunks


def test_time_series_of_the_recipe_are_the_years_one_after_the_other(tmp_path: Path) -> None:
    netcdf4 = pytest.importorskip("netCDF4")
    output = run_page("time-series", tmp_path)
    assert output.splitlines() == printed("time-series")
    years = sorted((tmp_path / "years").iterdir())
    assert len(years) == 21
    with netcdf4.Dataset(tmp_path / "tas_day.nc") as whole:
        assert whole.dimensions["time"].isunlimited()
        assert whole["tas"].chunking() == [3653, 6, 12]
        assert whole["tas"].filters()["complevel"] == 4
        start = 0
        for path in years:
            with netcdf4.Dataset(path) as year:
                stop = start + len(year.dimensions["time"])
                for name, variable in year.variables.items():
                    part = slice(start, stop) if "time" in variable.dimensions else slice(None)
                    np.testing.assert_array_equal(whole[name][part], variable[...], err_msg=name)
                    assert whole[name].dimensions == variable.dimensions
                    assert whole[name].ncattrs() == variable.ncattrs()
                    for attribute in variable.ncattrs():
                        np.testing.assert_array_equal(
                            whole[name].getncattr(attribute), variable.getncattr(attribute)
                        )
                assert whole.__dict__ == year.__dict__
            start = stop
        assert start == len(whole.dimensions["time"])


def test_ncdump_of_the_time_series_shows_bounds_and_chunks(tmp_path: Path) -> None:
    needs("ncdump")
    run_page("time-series", tmp_path, N_YEARS=2)
    header = subprocess.run(
        ["ncdump", "-h", "-s", "tas_day.nc"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    ).stdout
    assert "time = UNLIMITED ; // (1096 currently)" in header
    assert 'time:bounds = "time_bnds" ;' in header
    assert 'time:units = "days since 1850-01-01" ;' in header
    assert "tas:_ChunkSizes = 731, 6, 12 ;" in header
    assert 'tas:cell_methods = "area: time: mean" ;' in header


def test_days_of_the_recipe_are_what_netcdf4_reads(tmp_path: Path) -> None:
    netcdf4 = pytest.importorskip("netCDF4")
    output = run_page("append-a-day", tmp_path)
    assert output.splitlines() == printed("append-a-day")
    with netcdf4.Dataset(tmp_path / "2026.nc") as file:
        np.testing.assert_array_equal(file["time"][...], np.arange(120))
        assert file["time"].units == "hours since 2026-01-01"
        for day in range(1, 6):
            expected = np.random.default_rng(day).normal(280, 5, (24, 90, 180)).astype("f4")
            found = file["t2m"][24 * (day - 1) : 24 * day]
            np.testing.assert_array_equal(found, expected + 1 if day == 3 else expected)


def test_repository_of_the_recipe_is_what_xarray_reads(tmp_path: Path) -> None:
    pytest.importorskip("icechunk")
    output = run_page("icechunk", tmp_path)
    expected = printed("icechunk")
    assert [
        line for line in output.splitlines() if line in expected
    ] == expected  # icechunk 1 prints a warning, too
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "repository"}
    chunks = [path for path in (tmp_path / "repository").rglob("chunks/*") if path.is_file()]
    assert sum(path.stat().st_size for path in chunks) < 20_000, "values were copied"
