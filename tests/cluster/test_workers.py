"""Workers that are killed, leave and come: the write goes on with those that are there."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import distributed
import pytest

from tests.cluster import work
from tests.cluster.launcher import Cluster, start_write
from tests.cluster.processes import is_gone, wait_until
from tests.faults.tally import tried


def check_new(out: Path, n_blocks: int = work.N_BLOCKS) -> None:
    """The new file is there and complete, and nothing else is left."""
    assert work.is_new(out, n_blocks)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def kill_workers(
    cluster: Cluster,
    out: Path,
    n_writes: int,
    *,
    nanny: bool,
    seed: int,
    n_blocks: int = work.N_BLOCKS,
    threads: int = 1,
) -> None:
    """Kill one to all workers at a random moment of each write; new ones take their place."""
    chance = random.Random(seed)
    n_killed = 0
    for number in range(n_writes):
        cluster.workers = [worker for worker in cluster.workers if worker.is_alive]
        while len(cluster.workers) < (2 if nanny else 3):  # nannies start slowly
            cluster.add_worker(nanny=nanny, threads=threads)
        work.write_old(out)
        probe = work.probe(cluster.folder / f"probe{number}", n_blocks=n_blocks)
        write = cluster.start_write(out, probe, overwrite=True)
        write.wait_for("end", chance.randrange(1, n_blocks + 1))
        time.sleep(chance.uniform(0, 0.02))  # any moment is right
        seen = sorted({event.pid for event in probe.events})
        workers = seen if nanny else [worker.pid for worker in cluster.workers]
        victims = chance.sample(workers, chance.randint(1, len(workers)))
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        n_killed += len(victims)
        if not nanny:
            for _ in victims:
                cluster.add_worker(threads=threads)
        write.succeed()
        check_new(out, n_blocks)
        assert all(map(is_gone, victims))
    tried(f"kill -9 of workers {'with' if nanny else 'without'} nannies, 1 to all at a time", n_killed)


@pytest.mark.parametrize(("nanny", "n_writes"), [(False, 3), (True, 1)], ids=["plain", "nanny"])
def test_workers_killed_during_write_file_is_complete(
    cluster: Cluster, out: Path, nanny: bool, n_writes: int
) -> None:
    kill_workers(cluster, out, n_writes, nanny=nanny, seed=1)


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("nanny", "n_writes", "n_blocks", "threads"),
    [(False, 50, 40, 1), (False, 20, 500, 1), (False, 20, 500, 4), (True, 25, 40, 1)],
    ids=["plain", "many blocks", "threads", "nanny"],
)
def test_workers_killed_in_many_writes_files_are_complete(
    cluster: Cluster, out: Path, nanny: bool, n_writes: int, n_blocks: int, threads: int
) -> None:
    kill_workers(cluster, out, n_writes, nanny=nanny, seed=2, n_blocks=n_blocks, threads=threads)


@pytest.mark.campaign
def test_block_that_kills_each_worker_is_named_and_old_file_stays(
    cluster: Cluster, out: Path, tmp_path: Path
) -> None:
    for _ in range(5):
        cluster.add_worker()
    deadly = work.probe(tmp_path / "deadly", deadly=[20])
    outcome = cluster.start_write(out, deadly, overwrite=True, resume=True).fail()
    assert "KilledWorker" in outcome.kinds
    assert not work.is_new(out)
    harmless = work.probe(tmp_path / "harmless")
    cluster.start_write(out, harmless, 1, overwrite=True, resume=True).succeed()
    check_new(out)
    tried("a block that kills each worker that computes it")


@pytest.mark.parametrize("n_writes", [1, pytest.param(10, marks=pytest.mark.campaign)])
def test_nanny_killed_during_write_file_is_complete(cluster: Cluster, out: Path, n_writes: int) -> None:
    cluster.add_worker()
    for number in range(n_writes):
        nanny = cluster.add_worker(nanny=True)
        work.write_old(out)
        probe = work.probe(cluster.folder / f"probe{number}", waiting=range(10 + number, 12 + number))
        write = cluster.start_write(out, probe, 2, overwrite=True)
        write.wait_for("wait", 2)  # both workers are in the middle of a block
        nanny.kill()
        probe.open_gate()
        write.succeed()
        check_new(out)
        cluster.workers.remove(nanny)
        tried("kill -9 of a nanny")


@pytest.mark.parametrize("n_writes", [1, pytest.param(10, marks=pytest.mark.campaign)])
def test_worker_retired_during_write_file_is_complete(cluster: Cluster, out: Path, n_writes: int) -> None:
    cluster.add_worker()
    for number in range(n_writes):
        leaving = cluster.add_worker()
        work.write_old(out)
        probe = work.probe(cluster.folder / f"probe{number}", waiting=range(10 + number, 12 + number))
        write = cluster.start_write(out, probe, 2, overwrite=True)
        write.wait_for("wait", 2)
        with cluster.control() as client:
            pids = client.run(os.getpid)
            (address,) = [address for address, pid in pids.items() if pid == leaving.pid]
            client.retire_workers([address])
        probe.open_gate()
        write.succeed()
        check_new(out)
        cluster.workers.remove(leaving)
        tried("retire_workers")


@contextmanager
def local_cluster(n_workers: int, folder: Path) -> Iterator[distributed.LocalCluster]:
    with distributed.LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        local_directory=str(folder),
        memory_limit=0,
    ) as cluster:
        yield cluster


def test_cluster_scaled_to_nothing_and_up_again_file_is_complete(tmp_path: Path, out: Path) -> None:
    probe = work.probe(tmp_path / "probe", seconds=0.01)
    with local_cluster(1, tmp_path) as cluster:
        write = start_write(cluster.scheduler_address, tmp_path, out, probe, 1, overwrite=True)
        write.wait_for("end", 10)
        cluster.scale(0)
        wait_until(lambda: not cluster.scheduler_info["workers"], "no workers")
        n_before = sum(probe.computed().values())
        cluster.scale(1)
        write.succeed()
    assert sum(probe.computed().values()) > n_before, "the write had ended before"
    check_new(out)
    tried("scale(0), then up again")


@pytest.mark.campaign
def test_adaptive_cluster_that_begins_with_nothing_file_is_complete(tmp_path: Path, out: Path) -> None:
    probe = work.probe(tmp_path / "probe")
    with local_cluster(0, tmp_path) as cluster:
        cluster.adapt(minimum=0, maximum=2, interval="100 ms", wait_count=2)
        write = start_write(cluster.scheduler_address, tmp_path, out, probe, 0, overwrite=True)
        write.succeed()
        wait_until(lambda: not cluster.scheduler_info["workers"], "no workers")
    check_new(out)
    tried("adaptive cluster from 0 workers, and back")
