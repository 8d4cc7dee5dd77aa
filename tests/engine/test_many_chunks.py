"""Indexes of many chunks, tiny ones, read by every reader; the largest in the campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import netCDF4
import numpy as np
import pytest
import tables

import streamh5
from tests.readers import readers_for
from tests.readers.h5wasm_reader import package_folder
from tests.readers.hdf5_tools import index_type
from tests.readers.judgements import assert_chunk_map
from tests.readers.programs import run_program
from tests.written import GZIP, assert_every_reader, columns, values, write

FILTERS = pytest.mark.parametrize(
    "keywords", [{}, GZIP, {"fletcher32": True}], ids=["raw", "gzip", "fletcher32"]
)
SIZES = [1, 2, 1024, 1025, 100_000]


@FILTERS
@pytest.mark.parametrize("n_chunks", SIZES)
def test_file_of_many_chunks_is_read_by_every_reader(
    n_chunks: int, keywords: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    data = values("<u2", (n_chunks * 2,), seed=3)
    tracked = write(path, data, chunks=(2,), **keywords)
    assert_every_reader(path, "/x", data)
    if n_chunks > 1:
        assert index_type(path, "/x") == "Fixed Array"
    assert_chunk_map(path, "/x", tracked)


PART = 500_000
"""Elements that a reader gets at once of two million chunks: libhdf5 takes 3.7 kB of memory a chunk."""


def h5py_part(path: Path, start: int, stop: int) -> Any:
    with h5py.File(path) as file:
        return file["x"][start:stop]


def netcdf_part(path: Path, start: int, stop: int) -> Any:
    with netCDF4.Dataset(path) as file:
        return np.asarray(file["x"][start:stop])


def pytables_part(path: Path, start: int, stop: int) -> Any:
    with tables.open_file(str(path)) as file:
        return file.root.x.read(start, stop)


def h5dump_part(path: Path, start: int, stop: int) -> Any:
    out = path.with_suffix(".bin")
    part = ("-s", str(start), "-c", str(stop - start))
    run_program("h5dump", "-d", "/x", *part, "-b", "LE", "-o", out, path)
    return np.fromfile(out, "<u2")


H5WASM = """
import { writeFileSync } from "node:fs";
const [folder, path, start, stop, out] = process.argv.slice(1);
const { default: h5wasm } = await import(`${folder}/dist/node/hdf5_hl.js`);
await h5wasm.ready;
const file = new h5wasm.File(path, "r");
writeFileSync(out, Buffer.from(file.get("/x").slice([[Number(start), Number(stop)]]).buffer));
"""


def h5wasm_part(path: Path, start: int, stop: int) -> Any:
    out = path.with_suffix(".bin")
    script = ("--input-type=module", "-e", H5WASM)
    run_program("node", *script, str(package_folder()), str(path), str(start), str(stop), str(out))
    return np.fromfile(out, "<u2")


PARTS = {
    "h5py": h5py_part,
    "netCDF4's HDF5": netcdf_part,
    "PyTables": pytables_part,
    "h5dump": h5dump_part,
    "h5wasm": h5wasm_part,
}


@pytest.mark.campaign
@FILTERS
def test_file_of_two_million_chunks_is_read_by_every_reader(keywords: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = values("<u2", (4_000_000,), seed=3)
    write(path, data, chunks=(2,), **keywords)
    assert index_type(path, "/x") == "Fixed Array"
    for reader in readers_for("<u2"):
        for start in range(0, len(data), PART):
            found = PARTS[reader.name](path, start, start + PART)
            np.testing.assert_array_equal(found, data[start : start + PART], err_msg=reader.name)


def test_dask_array_of_many_chunks_in_two_dimensions_is_read_by_every_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = values("u1", (100, 2000), seed=4)
    x = da.from_array(data, chunks=(26, 700))
    summary = streamh5.to_fixed_h5(path, "/x", x, chunks=(2, 1))
    assert isinstance(summary, streamh5.WriteSummary)
    assert summary.n_chunks == 50 * 2000
    assert_every_reader(path, "/x", data)


def test_many_chunks_of_which_few_are_written_read_as_fill_value(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    expected = np.full((500, 400), 9, "i2")
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (500, 400), "i2", chunks=(1, 2), fillvalue=9)
        for row in (0, 250, 499):
            dataset[row] = expected[row] = np.arange(400)
    assert_every_reader(path, "/x", expected)
    assert_chunk_map(path, "/x", columns(file, "/x"))


def test_unknown_length_of_many_chunks_is_a_fixed_array(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = values("f4", (30_000, 3))
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (None, 3), "f4", chunks=(1, 3))
        for start in range(0, 30_000, 997):
            dataset.append(data[start : start + 997])
    assert_every_reader(path, "/x", data)
    assert index_type(path, "/x") == "Fixed Array"
    with h5py.File(path, "r+") as changed:
        changed["x"][29_999] = 5
    with h5py.File(path) as found:
        assert found["x"][29_999].tolist() == [5, 5, 5]
