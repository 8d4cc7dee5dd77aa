"""The client dies, or the scheduler does: the old file stays, and another client resumes the write or starts anew."""

from __future__ import annotations

import hashlib
import random
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.recovery.read_journal import decode_journal
from tests.cluster import work
from tests.cluster.launcher import Cluster
from tests.cluster.processes import wait_until
from tests.cluster.test_workers import check_new
from tests.faults.tally import tried

RESUMED = "kill -9 of the client, then resume=True from another"


def journalled(out: Path) -> dict[int, int]:
    """Return the blocks, of one chunk each, that the journal beside the partial file claims, and their addresses."""
    path = out.with_name(f"{out.name}.partial.journal")
    journal = decode_journal(path.read_bytes()) if path.exists() else None
    if journal is None:
        return {}
    return {
        int(record["number"]): int(record["address"])
        for claims in journal.claims.values()
        for records in claims.records
        for record in records
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("sync", ["close", pytest.param("batch", marks=pytest.mark.campaign)])
def test_client_killed_another_resumes_and_computes_only_what_is_missing(
    cluster: Cluster, out: Path, tmp_path: Path, sync: str
) -> None:
    for _ in range(2):
        cluster.add_worker()
    # "batch" flushes when a chunk is finished two seconds after the last time
    seconds = 0.3 if sync == "batch" else 0.004
    first = work.probe(tmp_path / "first", waiting=range(25, work.N_BLOCKS), seconds=seconds)
    write = cluster.start_write(out, first, overwrite=True, resume=True, sync=sync)
    write.wait_for("wait", 2)
    wait_until(lambda: journalled(out), "claims in the journal")
    write.process.kill()
    assert not work.is_new(out)
    first.open_gate()
    stored = journalled(out)
    second = work.probe(tmp_path / "second")
    cluster.start_write(out, second, overwrite=True, resume=True, sync=sync).succeed()
    check_new(out)
    computed = second.computed()
    assert set(computed) == set(range(work.N_BLOCKS)) - set(stored), (
        "what the journal claims is not computed again"
    )
    assert set(computed.values()) == {1}
    tried(RESUMED)


def test_client_killed_salvaged_file_stays_as_it_is_while_old_workers_compute(
    cluster: Cluster, out: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        cluster.add_worker()
    probe = work.probe(tmp_path / "probe", waiting=range(20, work.N_BLOCKS))
    write = cluster.start_write(out, probe, overwrite=True, resume=True)
    write.wait_for("wait", 2)
    wait_until(lambda: journalled(out), "claims in the journal")
    write.process.kill()
    stored, n_ended = journalled(out), sum(probe.computed().values())
    salvaged = tmp_path / "salvaged.h5"
    streamh5.salvage(out.with_name(f"{out.name}.partial"), output=salvaged)
    published = digest(salvaged)
    probe.open_gate()
    probe.wait_for("end", n_ended + 2)
    cluster.drop(cluster.workers[0])
    cluster.drop(cluster.workers[1])
    for worker in cluster.workers:
        worker.join()
    assert digest(salvaged) == published
    with h5py.File(salvaged) as file:
        for block in range(work.N_BLOCKS):
            rows = file["x"][block * work.ROWS : (block + 1) * work.ROWS]
            np.testing.assert_array_equal(rows, work.block_values(block) if block in stored else 0)
    assert not work.is_new(out)
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    tried("client killed, then salvage while old workers compute")


@pytest.mark.campaign
def test_client_killed_at_random_moments_is_resumed(cluster: Cluster, out: Path, tmp_path: Path) -> None:
    chance = random.Random(3)
    for _ in range(2):
        cluster.add_worker()
    for number in range(30):
        work.write_old(out)
        n_attempts = chance.choice([1, 1, 2])
        for attempt in range(n_attempts):
            probe = work.probe(tmp_path / f"{number}-{attempt}")
            write = cluster.start_write(out, probe, overwrite=True, resume=True)
            n_missing = work.N_BLOCKS - len(journalled(out))
            write.wait_for("end", chance.randrange(n_missing // 2 + 1))
            time.sleep(chance.uniform(0, 0.05))  # any moment is right
            write.process.kill()
            is_published = work.is_new(out)
            stored = {} if is_published else journalled(out)
            tried(RESUMED)
            if is_published:
                break
        last = work.probe(tmp_path / f"{number}-last")
        cluster.start_write(out, last, overwrite=True, resume=True).succeed()
        check_new(out)
        assert not set(stored) & set(last.computed())


def test_client_interrupted_another_resumes(cluster: Cluster, out: Path, tmp_path: Path) -> None:
    for _ in range(2):
        cluster.add_worker()
    first = work.probe(tmp_path / "first", waiting=range(20, work.N_BLOCKS))
    write = cluster.start_write(out, first, overwrite=True, resume=True)
    write.wait_for("wait", 2)
    wait_until(lambda: journalled(out), "claims in the journal")
    write.process.signal(signal.SIGINT)
    assert "KeyboardInterrupt" in write.fail().kinds
    assert not work.is_new(out)
    stored = journalled(out)
    assert stored
    first.open_gate()
    second = work.probe(tmp_path / "second")
    cluster.start_write(out, second, overwrite=True, resume=True).succeed()
    check_new(out)
    assert not set(stored) & set(second.computed())
    tried("Ctrl-C in the client, then resume=True from another")


@pytest.mark.parametrize("n_writes", [1, pytest.param(10, marks=pytest.mark.campaign)])
def test_client_killed_another_starts_anew_while_old_workers_write(
    cluster: Cluster, out: Path, tmp_path: Path, n_writes: int
) -> None:
    for _ in range(2):
        cluster.add_worker()
    for number in range(n_writes):
        work.write_old(out)
        first = work.probe(tmp_path / f"first{number}", waiting=range(15 + number, work.N_BLOCKS))
        write = cluster.start_write(out, first, 2, overwrite=True)
        write.wait_for("wait", 2)
        write.process.kill()
        n_ended = sum(first.computed().values())
        new_workers = [cluster.add_worker(), cluster.add_worker()]
        second = work.probe(tmp_path / f"second{number}", waiting=range(20, work.N_BLOCKS))
        write = cluster.start_write(out, second, 4, overwrite=True)
        write.wait_for("wait", 2)  # the new write is in progress
        first.open_gate()  # and the old workers go on with theirs
        first.wait_for("end", n_ended + 2)
        second.open_gate()
        write.succeed()
        check_new(out)
        assert all(worker.is_alive for worker in cluster.workers)
        published = digest(out)
        for worker in new_workers:
            worker.kill()
            cluster.workers.remove(worker)
        assert digest(out) == published
        tried("kill -9 of the client, then a new write while old workers still compute")


@pytest.mark.parametrize("n_writes", [1, pytest.param(10, marks=pytest.mark.campaign)])
def test_scheduler_killed_and_restarted_write_fails_and_is_resumed(
    cluster: Cluster, out: Path, tmp_path: Path, n_writes: int
) -> None:
    for number in range(n_writes):
        work.write_old(out)
        while len(cluster.workers) < 2:
            cluster.add_worker()
        first = work.probe(tmp_path / f"first{number}", waiting=range(20 + number, work.N_BLOCKS))
        write = cluster.start_write(out, first, overwrite=True, resume=True)
        write.wait_for("wait", 2)
        cluster.scheduler.kill()
        cluster.start_scheduler()
        first.open_gate()
        write.fail()
        assert not work.is_new(out)
        stored = journalled(out)
        cluster.kill_workers()
        cluster.add_worker()
        second = work.probe(tmp_path / f"second{number}")
        cluster.start_write(out, second, overwrite=True, resume=True).succeed()
        check_new(out)
        assert not set(stored) & set(second.computed())
        tried("scheduler killed and started again, then resume=True")


@pytest.mark.campaign
def test_scheduler_killed_write_ends_with_an_error(cluster: Cluster, out: Path, tmp_path: Path) -> None:
    cluster.add_worker()
    probe = work.probe(tmp_path / "probe", waiting=[20])
    write = cluster.start_write(out, probe, overwrite=True)
    write.wait_for("wait")
    cluster.scheduler.kill()
    outcome = write.fail()
    assert "scheduler" in outcome.text.lower(), outcome
    assert not work.is_new(out)
    tried("scheduler killed for good")
