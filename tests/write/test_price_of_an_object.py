"""What a small object costs: counted in system calls and calls of this package, not in seconds."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import streamh5
from tests.faults.systems import Calls, installed

N = 300
PACKAGE = str(Path(streamh5.__file__).parent)


def write_datasets(path: Path, n: int) -> None:
    with streamh5.File(path, "w", sync="none") as file:
        for i in range(n):
            file.create_dataset(f"v{i}", data=np.arange(4) + i).attrs["a"] = i


def write_variables(path: Path, n: int) -> None:
    variables = {f"v{i}": ("x", np.arange(4) + i, {"a": i, "b": "text"}) for i in range(n)}
    streamh5.to_netcdf(xr.Dataset(variables), path, sync="none", progress=False)


def calls_of_the_package(call: Callable[[], Any]) -> int:
    n_calls = 0

    def count(frame: FrameType, event: str, _: Any) -> None:
        nonlocal n_calls
        n_calls += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(before)
    return n_calls


def writes(write: Callable[[Path, int], None], path: Path, n: int) -> int:
    system = Calls()
    with installed(system):
        write(path, n)
    return Counter(system.names)["pwritev"]


# a dataset with its data, and an attribute; a variable with its data, and all its attributes
@pytest.mark.parametrize("write", [write_datasets, write_variables])
def test_a_small_object_is_two_writes_to_the_journal_and_shares_one_to_the_file(
    write: Callable[[Path, int], None], tmp_path: Path
) -> None:
    few, many = (writes(write, tmp_path / f"{n}.h5", n) for n in (N, 2 * N))
    assert many - few == 2 * N
    assert few <= 2 * N + 10
    with h5py.File(tmp_path / f"{N}.h5") as file:
        assert all(file[f"v{i}"][3] == 3 + i and file[f"v{i}"].attrs["a"] == i for i in range(N))


@pytest.mark.parametrize(("write", "most"), [(write_datasets, 375), (write_variables, 710)])
def test_the_calls_for_a_small_object_are_few_and_do_not_grow_with_the_objects(
    write: Callable[[Path, int], None], most: int, tmp_path: Path
) -> None:
    write(tmp_path / "first.h5", 5)  # imports, and fills caches
    counts = [
        calls_of_the_package(lambda n=n: write(tmp_path / f"{n}.h5", n))  # type: ignore[misc]
        for n in (N, 2 * N, 3 * N)
    ]
    second, third = counts[1] - counts[0], counts[2] - counts[1]
    assert second <= most * N
    assert third == pytest.approx(second, rel=0.01)
