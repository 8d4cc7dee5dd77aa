"""Size of blocks and number of requests with which an object in a store is read; reads of HDF5's page buffer.

    python -m tests.benchmarks.object_reads

A store is simulated: an answer begins after 30 ms and comes at 80 MB/s, as from S3 in the same region. Three files:
200 datasets with attributes by streamh5; the same by h5py with old structures, whose metadata lies between its data;
one dataset of 128 MiB.

Then the reads of h5py that opens and lists 200 datasets, with a page buffer (``page_buf_size``) and without, of files
with pages of several sizes, and how much the pages let the file grow.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import streamh5
from streamh5.check.verify import verify_source
from streamh5.errors import StoreError
from streamh5.reader import object_source
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_content import read_file_content
from streamh5.stores.base import StoredObject
from tests.readers.page_buffer import CountingFile, page_nbytes

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


def ours(path: Path, page: Any = None) -> None:
    with streamh5.File(path, "x", page=page) as file:
        made = [
            file.create_dataset(f"x{i}", SHAPE, "u2", chunks=CHUNKS, compression="gzip")
            for i in range(N_DATASETS)
        ]
        for i, dataset in enumerate(made):
            dataset.attrs["number"] = i
        for i, dataset in enumerate(made):
            dataset[...] = np.random.default_rng(i).integers(0, 1 << 16, SHAPE, "u2")


def old(path: Path, **keywords: Any) -> None:
    with h5py.File(path, "x", **{"libver": "earliest", **keywords}) as file:
        for i in range(N_DATASETS):
            data = np.random.default_rng(i).integers(0, 1 << 16, SHAPE, "u2")
            dataset = file.create_dataset(f"x{i}", data=data, chunks=CHUNKS, compression="gzip")
            dataset.attrs["number"] = i


def large(path: Path) -> None:
    with streamh5.File(path, "x") as file:
        data = np.random.default_rng(0).integers(0, 256, (128, 1 << 20), "u1")
        file.create_dataset("x", data=data, chunks=(1, 1 << 20), compression="gzip", compression_opts=1)


def list_with_h5py(path: Path, **keywords: Any) -> int:
    """Return the number of reads with which h5py opens a file and lists shapes, filters, attributes and chunks."""
    source = CountingFile(path)
    with h5py.File(source, **keywords) as file:
        for dataset in file.values():
            dict(dataset.attrs), dataset.chunks, dataset.compression
            dataset.id.get_chunk_info(dataset.id.get_num_chunks() - 1)
    return len(source.reads)


def print_pages(folder: Path) -> None:
    """Print reads and growth of files with pages."""
    path = folder / "pages.h5"
    ways: dict[str, Callable[[], None]] = {
        "streamh5": lambda: ours(path),
        **{
            f"streamh5, page={page!r}": lambda page=page: ours(path, page)  # type: ignore[misc]
            for page in (True, 4096, "64 KiB", "1 MiB", "8 MiB")
        },
        "h5py": lambda: old(path),
        "h5py, libver='latest'": lambda: old(path, libver="latest"),
        **{
            f"h5py, fs_page_size={size}": lambda size=size: old(  # type: ignore[misc]
                path, libver="latest", fs_strategy="page", fs_page_size=size
            )
            for size in (4096, 1 << 20, 8 << 20)
        },
    }
    plain = 0
    for name, write in ways.items():
        write()
        nbytes, plain = path.stat().st_size, plain or path.stat().st_size
        reads = list_with_h5py(path)
        buffered = "-"
        if page_nbytes(path):
            buffered = str(list_with_h5py(path, page_buf_size=64 << 20))
        growth = 100 * (nbytes / plain - 1)
        print(
            f"{name:30} {nbytes:11,} bytes ({growth:+6.3f} %), {reads:5} reads, {buffered:>4} with a page buffer",
            flush=True,
        )
        path.unlink()


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
        print_pages(Path(folder))
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
