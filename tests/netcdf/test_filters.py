"""Every filter that netCDF-C knows, in every way of writing, read and written on by netCDF4-python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

import streamh5

SHAPE, CHUNKS = (40, 100), (16, 100)
VALUES = np.round(np.sin(np.arange(4000.0).reshape(SHAPE) / 50), 3).astype("f4")
NOISE = np.random.default_rng(1).integers(1, 1 << 30, SHAPE, "<i4")

# Keywords of streamh5, and those of createVariable for the same.
FILTERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "zlib": ({"compression": "gzip"}, {"compression": "zlib"}),
    "zlib by its name": ({"compression": "zlib", "compression_opts": 9}, {"compression": "zlib", "complevel": 9}),
    "szip": ({"compression": "szip"}, {"compression": "szip"}),
    "zstd": ({"compression": "zstd"}, {"compression": "zstd", "complevel": 3}),
    "zstd 22": ({"compression": "zstd", "compression_opts": 22}, {"compression": "zstd", "complevel": 22}),
    "zstd -5": ({"compression": "zstd", "compression_opts": -5}, {"compression": "zstd", "complevel": -5}),
    "zstd lowest": (
        {"compression": "zstd", "compression_opts": -131072}, {"compression": "zstd", "complevel": -131072},
    ),
    "zstd by number": ({"compression": 32015}, {"compression": "zstd", "complevel": 3}),
    "bzip2": ({"compression": "bzip2"}, {"compression": "bzip2", "complevel": 9}),
    "bzip2 by number": ({"compression": 307}, {"compression": "bzip2", "complevel": 9}),
    "blosc": ({"compression": "blosc"}, {"compression": "blosc_lz4", "complevel": 5}),
    "blosc by number": ({"compression": 32001}, {"compression": "blosc_lz", "complevel": 5}),
    **{
        f"blosc {codec} {level}": (
            {"compression": 32001, "compression_opts": (0, 0, 0, 0, level, 1, codec)},
            {"compression": name, "complevel": level},
        )
        for codec, name in ((0, "blosc_lz"), (1, "blosc_lz4"), (2, "blosc_lz4hc"), (4, "blosc_zlib"), (5, "blosc_zstd"))
        for level in (1, 9)
    },
}  # fmt: skip
"""By what is asked for."""


def _by_file(path: Path, data: np.ndarray[Any, Any], keywords: dict[str, Any]) -> None:
    with streamh5.File(path) as file:
        file.create_dataset("x", data=data, chunks=CHUNKS, **keywords)


def _by_to_fixed_h5(path: Path, data: np.ndarray[Any, Any], keywords: dict[str, Any]) -> None:
    da.from_array(data, chunks=CHUNKS).to_fixed_h5(path, "/x", shuffle=False, **keywords)


def _by_to_netcdf(path: Path, data: np.ndarray[Any, Any], keywords: dict[str, Any]) -> None:
    encoding = {"chunksizes": CHUNKS, "shuffle": False, **keywords}
    xr.Dataset({"x": (("t", "n"), data)}).streamh5.to_netcdf(path, encoding={"x": encoding})


def _by_convert(path: Path, data: np.ndarray[Any, Any], keywords: dict[str, Any]) -> None:
    source = path.with_suffix(".source.nc")
    with netCDF4.Dataset(source, "w") as file:
        file.createDimension("t", SHAPE[0])
        file.createDimension("n", SHAPE[1])
        file.createVariable("x", data.dtype, ("t", "n"), chunksizes=CHUNKS)[:] = data
    streamh5.convert(source, path, **keywords)


WAYS: tuple[Callable[..., None], ...] = (_by_file, _by_to_fixed_h5, _by_to_netcdf, _by_convert)


def _pipeline(path: Path) -> list[tuple[int, tuple[int, ...]]]:
    with h5py.File(path) as file:
        plist = file["x"].id.get_create_plist()
        pipeline = [plist.get_filter(i) for i in range(plist.get_nfilters())]
        chunks = [file["x"].id.get_chunk_info(i).filter_mask for i in range(file["x"].id.get_num_chunks())]
    assert not any(chunks)
    # The first two values of Blosc are the version of who wrote it.
    return [(one[0], one[2][2:] if one[0] == 32001 else one[2]) for one in pipeline if one[0] != 2]


NETCDF_C = """
import json, sys, netCDF4, numpy as np
asked, is_netcdf, folder = json.load(sys.stdin)
for name, keywords in asked.items():
    with netCDF4.Dataset(f"{folder}/{name} theirs.nc", "w") as file:
        file.createDimension("t", 40)
        file.createDimension("n", 100)
        file.createVariable("x", "f4", ("t", "n"), chunksizes=(16, 100), **keywords)[:] = 1
    with netCDF4.Dataset(f"{folder}/{name}.nc") as file:
        np.save(f"{folder}/{name}.npy", file["x"][:].data)
    if is_netcdf:
        with netCDF4.Dataset(f"{folder}/{name}.nc", "a") as file:
            file["x"][:32] = 5  # whole chunks: its Blosc cannot write noise
        with netCDF4.Dataset(f"{folder}/{name}.nc") as file:
            np.save(f"{folder}/{name} changed.npy", file["x"][:].data)
"""
"""Run in a process of its own, with the plugins that come with netCDF-C and no others."""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.removeprefix("_by_"))
@pytest.mark.parametrize("data", [VALUES, NOISE], ids=["smooth", "noise"])
def test_filters_are_those_of_netcdf_c_and_read_and_rewritten_by_it(
    way: Callable[..., None], data: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    for name, (ours, _) in FILTERS.items():
        way(tmp_path / f"{name}.nc", data, ours)
    pipelines = {name: _pipeline(tmp_path / f"{name}.nc") for name in FILTERS}
    is_netcdf = way in (_by_to_netcdf, _by_convert)  # netCDF-C writes only where creation order is tracked
    asked = json.dumps([{name: theirs for name, (_, theirs) in FILTERS.items()}, is_netcdf, str(tmp_path)])
    environment = {key: value for key, value in os.environ.items() if key != "HDF5_PLUGIN_PATH"}
    subprocess.run([sys.executable, "-c", NETCDF_C], input=asked, text=True, check=True, env=environment)
    changed = data.copy()
    changed[:32] = 5
    for name, (ours, _) in FILTERS.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), data, err_msg=name)
        if is_netcdf:
            np.testing.assert_array_equal(np.load(tmp_path / f"{name} changed.npy"), changed, err_msg=name)
        # to_netcdf without a level takes netCDF4-python's own; szip's mask differs between builds of the library
        if (way is not _by_to_netcdf or "compression_opts" in ours) and name != "szip":
            assert pipelines[name] == _pipeline(tmp_path / f"{name} theirs.nc"), name
