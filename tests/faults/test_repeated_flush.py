"""A flush or close that fails and is repeated: after a power cut in the midst of it the file is one of its generations.

The call that fails may have had its effect: a superblock that could not be confirmed may be on the disk.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest

import streamh5
from streamh5.sinks import journal_file
from tests.faults import growth
from tests.faults.growth import Start
from tests.faults.systems import Calls, installed
from tests.faults.tally import tried
from tests.faults.test_power_cut import Disk

STARTS: tuple[Start, ...] = ("addition", "new")
Effect = Literal["without effect", "with its effect"]
EFFECTS: tuple[Effect, ...] = ("without effect", "with its effect")


@pytest.fixture(autouse=True)
def _every_entry_is_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "BATCH_SECONDS", 0.0)
    monkeypatch.setattr(journal_file, "MIN_SHORTENED_NBYTES", 1)  # every flush makes the journal shorter


class Machine:
    """A folder on a disk that fails once, at one of the calls of a flush, and whose power may be cut after it."""

    def __init__(self, folder: Path, images: Path, at: int, effect: Effect, step: int) -> None:
        self.disk = Disk(folder, names_at_once=True)
        self.images: list[tuple[Path, int | None]] = []
        self.calls = Calls(self._before, self._after)
        self.promised: int | None = None
        self.n_flush = 0  # calls of `flush` so far
        self.is_flushing = self.has_failed = False
        self._folder, self._at, self._effect, self._step = images, at, effect, step
        self._n = 0

    def _before(self, number: int, name: str, arguments: tuple[Any, ...]) -> Any:
        if self.has_failed and name == "fsync":
            self._take_images(f"{number}-before")
        if not self.is_flushing or self.has_failed:
            return None
        self.n_flush += 1
        if self.n_flush - 1 != self._at:
            return None
        self.has_failed = True

        def failing(*arguments: Any) -> Any:
            if self._effect == "with its effect" and name not in ("open", "close"):
                getattr(os, name)(*arguments)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        return failing

    def _after(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        has_failed_now = self.is_flushing and self.has_failed and self._n == 0
        if not has_failed_now or self._effect == "with its effect":
            self.disk.after(number, name, arguments)
        if self.has_failed:
            self._n += 1
            if self._n % self._step == 0:
                self._take_images(f"{number}-after")

    def _take_images(self, name: str) -> None:
        for seed in (None, 0, 1):
            self.images.append((self.disk.image(self._folder / f"{name}-{seed}", seed), self.promised))


def flush(file: streamh5.File, machine: Machine, promise: int) -> None:
    """Flush, and once more if it fails; go on in any case."""
    machine.is_flushing = True
    for _ in range(2):
        with suppress(streamh5.StreamH5Error):
            file.flush()
            machine.promised = promise
            break
    machine.is_flushing = False


def grow(path: Path, start: Start, machine: Machine, **keywords: Any) -> None:
    """Make both generations; each is flushed, again after a failure, and the file is closed in the end."""
    with streamh5.File(path, "w" if start == "new" else "a", threads=1, **keywords) as file:
        if start == "new":
            growth.begin(file)
        growth.first_step(file)
        flush(file, machine, 1)
        growth.second_step(file)
        flush(file, machine, 2)


def fail_everywhere(tmp_path: Path, start: Start, effect: Effect, *, step: int, **keywords: Any) -> int:
    n_tried, at = 0, 0
    while True:
        folder, images = tmp_path / f"machine-{at}", tmp_path / f"images-{at}"
        folder.mkdir()
        images.mkdir()
        path = folder / "out.h5"
        if start == "addition":
            growth.make_base(path)
        machine = Machine(folder, images, at, effect, step)
        machine.promised = 0 if start == "addition" else None
        with installed(machine.calls):
            try:
                grow(path, start, machine, **keywords)
            except streamh5.StreamH5Error:
                assert machine.has_failed
        machine.calls.bury()
        if not machine.has_failed:
            return n_tried
        for image, at_least in [*machine.images, (folder, machine.promised)]:
            found = growth.check(image / "out.h5", start)
            assert at_least is None or (found is not None and found >= at_least), (image, found, at_least)
        n_tried += len(machine.images) + 1
        at += 1


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("effect", EFFECTS)
def test_power_cut_while_a_failed_flush_is_repeated_leaves_a_generation(
    tmp_path: Path, start: Start, effect: Effect
) -> None:
    tried("change: power cut", fail_everywhere(tmp_path, start, effect, step=20))


@pytest.mark.campaign
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("sync", ["close", "batch"])
def test_power_cut_anywhere_while_a_failed_flush_is_repeated_leaves_a_generation(
    tmp_path: Path, start: Start, effect: Effect, sync: str
) -> None:
    tried("change: power cut", fail_everywhere(tmp_path, start, effect, step=1, sync=sync))
