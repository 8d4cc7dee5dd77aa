"""Threads that write, close and give up at random: nobody waits for ever, every error is ours, files are whole."""

from __future__ import annotations

import faulthandler
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import StateError, StreamH5Error
from tests.deadlock import DEADLOCK_SECONDS

N_SAMPLE = 60
N_CAMPAIGN = 2000


@pytest.fixture(autouse=True)
def _switching() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Threads:
    """Threads whose errors are kept; one that does not end is a failure, with the stacks of all."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._go = threading.Event()

    def start(self, call: Callable[[], Any], n: int = 1) -> None:
        def run() -> None:
            self._go.wait()
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - judged below
                self.errors.append(error)

        for _ in range(n):
            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            self._threads.append(thread)

    def join(self) -> None:
        self._go.set()
        for thread in self._threads:
            thread.join(DEADLOCK_SECONDS)
            if thread.is_alive():
                faulthandler.dump_traceback()
                pytest.fail(f"{sum(t.is_alive() for t in self._threads)} threads wait for ever")

    def check(self) -> None:
        """Every error is ours."""
        for error in self.errors:
            if not isinstance(error, StreamH5Error):
                raise error


SIZE = 64

KINDS = ["append", "append", "region", "dataset", "item", "group", "attribute", "link", "checkpoint"]


class Work:
    """One file and what was done to it for sure: calls that came back are in the file, others are not or whole."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.random = random.Random(seed)
        self.n_threads = self.random.randint(4, 32)
        self.file = streamh5.File(
            path,
            keep="never",
            threads=self.random.randint(1, 3),
            max_memory=self.random.choice([600, 4000, 10**6]),
        )
        gzip: Any = self.random.choice([None, "gzip"])
        chunk = self.random.choice([1, 2, 3])
        self.rows = self.file.create_dataset(
            "rows", (None, SIZE), "i8", chunks=(chunk, SIZE), compression=gzip
        )
        self.grid = self.file.create_dataset("grid", (SIZE, SIZE), "i8", chunks=(8, SIZE), compression=gzip)
        self.done: list[tuple[str, Any]] = []
        self.summaries: list[Any] = []
        self.is_aborted = False

    def calls(self, number: int, seed: int) -> None:
        """What one thread does until the file is at its end."""
        choose = random.Random(seed)
        for i in range(choose.randint(1, 12)):
            name = f"{number}-{i}"
            value = choose.randint(1, 10**6)
            match choose.choice(KINDS):
                case "append":
                    self.rows.append(np.full((choose.randint(1, 4), SIZE), value))
                    self.done.append(("rows", value))
                case "region":
                    self.grid[8 * (number % 8) : 8 * (number % 8) + 8] = value
                case "dataset":
                    shape = choose.choice([(3,), (40, 30), (300, 40)])
                    gzip: Any = choose.choice([None, "gzip"])
                    self.file.create_dataset(name, data=np.full(shape, value), compression=gzip)
                    self.done.append(("dataset", name))
                case "item":
                    self.file[name] = np.full(5, value)
                    self.done.append(("dataset", name))
                case "group":
                    self.file.create_group(f"g/{name}").attrs["value"] = value
                    self.done.append(("group", f"g/{name}"))
                case "attribute":
                    self.file.attrs[name] = value
                    self.done.append(("attribute", name))
                case "link":
                    self.file[f"link {name}"] = h5py.SoftLink("/rows")
                    self.done.append(("link", f"link {name}"))
                case _:
                    self.file.checkpoint(self.path.with_name("snapshot.h5"))

    def close(self) -> None:
        self.summaries.append(self.file.close())

    def abort(self) -> None:
        self.is_aborted = True
        self.file.abort()

    def check(self) -> None:
        """Judge the file with h5py."""
        if not self.path.exists():
            assert self.is_aborted
            assert not self.summaries
            return
        assert self.summaries
        assert all(one is self.summaries[0] for one in self.summaries)
        with h5py.File(self.path) as file:
            for kind, what in self.done:
                if kind == "attribute":
                    assert what in file.attrs
                elif kind == "link":
                    assert file.get(what, getlink=True).path == "/rows"
                elif kind == "rows":
                    assert what in file["rows"][:, 0]
                else:
                    assert what in file
            for name, one in file.items():
                if isinstance(one, h5py.Dataset) and name[0].isdigit():
                    values = np.unique(one[...])
                    assert len(values) == 1, name
                    assert values[0] > 0, f"{name} was published without its data"
            rows = file["rows"][...]
            assert (rows == rows[:, :1]).all()
            assert rows.size == 0 or rows.min() > 0
            grid = file["grid"][...].reshape(8, -1)
            assert all(len(np.unique(stripe)) == 1 for stripe in grid)


