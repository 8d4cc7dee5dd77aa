"""Real processes: kill -9, Ctrl-C, a disk that is full, folders that refuse, locks."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import DestinationBusyError, SinkError
from tests.deadlock import DEADLOCK_SECONDS, press_ctrl_c
from tests.faults import work
from tests.faults.tally import tried

ROOT = Path(__file__).parents[2]


def run_kills(tmp_path: Path, n: int, seed: int, kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.nursery", tmp_path / "nursery", str(n), str(seed), kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) == n
    tried("kill -9 at a random moment", n)


@pytest.mark.parametrize("kind", ["dask", "stream", "batch"])
def test_killed_writer_leaves_old_file_and_is_resumed(tmp_path: Path, kind: str) -> None:
    run_kills(tmp_path, 4, 1, kind)


@pytest.mark.campaign
@pytest.mark.parametrize(("kind", "n"), [("dask", 100), ("stream", 60), ("batch", 40)])
def test_writer_killed_many_times_leaves_old_file_and_is_resumed(tmp_path: Path, kind: str, n: int) -> None:
    run_kills(tmp_path, n, 2, kind)


def start(code: str, path: Path) -> subprocess.Popen[str]:
    """Run code in a process of its own; `path` is its only argument."""
    program = "import sys, time, signal, os, threading, numpy as np, dask.array as da, streamh5\npath = sys.argv[1]\n"
    # set also because jobs in the background of a shell, and their children, ignore Ctrl-C
    program += textwrap.dedent("""
        interrupted = threading.Event()
        def interrupt(*arguments):
            if not interrupted.is_set():
                interrupted.set()
                raise KeyboardInterrupt
        signal.signal(signal.SIGINT, interrupt)
    """)
    return subprocess.Popen(
        [sys.executable, "-c", program + textwrap.dedent(code), str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


CTRL_C = {
    "dask": """
        def slow(block, block_id):
            os.write(1, b"block\\n")  # at once: threads
            if block_id[0] >= FIRST_THAT_WAITS:
                interrupted.wait()
            return block + 1
        x = da.zeros((40, 10), chunks=(1, 10)).map_blocks(slow, dtype="f8", name="slow")
        streamh5.to_fixed_h5(path, "/x", x, resume=RESUME)
    """,
    "append": """
        with streamh5.File(path, "w", resume=RESUME) as file:
            x = file.create_dataset("x", (None, 10), "f8", chunks=(1, 10), compression="gzip")
            for i in range(x.n_appended, 40):
                x.append(np.ones(10))
                print("block", flush=True)
                if i >= FIRST_THAT_WAITS:
                    time.sleep(3600)
    """,
    "close": """
        from streamh5.sinks.local_file import LocalFileSink
        commit = LocalFileSink.commit
        def slow_commit(self, nbytes):
            print("block", flush=True)
            if FIRST_THAT_WAITS < 40:
                time.sleep(3600)
            commit(self, nbytes)
        LocalFileSink.commit = slow_commit
        with streamh5.File(path, "w", resume=RESUME) as file:
            x = file.create_dataset("x", (40, 10), "f8", chunks=(1, 10))
            x[...] = np.ones((40, 10))
    """,
}


@pytest.mark.parametrize("where", CTRL_C)
@pytest.mark.parametrize("resume", [False, True])
def test_ctrl_c_publishes_nothing_and_keeps_what_is_to_be_resumed(
    tmp_path: Path, where: str, resume: bool
) -> None:
    path = tmp_path / "out.h5"
    code = CTRL_C[where].replace("RESUME", str(resume))
    process = start(code.replace("FIRST_THAT_WAITS", "20"), path)
    assert process.stdout is not None
    for _ in range(1 if where == "close" else 8):
        assert process.stdout.readline() == "block\n"
    _, errors = press_ctrl_c(process)
    assert "KeyboardInterrupt" in errors
    assert not path.exists()
    assert sorted(one.name for one in tmp_path.iterdir()) == (
        ["out.h5.partial", "out.h5.partial.journal"] if resume or where != "dask" else []
    )
    process = start(code.replace("FIRST_THAT_WAITS", "40"), path)
    output, errors = process.communicate(timeout=DEADLOCK_SECONDS)
    assert process.returncode == 0, errors
    if resume and where != "close":
        assert output.count("block") < 40, "finished blocks are not computed again"
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][...], np.ones((40, 10)))
    tried("Ctrl-C")


def test_signals_during_writes_do_no_harm(tmp_path: Path) -> None:
    code = """
        caught = []
        signal.signal(signal.SIGALRM, lambda *_: caught.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        with streamh5.File(path, "x", threads=2, sync="batch") as file:
            x = file.create_dataset("x", (100, 200_000), "f8", chunks=(1, 200_000))
            for i in range(100):
                x[i] = np.full(200_000, i)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(len(caught))
    """
    output, errors = start(code, tmp_path / "out.h5").communicate(timeout=DEADLOCK_SECONDS)
    assert int(output) > 10, errors
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["x"][:, ::1000], np.repeat(np.arange(100), 200).reshape(100, 200))
    tried("write under a storm of signals (EINTR)")


def full_disk(path: Path) -> None:
    """Write until there is no room; the error is ours."""
    with streamh5.File(path, "w", resume=True, threads=1) as file:
        x = file.create_dataset("x", (None, 1000), "f8", chunks=(1, 1000))
        for i in range(x.n_appended, 200):
            x.append(np.full(1000, i + 1))


def check_full_disk_can_be_resumed(path: Path) -> None:
    work.check_old(path)
    assert Path(f"{path}.partial").stat().st_size > 0
    full_disk(path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][:, 5], np.arange(200) + 1)


@pytest.mark.parametrize("limit", [10_000, 500_001, 1_601_000])
def test_file_size_limit_is_our_error_and_is_resumed_when_lifted(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "out.h5"
    work.write_old(path)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(SinkError) as caught:
            full_disk(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.errno == errno.EFBIG
    check_full_disk_can_be_resumed(path)
    tried("file size limit (RLIMIT_FSIZE)")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte, where this process may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no permission to mount a small tmpfs; the file size limit stands in for it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_our_error_and_is_resumed_when_there_is_room(small_disk: Path) -> None:
    path = small_disk / "out.h5"
    work.write_old(path)
    with pytest.raises(SinkError) as caught:
        full_disk(path)
    assert caught.value.errno == errno.ENOSPC
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    check_full_disk_can_be_resumed(path)
    tried("ENOSPC of a real file system")


def test_read_only_folder_is_our_error_before_any_work(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    for parent in (folder, *folder.parents):
        if parent == Path("/tmp"):
            break
        if parent != folder:
            parent.chmod(0o755)
    code = """
        streamh5.File  # imported before the user changes, who may not read this package
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            streamh5.File(path, "w")
        except streamh5.errors.SinkError as error:
            print(error)
    """
    output, errors = start(code, folder / "out.h5").communicate(timeout=DEADLOCK_SECONDS)
    assert "no permission to write in" in output, errors
    assert not list(folder.iterdir())
    tried("folder without permission")


def test_second_writer_is_refused_and_the_lock_of_a_killed_one_is_free(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    code = """
        file = streamh5.File(path, "w", resume=True)
        x = file.create_dataset("x", (4, 10), "f8", chunks=(1, 10))
        x[0:2] = np.ones((2, 10))
        print("ready", flush=True)
        time.sleep(3600)
    """
    process = start(code, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for resume in (False, True):
        with pytest.raises(DestinationBusyError, match="another writer"):
            streamh5.File(path, "w", resume=resume)
    with pytest.raises(DestinationBusyError):
        streamh5.salvage(f"{path}.partial")
    process.kill()
    process.communicate()
    with streamh5.File(path, "w", resume=True) as file:
        x = file.create_dataset("x", (4, 10), "f8", chunks=(1, 10))
        assert x.is_stored((0, 0), (2, 10))
        x[2:4] = np.ones((2, 10))
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["x"][...], np.ones((4, 10)))
    tried("second writer")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_written_unguarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    work.write(tmp_path / "out.h5", checkpoint=True)
    work.check_complete(tmp_path / "out.h5")
    tried("file system without locks")


def test_checkpoints_are_read_by_another_process_while_writing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, h5py\n"
            "for name in sys.stdin:\n"
            "    with h5py.File(name.strip(), locking=True) as file:\n"
            "        print(file['rows'].shape[0], int(file['rows'][...].sum()), flush=True)\n",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdin is not None
    assert reader.stdout is not None
    with streamh5.File(path, threads=2) as file:
        rows = file.create_dataset("rows", (None, 3), "i8", chunks=(2, 3), compression="gzip")
        for n in range(20):
            rows.append(np.full((2, 3), n))
            snapshot = file.checkpoint()
            reader.stdin.write(f"{snapshot}\n")
            reader.stdin.flush()
            assert reader.stdout.readline().split() == [str(2 * n + 2), str(6 * n * (n + 1) // 2)]
    reader.communicate(timeout=DEADLOCK_SECONDS)
    assert not snapshot.exists()
    tried("checkpoint read by another process", 20)


def test_snapshot_survives_abort_and_begins_anew_without_it(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    file = streamh5.File(path)
    rows = file.create_dataset("rows", (None, 3), "i8", chunks=(2, 3))
    rows.append(np.ones((4, 3), "i8"))
    snapshot = file.checkpoint()
    file.abort()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.h5.snapshot"]
    with streamh5.File(path) as other:
        other["x"] = np.arange(1000)
        with h5py.File(snapshot) as read:
            np.testing.assert_array_equal(read["rows"][...], np.ones((4, 3)))
    with h5py.File(snapshot) as read:
        np.testing.assert_array_equal(read["rows"][...], np.ones((4, 3)))


def test_checkpoint_costs_no_more_than_its_index(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "out.h5") as file:
        x = file.create_dataset("x", (4000, 64), "f8", chunks=(1, 64))
        x[...] = np.ones((4000, 64))
        before = file.session._engine.end_of_file
        file.checkpoint()
        grown = file.session._engine.end_of_file - before
    assert 4000 * 8 < grown < 4000 * 8 + 4000, grown


def test_kill_between_reader_and_writer_leaves_no_lock_of_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    with streamh5.File(path, "w") as file:
        file["x"] = np.arange(10)
        snapshot = file.checkpoint()
        with h5py.File(snapshot, locking=True) as reader:  # HDF5 locks the file, not the journal
            time.sleep(0.01)
            file["y"] = np.arange(5)
            np.testing.assert_array_equal(reader["x"][...], np.arange(10))
    with h5py.File(path) as read:
        assert sorted(read) == ["x", "y"]
