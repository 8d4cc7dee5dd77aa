"""``Dataset.part_writer``: other processes write blocks of a dataset of an open file; h5py reads what they wrote."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import BlockError, LimitError, SinkError, SpecError, StateError
from streamh5.handles.part_writer import PartWriter
from streamh5.sinks.leases import SHARE
from streamh5.sinks.memory import MemorySink
from streamh5.write.part_records import PartRecords
from streamh5.write.summary import SharedFigures, WriteSummary
from tests.deadlock import DEADLOCK_SECONDS

VALUES = np.arange(8 * 100 * 30, dtype="i4").reshape(800, 30)
START_METHODS = multiprocessing.get_all_start_methods()


@contextmanager
def one_process(method: str = "spawn") -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        yield pool


def written(pool: ProcessPoolExecutor, part: PartWriter, block: Any, origin: Any) -> PartRecords:
    """Write a block in the process of a pool."""
    return pool.submit(part.write, block, origin).result(DEADLOCK_SECONDS)


def values(path: Path, name: str = "x") -> Any:
    with h5py.File(path) as file:
        return file[name][...]


def summary_of(file: streamh5.File) -> WriteSummary:
    assert file.summary is not None
    return file.summary


def shared_of(file: streamh5.File) -> SharedFigures:
    shared = summary_of(file).shared
    assert shared is not None
    return shared


# what runs in other processes


def write_and_die(part: PartWriter) -> None:
    part.write(VALUES[:100], (0, 0))
    os._exit(1)


def write_in_a_fork(part: PartWriter) -> tuple[PartRecords, PartRecords]:
    """Write a block, fork, and write the next one in the fork."""
    mine = part.write(VALUES[:100], (0, 0))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(DEADLOCK_SECONDS)
        os.write(writing, pickle.dumps(part.write(VALUES[100:200], (100, 0))))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return mine, pickle.loads(os.read(reading, 1 << 16))


def write_until_refused(part: PartWriter, begun: Path) -> str:
    while True:
        try:
            part.write(VALUES[:100], (0, 0))
        except StateError as error:
            return str(error)
        begun.touch()


def wait_for_file(path: Path) -> None:
    pause = threading.Event()
    for _ in range(DEADLOCK_SECONDS * 100):
        if path.exists():
            return
        pause.wait(0.01)
    raise TimeoutError(path)


# the tests


@pytest.mark.filterwarnings("ignore:.*fork.*may lead to deadlocks in the child:DeprecationWarning")
@pytest.mark.parametrize("method", START_METHODS)
def test_two_processes_write_while_threads_of_the_owner_write(method: str, tmp_path: Path) -> None:
    rows = np.arange(50_000, dtype="f8").reshape(1000, 50)

    def append() -> None:
        for start in range(0, 1000, 30):
            y.append(rows[start : start + 30])

    with one_process(method) as a, one_process(method) as b, streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("g/x", VALUES.shape, "i4", chunks=(50, 30), compression="gzip")
        y = file.create_dataset("y", (None, 50), "f8", chunks=(70, 50), compression="gzip")
        part = x.part_writer(n_processes=2)
        results = [
            pool.submit(part.write, VALUES[start : start + 100], (start, 0))
            for start, pool in zip(range(0, 700, 100), [a, b] * 4, strict=False)
        ]
        thread = threading.Thread(target=append)
        thread.start()
        for result in results:
            x.record_part(result.result(DEADLOCK_SECONDS))
        x[700:] = VALUES[700:]  # this process writes the same dataset, too
        thread.join(DEADLOCK_SECONDS)
    assert np.array_equal(values(tmp_path / "a.h5", "g/x"), VALUES)
    assert np.array_equal(values(tmp_path / "a.h5", "y"), rows)
    assert streamh5.verify(tmp_path / "a.h5").ok
    assert os.listdir(tmp_path) == ["a.h5"]
    shared = shared_of(file)
    assert shared.n_writers == 2
    assert shared.n_leases >= 3


def test_addition_to_a_file_is_written_by_a_process(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        file["old"] = 7
    with streamh5.File(tmp_path / "a.h5", "a") as file, one_process() as pool:
        x = file.create_dataset("x", (100, 30), "i4", chunks=(50, 30))
        x.record_part(written(pool, x.part_writer(), VALUES[:100], (0, 0)))
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES[:100])
    assert values(tmp_path / "a.h5", "old") == 7
    assert streamh5.verify(tmp_path / "a.h5").ok


def test_length_of_an_unlimited_dataset_is_the_end_of_its_last_part(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file, one_process() as pool:
        x = file.create_dataset("x", (None, 30), "i4", chunks=(50, 30), fillvalue=-1)
        part = x.part_writer()
        for start in (300, 0):
            x.record_part(written(pool, part, VALUES[start : start + 100], (start, 0)))
        with pytest.raises(BlockError, match="whole chunks"):
            part.write(VALUES[400:420], (400, 0))
    expected = np.full((400, 30), -1)
    expected[:100], expected[300:] = VALUES[:100], VALUES[300:400]
    assert np.array_equal(values(tmp_path / "a.h5"), expected)


def test_rows_beyond_the_maximum_length_are_refused(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (None, 30), "i4", chunks=(50, 30), maxshape=(120, 30))
        part = x.part_writer()
        with pytest.raises(BlockError, match=r"200 rows exceed its maxshape \(120, 30\)"):
            x.record_part(part.write(VALUES[100:200], (100, 0)))
        x.record_part(part.write_direct_chunk((100, 0), VALUES[100:150].tobytes()))
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"].maxshape == (120, 30)
        assert found["x"].shape == (120, 30)
        assert np.array_equal(found["x"][100:], VALUES[100:120])


def test_more_chunks_than_hdf5_has_are_refused(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (None,), "i1", chunks=(1,))
        part = x.part_writer()
        with pytest.raises(LimitError, match="chunks that a dataset can have"):
            x.record_part(part.write(np.zeros(1, "i1"), (2**32,)))
    assert values(tmp_path / "a.h5").shape == (0,)


def test_filtered_chunks_of_a_process_are_stored_unchanged(tmp_path: Path) -> None:
    stored = zlib.compress(VALUES[:50].tobytes())
    with streamh5.File(tmp_path / "a.h5", "w") as file, one_process() as pool:
        x = file.create_dataset("x", (100, 30), "i4", chunks=(50, 30), compression="gzip", shuffle=False)
        part = x.part_writer()
        for args in (((0, 0), stored), ((50, 0), VALUES[50:100].tobytes(), 1)):
            x.record_part(pool.submit(part.write_direct_chunk, *args).result(DEADLOCK_SECONDS))
        with pytest.raises(BlockError, match="x"):
            part.write_direct_chunk((3, 0), stored)
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES[:100])
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"].id.read_direct_chunk((0, 0)) == (0, stored)
        assert found["x"].id.read_direct_chunk((50, 0))[0] == 1


def test_strings_of_variable_length_are_written_by_a_process(tmp_path: Path) -> None:
    words = np.array([f"wört {i}" * (i % 40) for i in range(200)], object)
    with streamh5.File(tmp_path / "a.h5", "w") as file, one_process() as pool:
        x = file.create_dataset("x", (200,), str, chunks=(50,), compression="gzip")
        y = file.create_dataset("y", (200,), str, chunks=(50,))
        part = x.part_writer()
        x.record_part(written(pool, part, words[:100], (0,)))
        y[:] = words
        x.record_part(written(pool, part, words[100:], (100,)))
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"].asstr()[...].tolist() == words.tolist()
        assert found["y"].asstr()[...].tolist() == words.tolist()
    assert streamh5.verify(tmp_path / "a.h5").ok


def test_empty_chunks_of_a_process_are_left_out_and_counted(tmp_path: Path) -> None:
    block = VALUES[:200].copy()
    block[50:150] = 0
    with streamh5.File(tmp_path / "a.h5", "w") as file, one_process() as pool:
        x = file.create_dataset("x", (200, 30), "i4", chunks=(50, 30), write_empty_chunks=False)
        x.record_part(written(pool, x.part_writer(), block, (0, 0)))
    (summary,) = summary_of(file).datasets
    assert (summary.n_missing, summary.n_empty) == (2, 2)
    assert np.array_equal(values(tmp_path / "a.h5"), block)


@pytest.mark.parametrize("write_empty_chunks", [True, False])
def test_chunk_written_twice_has_the_content_entered_last(write_empty_chunks: bool, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset(
            "x", (200, 30), "i4", chunks=(50, 30), fillvalue=3, write_empty_chunks=write_empty_chunks
        )
        part = x.part_writer()
        first, second = part.write(VALUES[:100], (0, 0)), part.write(VALUES[100:200], (0, 0))
        empty = part.write(np.full((50, 30), 3, "i4"), (0, 0))
        x.record_part(second)
        x.record_part(first)
        x.record_part(empty)
        x[100:] = VALUES[100:200]
        x.record_part(part.write(np.full((50, 30), 3, "i4"), (100, 0)))
    found = values(tmp_path / "a.h5")
    assert np.array_equal(found[50:100], VALUES[50:100])
    assert np.array_equal(found[150:], VALUES[150:200])
    assert (found[:50] == 3).all()
    assert (found[100:150] == 3).all()
    assert streamh5.verify(tmp_path / "a.h5").ok


def test_records_passed_twice_change_nothing(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (100, 30), "i4", chunks=(50, 30))
        records = x.part_writer().write(VALUES[:100], (0, 0))
        x.record_part(records)
        x.record_part(records)
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES[:100])
    assert streamh5.verify(tmp_path / "a.h5").ok


def test_records_of_another_dataset_or_write_are_refused(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "b.h5", "w") as other:
        y = other.create_dataset("x", (100, 30), "i4", chunks=(50, 30))
        of_another_write = y.part_writer().write(VALUES[:100], (0, 0))
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (100, 30), "i4", chunks=(50, 30))
        z = file.create_dataset("z", (100, 30), "i4", chunks=(50, 30))
        with pytest.raises(BlockError, match="needs what a part_writer of this dataset"):
            x.record_part(of_another_write)
        for wrong in (z.part_writer().write(VALUES[:100], (0, 0)), None, 3, ("x",)):
            with pytest.raises(BlockError, match="/x: record_part needs what a part_writer of this dataset"):
                x.record_part(wrong)  # type: ignore[arg-type]
        z.append(VALUES[:10])
        with pytest.raises(BlockError, match="use either append or part_writer"):
            z.record_part(z.part_writer().write(VALUES[:100], (0, 0)))


def test_blocks_that_do_not_fit_are_refused_before_they_are_written(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (100, 30), "i4", chunks=(50, 30))
        part = x.part_writer()
        for block, origin, message in (
            (VALUES[:100], (50, 0), "exceeds the dataset"),
            (VALUES[:20], (0, 0), "whole chunks"),
            (VALUES[:50], (10, 0), "whole chunks"),
            (VALUES[:50], (0,), "2 dimensions"),
            (VALUES[:50] + 0.5, (0, 0), "x"),
        ):
            with pytest.raises(BlockError, match=message):
                part.write(block, origin)
    assert summary_of(file).shared is None  # nobody took a lease


@pytest.mark.parametrize("end", ["close", "abort", "suspend"])
def test_part_is_refused_after_the_end_of_the_file(end: str, tmp_path: Path) -> None:
    with one_process() as pool, one_process() as late:
        file = streamh5.File(tmp_path / "a.h5", "w")
        x = file.create_dataset("x", VALUES.shape, "i4", chunks=(50, 30))
        part = x.part_writer()
        records = written(pool, part, VALUES[:100], (0, 0))
        x.record_part(records)
        getattr(file, end)()
        with pytest.raises(StateError, match="has ended"):
            written(pool, part, VALUES[:100], (100, 0))
        with pytest.raises(SinkError, match="this machine does not see"):
            written(late, part, VALUES[:100], (100, 0))
        with pytest.raises(StateError):
            x.record_part(records)
        with pytest.raises(StateError):
            x.part_writer()
    left = {"close": ["a.h5"], "abort": [], "suspend": ["a.h5.partial", "a.h5.partial.journal"]}
    assert sorted(os.listdir(tmp_path)) == left[end]


def test_abort_while_a_process_writes_ends_it(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with one_process() as pool:
        file = streamh5.File(tmp_path / "a.h5", "w")
        part = file.create_dataset("x", VALUES.shape, "i4", chunks=(50, 30)).part_writer()
        result = pool.submit(write_until_refused, part, begun)
        wait_for_file(begun)
        file.abort()
        assert "has ended" in result.result(DEADLOCK_SECONDS)
    assert os.listdir(tmp_path) == ["begun"]


def test_process_that_dies_between_write_and_record_leaves_only_unused_space(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", VALUES.shape, "i4", chunks=(50, 30), compression=None)
        part = x.part_writer(n_processes=1)
        with one_process() as pool, pytest.raises(BrokenProcessPool):
            pool.submit(write_and_die, part).result(DEADLOCK_SECONDS)
        with one_process() as pool:
            for start in range(0, 800, 100):
                x.record_part(written(pool, part, VALUES[start : start + 100], (start, 0)))
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES)
    assert streamh5.verify(tmp_path / "a.h5").ok
    shared = shared_of(file)
    assert shared.n_writers == 2
    assert shared.unused_nbytes >= VALUES[:100].nbytes


def test_fork_of_a_process_that_writes_takes_leases_of_its_own(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file, one_process() as pool:
        x = file.create_dataset("x", (200, 30), "i4", chunks=(50, 30))
        records = pool.submit(write_in_a_fork, x.part_writer()).result(DEADLOCK_SECONDS)
        assert len({one.writer for one in records}) == 2
        for one in records:
            x.record_part(one)
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES[:200])
    assert streamh5.verify(tmp_path / "a.h5").ok


KILLED_OWNER = """
import multiprocessing, os, signal, sys
from pathlib import Path
import numpy as np
import streamh5

