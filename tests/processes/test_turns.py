"""Calls that share and calls that are alone: who meets whom, in which order, and what an interruption leaves."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator

import pytest

from streamh5.processes.turns import Turns
from tests.deadlock import DEADLOCK_SECONDS

N_THREADS = 4


class Interrupted(BaseException):
    """Raised at any place, as by a signal handler."""


@pytest.fixture
def _switching() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def joined(threads: list[threading.Thread]) -> None:
    for one in threads:
        one.join(DEADLOCK_SECONDS)
        assert not one.is_alive(), "it waits for ever"


@pytest.mark.usefixtures("_switching")
def test_call_that_is_alone_meets_nobody_and_others_meet() -> None:
    turns, inside, met, wrong = Turns(), set[int](), threading.Event(), list[str]()
    both = threading.Barrier(2, timeout=DEADLOCK_SECONDS)

    def alone(me: int) -> None:
        if inside:
            wrong.append(f"{me} met {inside}")
        inside.add(me)
        turns.shared(turns.alone, inside.discard, me)  # a call within a call is part of it

    def shared(me: int) -> None:
        inside.add(me)
        if not met.is_set():
            both.wait()
            met.set()
        inside.discard(me)

    def run(me: int) -> None:
        for i in range(500):
            turns.alone(alone, me) if i % 3 == 2 else turns.shared(shared, me)

    threads = [threading.Thread(target=run, args=(me,), daemon=True) for me in range(2)]
    for one in threads:
        one.start()
    joined(threads)
    assert not wrong
    assert met.is_set()


@pytest.mark.usefixtures("_switching")
def test_thread_that_calls_in_a_loop_does_not_keep_others_waiting() -> None:
    turns, is_over = Turns(), threading.Event()

    def loop() -> None:
        while not is_over.is_set():
            turns.alone(int)

    threads = [threading.Thread(target=loop, daemon=True) for _ in range(N_THREADS)]
    for one in threads:
        one.start()
    waiting = threading.Thread(target=lambda: [turns.alone(int) for _ in range(50)], daemon=True)
    waiting.start()
    joined([waiting])
    is_over.set()
    joined(threads)


@pytest.mark.usefixtures("_switching")
def test_calls_interrupted_at_any_place_leave_nobody_waiting() -> None:
    turns, n_interrupted = Turns(), [0] * N_THREADS
    is_over = threading.Event()

    def run(me: int) -> None:
        while not is_over.is_set():
            try:
                while not is_over.is_set():
                    turns.alone(int)
                    turns.shared(int)
            except Interrupted:
                n_interrupted[me] += 1

    def safe(me: int) -> None:
        while not is_over.is_set():
            try:
                run(me)
            except Interrupted:  # outside the inner block
                n_interrupted[me] += 1

    threads = [threading.Thread(target=safe, args=(me,), daemon=True) for me in range(N_THREADS)]
    for one in threads:
        one.start()
    for i in range(300):
        target = threads[i % N_THREADS].ident
        assert target is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(target), ctypes.py_object(Interrupted))
        mine = threading.Thread(target=lambda: turns.alone(turns.shared, int), daemon=True)
        mine.start()
        joined([mine])
    is_over.set()
    joined(threads)
    assert sum(n_interrupted) > 0