def one_round(path: Path, seed: int) -> None:
    work, threads = Work(path, seed), Threads()
    for number in range(work.n_threads):
        threads.start(lambda number=number: work.calls(number, seed * 100 + number))  # type: ignore[misc]
    ends = work.random.choices([work.close, work.abort], k=work.random.randint(1, 3))
    for end in ends:
        threads.start(end)
    threads.join()
    threads.check()
    work.file.abort()  # where the ends came too early
    work.check()
    path.unlink(missing_ok=True)


def test_threads_that_write_close_and_abort_at_random_end_in_whole_files(tmp_path: Path) -> None:
    for seed in range(N_SAMPLE):
        one_round(tmp_path / f"{seed}.h5", seed)
        assert not [one for one in tmp_path.iterdir() if one.name != "snapshot.h5"]


@pytest.mark.campaign
def test_long_threads_that_write_close_and_abort_at_random_end_in_whole_files(tmp_path: Path) -> None:
    for seed in range(N_SAMPLE, N_SAMPLE + N_CAMPAIGN):
        one_round(tmp_path / f"{seed}.h5", seed)


def waiting_file(path: Path) -> tuple[streamh5.File, threading.Event, threading.Event, pytest.MonkeyPatch]:
    """A file whose only thread stays in its first job until it is let go."""
    from streamh5.filters.chain import FilterChain

    is_in, may_go = threading.Event(), threading.Event()
    whole = FilterChain.encode_rows

    def slow(self: FilterChain, rows: Any) -> Any:
        is_in.set()
        assert may_go.wait(DEADLOCK_SECONDS)
        return whole(self, rows)

    patch = pytest.MonkeyPatch()
    patch.setattr(FilterChain, "encode_rows", slow)
    return streamh5.File(path, threads=1, max_memory=1000, keep="never"), is_in, may_go, patch


WAITERS: dict[str, Callable[[streamh5.File, Any], object]] = {
    "append": lambda _, x: x.append(np.ones((1, 100))),
    "region": lambda _, x: x.__setitem__(slice(0, 1), np.ones((1, 100))),
    "direct chunk": lambda _, x: x.write_direct_chunk((0, 0), b"x" * 20),
    "dataset": lambda file, _: file.create_dataset(
        "y", data=np.ones((2, 100)), chunks=(1, 100), compression="gzip"
    ),
    "checkpoint": lambda file, _: file.checkpoint(),
    "close": lambda file, _: file.close(),
}


@pytest.mark.parametrize("way", ["abort", "block that raises"])
@pytest.mark.parametrize("waiter", WAITERS)
def test_whoever_waits_when_the_write_is_given_up_gets_a_state_error(
    waiter: str, way: str, tmp_path: Path
) -> None:
    file, is_in, may_go, patch = waiting_file(tmp_path / "out.h5")
    seen: list[BaseException] = []
    began = threading.Event()

    def wait() -> None:
        began.set()
        try:
            WAITERS[waiter](file, x)
        except BaseException as error:  # noqa: BLE001 - judged below
            seen.append(error)

    def give_up() -> None:
        if way == "abort":
            file.abort()
        else:
            with pytest.raises(KeyError), file:
                raise KeyError("in the block")

    try:
        x = file.create_dataset("x", (None, 100), "f8", chunks=(1, 100), compression="gzip")
        x.append(np.ones((1, 100)))
        assert is_in.wait(DEADLOCK_SECONDS)
        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        assert began.wait(DEADLOCK_SECONDS)
        ending = threading.Thread(target=give_up, daemon=True)
        ending.start()
        waiting.join(DEADLOCK_SECONDS)  # the job in the thread is not done yet
        assert not waiting.is_alive(), "it waits for ever"
    finally:
        may_go.set()
        patch.undo()
    ending.join(DEADLOCK_SECONDS)
    assert not ending.is_alive()
    assert [type(error) for error in seen] == [StateError]
    assert not list(tmp_path.glob("out.h5*"))


BEGIN = """
import faulthandler, os, signal, sys, threading
import h5py, numpy as np, streamh5

faulthandler.dump_traceback_later(float(sys.argv[2]), exit=True)


def append(x):
    try:
        while True:
            x.append(np.ones((1, 64)))
    except streamh5.StreamH5Error:
        pass


"""


