"""``to_fixed_h5`` with a `distributed.Client`: workers in other processes write one file; h5py reads it."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
from dask.base import compute
from dask.delayed import delayed
from distributed import Client, LocalCluster, worker_client
from distributed.client import futures_of

import streamh5
from streamh5.dask import cluster
from streamh5.errors import BlockError, SchedulerError, SinkError, SpecError, StateError
from tests.deadlock import DEADLOCK_SECONDS

VALUES = np.arange(240_000).reshape(400, 600)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
        Client(cluster, set_as_default=False, timeout=DEADLOCK_SECONDS) as client,
    ):
        yield client


@pytest.fixture
def active(client: Client) -> Iterator[Client]:
    with client.as_current(), dask.config.set(scheduler="dask.distributed"):
        yield client


def blocks() -> Any:
    return da.from_array(VALUES, chunks=(20, 600)) + 0


def values(path: Path, name: str = "x") -> Any:
    with h5py.File(path) as file:
        return file[name][...]


def test_active_client_writes_with_its_workers(active: Client, tmp_path: Path) -> None:
    summary = blocks().to_fixed_h5(tmp_path / "a.h5", "/x")
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES)
    assert summary.shared is not None
    assert summary.shared.n_writers == 2
    assert summary.shared.n_leases >= 2
    assert "2 processes" in repr(summary)
    assert "2 processes" in summary._repr_html_()
    assert streamh5.verify(tmp_path / "a.h5").ok
    assert sorted(os.listdir(tmp_path)) == ["a.h5"]


def test_client_that_is_given_writes_several_arrays_in_one_pass(client: Client, tmp_path: Path) -> None:
    x = blocks()
    arrays = {
        "/x": x,
        "/g/sum": x.sum(axis=1),
        "/scalar": x.max(),
        "/text": da.from_array(np.array(["é", "b"])),
    }
    streamh5.to_fixed_h5(tmp_path / "a.h5", arrays, scheduler=client)
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["x"][...], VALUES)
        assert np.array_equal(file["g/sum"][...], VALUES.sum(axis=1))
        assert file["scalar"][()] == VALUES.max()
        assert file["text"].asstr()[...].tolist() == ["é", "b"]


def test_threads_are_used_where_the_call_says_so(active: Client, tmp_path: Path) -> None:
    assert blocks().to_fixed_h5(tmp_path / "a.h5", "/x", scheduler="threads").shared is None


def test_blocks_are_stored_about_in_the_order_of_the_array(client: Client, tmp_path: Path) -> None:
    x: Any = da.zeros((1500, 8), chunks=(1, 8))
    x.to_fixed_h5(tmp_path / "a.h5", "/x", scheduler=client, compression=None)
    with h5py.File(tmp_path / "a.h5") as file:
        found = [file["x"].id.get_chunk_info(i) for i in range(1500)]
    order = [one.chunk_offset[0] for one in sorted(found, key=lambda one: one.byte_offset)]
    assert max(abs(i - row) for i, row in enumerate(order)) < 300


def test_persisted_array_is_written_by_the_workers_that_hold_it(active: Client, tmp_path: Path) -> None:
    summary = active.persist(blocks()).to_fixed_h5(tmp_path / "a.h5", "/x")
    assert summary.shared is not None
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES)


def test_addition_to_a_file_is_written_by_workers(client: Client, tmp_path: Path) -> None:
    blocks().to_fixed_h5(tmp_path / "a.h5", "/x", scheduler="threads")
    (blocks() + 1).to_fixed_h5(tmp_path / "a.h5", "/y", mode="a", scheduler=client)
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES)
    assert np.array_equal(values(tmp_path / "a.h5", "y"), VALUES + 1)
    assert streamh5.verify(tmp_path / "a.h5").ok


def test_xarray_dataset_is_appended_and_written_to_a_region_by_workers(
    active: Client, tmp_path: Path
) -> None:
    xr = pytest.importorskip("xarray")
    path = tmp_path / "a.nc"

    def rows(start: int, stop: int) -> Any:
        return xr.Dataset({"v": (("t", "x"), blocks()[start:stop])}, {"t": np.arange(start, stop)})

    for start, stop in ((0, 30), (30, 50), (50, 90)):  # the blocks share chunks with what is there
        summary = rows(start, stop).streamh5.to_netcdf(path, append_dim="t")
        assert summary.shared is not None
    assert np.array_equal(values(path, "v"), VALUES[:90])
    (rows(35, 55) + 1).streamh5.to_netcdf(path, region="auto")
    assert np.array_equal(values(path, "v")[35:55], VALUES[35:55] + 1)
    assert np.array_equal(values(path, "v")[55:], VALUES[55:90])


def test_delayed_write_is_one_task_among_others(active: Client, tmp_path: Path) -> None:
    x = blocks()
    write = x.to_fixed_h5(tmp_path / "a.h5", "/x", compute=False)
    n_chunks = delayed(lambda summary: summary.n_chunks)(write)
    assert compute(n_chunks, x.sum()) == (20, VALUES.sum())
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES)


def test_delayed_write_computes_itself(active: Client, tmp_path: Path) -> None:
    write = blocks().to_fixed_h5(tmp_path / "a.h5", "/x", compute=False)
    assert write.compute().shared.n_writers == 2
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES)


@pytest.mark.parametrize("is_seceded", [True, False])
def test_write_inside_a_task_does_not_wait_for_its_own_thread(
    is_seceded: bool, client: Client, tmp_path: Path
) -> None:
    def work(path: str) -> int:
        if is_seceded:
            with worker_client():
                return blocks().to_fixed_h5(path, "/x").n_chunks
        return blocks().to_fixed_h5(path, "/x").n_chunks

    futures = client.map(work, [str(tmp_path / f"{i}.h5") for i in range(3)])
    assert client.gather(futures) == [20, 20, 20]
    for i in range(3):
        assert np.array_equal(values(tmp_path / f"{i}.h5"), VALUES)


def test_empty_chunks_are_left_out_and_counted(client: Client, tmp_path: Path) -> None:
    x: Any = da.from_array(np.where(VALUES < 120_000, 0, VALUES), chunks=(20, 600))
    summary = x.to_fixed_h5(tmp_path / "a.h5", "/x", write_empty_chunks=False, scheduler=client)
    assert (summary.n_missing, summary.datasets[0].n_empty) == (10, 10)
    assert np.array_equal(values(tmp_path / "a.h5"), np.where(VALUES < 120_000, 0, VALUES))


def test_error_of_a_block_names_it_and_leaves_nothing(client: Client, tmp_path: Path) -> None:
    def fail(block: Any, block_info: Any = None) -> Any:
        if block_info[0]["chunk-location"][0] == 7:
            raise KeyError("of the user")
        return block

    with pytest.raises(KeyError, match="of the user") as caught:
        blocks().map_blocks(fail, dtype=VALUES.dtype).to_fixed_h5(tmp_path / "a.h5", "/x", scheduler=client)
    assert any("the block at (140, 0) of /x" in note for note in caught.value.__notes__)
    assert os.listdir(tmp_path) == []


def test_block_of_another_shape_is_refused_on_the_worker(client: Client, tmp_path: Path) -> None:
    wrong = blocks().map_blocks(lambda block: block[:3], dtype=VALUES.dtype)
    with pytest.raises(BlockError, match=r"has the shape \(3, 600\)"):
        wrong.to_fixed_h5(tmp_path / "a.h5", "/x", scheduler=client)


def test_resume_computes_only_what_is_missing(client: Client, tmp_path: Path) -> None:
    def count(block: Any, block_info: Any = None) -> Any:
        row = block_info[0]["chunk-location"][0]
        if row == 15 and not (tmp_path / "go").exists():
            raise RuntimeError("interrupted")
        with open(tmp_path / "computed", "a") as log:
            log.write(f"{row}\n")
        return block

    x = blocks().map_blocks(count, dtype=VALUES.dtype)
    keywords = {"resume": True, "resume_key": "same", "scheduler": client}
    with pytest.raises(RuntimeError, match="interrupted"):
        x.to_fixed_h5(tmp_path / "a.h5", "/x", **keywords)
    before = (tmp_path / "computed").read_text().split()
    (tmp_path / "go").touch()
    (tmp_path / "computed").unlink()
    x.to_fixed_h5(tmp_path / "a.h5", "/x", **keywords)
    after = (tmp_path / "computed").read_text().split()
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES)
    assert {*before, *after} == set(map(str, range(20)))
    assert len(after) < 20


def test_worker_path_translates_prefixes(client: Client, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "there").symlink_to(tmp_path / "real")
    prefixes = {str(tmp_path / "real"): str(tmp_path / "there")}
    for name, worker_path in (("a", prefixes), ("b", tmp_path / "there" / "b.h5")):
        blocks().to_fixed_h5(
            tmp_path / "real" / f"{name}.h5", "/x", scheduler=client, worker_path=worker_path
        )
        assert np.array_equal(values(tmp_path / "real" / f"{name}.h5"), VALUES)


def test_worker_path_of_a_relative_destination_has_absolute_prefixes(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "there").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "real")
    for name, here in (("a", tmp_path / "real"), ("b", ".")):
        worker_path = {str(here): str(tmp_path / "there")}
        blocks().to_fixed_h5(f"{name}.h5", "/x", scheduler=client, worker_path=worker_path)
        assert np.array_equal(values(tmp_path / "real" / f"{name}.h5"), VALUES)


def test_worker_that_does_not_see_the_folder_is_named(client: Client, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"on .*: this machine does not see /nowhere/a\.h5\.partial\.leases"):
        blocks().to_fixed_h5(tmp_path / "a.h5", "/x", scheduler=client, worker_path="/nowhere/a.h5")
    with pytest.raises(SpecError, match="no prefix of"):
        blocks().to_fixed_h5(tmp_path / "a.h5", "/x", scheduler=client, worker_path={"/other": "/there"})
    assert os.listdir(tmp_path) == []


def test_keywords_of_threads_are_refused_for_a_cluster_and_the_other_way_round(
    client: Client, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match="num_workers: only threads"):
        blocks().to_fixed_h5(tmp_path / "a.h5", "/x", scheduler=client, num_workers=2)
    with pytest.raises(SpecError, match=r"max_memory .*cluster"):
        blocks().to_fixed_h5(tmp_path / "a.h5", "/x", scheduler=client, max_memory="1 GB")
    with pytest.raises(SpecError, match=r"priority, retries: only a distributed\.Client"):
        blocks().to_fixed_h5(tmp_path / "a.h5", "/x", scheduler="threads", retries=2, priority=1)
    address = next(iter(client.nthreads()))
    blocks().to_fixed_h5(tmp_path / "a.h5", "/x", scheduler=client, workers=[address], priority=3, retries=1)
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES)


def test_process_pool_is_refused_with_what_to_use(tmp_path: Path) -> None:
    with pytest.raises(SchedulerError, match=r"scheduler='threads', or a distributed\.Client"):
        blocks().to_fixed_h5(tmp_path / "a.h5", "/x", scheduler="processes")


def test_asynchronous_client_is_refused(client: Client, tmp_path: Path) -> None:
    async def write() -> None:
        async with Client(
            client.scheduler_info()["address"], asynchronous=True, set_as_default=False
        ) as lonely:
            blocks().to_fixed_h5(tmp_path / "a.h5", "/x", scheduler=lonely)

    with pytest.raises(SchedulerError, match="asynchronous"):
        asyncio.run(write())


def test_progress_counts_all_workers(client: Client, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    blocks().to_fixed_h5(
        tmp_path / "a.h5", "/x", scheduler=client, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (VALUES.nbytes, VALUES.nbytes)
    assert len(seen) > 2


def test_ended_write_takes_no_more_blocks(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (4,), "i4", chunks=(2,))
        part = x.part_writer()
        x.record_part(part.write(np.arange(2), (0,)))
    with pytest.raises(StateError, match="has ended"):
        part.write(np.arange(2), (2,))


def test_resume_with_everything_stored_only_publishes(client: Client, tmp_path: Path) -> None:
    keywords = {"resume": True, "resume_key": "same", "scheduler": client}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streamh5.sinks.local_file.LocalFileSink.commit", _refuse)
        with pytest.raises(OSError, match="not now"):
            blocks().to_fixed_h5(tmp_path / "a.h5", "/x", **keywords)
    summary = blocks().to_fixed_h5(tmp_path / "a.h5", "/x", **keywords)
    assert summary.shared is None
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES)


def _refuse(*_args: Any) -> None:
    raise OSError("not now")


def test_worker_that_is_not_to_be_used_need_not_see_the_file(client: Client, tmp_path: Path) -> None:
    used, other = client.nthreads()
    client.run(_hide, str(tmp_path), workers=[other])
    try:
        blocks().to_fixed_h5(tmp_path / "a.h5", "/x", scheduler=client, workers=used)
        with pytest.raises(SinkError, match="does not see"):
            blocks().to_fixed_h5(tmp_path / "b.h5", "/x", scheduler=client)
    finally:
        client.run(_hide, None, workers=[other])
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES)


def _hide(folder: str | None) -> None:
    """Let this process not see a folder."""
    from pathlib import Path

    from streamh5.sinks import leases
    from streamh5.write import part_file

    class Blind:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def readlink(self, path: str) -> str:
            if folder is not None and str(path).startswith(folder):
                raise FileNotFoundError(path)
            return os.readlink(path)

    hidden = {"os": Blind()}, {"Path": lambda _path: Path("/nowhere")}
    seen: Any = {"os": os}, {"Path": Path}
    for module, names in zip((leases, part_file), seen if folder is None else hidden, strict=True):
        vars(module).update(names)


def test_blocks_of_a_later_round_are_computed_although_results_of_the_first_are_kept(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(block: Any, block_info: Any = None) -> Any:
        with open(tmp_path / "computed", "a") as log:
            log.write(f"{block_info[0]['chunk-location'][0]}\n")
        return block

    kept: list[Any] = []

    def keep(collection: Any) -> Any:
        found = futures_of(collection)
        kept.extend(found)
        return found

    lost = iter([{"/x": [(row, 0) for row in range(3, 7)]}, {}])
    monkeypatch.setattr(cluster, "futures_of", keep)
    monkeypatch.setattr(cluster.ClusterWrite, "_check_lost", lambda *_: next(lost))
    x = blocks().map_blocks(count, dtype=VALUES.dtype)
    x.to_fixed_h5(tmp_path / "a.h5", "/x", scheduler=client)
    times = Counter((tmp_path / "computed").read_text().split())
    assert times == {str(row): 1 + (3 <= row < 7) for row in range(20)}
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES)
