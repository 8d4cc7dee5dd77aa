"""``Cluster``: a scheduler, workers and clients as processes whose ids are known."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed
import psutil

from tests.cluster.processes import Running, wait_until
from tests.cluster.programs import run_scheduler, run_worker, run_write
from tests.cluster.sabotage import worker_name
from tests.cluster.work import Event, Probe
from tests.deadlock import DEADLOCK_SECONDS


@dataclass(frozen=True)
class Outcome:
    """How a write ended.

    Attributes
    ----------
    kinds
        Names of the error's classes; empty if there was none.
    text
        Its message and notes.
    """

    kinds: tuple[str, ...]
    text: str

    @property
    def is_error(self) -> bool:
        return bool(self.kinds)


class Write:
    """A client process that writes."""

    def __init__(self, process: Running, probe: Probe, outcome: Path) -> None:
        self.process = process
        self._probe = probe
        self._outcome = outcome

    def wait_for(self, what: str, n: int = 1) -> list[Event]:
        """Wait for events of the blocks, as `Probe.wait_for`; the end of the client fails the test at once."""

        def happened() -> bool:
            is_alive = self.process.is_alive
            if sum(event.what == what for event in self._probe.events) >= n:
                return True
            assert is_alive, f"ended before {n} events {what!r}:\n{self.process.output[-10_000:]}"
            return False

        wait_until(happened, f"{n} events {what!r}")
        return self._probe.wait_for(what, n)

    def finish(self) -> Outcome:
        """Wait for its end, which must come, and tell how it ended."""
        self.process.join()
        assert self._outcome.exists(), f"the client died:\n{self.process.output[-10_000:]}"
        found = json.loads(self._outcome.read_text())
        return Outcome(tuple(found["kinds"]), "\n".join([found["text"], *found.get("notes", [])]))

    def succeed(self) -> None:
        outcome = self.finish()
        assert not outcome.is_error, f"{outcome}\n{self.process.output[-10_000:]}"

    def fail(self) -> Outcome:
        outcome = self.finish()
        assert outcome.is_error, "the write succeeded"
        return outcome


def start_write(
    address: str,
    folder: Path,
    path: Path,
    probe: Probe,
    n_workers: int,
    *,
    network: str | None = None,
    **keywords: Any,
) -> Write:
    """Write from a process of its own, once `n_workers` have joined; `keywords` are those of `to_fixed_h5`."""
    outcome = folder / f"outcome-{uuid.uuid4().hex[:8]}.json"
    arguments = (address, str(path), probe, str(outcome), n_workers, network, keywords)
    return Write(Running(outcome.with_suffix(".log"), run_write, *arguments), probe, outcome)


async def remove_worker(name: str, dask_scheduler: Any) -> None:
    for address, worker in list(dask_scheduler.workers.items()):
        if worker.name == name:
            await dask_scheduler.remove_worker(address, stimulus_id="taken for dead by a test")


class Cluster:
    """A scheduler and what belongs to it.

    Parameters
    ----------
    folder
        For logs and the files of workers.
    host
        Address of the scheduler.
    network
        Its network namespace.
    worker_ttl
        After which time it takes a silent worker for dead.
    """

    def __init__(
        self,
        folder: Path,
        host: str = "127.0.0.1",
        *,
        network: str | None = None,
        worker_ttl: str = "5 minutes",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._host, self._network, self._worker_ttl = host, network, worker_ttl
        self._n_started = 0
        self._all: list[Running] = []
        self._port = 0
        self.workers: list[Running] = []
        self.start_scheduler()

    def start_scheduler(self) -> None:
        """Start the scheduler, again at the same port if there was one."""
        file = self.folder / f"scheduler{self._n_started}.json"
        self.scheduler = self._start(
            "scheduler", run_scheduler, str(file), self._host, self._port, self._network, self._worker_ttl
        )
        wait_until(lambda: file.exists() and file.read_text().endswith("}"), "a scheduler")
        self.address = json.loads(file.read_text())["address"]
        self._port = int(self.address.rsplit(":", 1)[1])

    def _start(self, name: str, program: Any, *arguments: Any) -> Running:
        self._n_started += 1
        running = Running(self.folder / f"{name}{self._n_started}.log", program, *arguments)
        self._all.append(running)
        return running

    def add_worker(self, **options: Any) -> Running:
        """Start a worker; `options` are those of `run_worker`. A write waits for as many workers as it is told."""
        name = f"worker{self._n_started + 1}"  # that of its log
        worker = self._start("worker", run_worker, self.address, name, str(self.folder), options)
        self.workers.append(worker)
        return worker

    def kill_workers(self) -> None:
        """Kill all workers without nannies."""
        for worker in self.workers:
            worker.kill()
        self.workers.clear()

    def start_write(
        self,
        path: Path,
        probe: Probe,
        n_workers: int | None = None,
        *,
        network: str | None = None,
        **keywords: Any,
    ) -> Write:
        """Write from a process of its own, once all workers have joined, or `n_workers`."""
        n_workers = len(self.workers) if n_workers is None else n_workers
        network = network or self._network
        write = start_write(self.address, self.folder, path, probe, n_workers, network=network, **keywords)
        self._all.append(write.process)
        return write

    @contextmanager
    def control(self) -> Iterator[distributed.Client]:
        """Yield a client for orders to the scheduler and its workers."""
        with distributed.Client(self.address, timeout=DEADLOCK_SECONDS, set_as_default=False) as client:
            yield client

    def run_on(self, worker: Running, function: Callable[..., object], *arguments: object) -> None:
        """Run a function of `tests.cluster.sabotage` in a worker, when all workers have joined."""
        with self.control() as client:
            client.wait_for_workers(len(self.workers), timeout=DEADLOCK_SECONDS)
            (address,) = [one for one, name in client.run(worker_name).items() if name == worker.log.stem]
            client.run(function, *arguments, workers=[address])

    def drop(self, worker: Running) -> None:
        """Let the scheduler take a worker for dead now."""
        with self.control() as client:
            client.run_on_scheduler(remove_worker, worker.log.stem)

    def close(self) -> None:
        """Kill everything, workers of nannies too."""
        children = [child for running in self._all for child in running.children()]
        for running in self._all:
            running.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
