"""``to_fixed_h5`` to an object with a `distributed.Client`: workers send parts; h5py reads the object."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
from distributed import Client, LocalCluster

import streamh5
from streamh5.dask import cluster_upload, stored_chunks
from streamh5.errors import MissingCodecError, SchedulerError, SinkError, SpecError, StateError, StoreError
from streamh5.handles import upload_sharing
from streamh5.handles.dataset import Dataset
from streamh5.handles.upload_sharing import UploadSharing
from streamh5.sinks import part_sizes
from streamh5.stores import attempts, open_store
from streamh5.stores.upload import Upload
from streamh5.write import shared_upload
from streamh5.write.shared_upload import SharedUpload, end_upload
from tests.deadlock import DEADLOCK_SECONDS
from tests.stores.folder import FolderStore
from tests.stores.proxy import Fault, Proxy
from tests.stores.servers import S3Server

URL = "s3://bucket/out.h5"
UNIT = 20_000
"""A hundredth of the sizes of S3, or less, so that tests are fast: parts have at least five."""


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


class Place:
    """An object that workers write to."""

    def __init__(self, folder: Path, **limits: int) -> None:
        self.options = {"folder": str(folder), **limits}
        self.store = FolderStore(URL, self.options)

    def write(self, arrays: dict[str, Any], **keywords: Any) -> Any:
        return streamh5.to_fixed_h5(URL, arrays, storage_options=self.options, **keywords)

    def opened(self) -> h5py.File:
        assert not self.store.list_uploads()
        assert streamh5.verify(self.store.path).ok
        return h5py.File(self.store.path, "r")

    def parts(self) -> list[list[int]]:
        """Number, size and process of each part."""
        return self.store.requests("part")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setitem(open_store._STORES, "s3", ("tests.stores.folder", "FolderStore", "s3"))
    monkeypatch.setattr(upload_sharing, "MIN_PART_NBYTES", 1)
    monkeypatch.setattr(cluster_upload, "LEFT_NBYTES", 16 * UNIT)
    monkeypatch.setattr(part_sizes, "PART_NBYTES", 16 * UNIT)
    place = Place(tmp_path, min_nbytes=5 * UNIT)
    yield place
    assert not place.store.list_uploads()


def random(n_blocks: int, nbytes: int, *, seed: int = 1) -> Any:
    """Blocks of random bytes, each a row."""
    return da.random.default_rng(seed).integers(
        0, 256, (n_blocks, nbytes), dtype="u1", chunks=((1,) * n_blocks, (nbytes,))
    )


def test_large_blocks_are_a_part_each(active: Client, place: Place) -> None:
    x = random(6, 8 * UNIT)
    summary = place.write({"/x": x}, compression="gzip", compression_opts=1)
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))
    numbers = {number: nbytes for number, nbytes, _ in place.parts()}
    assert sorted(numbers) == [1, 3, 4, 5, 6, 7]  # the first block is in part 1
    assert min(numbers.values()) > 8 * UNIT
    assert summary.shared is not None
    assert (summary.shared.n_parts, summary.shared.n_writers) == (5, 2)
    assert "5 parts" in repr(summary)


def test_small_blocks_are_joined_to_parts(active: Client, place: Place) -> None:
    x = random(40, UNIT)
    place.write({"/x": x}, compression=None)
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))
    sizes = [nbytes for _, nbytes, _ in place.parts()]
    assert min(sizes) >= 5 * UNIT
    assert len(sizes) < 9
    assert sum(sizes) < 40.1 * UNIT


@pytest.mark.parametrize("nbytes", [1000, 19_000])
def test_small_object_is_one_plain_request(nbytes: int, active: Client, place: Place) -> None:
    x = random(5, nbytes)
    summary = place.write({"/x": x}, compression=None)
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))
    assert [one[0] for one in place.store.requests("put")] == [summary.file_nbytes]
    assert not place.parts()
    assert not place.store.requests("complete")


def mixed_blocks() -> Any:
    """Blocks that are compressed to nearly nothing, first, last and in between, and others that are not."""
    x = random(12, 6 * UNIT)
    return da.map_blocks(_every_third, x, dtype="u1")


def _every_third(block: Any, block_id: Any = None) -> Any:
    return block if block_id[0] % 3 == 1 else np.full_like(block, block_id[0])


def test_part_that_is_needed_before_all_others_is_computed_again(active: Client, place: Place) -> None:
    x = mixed_blocks()
    place.write({"/x": x}, compression="gzip", compression_opts=1)
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))
    assert place.store.path.stat().st_size < 4.1 * 6 * UNIT  # no padding
    (numbers,) = place.store.requests("complete")
    assert len(numbers) == 4
    assert len(place.parts()) == 5


def test_several_datasets_text_and_values_without_chunks(active: Client, place: Place) -> None:
    x, y = random(6, 6 * UNIT), random(20, UNIT, seed=2)
    text = da.from_array(np.array([f"text {i}" * 50 for i in range(1000)], object), chunks=100).astype("T")
    local = np.arange(1000.0)
    place.write(
        {"/x": x, "/g/y": y, "/sum": y.sum(), "/text": text, "/local": local},
        compression="gzip",
        compression_opts=1,
        attrs={"/x": {"units": "é"}, "/text": {"about": ["a", "bc"]}},
    )
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))
        assert np.array_equal(file["g/y"][...], y.compute(scheduler="sync"))
        assert file["sum"][()] == y.sum().compute(scheduler="sync")
        assert file["text"].asstr()[...].tolist() == text.compute(scheduler="sync").tolist()
        assert np.array_equal(file["local"][...], local)
        assert file["x"].attrs["units"] == "é"
    assert len(place.parts()) > 5


def test_more_blocks_than_part_numbers_are_grouped(active: Client, place: Place, tmp_path: Path) -> None:
    place.options["max_number"] = 50
    x = random(300, 6_000)
    place.write({"/x": x}, compression=None)
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))
    (numbers,) = place.store.requests("complete")
    assert numbers[-1] <= 46


def test_blocks_that_need_others_are_sent(active: Client, place: Place) -> None:
    x = random(6, 6 * UNIT)
    y = x[::-1] - x.mean(axis=0).astype("u1")
    place.write({"/y": y.rechunk((1, 6 * UNIT))}, compression=None)
    with place.opened() as file:
        assert np.array_equal(file["y"][...], y.compute(scheduler="sync"))


def test_object_with_much_data_of_the_client_before_and_behind(active: Client, place: Place) -> None:
    before, x = np.random.default_rng(3).random(3 * UNIT), random(4, 6 * UNIT)
    place.write({"/before": before, "/x": x, "/whole": x[0]}, compression=None)
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))
        assert np.array_equal(file["before"][...], before)


def test_empty_chunks_are_left_out(active: Client, place: Place) -> None:
    x = da.map_blocks(_every_third, random(12, 6 * UNIT), dtype="u1").map_blocks(_zeros)
    streamh5.to_fixed_h5(
        URL, "/x", x, storage_options=place.options, write_empty_chunks=False, compression=None
    )
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))
        assert file["x"].id.get_num_chunks() == 4


def _zeros(block: Any) -> Any:
    return block if block.min() != block.max() else block * 0


def test_xarray_dataset(active: Client, place: Place) -> None:
    xr = pytest.importorskip("xarray")
    x = random(6, 6 * UNIT)
    dataset = xr.Dataset(
        {"v": (("t", "x"), x), "name": ("t", np.array(list("abcdef"), object))}, {"t": np.arange(6)}
    )
    dataset.streamh5.to_netcdf(URL, storage_options=place.options)
    with xr.open_dataset(place.store.path, engine="h5netcdf") as found:
        xr.testing.assert_equal(found.load(), dataset.compute(scheduler="sync"))


def test_zarr_and_hdf5_sources_are_copied_by_workers(
    active: Client, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zarr = pytest.importorskip("zarr")
    x = random(8, 6 * UNIT).compute(scheduler="sync")
    array = zarr.create_array(tmp_path / "a.zarr", shape=x.shape, chunks=(1, 6 * UNIT), dtype="u1")
    array[...] = x
    monkeypatch.setattr(stored_chunks, "BLOCK_NBYTES", 12 * UNIT)
    streamh5.convert(tmp_path / "a.zarr", URL, storage_options=place.options)
    with place.opened() as file:
        (name,) = file
        assert np.array_equal(file[name][...], x)
    assert (
        len(place.parts()) == 5
    )  # blocks of two chunks, of the first one its second chunk, and that of the client
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=(1, 6 * UNIT), compression="gzip", compression_opts=1)
        file.create_dataset("s", data=["a", "é"], chunks=(1,))
    streamh5.convert(tmp_path / "a.h5", URL, storage_options=place.options, overwrite=True)
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x)
        assert file["s"].asstr()[...].tolist() == ["a", "é"]


def test_part_that_somebody_else_sends_again_is_computed_again(
    active: Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, sharing = random(6, 6 * UNIT), UploadSharing
    done: list[Any] = []

    def differing(self: Any, receipts: Any) -> set[int]:
        if not done:
            done.append(max(receipts))
            place.store.send_part(self.shared.upload, done[0].number, memoryview(bytes(6 * UNIT)))
        return original(self, receipts)

    original = sharing.differing
    monkeypatch.setattr(sharing, "differing", differing)
    summary = place.write({"/x": x}, compression=None)
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))
    assert summary.shared.rewritten_nbytes == done[0].nbytes
    assert [one[0] for one in place.parts()].count(done[0].number) == 3


def test_part_that_is_sent_again_after_the_comparison_fails_the_write(
    active: Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, end = random(6, 6 * UNIT), UploadSharing.end

    def late(self: Any, receipts: Any, *args: Any, **keywords: Any) -> Any:
        place.store.send_part(self.shared.upload, receipts[0].number, memoryview(bytes(6 * UNIT)))
        return end(self, receipts, *args, **keywords)

    monkeypatch.setattr(UploadSharing, "end", late)
    with pytest.raises(SinkError, match="another one"):
        place.write({"/x": x}, compression=None)
    assert not place.store.path.exists()


def _fail(block: Any, block_id: Any = None) -> Any:
    if block_id[0] == 4:
        raise ZeroDivisionError("mine")
    return block


def test_failure_of_a_task_leaves_nothing(active: Client, place: Place) -> None:
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        place.write({"/x": random(6, 6 * UNIT).map_blocks(_fail, dtype="u1")}, compression=None)
    assert any("/x" in note for note in caught.value.__notes__)
    assert not place.store.path.exists()


async def _still_sending(token: str, turn: int) -> bool:
    return end_upload(token, turn) and False


def test_worker_that_still_sends_when_a_write_fails_is_named(
    active: Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_upload, "stop_sending", _still_sending)
    with pytest.raises(ZeroDivisionError) as caught:
        place.write({"/x": random(6, 6 * UNIT).map_blocks(_fail, dtype="u1")}, compression=None)
    (note,) = [one for one in caught.value.__notes__ if "may be left" in one]
    assert all(worker in note for worker in active.nthreads())
    assert "abort-upload" in note
    assert "this process" not in note


def test_task_that_comes_late_sends_nothing(place: Place) -> None:
    upload = Upload(place.store, token="t", if_absent=False)
    shared = SharedUpload(place.store, upload.begin(), "t", 1)
    assert shared.send(3, [bytes(10)]).number == 3
    end_upload("t")
    with pytest.raises(StateError, match="ended"):
        shared.send(4, [bytes(10)])
    upload.abort()


def test_part_that_is_on_its_way_for_too_long_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_upload, "SENDING_SECONDS", 0)
    upload = Upload(place.store, token="slow", if_absent=False)
    shared = SharedUpload(place.store, upload.begin(), "slow", 1)
    is_sending, may_end = threading.Event(), threading.Event()
    send_part = FolderStore.send_part

    def slow(self: Any, *args: Any) -> Any:
        is_sending.set()
        assert may_end.wait(DEADLOCK_SECONDS)
        return send_part(self, *args)

    monkeypatch.setattr(FolderStore, "send_part", slow)
    with ThreadPoolExecutor(1) as threads:
        sent = threads.submit(shared.send, 3, [bytes(10)])
        assert is_sending.wait(DEADLOCK_SECONDS)
        assert not end_upload("slow")
        may_end.set()
        assert sent.result().number == 3
    assert end_upload("slow")
    upload.abort()


def _sendings(dask_worker: Any = None) -> tuple[int, int]:
    sending = shared_upload._SENDING
    return len(sending._uploads), len(sending._n_sending)


def test_workers_are_told_that_the_write_has_ended(
    active: Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[SharedUpload] = []
    end = UploadSharing.end

    def noted(self: Any, *args: Any, **keywords: Any) -> Any:
        shared.append(self.shared)
        return end(self, *args, **keywords)

    monkeypatch.setattr(UploadSharing, "end", noted)
    place.write({"/x": random(12, 6 * UNIT)}, compression=None)
    assert _sendings() == (0, 0)
    assert set(active.run(_sendings).values()) == {(0, 0)}
    for late in active.run(_late, pickle.dumps(shared[0])).values():
        assert late == "StateError"
    with pytest.raises(StateError, match="ended"):
        shared[0].send(3, [bytes(10)])


def _late(pickled: bytes) -> str:
    try:
        pickle.loads(pickled).send(3, [bytes(10)])
    except StateError as error:
        return type(error).__name__
    return "sent"


async def _silent(url: str, pickled: bytes) -> None:
    await asyncio.Event().wait()


def test_worker_that_does_not_say_whether_it_reaches_the_store_is_named(
    active: Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_upload, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(cluster_upload, "reach", _silent)
    with pytest.raises(SinkError, match="did not say within") as caught:
        place.write({"/x": random(6, 6 * UNIT)})
    assert all(worker in str(caught.value) for worker in active.nthreads())
    assert not place.parts()


def test_first_block_is_cut_where_the_client_has_enough(
    active: Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    finish = cluster_upload.ClusterUpload._finish

    def noted(self: Any, *args: Any) -> None:
        held.append(sum(len(one.content) for one in self._rest))
        finish(self, *args)

    monkeypatch.setattr(cluster_upload.ClusterUpload, "_finish", noted)
    x = random(30, 2 * UNIT).rechunk((15, 2 * UNIT))
    streamh5.to_fixed_h5(URL, "/x", x, chunks=(1, 2 * UNIT), storage_options=place.options, compression=None)
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))
    assert held == [6 * UNIT]
    numbers = {number: nbytes for number, nbytes, _ in place.parts()}
    assert numbers[2] == 24 * UNIT


def test_block_that_is_cut_is_computed_again_as_a_whole(
    active: Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, original = random(30, 2 * UNIT).rechunk((15, 2 * UNIT)), UploadSharing.differing
    done: list[int] = []
    seen: list[tuple[int, int]] = []

    def differing(self: Any, receipts: Any) -> set[int]:
        if not done:
            done.append(min(receipts).number)
            place.store.send_part(self.shared.upload, done[0], memoryview(bytes(6 * UNIT)))
        return original(self, receipts)

    monkeypatch.setattr(UploadSharing, "differing", differing)
    streamh5.to_fixed_h5(
        URL,
        "/x",
        x,
        chunks=(1, 2 * UNIT),
        storage_options=place.options,
        compression=None,
        progress=lambda now, total: seen.append((now, total)),
    )
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))
    assert done == [2]
    assert [nbytes for number, nbytes, _ in place.parts() if number == 2] == [24 * UNIT, 6 * UNIT, 24 * UNIT]
    assert seen[-1] == (60 * UNIT, 60 * UNIT)
    assert place.store.path.stat().st_size < 61 * UNIT  # each chunk once


def test_first_block_that_is_too_large_with_what_is_before_it_is_refused(
    active: Client, place: Place
) -> None:
    place.options |= {"max_nbytes": 7 * UNIT}
    with pytest.raises(SinkError, match=r"first block.*rechunk"):
        place.write({"/x": random(6, 7 * UNIT)}, compression=None)


def _counted(block: Any, folder: str) -> Any:
    descriptor, _ = tempfile.mkstemp(dir=folder, suffix=".made")
    os.close(descriptor)
    return block


def test_text_is_fetched_in_few_blocks_at_a_time(active: Client, place: Place, tmp_path: Path) -> None:
    text = da.from_array(np.array([f"text {i}" * 50 for i in range(1000)], object), chunks=50)
    made, most = tmp_path / "made", []
    made.mkdir()
    counted = text.map_blocks(_counted, str(made), dtype=object, meta=np.empty(0, object)).astype("T")
    write_block = Dataset.write_block

    def noted(self: Any, block: Any, origin: Any) -> Any:
        most.append(len(list(made.iterdir())) - origin[0] // 50)
        return write_block(self, block, origin)

    with patch.object(Dataset, "write_block", noted):
        place.write({"/text": counted, "/x": random(3, 6 * UNIT)})
    with place.opened() as file:
        assert file["text"].asstr()[...].tolist() == text.compute(scheduler="sync").tolist()
    assert len(list(made.iterdir())) == len(most) == 20
    assert max(most) <= 2  # threads of the cluster


def test_credentials_are_in_no_text(place: Place) -> None:
    shared = SharedUpload(FolderStore(URL, {**place.options, "secret": "sesame"}), "id", "t", 1)
    assert "sesame" not in repr(shared)
    assert "sesame" not in repr(pickle.loads(pickle.dumps(shared)))


def test_block_that_is_larger_than_a_part_is_refused(active: Client, place: Place) -> None:
    place.options |= {"max_nbytes": 5 * UNIT}
    with pytest.raises(SinkError, match="rechunk"):
        place.write({"/x": random(6, 6 * UNIT)}, compression=None)


def test_memory_of_one_process_is_refused(active: Client) -> None:
    with pytest.raises(SchedulerError, match="not a path or an object"):
        random(2, 10).to_fixed_h5("memory://b/out.h5", "/x")


def test_worker_path_is_refused(active: Client, place: Place) -> None:
    with pytest.raises(SpecError, match="worker_path"):
        place.write({"/x": random(2, 10)}, worker_path="/there")


def test_resume_is_refused_before_any_work(active: Client, place: Place) -> None:
    with pytest.raises(SchedulerError, match="journal"):
        place.write({"/x": random(2, 10)}, resume=True)


def test_handle_for_other_processes_is_refused(place: Place) -> None:
    with streamh5.File(URL, "w", storage_options=place.options) as file:
        x = file.create_dataset("x", (4, 4), "u1", chunks=(1, 4))
        with pytest.raises(SinkError, match="several processes"):
            x.part_writer()


def _without_package() -> None:
    sys.modules["tests.stores.folder"] = None  # type: ignore[assignment]


def _with_package() -> None:
    del sys.modules["tests.stores.folder"]


def test_worker_without_the_package_is_named(active: Client, place: Place) -> None:
    worker = next(iter(active.nthreads()))
    active.run(_without_package, workers=[worker])
    try:
        with pytest.raises(MissingCodecError, match=r"on .*streamh5\[s3\]"):
            place.write({"/x": random(6, 6 * UNIT)})
    finally:
        active.run(_with_package, workers=[worker])
    assert not place.parts()


def test_worker_that_does_not_reach_the_store_is_named(active: Client, place: Place) -> None:
    place.options["denied_to"] = min(active.run(os.getpid).values())
    with pytest.raises(SinkError, match=r"out\.h5 on .*denied"):
        place.write({"/x": random(6, 6 * UNIT)})
    assert not place.parts()


def test_delayed_write_is_a_task(active: Client, place: Place) -> None:
    x = random(4, 6 * UNIT)
    place.write({"/x": x}, compute=False, compression=None).compute()
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))


def test_interrupted_write_leaves_nothing(active: Client, place: Place) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.write({"/x": random(20, 6 * UNIT)}, compression=None, progress=interrupt)
    assert not place.store.path.exists()
    x = random(6, 6 * UNIT)
    place.write({"/x": x}, compression=None)  # the workers are as before
    with place.opened() as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))


def test_ctrl_c_while_the_upload_begins_leaves_nothing(
    active: Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_upload = FolderStore.begin_upload

    def interrupted(self: Any, token: str) -> str:
        upload = begin_upload(self, token)
        os.kill(os.getpid(), signal.SIGINT)
        return upload

    monkeypatch.setattr(FolderStore, "begin_upload", interrupted)
    with pytest.raises(KeyboardInterrupt):
        place.write({"/x": random(6, 6 * UNIT)})
    assert not place.store.list_uploads()


def test_write_that_is_aborted_by_a_handler_ends(
    active: Client, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[Any] = []
    begin = UploadSharing.__init__

    def noted(self: Any, session: Any) -> None:
        sessions.append(session)
        begin(self, session)

    monkeypatch.setattr(UploadSharing, "__init__", noted)
    with pytest.raises(StateError, match="ended while its parts were sent"):
        place.write(
            {"/x": random(20, 6 * UNIT)}, compression=None, progress=lambda now, total: sessions[0].abort()
        )
    assert not place.store.path.exists()


def _row(seed: int) -> Any:
    """A row that tells how it was made, and is compressed to a size of its own."""
    rng = np.random.default_rng(seed)
    row = np.zeros(10 * UNIT, "u1")
    n_random = int(rng.integers(0, len(row)))
    row[:n_random] = rng.integers(0, 256, n_random, "u1")
    row[:8] = np.frombuffer(seed.to_bytes(8, "little"), "u1")
    return row


def _dying(folder: str, block_id: Any = None) -> Any:
    """Another row each time; in the middle, the process dies once."""
    if block_id[0] == 20:
        with suppress(FileExistsError):
            os.close(os.open(f"{folder}/died", os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
    return _row(int.from_bytes(os.urandom(7), "little"))[np.newaxis]


@pytest.mark.parametrize("n_numbers", [10_000, 12])
def test_worker_is_killed_and_its_blocks_have_other_values_when_they_are_computed_again(
    n_numbers: int, place: Place, tmp_path: Path
) -> None:
    place.options["max_number"] = n_numbers
    x = da.map_blocks(
        _dying, str(tmp_path), chunks=((1,) * 30, (10 * UNIT,)), dtype="u1", meta=np.empty((0, 0), "u1")
    )
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
        Client(cluster, set_as_default=False, timeout=DEADLOCK_SECONDS) as client,
    ):
        place.write({"/x": x}, scheduler=client, compression="gzip", compression_opts=1)
    assert (tmp_path / "died").exists()
    with place.opened() as file:
        rows = file["x"][...]
    for row in rows:
        assert np.array_equal(row, _row(int.from_bytes(row[:8].tobytes(), "little")))


def test_object_of_s3_is_written_by_workers_and_read_where_it_is(active: Client, s3_server: S3Server) -> None:
    s3fs = pytest.importorskip("s3fs")
    x, y, url, mib = random(5, 6 << 20), random(9, 1 << 20, seed=2), s3_server.url(), 1 << 20
    text = da.from_array(np.array(["a", "é"] * 50, object), chunks=20).astype("T")
    options = s3_server.options()
    summary = streamh5.to_fixed_h5(
        url,
        {"/x": x, "/y": y, "/text": text},
        storage_options=options,
        compression="gzip",
        compression_opts=1,
    )
    assert summary.shared is not None
    assert summary.shared.n_parts >= 5
    system = s3fs.S3FileSystem(**options, use_listings_cache=False)
    with system.open(url, "rb", block_size=mib) as opened, h5py.File(opened, "r") as file:
        assert np.array_equal(file["x"][...], x.compute(scheduler="sync"))
        assert np.array_equal(file["y"][...], y.compute(scheduler="sync"))
        assert file["text"].asstr()[...].tolist() == text.compute(scheduler="sync").tolist()
    assert not open_store.open_store(url, options).list_uploads()


def test_failure_leaves_nothing_in_s3(active: Client, s3_server: S3Server) -> None:
    url, options = s3_server.url(), s3_server.options()
    with pytest.raises(ZeroDivisionError):
        random(6, 6 << 20).map_blocks(_fail, dtype="u1").to_fixed_h5(url, "/x", storage_options=options)
    store = open_store.open_store(url, options)
    assert store.head() is None
    assert not store.list_uploads()


def _note(folder: str, block_id: Any = None) -> Any:
    Path(folder, f"block {block_id[0]}").touch()
    return np.zeros((1, 6 * UNIT), "u1")


def test_wrong_credentials_fail_before_any_work(active: Client, s3_server: S3Server, tmp_path: Path) -> None:
    x = da.map_blocks(
        _note, str(tmp_path), chunks=((1,) * 4, (6 * UNIT,)), dtype="u1", meta=np.empty((0, 0), "u1")
    )
    with Proxy(s3_server.port) as proxy:
        proxy.fault = lambda seen: Fault(403)
        options = s3_server.options(endpoint_url=proxy.endpoint)
        with pytest.raises(SinkError, match="cannot write s3://") as caught:
            x.to_fixed_h5(s3_server.url(), "/x", storage_options=options)
    assert isinstance(caught.value.__cause__, StoreError)
    assert caught.value.__cause__.reason == "denied"
    assert {seen.method for seen in proxy.seen} == {"HEAD"}
    assert not list(tmp_path.iterdir())


def test_store_that_is_not_there_fails_before_any_work(
    active: Client, s3_server: S3Server, tmp_path: Path
) -> None:
    x = da.map_blocks(
        _note, str(tmp_path), chunks=((1,) * 4, (6 * UNIT,)), dtype="u1", meta=np.empty((0, 0), "u1")
    )
    options = s3_server.options(endpoint_url="http://127.0.0.1:9")  # nobody listens
    with patch.object(attempts, "ATTEMPTS", attempts.Attempts(n_attempts=1)), pytest.raises(SinkError):
        x.to_fixed_h5(s3_server.url(), "/x", storage_options=options)
    assert not list(tmp_path.iterdir())
