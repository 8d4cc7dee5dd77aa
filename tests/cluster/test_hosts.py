"""Several hosts with a network between them, whose links are cut, and come back or do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import work
from tests.cluster.hosts import Hosts
from tests.cluster.launcher import Cluster
from tests.cluster.test_owners import digest, journalled
from tests.cluster.test_workers import check_new
from tests.faults.tally import tried

CLIENT = 3
Cut = Callable[[Hosts, Cluster, Path, work.Probe], None]


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """The scheduler's, two for workers, and one for a client."""
    four = Hosts(4)
    four.connect()
    try:
        yield four
    finally:
        four.remove()


@pytest.fixture
def start(hosts: Hosts, tmp_path: Path) -> Iterator[Callable[[str], Cluster]]:
    """Return what starts a cluster on these hosts."""
    started: list[Cluster] = []

    def start_cluster(worker_ttl: str = "5 minutes") -> Cluster:
        cluster = Cluster(
            tmp_path / "cluster", hosts.addresses[0], network=hosts.names[0], worker_ttl=worker_ttl
        )
        started.append(cluster)
        for number in (1, 2):
            cluster.add_worker(network=hosts.names[number], host=hosts.addresses[number])
        return cluster

    try:
        yield start_cluster
    finally:
        for cluster in started:
            cluster.close()


def host_of(cluster: Cluster, pid: int) -> int:
    """Return the number of the host of a worker."""
    return 1 + [worker.pid for worker in cluster.workers].index(pid)


def cut_worker(hosts: Hosts, cluster: Cluster, out: Path, probe: work.Probe) -> None:
    """Cut the link of the worker that waits in a block; let it end the block; connect it again."""
    write = cluster.start_write(out, probe, network=hosts.names[CLIENT], overwrite=True)
    waiting = write.wait_for("wait")[0]
    host = host_of(cluster, waiting.pid)
    hosts.cut(host)
    probe.open_gate()  # the worker goes on, and can tell nobody
    probe.wait_until(lambda events: waiting._replace(what="end") in events)
    hosts.plug(host)
    write.succeed()
    check_new(out)
    tried("link of a worker cut, and back")


def cut_client(hosts: Hosts, cluster: Cluster, out: Path, probe: work.Probe) -> None:
    """Cut the link of the client until workers have computed some more blocks."""
    write = cluster.start_write(out, probe, network=hosts.names[CLIENT], overwrite=True)
    write.wait_for("wait", 2)
    hosts.cut(CLIENT)
    n_events = len(probe.events)
    probe.open_gate()
    probe.wait_until(lambda events: len(events) > n_events + 4)
    hosts.plug(CLIENT)
    write.succeed()
    check_new(out)
    tried("link of the client cut, and back")


@pytest.mark.parametrize("n_writes", [1, pytest.param(10, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("cut", [cut_worker, cut_client])
def test_link_cut_and_back_file_is_complete(
    hosts: Hosts, start: Callable[..., Cluster], out: Path, tmp_path: Path, cut: Cut, n_writes: int
) -> None:
    cluster = start()
    for number in range(n_writes):
        work.write_old(out)
        waiting = range(10 + number, work.N_BLOCKS)
        cut(hosts, cluster, out, work.probe(tmp_path / f"probe{number}", waiting=waiting))


def test_link_of_a_worker_cut_for_good_others_complete_the_file(
    hosts: Hosts, start: Callable[..., Cluster], out: Path, tmp_path: Path
) -> None:
    cluster = start("1 s")
    probe = work.probe(tmp_path / "probe", waiting=[20])
    write = cluster.start_write(out, probe, network=hosts.names[CLIENT], overwrite=True)
    host = host_of(cluster, write.wait_for("wait")[0].pid)
    hosts.cut(host)
    write.wait_for("wait", 2)  # the scheduler has taken the worker for dead, and given the block to the other
    probe.open_gate()
    write.succeed()
    check_new(out)
    published = digest(out)
    hosts.plug(host)
    cluster.workers[host - 1].join()  # nobody listens to it any more
    assert digest(out) == published
    check_new(out)
    tried("link of a worker cut for good")


@pytest.mark.campaign
def test_link_of_the_client_cut_for_good_write_fails_and_is_resumed(
    hosts: Hosts, start: Callable[..., Cluster], out: Path, tmp_path: Path
) -> None:
    cluster = start()
    probe = work.probe(tmp_path / "probe", waiting=[20])
    write = cluster.start_write(out, probe, network=hosts.names[CLIENT], overwrite=True, resume=True)
    write.wait_for("wait")
    hosts.cut(CLIENT)
    probe.open_gate()
    write.fail()
    assert not work.is_new(out)
    stored = journalled(out)
    second = work.probe(tmp_path / "second")
    cluster.start_write(out, second, network=hosts.names[0], overwrite=True, resume=True).succeed()
    check_new(out)
    assert not set(stored) & set(second.computed())
    tried("link of the client cut for good, then resume=True from another")