def run_rounds(script: str, folder: Path, n: int, *more: str) -> None:
    """Run `n` rounds of a script in a process of its own, whose main thread gets the signals."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script, str(folder), str(DEADLOCK_SECONDS / 2), str(n), *more],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=DEADLOCK_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


END_IN_HANDLER = """
n_refused = 0
for i in range(int(sys.argv[3])):
    file = streamh5.File(f"{sys.argv[1]}/{i}.h5", threads=1, max_memory=3000)
    refused = []

    def end(*_):
        try:
            getattr(file, sys.argv[4])()
        except streamh5.errors.StateError:
            if sys.argv[4] != "close":
                raise
            refused.append(i)

    signal.signal(signal.SIGALRM, end)
    x = file.create_dataset("x", (None, 64), "f8", chunks=(1, 64), compression=[None, "gzip"][i % 2])

    others = [threading.Thread(target=append, args=(x,)) for _ in range(i % 3)]
    for one in others:
        one.start()
    signal.setitimer(signal.ITIMER_REAL, 0.0005 + i % 30 * 0.0004)
    n = 0
    try:
        while not refused:
            x.append(np.ones((1, 64)))
            n += 1
            file.attrs["a"] = 1
            if i % 4 == 3:
                file.checkpoint()
    except streamh5.StreamH5Error:
        pass
    if sys.argv[4] == "close":
        file.close()
        n_refused += len(refused)
        with h5py.File(f"{sys.argv[1]}/{i}.h5") as made:
            assert made["x"].shape[0] >= n and made["x"][:].all()
    for one in others:
        one.join()
    if sys.argv[4] == "suspend":
        streamh5.File(f"{sys.argv[1]}/{i}.h5", "w").abort()
    left = [name for name in os.listdir(sys.argv[1]) if not name.endswith(("snapshot", ".h5"))]
    assert not left, left
assert n_refused or sys.argv[4] != "close"
"""


@pytest.mark.parametrize("n", [60, pytest.param(2000, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("how", ["abort", "suspend", "close"])
def test_end_in_a_signal_handler_in_the_midst_of_any_call_waits_for_nobody(
    how: str, n: int, tmp_path: Path
) -> None:
    run_rounds(END_IN_HANDLER, tmp_path, n, how)


CTRL_C = """
for i in range(int(sys.argv[3])):
    path = f"{sys.argv[1]}/{i}.h5"
    raised = []

    def interrupt(*_):
        raised.append(i)
        raise KeyboardInterrupt

    others, n = [], 0
    try:
        with streamh5.File(path, threads=2, max_memory=3000) as file:
            x = file.create_dataset("x", (None, 64), "f8", chunks=(1, 64), compression=[None, "gzip"][i % 2])
            others = [threading.Thread(target=append, args=(x,)) for _ in range(i % 3)]
            for one in others:
                one.start()
            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.0005 + i % 30 * 0.0004)
            while not raised:  # Python ignores what a handler raises in the midst of a destructor
                x.append(np.ones((1, 64)))
                n += 1
                file.attrs["a"] = 1
                file.create_group(f"g{x.n_appended}")
                if i % 4 == 3:
                    file.checkpoint()
    except KeyboardInterrupt:
        pass
    for one in others:
        one.join()
    made = path
    if n and not os.path.exists(path):
        made = path + ".saved.h5"
        streamh5.salvage(path + ".partial", output=made)
    if n:
        with h5py.File(made) as saved:
            rows = saved["x"][:].all(axis=1)  # that of the call that was cut off may be empty, and others behind it
            assert rows.sum() >= n, (i, n, rows)
    streamh5.File(path, "w").abort()
"""


@pytest.mark.parametrize("n", [100, pytest.param(2000, marks=pytest.mark.campaign)])
def test_ctrl_c_in_the_midst_of_any_call_leaves_nobody_waiting_and_keeps_every_row(
    n: int, tmp_path: Path
) -> None:
    run_rounds(CTRL_C, tmp_path, n)


END_WHILE_PUBLISHING = """
for i in range(int(sys.argv[3])):
    file = streamh5.File(f"{sys.argv[1]}/{i}.h5", threads=1, max_memory=3000)
    signal.signal(signal.SIGALRM, lambda *_: getattr(file, ["abort", "suspend"][i % 2])())
    x = file.create_dataset("x", (None, 64), "f8", chunks=(1, 64), compression=[None, "gzip"][i // 2 % 2])
    others = [threading.Thread(target=append, args=(x,)) for _ in range(2)]
    for one in others:
        one.start()
    signal.setitimer(signal.ITIMER_REAL, 0.002 + i % 30 * 0.0004)
    try:
        while True:
            file.checkpoint() if i % 3 else file.flush()
    except streamh5.StreamH5Error:
        pass
    for one in others:
        one.join()
    for left in os.listdir(sys.argv[1]):
        os.remove(f"{sys.argv[1]}/{left}")
"""


@pytest.mark.parametrize("n", [60, pytest.param(2000, marks=pytest.mark.campaign)])
def test_end_in_a_signal_handler_in_the_midst_of_a_flush_waits_for_nobody(n: int, tmp_path: Path) -> None:
    run_rounds(END_WHILE_PUBLISHING, tmp_path, n)
