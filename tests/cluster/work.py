"""The write on which faults are tried: blocks that tell when they are computed, and wait where a test wants them to."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import h5py
import numpy as np

from tests.cluster.processes import wait_until
from tests.deadlock import DEADLOCK_SECONDS

N_BLOCKS = 40
ROWS, COLUMNS = 32, 1000
OLD = np.arange(7)


class Event(NamedTuple):
    """What a block told: ``begin``, ``wait``, ``go`` or ``end``."""

    what: str
    block: int
    pid: int


@dataclass(frozen=True)
class Probe:
    """How a test sees and stops the computation of blocks, through a folder.

    Attributes
    ----------
    folder
        Where blocks tell what they do.
    waiting
        Blocks that wait until the gate is opened.
    seconds
        How long the computation of each block takes at least, so that faults find blocks in each state.
    deadly
        Blocks that kill the process that computes them.
    n_blocks
        Number of blocks of the array.
    """

    folder: str
    waiting: frozenset[int] = frozenset()
    seconds: float = 0.004
    deadly: frozenset[int] = frozenset()
    n_blocks: int = N_BLOCKS

    def tell(self, what: str, block: int) -> None:
        with open(f"{self.folder}/events", "ab", buffering=0) as file:  # one write, so lines stay whole
            file.write(f"{what} {block} {os.getpid()}\n".encode())

    @property
    def events(self) -> list[Event]:
        path = Path(self.folder, "events")
        lines = path.read_text().splitlines() if path.exists() else []
        return [Event(what, int(block), int(pid)) for what, block, pid in map(str.split, lines)]

    def open_gate(self) -> None:
        Path(self.folder, "gate").touch()

    def computed(self) -> Counter[int]:
        """Return how often each block was computed."""
        return Counter(event.block for event in self.events if event.what == "end")

    def wait_until(self, condition: Callable[[list[Event]], bool]) -> list[Event]:
        """Wait until the events fulfil a condition, and return them."""
        wait_until(lambda: condition(self.events), f"a state of the blocks; last: {self.events[-10:]}")
        return self.events

    def wait_for(self, what: str, n: int = 1) -> list[Event]:
        """Wait until `n` such events happened, and return all of them."""
        self.wait_until(lambda events: sum(event.what == what for event in events) >= n)
        return [event for event in self.events if event.what == what]


def probe(folder: Path, waiting: Iterable[int] = (), deadly: Iterable[int] = (), **options: Any) -> Probe:
    """Make the folder of a probe."""
    folder.mkdir(parents=True)
    return Probe(str(folder), frozenset(waiting), deadly=frozenset(deadly), **options)


def block_values(block: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(block).integers(0, 5000, (ROWS, COLUMNS), "i4") + 1


def compute_block(probe: Probe, block_id: tuple[int, ...]) -> np.ndarray[Any, Any]:
    block = block_id[0]
    probe.tell("begin", block)
    time.sleep(probe.seconds)
    gate, deadline = Path(probe.folder, "gate"), time.monotonic() + DEADLOCK_SECONDS
    if block in probe.waiting and not gate.exists():
        probe.tell("wait", block)
        while not gate.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        probe.tell("go", block)
    if block in probe.deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    values = block_values(block)
    probe.tell("end", block)
    return values


def source(probe: Probe) -> da.Array:
    """Return the array; its name is the same in all processes, so that a write can be resumed."""
    return da.map_blocks(
        compute_block,
        probe=probe,
        chunks=((ROWS,) * probe.n_blocks, (COLUMNS,)),
        dtype="i4",
        meta=np.empty((0, 0), "i4"),
        name="source-of-faults",
    )


def write_old(path: Path) -> None:
    """Put the file there that is to be replaced."""
    with h5py.File(path, "w") as file:
        file["old"] = OLD


def is_new(path: Path, n_blocks: int = N_BLOCKS) -> bool:
    """Check that the destination is the old file or the complete new one, as h5py reads it; tell which."""
    with h5py.File(path) as file:
        if "old" in file:
            np.testing.assert_array_equal(file["old"][...], OLD)
            return False
        assert file["x"].shape == (n_blocks * ROWS, COLUMNS)
        for block in range(n_blocks):
            rows = file["x"][block * ROWS : (block + 1) * ROWS]
            np.testing.assert_array_equal(rows, block_values(block), err_msg=f"block {block}")
        return True
