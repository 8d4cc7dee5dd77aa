"""Workers that are suspended until the file is published, and then continue: the file does not change any more."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.cluster import work
from tests.cluster.launcher import Cluster
from tests.cluster.processes import Running
from tests.cluster.sabotage import hold_encoded, hold_writes, wait_for_file
from tests.cluster.test_owners import digest
from tests.cluster.test_workers import check_new
from tests.faults.tally import tried

FAULT = "SIGSTOP of a worker until after publication, then SIGCONT"


def check_nothing_changes(out: Path, worker: Running) -> None:
    """Wake the worker up, and wait until it has ended, as the scheduler told it."""
    check_new(out)
    published = digest(out)
    worker.signal(signal.SIGCONT)
    worker.join()
    assert digest(out) == published
    check_new(out)
    tried(FAULT)


def stopped_while_held(
    cluster: Cluster, out: Path, tmp_path: Path, hold: Callable[[str, int], None], n_before: int
) -> Running:
    """Let a worker stop at `hold`, after `n_before` passes, while the others publish the file; open its gate."""
    worker, _ = cluster.add_worker(), cluster.add_worker()
    (tmp_path / "hold").mkdir()
    cluster.run_on(worker, hold, str(tmp_path / "hold"), n_before)
    probe = work.probe(tmp_path / "probe")
    write = cluster.start_write(out, probe, overwrite=True)
    wait_for_file(tmp_path / "hold" / "held")
    worker.signal(signal.SIGSTOP)
    cluster.drop(worker)
    write.succeed()
    (tmp_path / "hold" / "gate").touch()
    return worker


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler that takes silent workers for dead after some seconds, instead of five minutes."""
    cluster = Cluster(tmp_path / "cluster", worker_ttl="1 s")
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.mark.campaign
def test_worker_stopped_in_a_block_changes_nothing_of_the_published_file(
    impatient: Cluster, out: Path, tmp_path: Path
) -> None:
    workers = {worker.pid: worker for worker in (impatient.add_worker(), impatient.add_worker())}
    probe = work.probe(tmp_path / "probe", waiting=[20])
    write = impatient.start_write(out, probe, overwrite=True)
    worker = workers[write.wait_for("wait")[0].pid]
    worker.signal(signal.SIGSTOP)
    probe.open_gate()
    write.succeed()
    check_nothing_changes(out, worker)


@pytest.mark.parametrize(
    "n_before", [0, 3, *(pytest.param(n, marks=pytest.mark.campaign) for n in range(4, 12))]
)
def test_worker_stopped_between_filters_and_write_changes_nothing_of_the_published_file(
    cluster: Cluster, out: Path, tmp_path: Path, n_before: int
) -> None:
    worker = stopped_while_held(cluster, out, tmp_path, hold_encoded, n_before)
    check_nothing_changes(out, worker)
    assert (tmp_path / "hold" / "let-go").exists()


@pytest.mark.campaign
@pytest.mark.parametrize("n_before", [0, 3, 10])
def test_worker_stopped_within_its_system_call_changes_no_value_of_the_published_file(
    cluster: Cluster, out: Path, tmp_path: Path, n_before: int
) -> None:
    worker = stopped_while_held(cluster, out, tmp_path, hold_writes, n_before)
    check_new(out)
    worker.signal(signal.SIGCONT)
    worker.join()
    assert (tmp_path / "hold" / "let-go").exists()
    check_new(out)  # bytes that nothing refers to may have changed
    tried("SIGSTOP of a worker between its last look and its write: no value changes")


def test_worker_of_a_killed_addition_changes_no_value_of_the_next_addition(
    cluster: Cluster, out: Path, tmp_path: Path
) -> None:
    worker, _ = cluster.add_worker(), cluster.add_worker()
    (tmp_path / "hold").mkdir()
    cluster.run_on(worker, hold_writes, str(tmp_path / "hold"), 0)
    with h5py.File(out, "w", libver="latest") as file:  # that streamh5 can add to
        file["old"] = work.OLD
    write = cluster.start_write(out, work.probe(tmp_path / "first"), mode="a")
    write.wait_for("end")
    wait_for_file(tmp_path / "hold" / "held")
    worker.signal(signal.SIGSTOP)
    write.process.kill()
    cluster.drop(worker)
    cluster.start_write(out, work.probe(tmp_path / "second"), 1, mode="a").succeed()
    (tmp_path / "hold" / "gate").touch()
    worker.signal(signal.SIGCONT)
    worker.join()
    assert (tmp_path / "hold" / "let-go").exists()
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["old"][...], work.OLD)
        for block in range(work.N_BLOCKS):
            rows = file["x"][block * work.ROWS : (block + 1) * work.ROWS]
            np.testing.assert_array_equal(rows, work.block_values(block))
    tried("client of an addition killed, then an addition while an old worker writes")


@pytest.mark.campaign
def test_idle_worker_stopped_changes_nothing_of_the_published_file(
    impatient: Cluster, out: Path, tmp_path: Path
) -> None:
    workers = {worker.pid: worker for worker in (impatient.add_worker(), impatient.add_worker())}
    probe = work.probe(tmp_path / "probe", waiting=[work.N_BLOCKS // 2])
    write = impatient.start_write(out, probe, overwrite=True)
    busy = write.wait_for("wait")[0].pid
    write.wait_for("end", work.N_BLOCKS - 1)
    (idle,) = [worker for pid, worker in workers.items() if pid != busy]
    idle.signal(signal.SIGSTOP)
    probe.open_gate()
    write.succeed()
    check_nothing_changes(out, idle)


@pytest.mark.campaign
def test_workers_stopped_at_random_moments_change_nothing_of_the_published_file(
    cluster: Cluster, out: Path, tmp_path: Path
) -> None:
    chance = random.Random(4)
    cluster.add_worker()
    for number in range(40):
        worker = cluster.add_worker()
        work.write_old(out)
        probe = work.probe(tmp_path / f"probe{number}", seconds=0)
        write = cluster.start_write(out, probe, 2, overwrite=True)
        write.wait_for("end", chance.randrange(1, work.N_BLOCKS // 2))
        time.sleep(chance.uniform(0, 0.01))  # any moment is right
        worker.signal(signal.SIGSTOP)
        cluster.drop(worker)
        write.succeed()
        check_nothing_changes(out, worker)
        cluster.workers.remove(worker)
