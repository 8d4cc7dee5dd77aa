"""xarray's own tests of `to_zarr` to stores that are there (append, region, template), routed to streamh5.

Each `to_zarr` becomes a `to_netcdf` of streamh5 with the same `mode`, `append_dim` and `region`, and each store is read
back as a netCDF-4 file. What does not apply is listed with its reason in `NOT_APPLICABLE` and in docs/xarray.md; each
such test must fail, so that the list stays true.
"""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

import pytest

xr = pytest.importorskip("xarray")
pytest.importorskip("netCDF4")
pytest.importorskip("zarr")
suite = pytest.importorskip("xarray.tests.test_backends")
fixtures = pytest.importorskip("xarray.tests.conftest")

import streamh5  # noqa: E402, F401

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

use_dask = fixtures.use_dask
tmp_store = fixtures.tmp_store if hasattr(fixtures, "tmp_store") else suite.tmp_store

SELECTED = (
    "test_*append*",
    "test_*region*",
    "test_*compute_false*",
    "test_write_persistence_modes",
    "test_write_preexisting_override_metadata",
)
"""Names of the tests of ``ZarrBase`` that write to a store that is there."""

SAFE_CHUNKS = "wants blocks that share a chunk to be refused; streamh5 moves and merges them"
COORDINATES = (
    "wants append to overwrite coordinates along other dimensions; streamh5 refuses other coordinates"
)
TEXT = "wants text longer than the file's to be refused; strings of netCDF-4 have any length"
ZARR = "compares codecs of zarr"

NOT_APPLICABLE = {
    "*::test_append_with_append_dim_no_overwrite": COORDINATES,
    "*::test_append_string_length_mismatch_raises?U?": TEXT,
    "*::test_check_encoding_is_consistent_after_append": ZARR,
    "*::test_zarr_region_chunk_partial": SAFE_CHUNKS,
    "*::test_zarr_region_chunk_partial_offset": SAFE_CHUNKS,
    "*::test_zarr_append_chunk_partial": SAFE_CHUNKS,
    "*::test_zarr_safe_chunk_append_dim": SAFE_CHUNKS,
    "*::test_zarr_safe_chunk_region*": SAFE_CHUNKS,
}


def encoding_of(data: Any, given: Any) -> Any:
    """Return an encoding for zarr as one for netCDF, whose chunks are no larger than the variable."""
    result: dict[Any, Any] = {}
    for name, one in (given or {}).items():
        chunks, shape = (
            one.get("chunks"),
            data.shape if getattr(data, "name", None) == name else data[name].shape,
        )
        extents = (chunks,) * len(shape) if isinstance(chunks, int) else chunks
        result[name] = {"chunksizes": tuple(map(min, extents, shape))} if chunks else {}
    return result


@pytest.fixture
def default_zarr_format() -> None:
    """The suite runs with each format of zarr; there is one of netCDF-4."""


@pytest.fixture(autouse=True)
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `to_zarr` write netCDF-4 through streamh5, and zarr's readers read it; mark what does not apply."""
    open_dataset = xr.open_dataset

    def to_zarr(self: Any, store: Any = None, mode: Any = None, **given: Any) -> Any:
        options = {key: given[key] for key in ("group", "append_dim", "region") if given.get(key) is not None}
        is_new = mode in ("w", "w-", None) and "append_dim" not in options and "region" not in options
        if is_new and not given.get("compute", True):  # the template
            self.streamh5.create_space(store, encoding=encoding_of(self, given.get("encoding")))
            return self.streamh5.to_netcdf(store, mode="r+", compute=False)
        return self.streamh5.to_netcdf(
            store,
            "w-" if mode is None and is_new else mode,
            encoding=encoding_of(self, given.get("encoding")),
            compute=given.get("compute", True),
            **options,
        )

    def open_netcdf(path: Any, engine: Any = None, group: Any = None, **_others: Any) -> Any:
        return open_dataset(path, engine="netcdf4", group=group, cache=False)

    for kind in (xr.Dataset, xr.DataArray):
        monkeypatch.setattr(kind, "to_zarr", to_zarr)
    for module in (xr, suite):
        monkeypatch.setattr(module, "open_dataset", open_netcdf)
    monkeypatch.setattr(xr, "open_zarr", open_netcdf)
    name = f"{request.cls.__name__}::{request.node.name}"
    for pattern, reason in NOT_APPLICABLE.items():
        if fnmatch(name, pattern):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


class TestXarrayZarr(suite.TestZarrDirectoryStore):  # type: ignore[misc, name-defined]
    """Tests of stores that are there."""


class TestXarrayZarrRegion(suite.TestZarrRegionAuto):  # type: ignore[misc, name-defined]
    """Regions that follow from coordinates."""


for name in dir(TestXarrayZarr):
    if name.startswith("test_") and not any(fnmatch(name, pattern) for pattern in SELECTED):
        setattr(TestXarrayZarr, name, None)
