"""The disk as after a power cut: what was not fsynced is gone, or there in part."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.sinks import journal_file
from tests.faults import work
from tests.faults.systems import Calls, installed
from tests.faults.tally import tried

PAGE = 64  # small, so that a page cut falls into the middle of the chunks and entries here


class Disk:
    """What is durable of a folder, from its fsync calls.

    Content is durable from the fsync of its file on; names from the fsync of the folder on, or at once
    (`names_at_once`), as a journaling file system may have it.
    """

    def __init__(self, folder: Path, *, names_at_once: bool) -> None:
        self.folder = folder
        self.names_at_once = names_at_once
        self.content: dict[int, bytes] = {}
        self.names: dict[str, int] = {}
        self.sync_everything()

    def sync_everything(self) -> None:
        """Start with what is there."""
        for path in self.folder.iterdir():
            self.content[path.stat().st_ino] = path.read_bytes()
        self.names = self._names()

    def _names(self) -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in self.folder.iterdir()}

    def after(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        """Follow a system call."""
        if name != "fsync":
            return
        inode = os.fstat(arguments[0]).st_ino
        if inode == self.folder.stat().st_ino:
            self.names = self._names()
        else:
            size = os.fstat(arguments[0]).st_size
            self.content[inode] = os.pread(arguments[0], size, 0)

    def image(self, to: Path, seed: int | None) -> Path:
        """Build the folder as found after a power cut now; with a seed, some pages of the rest are there."""
        to.mkdir()
        chance = random.Random(seed)
        now = {path.stat().st_ino: path.read_bytes() for path in self.folder.iterdir()}
        for name, inode in (self._names() if self.names_at_once else self.names).items():
            durable = self.content.get(inode, b"")
            (to / name).write_bytes(
                durable if seed is None else _mixed(durable, now.get(inode, durable), chance)
            )
        return to


def _mixed(durable: bytes, now: bytes, chance: random.Random) -> bytes:
    size = chance.choice([len(durable), len(now)])
    pages = []
    for start in range(0, size, PAGE):
        source = chance.choice([durable, now])
        pages.append(source[start : start + PAGE].ljust(min(PAGE, size - start), b"\0"))
    return b"".join(pages)


@pytest.fixture
def machine_boot(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The machine restarts when the test changes the name of the boot."""
    boot = ["before"]
    monkeypatch.setattr("streamh5.recovery.resume.boot_id", lambda: boot[0])
    monkeypatch.setattr("streamh5.recovery.entry_kinds.boot_id", lambda: boot[0])
    monkeypatch.setattr(journal_file, "BATCH_SECONDS", 0.0)
    return boot


