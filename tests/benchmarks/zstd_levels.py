"""Speed and ratio of zstd's levels, by Python's module and by numcodecs: what the tables of docs/filters.md come from.

    python -m tests.benchmarks.zstd_levels [--kept] [--chunk-kib 4096 64 16] [NETCDF ...]

Rows and columns are those of `tests.benchmarks.deflate_levels`: each column is one kind of data, byte shuffled, each
cell MB/s of one thread and the ratio. Rows that belong together are measured in turn. ``--kept`` prints instead what a
compressor that is kept saves for each level: its speed in units of a new compressor for each chunk.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numcodecs import zstd as numcodecs_zstd

from tests.benchmarks.deflate_levels import chunked, real, synthetic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVELS = (-5, 1, 3, 4, 6, 9, 12, 19)
WITH_NUMCODECS = (-5, 1, 3, 6, 9)
SECONDS = 0.5
MIN_PASSES = 2


def measure(encoders: Sequence[Callable[[Any], Any]], chunks: list[bytes]) -> list[tuple[float, float]]:
    """Return MB/s and ratio of encoders that take turns: processor time of the fastest pass."""
    fastest = [float("inf")] * len(encoders)
    stored = [0] * len(encoders)
    stop = time.perf_counter() + SECONDS * len(encoders)
    n_passes = 0
    while n_passes < MIN_PASSES or time.perf_counter() < stop:
        for i, encode in enumerate(encoders):
            start = time.thread_time()
            stored[i] = sum(len(encode(chunk)) for chunk in chunks)
            fastest[i] = min(fastest[i], time.thread_time() - start)
        n_passes += 1
    nbytes = sum(map(len, chunks))
    return [(nbytes / seconds / 1e6, nbytes / n) for seconds, n in zip(fastest, stored, strict=True)]


def print_row(*cells: str) -> None:
    print("|", " | ".join(cells), "|", flush=True)


def python_encoder(level: int) -> Callable[[Any], Any]:
    compressor = zstd.ZstdCompressor(level)
    return partial(compressor.compress, mode=compressor.FLUSH_FRAME)


def print_levels(columns: Sequence[list[bytes]]) -> None:
    for level in LEVELS:
        encoders = {f"Python {level}": python_encoder(level)}
        if level in WITH_NUMCODECS:
            encoders[f"numcodecs {level}"] = partial(numcodecs_zstd.compress, level=level)
        measured = [measure(list(encoders.values()), chunks) for chunks in columns]
        for i, name in enumerate(encoders):
            print_row(name, *(f"{column[i][0]:.0f} / {column[i][1]:.3f}" for column in measured))


def print_gain_of_kept_compressors(columns: Sequence[list[bytes]]) -> None:
    for level in range(1, 13):
        kept = python_encoder(level)
        measured = [measure((kept, partial(zstd.compress, level=level)), chunks) for chunks in columns]
        print_row(str(level), *(f"{with_kept / alone:.2f}" for (with_kept, _), (alone, _) in measured))


def main() -> None:
    """Print one Markdown table a chunk size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("netcdf", nargs="*", type=Path)
    parser.add_argument("--kept", action="store_true")
    parser.add_argument("--chunk-kib", nargs="+", type=int, default=[4096, 64, 16])
    arguments = parser.parse_args()
    data = dict(itertools.chain(synthetic(), *map(real, arguments.netcdf)))
    for kib in arguments.chunk_kib:
        print(f"\n**{kib} KiB chunks**\n")
        print_row("level", *data)
        print_row(*["---"] * (len(data) + 1))
        columns = [chunked(values, kib * 1024) for values in data.values()]
        (print_gain_of_kept_compressors if arguments.kept else print_levels)(columns)


if __name__ == "__main__":
    main()
