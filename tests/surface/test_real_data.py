"""The sample is what its README says: a cut of the full files, bit for bit."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
import pytest

from streamh5.sample_data import north_atlantic
from tests.real_data import CHECKOUT, FULL, SAMPLE, real_arrays, real_files

DATA = CHECKOUT / "tests" / "data"


def test_sample_is_small_and_holds_land_and_sea() -> None:
    arrays = dict(real_arrays([DATA / name for name in SAMPLE]))
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 300_000
    assert arrays["coads_sample/SST"].shape == (12, 35, 50)
    assert arrays["etopo20_sample/ROSE"].shape == (120, 160)
    missing = arrays["coads_sample/SST"] < -1e33
    assert 0.05 < missing.mean() < 0.5
    assert arrays["etopo20_sample/ROSE"].min() < 0 < arrays["etopo20_sample/ROSE"].max()


def test_sample_that_comes_with_the_package_is_the_same(tmp_path: Path) -> None:
    temperature, latitude, longitude = north_atlantic()
    with netCDF4.Dataset(DATA / "coads_sample.nc") as file:
        np.testing.assert_array_equal(temperature, file["SST"][...].filled(np.nan))
        np.testing.assert_array_equal(latitude, file["COADSY"][...])
        np.testing.assert_array_equal(longitude, file["COADSX"][...])


def test_sample_equals_its_place_in_the_full_files() -> None:
    files = real_files()
    if [path.name for path in files] != list(FULL):
        pytest.skip("the full NOAA files are not at hand")
    full = dict(real_arrays(files))
    sample = dict(real_arrays([DATA / name for name in SAMPLE]))
    for name, place in {"SST": np.s_[:, 50:85, 125:175], "UWND": np.s_[:, 50:85, 125:175]}.items():
        assert sample[f"coads_sample/{name}"].tobytes() == full[f"coads_climatology/{name}"][place].tobytes()
    assert sample["etopo20_sample/ROSE"].tobytes() == full["etopo20/ROSE"][340:460, 921:1081].tobytes()


def test_real_arrays_are_what_netcdf_reads() -> None:
    arrays = dict(real_arrays())
    n_variables = 0
    for path in real_files():
        with netCDF4.Dataset(path) as file:
            file.set_auto_maskandscale(False)
            for name, variable in file.variables.items():
                np.testing.assert_array_equal(arrays[f"{path.stem}/{name}"], variable[...])
                n_variables += 1
    assert n_variables == len(arrays)


def test_real_files_of_a_named_folder_without_them_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STREAMH5_SHARED_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="STREAMH5_SHARED_DATA"):
        real_files()
