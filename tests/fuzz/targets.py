"""What reads mutants: everything of streamh5 that takes a file of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamh5
from tests.fuzz.seeds import write_blocks


@dataclass(frozen=True)
class Target:
    """A reader, the kind of seeds that it gets, and whether a library that may die reads in it."""

    kind: str
    read: Callable[[Path, Path], object]
    has_mortal_library: bool = False


def _verify(path: Path, _: Path) -> None:
    report = streamh5.verify(path, with_h5py=False, jobs=1, progress=False)
    json.dumps(report.to_dict())
    repr(report)


def _inspect(path: Path, _: Path) -> None:
    found = streamh5.inspect(path)
    json.dumps(found.to_dict())
    repr(found)


def _references(path: Path, _: Path, *, safe: bool = False) -> None:
    found = streamh5.read_references(path, safe=safe)
    json.dumps(found.to_dict())
    json.dumps(found.to_kerchunk(skip=True)).encode("utf-8")


def _convert(path: Path, out: Path, *, safe: bool = False) -> None:
    streamh5.convert(path, out, overwrite=True, sync="none", progress=False, safe=safe)


def _convert_most(path: Path, out: Path, *, safe: bool = False) -> None:
    streamh5.convert(
        path, out, overwrite=True, sync="none", progress=False, copy=False, skip_unsupported=True, safe=safe
    )


def _salvage(path: Path, out: Path) -> None:
    streamh5.salvage(path / "out.h5.partial", output=out)


def _resume(path: Path, _: Path) -> None:
    file = streamh5.File(path / "out.h5", "w", resume=True, sync="none", threads=1)
    try:
        write_blocks(file, 6)
        file.close()
    finally:
        file.abort()


def _add(path: Path, _: Path) -> None:
    with streamh5.File(path, "a", sync="none", threads=1) as file:
        file["an addition"] = [1, 2, 3]


TARGETS = {
    "verify": Target("hdf5", _verify),
    "inspect": Target("hdf5", _inspect),
    "addition": Target("hdf5", _add),
    "references": Target("hdf5", _references, has_mortal_library=True),
    "convert of HDF5": Target("hdf5", _convert, has_mortal_library=True),
    "convert of HDF5, decoded": Target("hdf5", _convert_most, has_mortal_library=True),
    "convert of zarr": Target("zarr", _convert, has_mortal_library=True),
    "convert of zarr, decoded": Target("zarr", _convert_most, has_mortal_library=True),
    "convert of npy": Target("npy", _convert),
    "convert of netCDF classic": Target("netcdf", _convert),
    "salvage": Target("interrupted", _salvage),
    "resume": Target("interrupted", _resume),
}
