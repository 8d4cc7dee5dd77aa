"""xarray's own backend tests, with `to_netcdf` of every object routed through streamh5.

The classes are those that write netCDF-4 and read it back with netCDF4-python or h5netcdf. What does not
apply to streamh5 is listed with its reason in `NOT_APPLICABLE` and in docs/xarray.md; each such test must
fail, so that the list stays true.
"""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

import pytest

xr = pytest.importorskip("xarray")
pytest.importorskip("netCDF4")
pytest.importorskip("h5netcdf")
suite = pytest.importorskip("xarray.tests.test_backends")
trees = pytest.importorskip("xarray.tests.test_backends_datatree")
fixtures = pytest.importorskip("xarray.tests.conftest")

import streamh5  # noqa: E402, F401

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

create_test_datatree = fixtures.create_test_datatree
simple_datatree = fixtures.simple_datatree
time_unit = fixtures.time_unit
use_dask = fixtures.use_dask

WORDS = "asks for xarray's own words or kind of error; streamh5 refuses the same input in its own"
WHOLE = "asks for a file without data before the data are computed; streamh5's file appears complete"
COMPLEX = "complex numbers are no netCDF-4 type; streamh5 refuses them"
BYTES = "asks for an error of h5netcdf, which refuses such bytes; streamh5 writes them, as netCDF4 does"

WARNING = "wants a warning of h5netcdf about the default fill value of an enumeration"

NOT_APPLICABLE = {
    "*::test_append_with_invalid_dim_raises": WORDS,
    "TestTree*::test_compute_false": WHOLE,
    "*::test_encoding_kwarg": WORDS,
    "*::test_invalid_dataarray_names_raise": WORDS,
    "*::test_to_memoryview_compute_false": WORDS,
    "*::test_roundtrip_complex": COMPLEX,
    "TestXarrayH5netcdf*::test_byte_attrs*": BYTES,
    "TestXarrayH5netcdf*::test_encoding_enum__no_fill_value": WARNING,
    "TestXarrayH5netcdf*::test_numpy_bool_": "writes invalid netCDF (invalid_netcdf=True); streamh5 does not",
    "TestXarrayNetcdf4*::test_compression_encoding?zstd?": (
        "zstd without shuffle by default; streamh5 shuffles before zstd, which compresses better"
    ),
    "TestXarrayNetcdf4*::test_roundtrip_endian": (
        "big-endian variables, which netCDF4-python refuses and streamh5 writes"
    ),
}


@pytest.fixture(autouse=True)
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every object's own `to_netcdf` write through streamh5; mark what does not apply."""

    def to_netcdf(
        self: Any,
        path: Any = None,
        mode: str = "w",
        format: Any = None,
        group: Any = None,
        engine: Any = None,
        encoding: Any = None,
        unlimited_dims: Any = None,
        compute: bool = True,
        **others: Any,
    ) -> Any:
        given = {key: value for key, value in others.items() if value}
        result = self.streamh5.to_netcdf(
            path, mode, format, group, None, encoding, unlimited_dims, compute, **given
        )
        return result if path is None or not compute else None

    for kind in (xr.Dataset, xr.DataArray, xr.DataTree):
        monkeypatch.setattr(kind, "to_netcdf", to_netcdf)
    name = f"{request.cls.__name__}::{request.node.name}"
    for pattern, reason in NOT_APPLICABLE.items():
        if fnmatch(name, pattern):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


class TestXarrayNetcdf4(suite.TestNetCDF4Data):  # type: ignore[misc, name-defined]
    """Numpy data, read by netCDF4-python."""


class TestXarrayNetcdf4Dask(suite.TestNetCDF4ViaDaskData):  # type: ignore[misc, name-defined]
    """Dask data, read by netCDF4-python."""


class TestXarrayH5netcdf(suite.TestH5NetCDFData):  # type: ignore[misc, name-defined]
    """Numpy data, read by h5netcdf."""


class TestXarrayH5netcdfDask(suite.TestH5NetCDFViaDaskData):  # type: ignore[misc, name-defined]
    """Dask data, read by h5netcdf."""


class TestTreeNetcdf4(trees.TestNetCDF4DatatreeIO):  # type: ignore[misc, name-defined]
    """Data trees, read by netCDF4-python."""


class TestTreeH5netcdf(trees.TestH5NetCDFDatatreeIO):  # type: ignore[misc, name-defined]
    """Data trees, read by h5netcdf."""
