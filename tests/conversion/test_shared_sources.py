"""Blocks of every kind of source are read in other processes: the same bytes, or an error, never something else."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cloudpickle
import h5py
import numpy as np
import pytest
import zarr
from scipy.io import netcdf_file
from zarr.storage import ZipStore

from streamh5.conversion.hdf5.plan import plan_hdf5
from streamh5.conversion.mapped_file import plan_classic, plan_npy
from streamh5.conversion.plan import ConversionPlan
from streamh5.conversion.request import Request
from streamh5.conversion.zarr.plan import plan_zarr
from streamh5.errors import SourceError
from tests.conversion.elsewhere import (
    Result,
    leave_for_root,
    write_damaged,
    write_here,
    write_pickled,
    write_zoo_of_sources,
)
from tests.conversion.zarr.stores import V2, field, make
from tests.deadlock import DEADLOCK_SECONDS


@pytest.fixture(scope="module")
def other_process() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, get_context("spawn"), leave_for_root) as pool:
        yield pool


def packed(plan: ConversionPlan, path: Path) -> Path:
    """Pickle the targets of a plan as they go to other processes, and the filters of their datasets."""
    targets = [(target, one.dataset.chain) for one in plan.arrays for target in one.targets()]
    assert targets
    path.write_bytes(cloudpickle.dumps(cloudpickle.loads(cloudpickle.dumps(targets))))  # through a scheduler
    return path


def write_elsewhere(pool: ProcessPoolExecutor, path: Path) -> list[Result]:
    return pool.submit(write_pickled, path).result(DEADLOCK_SECONDS)


def zarr_plan(path: Path, *, request: Request, **keywords: Any) -> ConversionPlan:
    make(path / "x.zarr", field((21, 34)), (8, 9), **keywords)
    return plan_zarr(path / "x.zarr", None, request)


def zarr_zip(path: Path) -> ConversionPlan:
    store = ZipStore(path / "x.zip", mode="w")
    make(store, field((21, 34)), (8, 9))  # type: ignore[arg-type] # zarr takes any store
    store.close()
    return plan_zarr(path / "x.zip", None, Request())


def zarr_text(path: Path) -> ConversionPlan:
    array = zarr.create_array(path / "x.zarr", shape=(4,), chunks=(3,), dtype=str)
    array[:] = np.array(["a", "", "zürich", "b"])
    return plan_zarr(path / "x.zarr", None, Request())


def hdf5_plan(path: Path, stack: ExitStack, *, request: Request, skips: bool = False) -> ConversionPlan:
    write_zoo_of_sources(path / "x.h5")
    return plan_hdf5(path / "x.h5", request, stack, skip_unsupported=skips)


def npy_plan(path: Path) -> ConversionPlan:
    np.save(path / "x.npy", np.asfortranarray(field((210, 340))))
    return plan_npy(path / "x.npy", "/x", Request())


def classic_plan(path: Path) -> ConversionPlan:
    with netcdf_file(path / "x.nc", "w", version=2) as file:
        file.createDimension("time", None)
        file.createDimension("x", 5000)
        file.createVariable("fixed", "f4", ("x",))[:] = 1
        for name in ("a", "b"):
            file.createVariable(name, "f8", ("time", "x"))[:12] = field((12, 5000), "f8")
    return plan_classic(path / "x.nc", Request())


KINDS: dict[str, Callable[[Path, ExitStack], ConversionPlan]] = {
    "zarr 2, copied": lambda path, _: zarr_plan(path, request=Request(copy=True), zarr_format=2, **V2["zlib"]),
    "zarr 3, copied and verified": lambda path, _: zarr_plan(path, request=Request(copy=True, verify=True)),
    "zarr shards, copied": lambda path, _: zarr_plan(path, request=Request(copy=True), shards=(16, 18)),
    "zarr 2, encoded": lambda path, _: zarr_plan(path, request=Request(copy=False), zarr_format=2),
    "zarr shards, encoded": lambda path, _: zarr_plan(path, request=Request(copy=False), shards=(16, 18)),
    "zarr in a zip file": lambda path, _: zarr_zip(path),
    "zarr text": lambda path, _: zarr_text(path),
    "HDF5, copied": lambda path, stack: hdf5_plan(path, stack, request=Request()),
    "HDF5, copied and verified": lambda path, stack: hdf5_plan(path, stack, request=Request(verify=True)),
    "HDF5, encoded": lambda path, stack: hdf5_plan(path, stack, request=Request(copy=False)),
    "HDF5, other chunks": lambda path, stack: hdf5_plan(path, stack, request=Request(chunks={"/x": (50, 7)})),
    "HDF5, skipping": lambda path, stack: hdf5_plan(path, stack, request=Request(copy=False), skips=True),
    "npy": lambda path, _: npy_plan(path),
    "netCDF classic": lambda path, _: classic_plan(path),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_the_same_in_another_process(
    kind: str, tmp_path: Path, other_process: ProcessPoolExecutor
) -> None:
    with ExitStack() as stack:
        plan = KINDS[kind](tmp_path, stack)
        expected = write_here(plan)
        pickled = packed(plan, tmp_path / "targets")
    assert write_elsewhere(other_process, pickled) == expected
    assert any(chunks for _, chunks, _ in expected)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "skipping" not in kind])
@pytest.mark.parametrize("fate", ["gone", "another"])
def test_source_that_another_process_does_not_see_is_an_error_with_host_and_path(
    kind: str, fate: str, tmp_path: Path, other_process: ProcessPoolExecutor
) -> None:
    (tmp_path / "sources").mkdir()
    with ExitStack() as stack:
        pickled = packed(KINDS[kind](tmp_path / "sources", stack), tmp_path / "targets")
    if fate == "gone":
        shutil.rmtree(tmp_path / "sources")
    for path in (tmp_path / "sources").rglob("*"):
        os.utime(path, ns=(0, 0))
    with pytest.raises(SourceError, match=r"sources/x\.") as caught:
        write_elsewhere(other_process, pickled)
    assert platform.node() in str(caught.value)


@pytest.mark.parametrize("name", ["part1.h5", "x.bin"])
@pytest.mark.parametrize("fate", ["gone", "another"])
def test_file_with_data_of_a_dataset_that_another_process_does_not_see_is_an_error(
    name: str, fate: str, tmp_path: Path, other_process: ProcessPoolExecutor
) -> None:
    with ExitStack() as stack:
        pickled = packed(hdf5_plan(tmp_path, stack, request=Request()), tmp_path / "targets")
    if fate == "gone":
        (tmp_path / name).unlink()
    else:
        os.utime(tmp_path / name, ns=(0, 0))
    with pytest.raises(SourceError, match=r"x\.h5 on .*(virtual|external) .*missing or others"):
        write_elsewhere(other_process, pickled)


def test_relative_path_leads_other_processes_to_the_same_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_process: ProcessPoolExecutor
) -> None:
    monkeypatch.chdir(tmp_path)
    write_zoo_of_sources(tmp_path / "x.h5")
    make(tmp_path / "x.zarr", field((21, 34)), (8, 9))
    np.save("x.npy", field((210, 340)))
    sources: list[Callable[[ExitStack], ConversionPlan]] = [
        lambda stack: plan_hdf5("x.h5", Request(), stack),
        lambda _: plan_zarr("x.zarr", None, Request()),
        lambda _: plan_npy("x.npy", "/x", Request()),
    ]
    for make_plan in sources:
        with ExitStack() as stack:
            plan = make_plan(stack)
            expected = write_here(plan)
            pickled = packed(plan, tmp_path / "targets")
        assert write_elsewhere(other_process, pickled) == expected


def test_region_that_cannot_be_read_is_counted_where_it_is_written(
    tmp_path: Path, other_process: ProcessPoolExecutor
) -> None:
    write_damaged(tmp_path / "x.h5")
    with ExitStack() as stack:
        plan = plan_hdf5(tmp_path / "x.h5", Request(compression="lzf"), stack, skip_unsupported=True)
        ((expected, *_),) = write_here(plan)
        pickled = packed(plan, tmp_path / "targets")
    ((counts, *_),) = write_elsewhere(other_process, pickled)
    assert counts == expected
    assert counts.n_skipped == 1
    assert counts.problem.startswith("/x: HDF5 cannot read it")


@pytest.mark.parametrize("copy", [None, False], ids=["copied", "encoded"])
def test_source_is_closed_after_its_blocks_are_written(copy: bool | None, tmp_path: Path) -> None:
    """While HDF5 has a file open, nobody can create it anew in that process."""
    with ExitStack() as stack:
        pickled = packed(hdf5_plan(tmp_path, stack, request=Request(copy=copy)), tmp_path / "targets")
    n_open = len(os.listdir("/proc/self/fd"))
    write_pickled(pickled)
    assert len(os.listdir("/proc/self/fd")) == n_open
    h5py.File(tmp_path / "x.h5", "w").close()
