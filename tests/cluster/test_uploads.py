"""Faults of a cluster that writes an object: workers that are killed, leave or wake up late."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import distributed
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.handles import upload_sharing
from streamh5.stores import open_store
from tests.cluster import work
from tests.cluster.launcher import Cluster
from tests.cluster.processes import wait_until
from tests.faults.tally import tried
from tests.stores.folder import FolderStore

URL = "s3://bucket/out.h5"


class Write:
    """A write to an object, in a thread."""

    def __init__(
        self, folder: Path, probe: work.Probe, client: distributed.Client, *, min_nbytes: int = 40_000
    ) -> None:
        folder.mkdir()
        options = {"folder": str(folder), "min_nbytes": min_nbytes}
        self.store, self._probe = FolderStore(URL, options), probe
        self._threads = ThreadPoolExecutor(1)
        self._future = self._threads.submit(self._run, options, client)

    def _run(self, options: dict[str, Any], client: distributed.Client) -> Any:
        x = work.source(self._probe)
        return streamh5.to_fixed_h5(
            URL, "/x", x, storage_options=options, scheduler=client, compression="gzip"
        )

    def finish(self) -> Any:
        """Wait for its end, and return its summary, or raise its error."""
        with self._threads:
            return self._future.result()

    def check(self) -> None:
        """Check that the object is complete, and nothing else is left."""
        with h5py.File(self.store.path) as file:
            rows = file["x"][...].reshape(-1, work.ROWS, work.COLUMNS)
        assert len(rows) == self._probe.n_blocks
        assert all(np.array_equal(rows[i], work.block_values(i)) for i in range(len(rows)))
        assert not self.store.list_uploads()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_sharing, "MIN_PART_NBYTES", 1)
    monkeypatch.setitem(open_store._STORES, "s3", ("tests.stores.folder", "FolderStore", "s3"))


@pytest.fixture
def client(cluster: Cluster) -> Iterator[distributed.Client]:
    for _ in range(2):
        cluster.add_worker()
    with cluster.control() as client:
        client.wait_for_workers(2, timeout=100)
        yield client


@pytest.mark.parametrize("n_writes", [3, pytest.param(100, marks=pytest.mark.campaign)])
def test_workers_killed_while_they_send_object_is_complete(
    cluster: Cluster, client: distributed.Client, tmp_path: Path, n_writes: int
) -> None:
    chance, n_killed = random.Random(4), 0
    for number in range(n_writes):
        cluster.workers = [worker for worker in cluster.workers if worker.is_alive]
        while len(cluster.workers) < 2:
            cluster.add_worker()
        client.wait_for_workers(2, timeout=100)
        probe = work.probe(tmp_path / f"probe{number}")
        # each block is a part, or several are joined
        write = Write(
            tmp_path / f"object{number}", probe, client, min_nbytes=chance.choice([40_000, 150_000])
        )
        probe.wait_for("end", chance.randrange(1, work.N_BLOCKS))
        victims = chance.sample(cluster.workers, chance.randint(1, 2))
        for worker in victims:
            worker.kill()
            cluster.add_worker()
        n_killed += len(victims)
        write.finish()
        write.check()
    tried("kill -9 of workers that send parts of an object, 1 to all at a time", n_killed)


def test_worker_retired_object_is_complete(
    cluster: Cluster, client: distributed.Client, tmp_path: Path
) -> None:
    probe = work.probe(tmp_path / "probe", waiting=range(10, 12))
    write = Write(tmp_path / "object", probe, client)
    probe.wait_for("wait", 2)
    client.retire_workers([min(client.nthreads())])
    probe.open_gate()
    write.finish()
    write.check()


def test_worker_suspended_and_taken_for_dead_wakes_up_object_is_unchanged(
    cluster: Cluster, client: distributed.Client, tmp_path: Path
) -> None:
    probe = work.probe(tmp_path / "probe", waiting=[20])
    write = Write(tmp_path / "object", probe, client)
    (event,) = probe.wait_for("wait", 1)
    (worker,) = [one for one in cluster.workers if one.pid == event.pid]
    os.kill(worker.pid, signal.SIGSTOP)
    cluster.drop(worker)
    probe.open_gate()
    write.finish()
    before = write.store.path.read_bytes()
    n_parts = len(write.store.requests("part"))
    os.kill(worker.pid, signal.SIGCONT)
    wait_until(
        lambda: (
            any(one.pid == worker.pid and one.what == "end" and one.block == 20 for one in probe.events)
            or not worker.is_alive
        ),
        "the end of the block, or of the worker",
    )
    write.check()
    assert write.store.path.read_bytes() == before
    assert len(write.store.requests("part")) == n_parts
    tried("suspended worker of an object, taken for dead, wakes up after its end")
