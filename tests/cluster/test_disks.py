"""Workers whose disk fails, which see another folder, or whose written data is lost with their machine."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import work
from tests.cluster.launcher import Cluster
from tests.cluster.processes import wait_until
from tests.cluster.sabotage import break_calls, break_leases, leases_of, zero
from tests.cluster.test_owners import journalled
from tests.cluster.test_workers import check_new
from tests.faults.tally import tried


def needs_mounts() -> None:
    """Skip where a process cannot have mounts of its own."""
    done = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("no permission to make a mount namespace")


def other_machine(tmp_path: Path, number: int = 1) -> str:
    """Return the command that gives a worker another boot identity, as if it ran on another machine."""
    file = tmp_path / f"boot{number}"
    file.write_text(f"00000000-0000-4000-8000-{number:012}\n")
    return f"mount --bind {file} /proc/sys/kernel/random/boot_id"


def check_resumed(cluster: Cluster, out: Path, tmp_path: Path, **keywords: Any) -> None:
    """After a failure the old file is there, and the write can be finished."""
    assert not work.is_new(out)
    probe = work.probe(tmp_path / "resumed")
    cluster.start_write(out, probe, overwrite=True, resume=True, **keywords).succeed()
    check_new(out)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("moment", ["first", pytest.param("later", marks=pytest.mark.campaign)])
def test_worker_cannot_write_error_names_the_cause(
    cluster: Cluster, out: Path, tmp_path: Path, number: int, moment: str
) -> None:
    worker, _ = cluster.add_worker(), cluster.add_worker()
    calls = ["pwrite", "pwritev"]
    probe = work.probe(tmp_path / "probe", waiting=() if moment == "first" else [10, 11])
    if moment == "first":
        cluster.run_on(worker, break_calls, calls, number)
    write = cluster.start_write(out, probe, overwrite=True, resume=True)
    if moment == "later":
        write.wait_for("wait", 2)
        cluster.run_on(worker, break_calls, calls, number)
        probe.open_gate()
    outcome = write.fail()
    assert os.strerror(number) in outcome.text, outcome
    assert os.uname().nodename in outcome.text, outcome
    assert str(out) in outcome.text, outcome
    worker.kill()
    cluster.workers.remove(worker)
    check_resumed(cluster, out, tmp_path)
    tried(f"{errno.errorcode[number]} on one worker")


def test_worker_cannot_take_leases_error_names_the_cause(cluster: Cluster, out: Path, tmp_path: Path) -> None:
    worker, _ = cluster.add_worker(), cluster.add_worker()
    cluster.run_on(worker, break_leases, errno.EDQUOT)
    outcome = cluster.start_write(out, work.probe(tmp_path / "probe"), overwrite=True, resume=True).fail()
    assert os.strerror(errno.EDQUOT) in outcome.text, outcome
    assert os.uname().nodename in outcome.text, outcome
    assert f"{out}.partial.leases" in outcome.text, outcome
    worker.kill()
    cluster.workers.remove(worker)
    check_resumed(cluster, out, tmp_path)
    tried("EDQUOT for the leases of one worker")


def test_folder_of_leases_removed_write_fails_and_is_resumed(
    cluster: Cluster, out: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        cluster.add_worker()
    probe = work.probe(tmp_path / "probe", waiting=[20, 21])
    write = cluster.start_write(out, probe, overwrite=True, resume=True)
    write.wait_for("wait", 2)
    shutil.rmtree(out.with_name(f"{out.name}.partial.leases"))
    probe.open_gate()
    write.fail()
    check_resumed(cluster, out, tmp_path)
    tried("folder of the leases removed by another program")


@pytest.mark.parametrize("sync", ["close", "batch"])
def test_fsync_of_a_worker_fails_old_file_stays_or_blocks_are_computed_again(
    cluster: Cluster, out: Path, tmp_path: Path, sync: str
) -> None:
    worker, _ = cluster.add_worker(), cluster.add_worker()
    cluster.run_on(worker, break_calls, ["fsync", "fdatasync"], errno.EIO)
    probe = work.probe(tmp_path / "probe")
    outcome = cluster.start_write(out, probe, overwrite=True, resume=True, sync=sync).finish()
    worker.kill()
    cluster.workers.remove(worker)
    if outcome.is_error:
        assert os.strerror(errno.EIO) in outcome.text, outcome
        check_resumed(cluster, out, tmp_path, sync=sync)
    else:
        check_new(out)
    tried("fsync fails on one worker")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that is too small for the file."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("no permission to mount a small tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_file_system_is_full_error_names_it_and_write_is_resumed_when_there_is_room(
    small_disk: Path, cluster: Cluster, tmp_path: Path
) -> None:
    out = small_disk / "out.h5"
    work.write_old(out)
    for _ in range(2):
        cluster.add_worker()
    write = cluster.start_write(out, work.probe(tmp_path / "probe"), overwrite=True, resume=True)
    assert os.strerror(errno.ENOSPC) in write.fail().text
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    check_resumed(cluster, out, tmp_path)
    tried("ENOSPC of a real file system")


@pytest.mark.parametrize("joins", ["before", "later"])
def test_worker_that_does_not_see_the_folder_is_named(
    cluster: Cluster, out: Path, tmp_path: Path, joins: str
) -> None:
    needs_mounts()
    blind = {"mounts": (f"mount -t tmpfs tmpfs {out.parent}",)}
    cluster.add_worker()
    if joins == "before":
        cluster.add_worker(**blind)
    probe = work.probe(tmp_path / "probe", waiting=[10] if joins == "later" else ())
    write = cluster.start_write(out, probe, overwrite=True, resume=True)
    if joins == "later":
        write.wait_for("wait")
        cluster.add_worker(**blind)
        wait_for_two(cluster)
        probe.open_gate()
    outcome = write.fail()
    assert str(out.parent) in outcome.text, outcome
    assert os.uname().nodename in outcome.text, outcome
    cluster.workers.pop().kill()
    check_resumed(cluster, out, tmp_path)
    tried("a worker that does not see the folder")


def wait_for_two(cluster: Cluster) -> None:
    with cluster.control() as client:
        client.wait_for_workers(2)


@pytest.mark.parametrize("kind", ["text", "mapping"])
def test_workers_that_see_the_folder_elsewhere_write_with_worker_path(
    cluster: Cluster, out: Path, tmp_path: Path, kind: str
) -> None:
    needs_mounts()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mounts = (f"mount --bind {out.parent} {elsewhere}", f"mount -t tmpfs tmpfs {out.parent}")
    for number in (1, 2):
        cluster.add_worker(mounts=(*mounts, other_machine(tmp_path, number)))
    worker_path = str(elsewhere / out.name) if kind == "text" else {str(out.parent): str(elsewhere)}
    probe = work.probe(tmp_path / "probe")
    cluster.start_write(out, probe, overwrite=True, worker_path=worker_path).succeed()
    check_new(out)


def test_worker_path_that_does_not_exist_is_named(cluster: Cluster, out: Path, tmp_path: Path) -> None:
    cluster.add_worker()
    probe = work.probe(tmp_path / "probe")
    nowhere = str(tmp_path / "nowhere" / "out.h5")
    outcome = cluster.start_write(out, probe, overwrite=True, worker_path=nowhere).fail()
    assert str(tmp_path / "nowhere") in outcome.text, outcome
    assert not work.is_new(out)
    tried("a worker that does not see the folder")


def wait_for_claims_in(out: Path, ranges: list[tuple[int, int]]) -> set[int]:
    """Wait until the journal claims chunks in these ranges, and return their numbers."""

    def claimed() -> set[int]:
        chunks = journalled(out).items()
        return {number for number, address in chunks for start, stop in ranges if start <= address < stop}

    wait_until(claimed, "claims of chunks that the worker has written")
    return claimed()


@pytest.mark.parametrize("machine", ["same", "other"])
@pytest.mark.parametrize(
    "block", [15, *(pytest.param(n, marks=pytest.mark.campaign) for n in (5, 25, 35, 38))]
)
def test_data_of_a_dead_worker_is_lost_its_blocks_are_computed_again(
    cluster: Cluster, out: Path, tmp_path: Path, machine: str, block: int
) -> None:
    needs_mounts()
    mounts = (other_machine(tmp_path),) if machine == "other" else ()
    dying = cluster.add_worker(mounts=mounts)
    cluster.add_worker(mounts=mounts)
    probe = work.probe(tmp_path / "probe", waiting=[block, block + 1])
    write = cluster.start_write(out, probe, overwrite=True)
    write.wait_for("wait", 2)
    ranges = leases_of(out, dying.pid)

    wait_for_claims_in(out, ranges)
    dying.kill()
    assert zero(out, ranges) > 0
    probe.open_gate()
    write.succeed()
    check_new(out)
    tried("data of a dead worker lost behind its back")


def test_client_dies_and_data_on_another_machine_is_lost_resume_computes_it_again(
    cluster: Cluster, out: Path, tmp_path: Path
) -> None:
    needs_mounts()
    dying = cluster.add_worker(mounts=(other_machine(tmp_path),))
    cluster.add_worker()
    first = work.probe(tmp_path / "first", waiting=[20, 21])
    write = cluster.start_write(out, first, overwrite=True, resume=True)
    write.wait_for("wait", 2)
    ranges = leases_of(out, dying.pid)
    lost = wait_for_claims_in(out, ranges)
    write.process.kill()
    dying.kill()
    cluster.workers.remove(dying)
    assert zero(out, ranges) > 0
    first.open_gate()
    second = work.probe(tmp_path / "second")
    cluster.start_write(out, second, overwrite=True, resume=True).succeed()
    check_new(out)
    assert lost <= set(second.computed())
    tried("client dead, and data of a worker lost with its machine")