if __name__ == "__main__":
    signal.alarm(int(sys.argv[2]))
    values = np.arange(24_000, dtype="i4").reshape(800, 30)
    file = streamh5.File(sys.argv[1], "w", resume=True)
    x = file.create_dataset("x", (800, 30), "i4", chunks=(50, 30), compression="gzip")
    part = x.part_writer()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for start in range(0, 400, 100):
            records = pool.apply(part.write, (values[start : start + 100], (start, 0)))
            x.record_part(records)
            print(*records.records["address"], flush=True)
    part.write(values[400:500], (400, 0))  # written, and never entered
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_resume_after_the_owner_was_killed_keeps_what_has_its_checksum(tmp_path: Path) -> None:
    path, script = tmp_path / "a.h5", tmp_path / "owner.py"
    script.write_text(KILLED_OWNER)
    command = [sys.executable, str(script), str(path), str(DEADLOCK_SECONDS)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=2 * DEADLOCK_SECONDS, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    addresses = [int(one) for one in run.stdout.split()]
    assert len(addresses) == 8
    assert (tmp_path / "a.h5.partial.leases").is_dir()
    with open(
        tmp_path / "a.h5.partial", "r+b"
    ) as data:  # as if the page cache of another machine had been lost
        data.seek(addresses[2])
        data.write(bytes(20))
    with streamh5.File(path, "w", resume=True) as file:
        assert not (tmp_path / "a.h5.partial.leases").exists()
        x = file.create_dataset("x", (800, 30), "i4", chunks=(50, 30), compression="gzip")
        stored = [x.is_stored((row, 0), (50, 30)) for row in range(0, 800, 50)]
        assert stored == [True, True, False, *[True] * 5, *[False] * 8]
        part = x.part_writer()
        for row, is_stored in zip(range(0, 800, 50), stored, strict=True):
            if not is_stored:
                x.record_part(part.write(VALUES[row : row + 50], (row, 0)))
    assert np.array_equal(values(path), VALUES)
    assert streamh5.verify(path).ok
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "owner.py"]


