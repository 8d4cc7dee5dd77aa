"""Size of blocks and number of requests with which an object in a store is read.

    python -m tests.benchmarks.object_reads

A store is simulated: an answer begins after 30 ms and comes at 80 MB/s, as from S3 in the same region. Three files:
200 datasets with attributes by streamh5; the same by h5py with old structures, whose metadata lies between its data;
one dataset of 128 MiB.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

import streamh5
from streamh5.check.verify import verify_source
from streamh5.errors import StoreError
from streamh5.reader import object_source
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_content import read_file_content
from streamh5.stores.base import StoredObject

N_DATASETS = 200
SHAPE, CHUNKS = (512, 256), (64, 256)  # 256 KiB, in 8 chunks
SECONDS, BYTES_PER_SECOND = 0.03, 80e6


class SimulatedObject:
    """An object whose answers take time, as those of a store do."""

    url = "simulated://object"

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.n_requests = 0

    def read_start(self, nbytes: int) -> tuple[StoredObject, bytes]:
        return StoredObject(len(self.content), "1"), self.read(0, nbytes)

    def read(self, start: int, stop: int, version: str | None = None) -> bytes:
        if version not in (None, "1"):
            raise StoreError("another version", reason="changed")
        self.n_requests += 1
        answer = self.content[start:stop]
        time.sleep(SECONDS + len(answer) / BYTES_PER_SECOND)
        return answer


def ours(path: Path) -> None:
    with streamh5.File(path, "x") as file:
        made = [
            file.create_dataset(f"x{i}", SHAPE, "u2", chunks=CHUNKS, compression="gzip")
            for i in range(N_DATASETS)
        ]
        for i, dataset in enumerate(made):
            dataset.attrs["number"] = i
        for i, dataset in enumerate(made):
            dataset[...] = np.random.default_rng(i).integers(0, 1 << 16, SHAPE, "u2")


def old(path: Path) -> None:
    with h5py.File(path, "x", libver="earliest") as file:
        for i in range(N_DATASETS):
            data = np.random.default_rng(i).integers(0, 1 << 16, SHAPE, "u2")
            dataset = file.create_dataset(f"x{i}", data=data, chunks=CHUNKS, compression="gzip")
            dataset.attrs["number"] = i


def large(path: Path) -> None:
    with streamh5.File(path, "x") as file:
        data = np.random.default_rng(0).integers(0, 256, (128, 1 << 20), "u1")
        file.create_dataset("x", data=data, chunks=(1, 1 << 20), compression="gzip", compression_opts=1)


def timed(content: bytes, act: Callable[[SimulatedObject], object]) -> str:
    store = SimulatedObject(content)
    began = time.perf_counter()
    act(store)
    return f"{time.perf_counter() - began:6.2f} s, {store.n_requests:4} requests"


def list_objects(store: SimulatedObject) -> None:
    with FileBytes(store) as file:
        read_file_content(file)


def main() -> None:
    """Print a line for each size of block, and for each number of requests at a time."""
    with tempfile.TemporaryDirectory() as folder:
        contents = {}
        for write in (ours, old, large):
            path = Path(folder, f"{write.__name__}.h5")
            write(path)
            contents[write.__name__] = path.read_bytes()
    usual = object_source.OBJECT_BLOCK_NBYTES
    for name, content in contents.items():
        for nbytes in (1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 23):
            object_source.OBJECT_BLOCK_NBYTES = nbytes
            print(
                f"{name:5} list, blocks of {nbytes >> 10:5} KiB: {timed(content, list_objects)}", flush=True
            )
        object_source.OBJECT_BLOCK_NBYTES = usual
        for jobs in (1, 2, 4, 8, 16):

            def verify(store: SimulatedObject, jobs: int = jobs) -> object:
                return verify_source(store, checksum=False, jobs=jobs, progress=False, with_h5py=False)

            print(f"{name:5} verify, {jobs:2} threads: {timed(content, verify)}", flush=True)


if __name__ == "__main__":
    main()
