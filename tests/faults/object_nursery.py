"""Kill writers to an object store: ``python -m tests.faults.object_nursery FOLDER KILLS SEED KIND URL OPTIONS``.

As `tests.faults.nursery`: every writer is a fork of this process, which has the packages loaded and has made no
request. What the store has is looked at by forks, too. `OPTIONS` are the ``storage_options`` as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numpy as np
import s3fs

import streamh5
from streamh5.recovery.read_journal import split_entries
from streamh5.sinks import part_sizes
from streamh5.stores.open_store import open_store
from tests.faults.nursery import forked

N_BLOCKS = 48
PER_PART = 8
SMALL = (8, 10_000)
"""Chunks: 640 kB, of which each part of 5 MiB contains at least seven."""


def value(n: int) -> Any:
    """Values of a chunk of rows, which do not compress into nothing."""
    return np.arange(n * 80_000, (n + 1) * 80_000, dtype="f8").reshape(SMALL)


def write_dask(url: str, folder: Path, options: dict[str, Any]) -> None:
    counter = os.open(folder / "computed", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def compute(block_info: Any = None) -> Any:
        os.write(counter, b".")
        return value(block_info[None]["chunk-location"][0])

    chunks = ((SMALL[0],) * N_BLOCKS, (SMALL[1],))
    x = da.map_blocks(compute, chunks=chunks, dtype="f8", meta=np.zeros((0, 0)))
    with dask.config.set(scheduler="threads", num_workers=2):
        streamh5.to_fixed_h5(
            url,
            "/x",
            x,
            overwrite=True,
            resume=True,
            resume_key="values",
            journal=folder / "journal",
            compression=None,
            storage_options=options,
        )


def write_stream(url: str, folder: Path, options: dict[str, Any]) -> None:
    counter = os.open(folder / "computed", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with streamh5.File(
        url, "w", resume=True, journal=folder / "journal", threads=2, storage_options=options, sync="batch"
    ) as file:
        x = file.create_dataset("x", (None, SMALL[1]), "f8", chunks=SMALL, compression=None)
        for n in range(x.n_appended // SMALL[0], N_BLOCKS):
            os.write(counter, b".")
            x.append(value(n))


WRITERS: dict[str, Callable[[str, Path, dict[str, Any]], None]] = {
    "dask": write_dask,
    "stream": write_stream,
}


def ended(child: int) -> bool:
    """Wait for a fork; tell whether it was killed."""
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a child failed"
    return os.WIFSIGNALED(status)


def look(url: str, folder: Path, options: dict[str, Any], *, is_over: bool) -> None:
    """Check, in a fork: the old object or the complete new one; and at the end nothing else."""
    system = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    key = url.removeprefix("s3://")
    if system.size(key) == 3:
        assert system.cat_file(key) == b"old"
        assert not is_over, "the old object"
    else:
        system.get_file(key, str(folder / "copy.h5"))
        with h5py.File(folder / "copy.h5") as file:
            assert file["x"].shape == (N_BLOCKS * SMALL[0], SMALL[1])
            for n in range(N_BLOCKS):
                assert np.array_equal(file["x"][n * SMALL[0] : (n + 1) * SMALL[0]], value(n))
        (folder / "copy.h5").rename(folder / "complete.h5")
    if is_over:
        assert not open_store(url, options).list_uploads(), "an upload is left"
        assert not (folder / "journal").exists(), "the journal is left"


def confirmed(folder: Path) -> int:
    """Return the number of complete parts in the journal, without the first."""
    journal = folder / "journal"
    log = journal.read_bytes() if journal.exists() else b""
    parts = [json.loads(payload) for letter, payload, _ in split_entries(log) if letter == "K"]
    return len({one["number"] for one in parts if one["number"] > 1 and one["nbytes"] == 5 << 20})


def computed(folder: Path) -> int:
    """Return, and forget, the number of blocks that were computed."""
    counter = folder / "computed"
    n = counter.stat().st_size if counter.exists() else 0
    counter.unlink(missing_ok=True)
    return n


def main(folder: Path, n_kills: int, seed: int, kind: str, url: str, options: dict[str, Any]) -> int:
    chance = random.Random(seed)
    part_sizes.PART_NBYTES = 5 << 20
    folder.mkdir()
    write = partial(WRITERS[kind], url, folder, options)
    put_old = partial(put_small, url, options)
    started = time.perf_counter()
    ended(forked(put_old))
    ended(forked(write))
    whole = time.perf_counter() - started
    computed(folder)
    n_done = 0
    while n_done < n_kills:
        ended(forked(put_old))
        complete = folder / "complete.h5"
        complete.unlink(missing_ok=True)
        for _ in range(chance.choice([1, 1, 2, 3])):  # also a resumed write is killed
            child = forked(write)
            time.sleep(chance.uniform(0, whole))
            os.kill(child, signal.SIGKILL)
            n_done += ended(child)
            ended(forked(partial(look, url, folder, options, is_over=False)))
            computed(folder)
        # killed between the completion and the end: that write is over, and the next one replaces the object
        n_confirmed = 0 if complete.exists() else confirmed(folder)
        ended(forked(write))
        n_computed = computed(folder)
        # a stream begins again at the first gap: parts that were on their way at the same time leave some
        assert kind == "stream" or n_computed <= N_BLOCKS - (PER_PART - 1) * n_confirmed, (
            n_computed,
            n_confirmed,
        )
        ended(forked(partial(look, url, folder, options, is_over=True)))
        print(n_confirmed, n_computed, n_done, flush=True)
    return n_done


def put_small(url: str, options: dict[str, Any]) -> None:
    """Put an old object there."""
    s3fs.S3FileSystem(**options, skip_instance_cache=True).pipe_file(url.removeprefix("s3://"), b"old")


if __name__ == "__main__":
    _, where, n, chosen, name, target, given = sys.argv
    print(main(Path(where), int(n), int(chosen), name, target, json.loads(given)))
