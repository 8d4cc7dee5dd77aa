"""The pool of threads: many small jobs in flight cost no more than few, and writes of one chunk keep their order."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from streamh5.errors import StateError
from streamh5.write.pool import Job, Pool
from tests.deadlock import DEADLOCK_SECONDS


@pytest.fixture
def n_compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often two jobs were compared."""
    n = [0]
    whole = Job.overlaps

    def overlaps(self: Job, other: Job) -> bool:
        n[0] += 1
        return whole(self, other)

    monkeypatch.setattr(Job, "overlaps", overlaps)
    return n


def test_appended_jobs_are_not_compared_with_each_job_in_flight(n_compared: list[int]) -> None:
    pool = Pool(1, 1000, partial(StateError, "closed"))
    may_go, done = threading.Event(), []
    datasets = [object(), object()]

    def run(name: str) -> None:
        assert may_go.wait(DEADLOCK_SECONDS)
        done.append(name)

    try:
        for i in range(400):
            dataset = datasets[i % 2]
            pool.submit(Job(partial(run, f"{i}"), 1, dataset, ((i, i + 1), (0, 1))))
        assert n_compared == [0]

        again = Job(partial(run, "again"), 1, datasets[0], ((398, 399), (0, 1)))
        waiting = threading.Thread(target=pool.submit, args=(again,), daemon=True)
        waiting.start()
        pool.submit(Job(partial(run, "scalar"), 1, object(), ()))
        may_go.set()
        waiting.join(DEADLOCK_SECONDS)
        pool.wait()
    finally:
        may_go.set()
        pool.close()
    assert n_compared[0] >= 400  # of the chunk that is written again
    assert sorted(done) == sorted([*(f"{i}" for i in range(400)), "again", "scalar"])
    assert done.index("again") > done.index("398")


def test_bytes_of_jobs_that_are_done_are_free_again() -> None:
    pool = Pool(2, 10, partial(StateError, "closed"))
    done: list[int] = []

    def submit() -> None:
        for i in range(300):
            nbytes = (3, 10, 25)[i % 3]  # the last is larger than the budget: it runs alone
            pool.submit(Job(partial(done.append, i), nbytes, pool, ((i, i + 1),)))
        pool.wait()

    try:
        submitting = threading.Thread(target=submit, daemon=True)
        submitting.start()
        submitting.join(DEADLOCK_SECONDS)
        assert not submitting.is_alive(), "it waits for bytes that nobody uses"
    finally:
        pool.close()
    assert sorted(done) == list(range(300))
