"""Kill writers at random moments: ``python -m tests.faults.nursery FOLDER KILLS SEED KIND``.

Every writer is a fork of this process, which has streamh5 loaded and no threads, so a kill can come
as early as the first system call. Prints one line for each kill; the last line is the count of those
whose promise held.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import dask
import dask.array as da
import h5py
import numpy as np

import streamh5

N_BLOCKS = 30
BLOCK = np.arange(200 * 40, dtype="f8").reshape(200, 40)


def slow(block: np.ndarray, block_info: object = None, seconds: float = 0.003) -> np.ndarray:
    time.sleep(seconds)
    return block


def source() -> da.Array:
    x = da.arange(N_BLOCKS * 8000, chunks=8000, dtype="f8").reshape(N_BLOCKS * 200, 40)
    return x.rechunk((200, 40)).map_blocks(slow, dtype="f8", name="slow-source")


def write_dask(path: Path) -> None:
    with dask.config.set(scheduler="threads", num_workers=3):
        streamh5.to_fixed_h5(path, {"/x": source()}, overwrite=True, resume=True, attrs={"/x": {"unit": "m"}})


def write_stream(path: Path, sync: str = "close") -> None:
    with streamh5.File(path, "w", resume=True, threads=3, sync=sync) as file:  # type: ignore[arg-type]
        x = file.create_dataset("x", (None, 40), "f8", chunks=(150, 40), compression="gzip", shuffle=True)
        x.attrs["unit"] = "m"
        start = x.n_appended
        for n in range(start, N_BLOCKS * 200, 70):
            stop = min(n + 70, N_BLOCKS * 200)
            x.append(np.arange(n * 40, stop * 40, dtype="f8").reshape(-1, 40))
            if n % 3 == 0:
                file.checkpoint()
            time.sleep(0.0005)


def write_batches(path: Path) -> None:
    write_stream(path, "batch")


WRITERS: dict[str, Callable[[Path], None]] = {
    "dask": write_dask,
    "stream": write_stream,
    "batch": write_batches,
}


def check(path: Path) -> None:
    """Old file, or the complete new one."""
    with h5py.File(path) as file:
        if "old" in file:
            assert file["old"][()] == 7
            return
        whole = file["x"][...]
        assert whole.shape == (N_BLOCKS * 200, 40)
        np.testing.assert_array_equal(whole.ravel(), np.arange(N_BLOCKS * 8000))
        assert file["x"].attrs["unit"] == "m"


def forked(run: Callable[[], None]) -> int:
    """Run in a child process and return its id."""
    child = os.fork()
    if child:
        return child
    try:
        run()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - the child ends here, whatever it was
        traceback.print_exc()
        os._exit(1)


def kill(path: Path, write: Callable[[Path], None], after: float) -> bool:
    """Start a writer, kill it; tell whether it was killed before its end."""
    child = forked(lambda: write(path))
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the writer failed"
    check(path)
    snapshot = path.with_name(path.name + ".snapshot")
    if snapshot.exists():
        with h5py.File(snapshot) as file:
            rows = file["x"][...]
            assert np.all((rows.ravel() == np.arange(rows.size)) | (rows.ravel() == 0))
    return os.WIFSIGNALED(status)


def main(folder: Path, n_kills: int, seed: int, kind: str) -> int:
    chance = random.Random(seed)
    write = WRITERS[kind]
    started = time.perf_counter()
    (folder / "measure").mkdir(parents=True)
    os.waitpid(forked(lambda: write(folder / "measure" / "out.h5")), 0)
    whole = time.perf_counter() - started
    n_done = 0
    here = folder / "here"
    while n_done < n_kills:
        here.mkdir()
        path = here / "out.h5"
        with h5py.File(path, "w") as file:
            file["old"] = 7
        for _ in range(chance.choice([1, 1, 2, 3])):  # also a resumed write is killed
            if n_done < n_kills and kill(path, write, chance.uniform(0, whole)):
                n_done += 1
        _, status = os.waitpid(forked(lambda path=path: write(path)), 0)  # type: ignore[misc]
        assert status == 0, "the write could not be finished"
        check(path)
        with h5py.File(path) as file:
            assert "x" in file
        assert [one.name for one in here.iterdir() if one.name != "out.h5.snapshot"] == ["out.h5"]
        shutil.rmtree(here)
        print(n_done, flush=True)
    return n_done


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
