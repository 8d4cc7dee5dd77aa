"""HDF5 to HDF5 with other chunks: ``streamh5 convert`` beside ``h5repack``, and where the time goes.

``python -m tests.benchmarks.rechunk [--mib 128] [--rounds 3] [--works "rows to squares"] [--dir /tmp]`` prints two
tables. Both commands run in processes of their own and write the same filters (shuffle, gzip 4); h5diff compares the
first results with the source. Runs are interleaved, every other round goes backwards, and ratios are taken within a
round. streamh5 makes durable what it writes, h5repack does not. The second table is the processor time of each part of
a call in one thread, in milliseconds for 4 MiB of elements. ``--codecs`` compares the decoders of gzip and shuffle.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import deflate
import h5py
import numpy as np
from isal import isal_zlib

import streamh5
from streamh5.conversion.hdf5 import decoded_regions
from streamh5.conversion.hdf5.chunk_reader import StoredChunkReader
from streamh5.dask.stored_chunks import BlockEncoding
from streamh5.filters import chain as chains
from streamh5.filters import deflate as gzip
from streamh5.filters.chunk_decoder import chunk_decoder
from streamh5.filters.registry import Filter
from streamh5.filters.shuffle import shuffle_rows, unshuffle
from streamh5.format.filter_pipeline import FilterRecord
from tests.benchmarks.machine import warm_page_cache
from tests.real_data import real_arrays

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]


class Work(NamedTuple):
    """Elements, and their chunks in the source and in the copy; None for a contiguous source."""

    values: Callable[[int], np.ndarray[Any, Any]]
    source: tuple[int, ...] | None
    target: tuple[int, ...]


def noisy(nbytes: int) -> np.ndarray[Any, Any]:
    """Return a smooth field with noise, rounded to hundredths."""
    n_rows = nbytes // (4 * 4096)
    rows, columns = np.mgrid[:n_rows, :4096].astype("f4") / 100
    noise = np.random.default_rng(0).normal(0, 0.05, (n_rows, 4096)).astype("f4")
    return np.round(280 + 10 * np.sin(rows) * np.cos(columns) + noise, 2)


def steps(nbytes: int) -> np.ndarray[Any, Any]:
    """Return noisy steps of 20 KiB each, as `hdf5_copy` does."""
    walk = np.random.default_rng(0).normal(size=(64, 40, 128)).cumsum(axis=2).astype("f4")
    return np.resize(walk, (nbytes // walk[0].nbytes // 200 * 200, 40, 128))


def relief(nbytes: int) -> np.ndarray[Any, Any]:
    """Return NOAA's relief of the Earth, repeated."""
    rose = next(values for name, values in real_arrays() if "etopo20" in name and values.ndim == 2)
    frame = np.resize(rose.astype("f4"), (512, 1024))
    return np.resize(frame, (nbytes // frame.nbytes, *frame.shape))


WORKS = {
    "4 MiB to 1 MiB": Work(noisy, (256, 4096), (64, 4096)),
    "64 KiB to 1 MiB": Work(noisy, (4, 4096), (64, 4096)),
    "20 KiB to 4 MiB": Work(steps, (1, 40, 128), (200, 40, 128)),
    "rows to squares": Work(noisy, (2, 4096), (512, 512)),
    "squares to squares": Work(noisy, (384, 384), (512, 512)),
    "contiguous to 1 MiB": Work(noisy, None, (64, 4096)),
    "relief: frames to columns": Work(relief, (1, 512, 1024), (32, 64, 64)),
}


def make_source(path: Path, work: Work, nbytes: int) -> None:
    values = work.values(nbytes)
    filters: dict[str, Any] = {} if work.source is None else {"compression": "gzip", "compression_opts": 4}
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=work.source, shuffle=bool(filters), **filters)


def repack(source: Path, target: Path, work: Work) -> list[Any]:
    filters = ["-f", "x:SHUF", "-f", "x:GZIP=4"] if work.source is None else []
    return ["h5repack", "-l", f"x:CHUNK={'x'.join(map(str, work.target))}", *filters, source, target]


def convert(source: Path, target: Path, work: Work) -> list[Any]:
    filters = ["--compression", "gzip=4"] if work.source is None else []
    chunks = ",".join(map(str, work.target))
    return [sys.executable, "-m", "streamh5", "convert", "--chunks", chunks, *filters, source, target]


def run(command: list[Any]) -> tuple[float, float]:
    """Return seconds by the clock, and of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(name: str, work: Work, source: Path, n_rounds: int) -> None:
    """Print the row of a work."""
    commands = {"h5repack": repack, "streamh5": convert}
    seconds: dict[str, list[tuple[float, float]]] = {key: [] for key in commands}
    sizes = {}
    for number in range(n_rounds):
        for key in list(commands)[:: 1 if number % 2 else -1]:
            target = source.with_name(f"{key}.h5")
            os.sync()
            warm_page_cache(source.parent, source.stat().st_size)
            seconds[key].append(run(commands[key](source, target, work)))
            sizes[key] = target.stat().st_size
            if number == 0 and key == "streamh5":
                subprocess.run(["h5diff", source, target], check=True)
            target.unlink()
    ratios = [
        statistics.median(a[which] / b[which] for a, b in zip(*seconds.values(), strict=True))
        for which in (0, 1)
    ]
    shortest = [min(one[which] for one in times) for which in (0, 1) for times in seconds.values()]
    figures = " | ".join(f"{one:.2f}" for one in [*shortest, *ratios, sizes["streamh5"] / sizes["h5repack"]])
    print(f"| {name} | {figures} |", flush=True)


class Parts:
    """Processor time of the functions that a call spends its time in, without that of those inside them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, what: str, function: Any) -> Any:
        """Return the function, with its time added to a part."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            start = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.thread_time() - start
                self.seconds[what] += spent - self._inner.pop()
                self._inner[-1] += spent

        return call


def profile(name: str, work: Work, source: Path) -> None:
    """Print the processor time of each part of a call."""
    parts = Parts()
    wrapped: list[tuple[Any, str, str]] = [
        (BlockEncoding, "__call__", "block"),
        (decoded_regions.DecodedRegions, "__call__", "assemble"),
        (decoded_regions, "unshuffle", "unshuffle"),
        (decoded_regions._GroupDecoder, "place", "assemble"),
        (StoredChunkReader, "_read_into", "read"),
        (gzip, "_inflate", "inflate"),
        (chains, "shuffle_rows", "shuffle"),
    ]
    kept = [(owner, key, getattr(owner, key)) for owner, key, _ in wrapped]
    decode, encode = gzip.ROW.decode, Filter.__init__
    try:
        for owner, key, what in wrapped:
            setattr(owner, key, parts.timed(what, getattr(owner, key)))
        object.__setattr__(gzip.ROW, "decode", parts.timed("inflate", decode))

        def with_timed(self: Filter, filter_id: int, values: Any, encoder: Any, *rest: Any) -> None:
            encode(self, filter_id, values, parts.timed("deflate", encoder), *rest)

        Filter.__init__ = with_timed  # type: ignore[assignment, method-assign]
        filters: dict[str, Any] = {"compression": "gzip"} if work.source is None else {}
        start = time.process_time()
        whole = parts.timed("plan, index, rest", streamh5.convert)
        target = source.with_name("profile.h5")
        done = whole(source, target, chunks=work.target, scheduler="synchronous", progress=False, **filters)
        total = time.process_time() - start
        target.unlink()
    finally:
        for owner, key, function in kept:
            setattr(owner, key, function)
        object.__setattr__(gzip.ROW, "decode", decode)
        Filter.__init__ = encode  # type: ignore[method-assign]
    scale = 1000 * (4 << 20) / done.summary.nbytes
    row = " | ".join(f"{parts.seconds[part] * scale:.2f}" for part in PARTS)
    print(f"| {name} | {row} | {total * scale:.2f} |", flush=True)


PARTS = ("read", "inflate", "unshuffle", "assemble", "shuffle", "deflate", "block", "plan, index, rest")


def codecs() -> None:
    """Print the shortest times of decoders, in milliseconds for 4 MiB."""
    print(
        "\n| chunk | zlib | ISA-L | libdeflate | streamh5 | unshuffle | by a transposed copy |\n"
        + "|---" * 7
        + "|"
    )
    for kib in (20, 64, 1024, 4096):
        row = noisy(4 << 20).view(np.uint8).reshape(-1)[: kib << 10].reshape(1, -1)
        planes = np.empty_like(row)
        shuffle_rows(row, planes, 4)
        times = " | ".join(f"{shortest(way) * 4096 / kib:.2f}" for way in decoders(planes))
        print(f"| {kib} KiB | {times} |", flush=True)


def decoders(planes: np.ndarray[Any, Any]) -> list[Callable[[], object]]:
    """Return ways to inflate a chunk, and to unshuffle it."""
    stored, n = zlib.compress(planes.tobytes(), 4), planes.nbytes
    elements, decode = (
        np.empty(n // 4, "f4"),
        chunk_decoder([FilterRecord(1, "deflate", 1, (4,))], 0, n).decode,
    )
    parts = planes.reshape(4, -1)
    return [
        lambda: zlib.decompress(stored, bufsize=n),
        lambda: isal_zlib.decompress(stored, bufsize=n),
        lambda: deflate.zlib_decompress(stored, n),
        lambda: decode(stored),
        lambda: unshuffle(parts, elements),
        parts.T.tobytes,
    ]


def shortest(way: Callable[[], object]) -> float:
    """Return milliseconds."""
    times = []
    for _ in range(30):
        start = time.thread_time()
        way()
        times.append(time.thread_time() - start)
    return 1000 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.rechunk", description=__doc__)
    parser.add_argument("--mib", type=int, default=128, help="size of the elements")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--codecs", action="store_true")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    names = [name for name in WORKS if name in arguments.works.split(",")]
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        source = Path(folder, "in.h5")
        print(
            "| work | h5repack, s | streamh5, s | h5repack, processor s | streamh5 | ratio | of processor time "
            "| size |\n" + "|---" * 8 + "|"
        )
        for name in names if arguments.rounds else ():
            make_source(source, WORKS[name], arguments.mib << 20)
            compare(name, WORKS[name], source, arguments.rounds)
        print(f"\n| work | {' | '.join(PARTS)} | all |\n|{'---|' * (len(PARTS) + 2)}")
        for name in names:
            make_source(source, WORKS[name], arguments.mib << 20)
            profile(name, WORKS[name], source)
    if arguments.codecs:
        codecs()


if __name__ == "__main__":
    main()