def cut_everywhere(
    tmp_path: Path, boot: list[str], *, sync: str, names_at_once: bool, had_old: bool, seeds: range, step: int
) -> int:
    folder = tmp_path / "machine"
    folder.mkdir()
    if had_old:
        work.write_old(folder / "out.h5")
    disk = Disk(folder, names_at_once=names_at_once)
    images: list[Path] = []

    def after(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        disk.after(number, name, arguments)
        if number % step == 0:
            for seed in (None, *seeds):
                images.append(disk.image(tmp_path / f"{number}-{seed}", seed))

    boot[0] = "before"
    with installed(Calls(after=after)):
        work.write(folder / "out.h5", overwrite=had_old, sync=sync, checkpoint=sync == "batch")
    boot[0] = "after"
    for image in images:
        path = image / "out.h5"
        if sync == "none":  # no promise for the destination, but the work goes on from what is right
            path.unlink(missing_ok=True)
        is_new = work.check_destination(path, had_old=had_old and sync != "none")
        if sync == "batch":
            work.check_snapshot(path)
        try:
            work.write(path, overwrite=had_old or is_new)
        except streamh5.errors.JournalError:
            # pages of a journal that was never synced: refused, and begun anew when that is asked for
            assert sync != "batch"
            work.write(path, resume=False)
        work.check_complete(path)
    return len(images)


@pytest.mark.parametrize("sync", ["close", "batch", "none"])
@pytest.mark.parametrize("names_at_once", [False, True])
def test_power_cut_leaves_old_or_complete_file_and_is_resumed(
    tmp_path: Path, machine_boot: list[str], sync: str, names_at_once: bool
) -> None:
    n = cut_everywhere(
        tmp_path, machine_boot, sync=sync, names_at_once=names_at_once, had_old=True, seeds=range(1), step=3
    )
    tried("power cut", n)


@pytest.mark.campaign
@pytest.mark.parametrize("sync", ["close", "batch", "none"])
@pytest.mark.parametrize("names_at_once", [False, True])
@pytest.mark.parametrize("had_old", [False, True])
def test_power_cut_anywhere_leaves_old_or_complete_file_and_is_resumed(
    tmp_path: Path, machine_boot: list[str], sync: str, names_at_once: bool, had_old: bool
) -> None:
    n = cut_everywhere(
        tmp_path,
        machine_boot,
        sync=sync,
        names_at_once=names_at_once,
        had_old=had_old,
        seeds=range(6),
        step=1,
    )
    tried("power cut", n)


@pytest.mark.parametrize("names_at_once", [False, True])
def test_power_cut_with_sync_batch_loses_the_last_batch_at_most(
    tmp_path: Path, machine_boot: list[str], names_at_once: bool
) -> None:
    folder = tmp_path / "machine"
    folder.mkdir()
    disk = Disk(folder, names_at_once=names_at_once)
    images: list[tuple[Path, int]] = []
    n_returned = 0

    def after(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        disk.after(number, name, arguments)
        images.append((disk.image(tmp_path / f"{number}", None), n_returned))

    machine_boot[0] = "before"
    with installed(Calls(after=after)):
        file = streamh5.File(folder / "out.h5", resume=True, sync="batch")
        rows = file.create_dataset("rows", (None, 3), "i4", chunks=(1, 3))
        for i in range(12):  # unfiltered: when append returns, the batch of its one chunk is over
            rows.append(np.full(3, i + 1))
            n_returned = i + 1
        file.suspend()
    machine_boot[0] = "after"
    for image, n in images:
        with streamh5.File(image / "out.h5", resume=True) as file:
            rows = file.create_dataset("rows", (None, 3), "i4", chunks=(1, 3))
            assert n <= rows.n_appended <= n + 1
            for i in range(rows.n_appended, 12):
                rows.append(np.full(3, i + 1))
        with h5py.File(image / "out.h5") as read:
            np.testing.assert_array_equal(read["rows"][:, 0], np.arange(12) + 1)
    tried("power cut", len(images))


@pytest.mark.parametrize("first", ["batch", "close"])
@pytest.mark.parametrize("second", ["batch", "close", "none"])
def test_claims_are_trusted_only_as_far_as_every_part_of_the_write_was_synced(
    tmp_path: Path, machine_boot: list[str], first: str, second: str
) -> None:
    path = tmp_path / "out.h5"
    for sync, boot, stop in ((first, "first", 4), (second, "second", 8)):
        machine_boot[0] = boot
        file = streamh5.File(path, resume=True, sync=sync)  # type: ignore[arg-type]
        rows = file.create_dataset("rows", (None, 100), "i4", chunks=(1, 100))
        for i in range(rows.n_appended, stop):
            rows.append(np.full(100, i + 1))
        file.suspend()
    partial = Path(f"{path}.partial")
    content = bytearray(partial.read_bytes())
    n_zeroed = 400 * (2 if second == "batch" else 3)
    if second != "batch":  # the last chunks of the second part never reached the disk
        content[-n_zeroed:] = bytes(n_zeroed)
        partial.write_bytes(content)
    machine_boot[0] = "third"
    with streamh5.File(path, resume=True) as file:
        rows = file.create_dataset("rows", (None, 100), "i4", chunks=(1, 100))
        assert rows.n_appended == (8 if second == "batch" else 5)
        for i in range(rows.n_appended, 8):
            rows.append(np.full(100, i + 1))
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["rows"][:, 99], np.arange(8) + 1)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_checksums_drop_exactly_the_chunks_that_were_lost(
    tmp_path: Path, machine_boot: list[str], compression: str | None
) -> None:
    path = tmp_path / "out.h5"
    chance = np.random.default_rng(4)
    values = chance.integers(0, 1 << 30, (16, 50))
    machine_boot[0] = "before"
    file = streamh5.File(path, resume=True, threads=1)
    grid = file.create_dataset("grid", values.shape, "i8", chunks=(1, 50), compression=compression)
    for i in range(16):
        grid[i] = values[i]
    file.session.wait()
    places = {i: (int(grid._node.table.written()[1].addresses[i])) for i in range(16)}
    file.suspend()
    lost = {3, 7, 8, 15}
    with open(f"{path}.partial", "r+b") as partial:
        for i in lost:
            partial.seek(places[i] + 20)
            partial.write(b"\0" * 8)
    machine_boot[0] = "after"
    with streamh5.File(path, resume=True) as file:
        grid = file.create_dataset("grid", values.shape, "i8", chunks=(1, 50), compression=compression)
        missing = {i for i in range(16) if not grid.is_stored((i, 0), (1, 50))}
        assert missing == lost
        for i in missing:
            grid[i] = values[i]
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["grid"][...], values)
    tried("chunk lost behind the journal's back", len(lost))


