"""Files to make mutants of: of every kind that streamh5 reads, small, by the programs that write them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import tables
import zarr

import streamh5

VALUES = (np.arange(600) % 7).astype("i2").reshape(30, 20)


def make_seeds(folder: Path) -> None:
    """Make all seeds: a folder for each kind, in it a file or folder each."""
    makers = {"hdf5": _hdf5, "zarr": _zarr, "npy": _npy, "netcdf": _classic, "interrupted": _interrupted}
    for kind, make in makers.items():
        (folder / kind).mkdir(parents=True)
        make(folder / kind)


def _hdf5(folder: Path) -> None:
    for libver in ("earliest", "latest"):
        with h5py.File(folder / f"a-indexes-{libver}.h5", "w", libver=libver) as file:
            _every_index(file)
        with h5py.File(folder / f"b-objects-{libver}.h5", "w", libver=libver, track_order=True) as file:
            _objects(file)
    with netCDF4.Dataset(folder / "c-netcdf4.nc", "w") as file:
        file.createDimension("time", None)
        file.createDimension("x", 20)
        file.createVariable("time", "f8", ("time",))[:] = np.arange(30.0)
        variable = file.createVariable("v", "i2", ("time", "x"), zlib=True, chunksizes=(10, 10))
        variable.units, variable[:] = "m", VALUES
        file.createVariable("text", str, ("x",))[:] = np.array(["a"] * 20, object)
    with tables.open_file(folder / "d-pytables.h5", "w") as file:
        file.create_earray("/", "e", obj=VALUES, chunkshape=(10, 20), filters=tables.Filters(1))
        file.create_table("/", "t", np.zeros(5, [("a", "?"), ("b", "i4"), ("c", "S3")]))
        file.create_vlarray("/", "v", tables.Int32Atom()).append([1, 2, 3])
    for libver in ("v108", "v110"):
        with streamh5.File(folder / f"e-ours-{libver}.h5", "w", libver=libver) as file:
            for i, maxshape in enumerate((None, (None, 20), (None, None))):
                file.create_dataset(
                    f"x{i}", data=VALUES, chunks=(10, 10), maxshape=maxshape, compression="gzip"
                )
            file["text"] = ["one", "two"]
            file.attrs["text"] = ["a", "b"]


def _every_index(file: h5py.File) -> None:
    for name, maxshape, options in (
        ("fixed", None, {"compression": "gzip"}),
        ("single", None, {"chunks": (30, 20), "shuffle": True}),
        ("extensible", (None, 20), {"fletcher32": True}),
        ("tree", (None, None), {"compression": "lzf"}),
        ("late", (30, None), {}),
    ):
        file.create_dataset(name, data=VALUES, maxshape=maxshape, **({"chunks": (4, 5)} | options))
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_chunk((10, 10))
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    space = h5py.h5s.create_simple((30, 20))
    h5py.h5d.create(file.id, b"implicit", h5py.h5t.STD_I16LE, space, early)
    file["contiguous"] = VALUES
    file.create_dataset("many", shape=(5000,), dtype="u1", chunks=(2,))[:3000] = 1


def _objects(file: h5py.File) -> None:
    group: Any = file.create_group("g/h")
    group["up"], group["soft"] = file["g"], h5py.SoftLink("/g")
    group["external"] = h5py.ExternalLink("other.h5", "/x")
    for i in range(20):
        group[f"scalar{i}"] = i
        group.attrs[f"attribute{i}"] = np.arange(i)
    kind = np.dtype([("a", "f4"), ("b", "S3", (2,)), ("c", h5py.string_dtype())])
    file["compound"] = np.array([(1, (b"x", b"y"), "text")] * 4, kind)
    file["text"] = ["one", "two", "three"]
    file["enum"] = np.array([0, 1], h5py.enum_dtype({"A": 0, "B": 1}))
    file["sequences"] = np.array([np.arange(3), np.arange(2)], h5py.vlen_dtype("i4"))
    file["type"] = np.dtype("f8")
    file.create_dataset("committed", data=np.arange(3.0), dtype=file["type"])
    scale = file.create_dataset("x", data=np.arange(20.0))
    scale.make_scale("x")
    data = file.create_dataset("v", data=VALUES, fillvalue=5)
    data.dims[1].attach_scale(scale)
    file["references"] = np.array([data.ref, scale.ref], h5py.ref_dtype)
    data.attrs["_FillValue"] = np.int16(5)


def _zarr(folder: Path) -> None:
    for zarr_format in (2, 3):
        store = folder / f"v{zarr_format}"
        group = zarr.open_group(store, mode="w", zarr_format=zarr_format)
        array = group.create_array("x", shape=VALUES.shape, chunks=(10, 10), dtype="i2")
        array[:] = VALUES
        array.attrs["units"] = "m"
        group.create_array("inner/y", shape=(7,), chunks=(7,), dtype="f4")[:] = 1
        shutil.make_archive(str(folder / f"v{zarr_format}"), "zip", store)
    sharded = zarr.create_array(
        folder / "sharded", shape=(40,), chunks=(5,), shards=(20,), dtype="u1", zarr_format=3
    )
    sharded[:] = 3


def _npy(folder: Path) -> None:
    np.save(folder / "plain.npy", VALUES)
    np.save(folder / "fortran.npy", np.asfortranarray(VALUES))
    np.save(folder / "compound.npy", np.zeros(9, [("a", "f4"), ("b", "S3")]))


def _classic(folder: Path) -> None:
    for kind in ("NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"):
        with netCDF4.Dataset(folder / f"{kind}.nc", "w", format=kind) as file:
            file.createDimension("time", None)
            file.createDimension("x", 20)
            variable = file.createVariable("v", "i2", ("time", "x"))
            variable.units, variable[:] = "m", VALUES
            file.createVariable("w", "f4", ("x",))[:] = 1


def write_blocks(file: streamh5.File, n: int) -> None:
    """Write `n` of 6 blocks; those of the stream that are there already are left out."""
    file.attrs["title"] = "a run"
    rows = file.create_dataset("rows", shape=(None, 20), dtype="i2", chunks=(5, 20), compression="gzip")
    grid = file.create_dataset("grid", shape=(30, 20), dtype="i2", chunks=(5, 10), shuffle=True)
    for i in range(n):
        grid[5 * i : 5 * i + 5, :] = VALUES[5 * i : 5 * i + 5]
        if rows.n_appended <= 5 * i:
            rows.append(VALUES[5 * i : 5 * i + 5])


def _interrupted(folder: Path) -> None:
    for n in (2, 5):
        out, kept = folder / "out.h5", folder / f"after-{n}"
        kept.mkdir()
        file = streamh5.File(out, "w")
        write_blocks(file, n)
        file.checkpoint()
        for suffix in (".partial", ".partial.journal"):
            shutil.copy(f"{out}{suffix}", kept)
        file.abort()
        (folder / "out.h5.snapshot").unlink(missing_ok=True)