def test_checkpoint_is_refused_while_processes_may_write(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (100, 30), "i4", chunks=(50, 30))
        file.checkpoint()
        x.part_writer()
        with pytest.raises(StateError, match=r"while other processes write to it \(part_writer\)"):
            file.checkpoint()
        x[:] = VALUES[:100]
    assert np.array_equal(values(tmp_path / "a.h5"), VALUES[:100])


@pytest.mark.parametrize("destination", [io.BytesIO, MemorySink])
def test_destination_that_is_not_a_path_is_refused(destination: Any) -> None:
    with streamh5.File(destination(), "w") as file:
        x = file.create_dataset("x", (100, 30), "i4", chunks=(50, 30))
        with pytest.raises(
            SinkError, match="cannot be written by several processes, because it is not a path"
        ):
            x.part_writer()
        x[:] = VALUES[:100]


def test_dataset_that_is_overwritten_in_place_or_has_no_chunks_is_refused(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        early = file.create_dataset(
            "early", (100, 30), "i4", chunks=(50, 30), compression=None, alloc_time="early"
        )
        with pytest.raises(SpecError, match="/early has chunks that are overwritten in place"):
            early.part_writer()
        with pytest.raises(SpecError, match="/whole has no chunks"):
            file.create_dataset("whole", (100,), "i4", chunks=None).part_writer()
    assert summary_of(file).shared is None


@pytest.mark.parametrize("n_processes", [0, -1, 2.0, "2", True])
def test_number_of_processes_that_is_not_positive_is_refused(n_processes: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (100, 30), "i4", chunks=(50, 30))
        with pytest.raises(SpecError, match="n_processes must be "):
            x.part_writer(n_processes=n_processes)


def test_path_is_the_name_under_which_processes_see_the_file(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").symlink_to("here")
    with streamh5.File(tmp_path / "here" / "a.h5", "w") as file, one_process() as pool:
        x = file.create_dataset("x", (100, 30), "i4", chunks=(50, 30))
        part = x.part_writer(path=tmp_path / "there" / "a.h5")
        x.record_part(written(pool, part, VALUES[:100], (0, 0)))
        with one_process() as other, pytest.raises(SinkError, match=r"does not see /nowhere/a\.h5\.partial"):
            written(other, x.part_writer(path="/nowhere/a.h5"), VALUES[:100], (0, 0))
    assert np.array_equal(values(tmp_path / "here" / "a.h5"), VALUES[:100])


@pytest.mark.parametrize("dtype", ["i4", str, [("a", "f8", (3,)), ("b", "S5")]])
def test_pickle_of_a_part_is_small(dtype: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("group/x", (10**6, 10**6), dtype, chunks=(50, 30), compression="gzip")
        part = x.part_writer()
        assert len(pickle.dumps(part)) < 2048
        assert pickle.loads(pickle.dumps(part)).__reduce__()[1][0] == part.__reduce__()[1][0]


def test_figures_count_leases_and_unused_bytes(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file, one_process() as pool:
        x = file.create_dataset("x", VALUES.shape, "i4", chunks=(50, 30), compression=None)
        part = x.part_writer(n_processes=1)
        for start in range(0, 800, 100):
            x.record_part(written(pool, part, VALUES[start : start + 100], (start, 0)))
    shared = shared_of(file)
    assert (shared.n_writers, shared.n_leases, shared.rewritten_nbytes) == (1, 8, 0)
    assert shared.unused_nbytes <= summary_of(file).file_nbytes / SHARE
    assert summary_of(file).to_dict()["shared"]["n_leases"] == 8
    assert "written by 1 process in 8 leases" in str(shared)


def test_salvaged_index_lies_behind_all_leases_where_a_process_may_still_write(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2, 1 << 20), "u1")
    file = streamh5.File(tmp_path / "a.h5", "w")
    x = file.create_dataset("x", (2, 1 << 20), "u1", chunks=(1, 1 << 20))
    part = x.part_writer()
    x.record_part(part.write(noise[:1], (0, 0)))
    part.write(noise[1:], (1, 0))  # the process dies before it tells
    file.suspend()
    end_of_leases = (tmp_path / "a.h5.partial").stat().st_size
    assert end_of_leases > 2 << 20
    summary = streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "b.h5")
    assert summary.file_nbytes >= end_of_leases
    assert np.array_equal(values(tmp_path / "b.h5"), [noise[0], np.zeros(1 << 20)])


def test_relative_path_of_other_processes_stays_relative(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (4,), "i4", chunks=(2,)).part_writer()
        seen = file.session.sharing.begin(n_writers=1).seen_as("a.h5")
    assert (seen.path, seen.folder) == ("a.h5.partial", "a.h5.partial.leases")


def test_addition_after_an_aborted_one_leaves_the_leases_of_its_processes_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, "w") as file:
        file["x"] = np.arange(10)
    for _ in range(2):
        file = streamh5.File(path, "a")
        y = file.create_dataset("y", (100, 30), "i4", chunks=(50, 30), compression=None)
        record = y.part_writer().write(np.ones((50, 30), "i4"), (0, 0)).records[0]
        file.abort()
        assert sorted(os.listdir(tmp_path)) == ["a.h5", "a.h5.partial.leases.old"]
        streamh5.File(path, "a").abort()  # one that is not shared does not forget them
    with streamh5.File(path, "a") as file:
        file.create_dataset("y", data=np.full((100, 30), 7), chunks=(50, 30), compression="gzip")
    assert os.listdir(tmp_path) == ["a.h5"]
    with open(path, "r+b") as raw:  # the process was suspended in its write call, and wakes up
        raw.seek(record["address"])
        raw.write(b"\xff" * int(record["stored_nbytes"]))
    with h5py.File(path) as judge:
        assert judge["x"][...].tolist() == list(range(10))
        assert (judge["y"][...] == 7).all()