def test_partial_file_cut_short_drops_exactly_the_chunks_that_were_cut(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    file = streamh5.File(path, resume=True)
    grid = file.create_dataset("grid", (10, 100), "i4", chunks=(1, 100))
    grid[...] = np.arange(1000).reshape(10, 100) + 1
    file.suspend()
    os.truncate(f"{path}.partial", os.path.getsize(f"{path}.partial") - 1000)  # two chunks and a half
    for attempt in range(3):  # what is dropped once stays dropped, though the file has grown since
        file = streamh5.File(path, resume=True)
        grid = file.create_dataset("grid", (10, 100), "i4", chunks=(1, 100))
        assert [grid.is_stored((i, 0), (1, 100)) for i in range(10)] == [True] * 7 + [False] * (
            3 - attempt
        ) + [True] * attempt
        grid[9 - attempt] = np.arange(100) + 100 * (9 - attempt) + 1
        file.close() if attempt == 2 else file.suspend()
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["grid"][...], np.arange(1000).reshape(10, 100) + 1)


@pytest.mark.parametrize("sync", ["close", "batch"])
@pytest.mark.parametrize("resume", [False, True])
def test_failed_fsync_that_drops_the_data_takes_its_claims_back(
    tmp_path: Path, machine_boot: list[str], sync: str, resume: bool
) -> None:
    """The system may drop what it could not write, and report it once: in the same boot, nothing shows it."""
    at = 0
    while True:
        folder = tmp_path / f"{at}"
        folder.mkdir()
        work.write_old(folder / "out.h5")
        disk = Disk(folder, names_at_once=True)
        n_syncs = 0

        def before(
            number: int, name: str, arguments: tuple[Any, ...], disk: Disk = disk, at: int = at
        ) -> None:
            nonlocal n_syncs
            if name != "fsync":
                return
            n_syncs += 1
            status = os.fstat(arguments[0])
            if n_syncs == at + 1 and status.st_ino != disk.folder.stat().st_ino:
                kept = disk.content.get(status.st_ino, b"")[: status.st_size]
                os.pwrite(arguments[0], kept.ljust(status.st_size, b"\0"), 0)
                raise OSError(errno.EIO, "the disk did not take it")

        calls = Calls(before, disk.after)
        with installed(calls):
            try:
                work.write(folder / "out.h5", sync=sync, resume=resume, checkpoint=True)
            except streamh5.errors.SinkError:
                work.check_destination(folder / "out.h5", had_old=True)
        calls.bury()
        work.write(folder / "out.h5")
        work.check_complete(folder / "out.h5")
        if n_syncs <= at:
            break
        at += 1
    assert at > 2
    tried("fsync fails and the data is gone", at)
