"""Every variable of real files, through dask, at several chunk shapes and filters, to every reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import streamh5
from tests.readers.hdf5_tools import differs, repacks
from tests.real_data import real_arrays
from tests.written import assert_every_reader

ARRAYS = dict(real_arrays())

FILTERS: dict[str, dict[str, Any]] = {
    "default": {},
    "best": {"compression": "gzip", "compression_opts": 9, "fletcher32": True},
    "raw": {"compression": None},
    "checksum": {"compression": None, "fletcher32": True},
}


def chunk_shapes(shape: tuple[int, ...]) -> dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]]:
    """Dask's blocks and HDF5's chunks: the whole, blocks with edges, and blocks that are cut anew."""
    odd = tuple(max(1, n // 3 + 1) for n in shape)
    cut = tuple(max(1, n // 4) for n in shape)
    return {"whole": (shape, None), "blocks": (odd, None), "cut anew": (odd, cut)}


@pytest.mark.filterwarnings("ignore::streamh5.RealignWarning")
@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("name", ARRAYS)
def test_variable_of_real_data_reads_equal(name: str, filters: str, tmp_path: Path) -> None:
    data: NDArray[Any] = np.asarray(ARRAYS[name])
    for kind, (blocks, chunks) in chunk_shapes(data.shape).items():
        path = tmp_path / f"{kind}.h5"
        x = da.from_array(data, chunks=blocks)
        streamh5.to_fixed_h5(path, name, x, chunks=chunks, **FILTERS[filters])
        assert_every_reader(path, f"/{name}", data)


@pytest.mark.usefixtures("hdf5_tools")
def test_all_variables_in_one_file_are_equal_to_those_of_h5py(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.h5", tmp_path / "theirs.h5"
    streamh5.to_fixed_h5(ours, {name: da.from_array(data) for name, data in ARRAYS.items()})
    with h5py.File(theirs, "w") as file:
        for name, data in ARRAYS.items():
            file[name] = data
    assert differs(ours, theirs) is None
    repacks(ours)
    for name, data in ARRAYS.items():
        assert_every_reader(ours, f"/{name}", np.asarray(data))
