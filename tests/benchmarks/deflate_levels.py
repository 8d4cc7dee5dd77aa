"""Speed and ratio of every deflate engine and level: what the tables of docs/filters.md come from.

    python tests/benchmarks/deflate_levels.py [--levels | --shuffle | --noise | --choice] [--chunk-kib 4096 64 16]
        [NETCDF ...]

Each column is one kind of data, byte shuffled as streamh5 does by default; each cell is MB/s of one
thread and the ratio. Without ``--levels`` rows are the engines' own settings, with it they are
``compression_opts`` 1 to 9 beside zlib. ``--shuffle`` prints instead, a kind of data a row, gzip level 4
without and with shuffle, in chunks of 4 MiB; ``--noise`` the same with ISA-L alone and with noise stored
(`streamh5.filters.deflate_stretches`), and ``--choice`` what is chosen for each kind of data and chunk size
(`streamh5.filters.deflate_settings`), beside every fixed setting of ISA-L. The float variables of
the netCDF files given join the synthetic columns, one column a file; topography also comes as int16.
"""

from __future__ import annotations

import argparse
import itertools
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import deflate
import netCDF4
import numpy as np
from isal import igzip_lib

from streamh5.filters import FilterChain, FilterOptions, deflate_engine
from streamh5.filters.base import RawChunk
from streamh5.filters.deflate import DEFAULT_LEVEL, deflate_encoder
from streamh5.filters.registry import set_up_filter

Array = np.ndarray[Any, Any]
Encoder = Callable[[Any], Any]
MAX_CHUNKS = 64  # of the small sizes, spread over the data


def synthetic(n: int = 1 << 20) -> Iterator[tuple[str, Array]]:
    """Yield 4 MiB of a noisy smooth field, of a drifting rounded signal, and of photon counts."""
    rng = np.random.default_rng(0)
    t = np.linspace(0, 60, n)
    yield "smooth f4 + noise", (280 + 10 * np.sin(3 * t) + rng.normal(0, 0.01, n)).astype("f4")
    walk = 10 * np.sin(t) + np.cumsum(rng.normal(0, 0.01, n)) + rng.normal(0, 0.05, n)
    yield "signal f4, 2 digits", np.round(walk, 2).astype("f4")
    yield "counts u2", rng.poisson(np.exp(2 + 2 * np.sin(t))).astype("u2")


def more_types(n: int = 1 << 19) -> Iterator[tuple[str, Array]]:
    """Yield other types for ``--shuffle``: sorted keys, labels in runs, wide counts, wide floats."""
    rng = np.random.default_rng(1)
    yield "sorted keys i8", np.cumsum(rng.integers(0, 50, n))
    yield "labels in runs i4", np.repeat(rng.integers(0, 5000, n // 64), 64).astype("i4")
    yield "counts u4", rng.poisson(np.exp(2 + 2 * np.sin(np.linspace(0, 60, n)))).astype("u4")
    yield "smooth f8 + noise", np.sin(np.linspace(0, 60, n)) + rng.normal(0, 1e-6, n)


def real(path: Path) -> Iterator[tuple[str, Array]]:
    """Yield the float fields of one netCDF file as float32, and topography as int16 too."""
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        fields = [v[:].ravel() for v in file.variables.values() if v.ndim > 1 and v.dtype.kind == "f"]
    values = np.concatenate(fields).astype("f4")
    yield f"{path.stem} f4", values
    if np.abs(values).max() < 2**15:
        yield f"{path.stem} i2", values.astype("i2")


def chunked(values: Array, chunk_nbytes: int) -> list[bytes]:
    """Cut into shuffled chunks, at most ``MAX_CHUNKS`` of them."""
    n = chunk_nbytes // values.itemsize
    shuffle = set_up_filter(2, (), RawChunk(values.dtype, (n,), chunk_nbytes))
    starts = range(0, max(1, len(values) - n + 1), n)
    step = -(-len(starts) // MAX_CHUNKS)
    return [bytes(shuffle.encode(values[start : start + n].view(np.uint8))) for start in starts[::step]]


def engines() -> Iterator[tuple[str, Encoder]]:
    """Yield every engine and setting that could be chosen."""
    for level in (1, 4, 6, 9):
        yield f"zlib {level}", partial(zlib.compress, level=level)
    for level, memory in itertools.product((0, 1, 2, 3), ("MIN", "SMALL", "MEDIUM", "LARGE")):
        options = {"flag": igzip_lib.COMP_ZLIB, "mem_level": getattr(igzip_lib, f"MEM_LEVEL_{memory}")}
        yield f"isal {level} {memory.lower()}", partial(igzip_lib.compress, level=level, **options)
    for level in range(1, 13):
        yield f"libdeflate {level}", partial(deflate.zlib_compress, compresslevel=level)


def levels() -> Iterator[tuple[str, Encoder]]:
    """Yield ``compression_opts`` 1 to 9 as streamh5 writes them, with zlib 1, 4, 6 and 9 beside them."""
    for level in range(1, 10):
        yield f"**{level}** {deflate_engine(level)}", deflate_encoder(level)
        if level in (1, 4, 6, 9):
            yield f"zlib {level}", partial(zlib.compress, level=level)


def cell(encode: Encoder, chunks: list[Any]) -> str:
    """Measure one encoder on one kind of data: best of five passes."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        stored = sum(len(encode(chunk)) for chunk in chunks)
        seconds.append(time.perf_counter() - start)
    nbytes = sum(memoryview(chunk).nbytes for chunk in chunks)
    return f"{nbytes / min(seconds) / 1e6:.0f} / {nbytes / stored:.3f}"


def _first_of_batch(chain: FilterChain, rows: Array) -> Any:
    return chain.encode_rows(rows).buffers[0]


def shuffle_on_or_off(data: dict[str, Array]) -> None:
    """Print gzip level 4 of the first 4 MiB without and with shuffle."""
    print("| data | gzip | gzip and shuffle |\n| --- | --- | --- |")
    for name, values in data.items():
        raw = values.view(np.uint8)[: 4 << 20]
        cells = []
        for shuffle in (False, True):
            chain = FilterOptions(compression="gzip", shuffle=shuffle).chain(values.dtype, raw.size)
            cells.append(cell(partial(_first_of_batch, chain), [raw[np.newaxis]]))
        print(f"| {name} | {cells[0]} | {cells[1]} |", flush=True)


def with_noise() -> Iterator[tuple[str, Array]]:
    """Yield 4 MiB of numbers that were not rounded, for ``--noise``."""
    rng = np.random.default_rng(2)
    t = np.linspace(0, 60, 1 << 20)
    yield "unrounded f4", (280 + 10 * np.sin(3 * t) + rng.normal(0, 0.02, t.size)).astype("f4")
    half = t[::2]
    yield "unrounded f8", 280 + 10 * np.sin(3 * half) + rng.normal(0, 0.02, half.size)
    yield "normal f8", rng.normal(size=half.size)
    yield "one row again and again f8", np.tile(rng.normal(size=1024), half.size // 1024)
    yield "random u1", rng.integers(0, 256, 1 << 22).astype("u1")


def noise_stored_or_not(data: dict[str, Array]) -> None:
    """Print the first 4 MiB of shuffled data, compressed by ISA-L alone and with noise stored."""
    print("| data | ISA-L | noise stored | x as fast |\n| --- | --- | --- | --- |")
    plain = dict(engines())["isal 2 small"]
    for name, values in data.items():
        chunks = chunked(values[: (4 << 20) // values.itemsize], 4 << 20)
        cells = [cell(encode, chunks) for encode in (plain, deflate_encoder(DEFAULT_LEVEL))]
        slow, fast = (float(text.partition(" ")[0]) for text in cells)
        print(f"| {name} | {cells[0]} | {cells[1]} | {fast / slow:.2f} |", flush=True)


def more_choices(n: int = 1 << 20) -> Iterator[tuple[str, Array]]:
    """Yield 4 MiB each of data that was not used to tune the choice."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:1:1024j, 0:1:1024j]
    field = 280 + 20 * np.sin(5 * y) * np.cos(4 * x) + rng.normal(0, 0.1, x.shape)
    yield "field f4, 1 digit", np.round(field, 1).astype("f4").ravel()
    yield "field f8, 2 digits", np.round(field[:512], 2).ravel()
    yield "camera u2", (300 + 200 * np.sin(3 * x) + rng.normal(0, 15, x.shape)).astype("u2").ravel()
    yield "seismic i4", np.round(np.cumsum(rng.normal(0, 30, n))).astype("i4")
    yield "audio i2", np.round(8000 * np.sin(np.arange(2 * n) / 20) + rng.normal(0, 300, 2 * n)).astype("i2")
    yield "times ns i8", np.cumsum(rng.integers(900_000, 1_100_000, n // 2))
    yield "uniform f4, 2 digits", np.round(rng.random(n), 2).astype("f4")
    yield "labels u1", np.floor(6 * (np.sin(9 * x) * np.cos(7 * y) + 1)).astype("u1").ravel()


FIXED = "isal 2 small"
CHOICES = [f"isal {level} {memory}" for level in (1, 2) for memory in ("small", "medium", "large")]


def choice(data: dict[str, Array], chunk_kib: list[int]) -> None:
    """Print what gzip level 4 chooses, and its time and size beside those of fixed settings."""
    settings = {name: encode for name, encode in engines() if name in CHOICES}
    print(
        "| data | KiB | chosen | x as fast as a fixed setting | % larger than it | % larger than the smallest |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for (name, values), kib in itertools.product(data.items(), chunk_kib):
        chunks = chunked(values, kib << 10)
        passes = {"own": deflate_encoder(DEFAULT_LEVEL), **settings}
        seconds, nbytes = dict.fromkeys(passes, float("inf")), dict.fromkeys(passes, 0)
        for _ in range(5):
            for one, encode in passes.items():
                start = time.thread_time()
                nbytes[one] = sum([len(encode(chunk)) for chunk in chunks])
                seconds[one] = min(seconds[one], time.thread_time() - start)
        over_fixed, over_smallest = (
            100 * (nbytes["own"] / other - 1) for other in (nbytes[FIXED], min(nbytes.values()))
        )
        speed = seconds[FIXED] / seconds["own"]
        chosen = ", ".join(sorted({chosen_for(chunk, settings) for chunk in chunks}))
        print(
            f"| {name} | {kib} | {chosen} | {speed:.2f} | {over_fixed:+.1f} | {over_smallest:+.1f} |",
            flush=True,
        )


def chosen_for(chunk: bytes, settings: dict[str, Encoder]) -> str:
    """Return the setting that gives the same stream."""
    stream = bytes(deflate_encoder(DEFAULT_LEVEL)(chunk))
    same = [name for name, encode in settings.items() if encode(chunk) == stream]
    return same[-1].removeprefix("isal ") if same else "some noise stored"


def main() -> None:
    """Print one Markdown table a chunk size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("netcdf", nargs="*", type=Path)
    parser.add_argument("--levels", action="store_true")
    parser.add_argument("--shuffle", action="store_true")
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--choice", action="store_true")
    parser.add_argument("--chunk-kib", nargs="+", type=int, default=[4096, 64, 16])
    arguments = parser.parse_args()
    data = dict(itertools.chain(synthetic(), *map(real, arguments.netcdf)))
    if arguments.shuffle:
        return shuffle_on_or_off({**data, **dict(more_types())})
    if arguments.noise:
        return noise_stored_or_not({**dict(with_noise()), **data})
    if arguments.choice:
        return choice({**data, **dict(with_noise()), **dict(more_choices())}, arguments.chunk_kib)
    for kib in arguments.chunk_kib:
        chunks = {name: chunked(values, kib * 1024) for name, values in data.items()}
        print(f"\n{kib} KiB chunks, MB/s / ratio\n")
        print("|", " | ".join(["engine", *data]), "|")
        print("|", " | ".join(["---"] * (len(data) + 1)), "|")
        for name, encode in levels() if arguments.levels else engines():
            print("|", " | ".join([name, *(cell(encode, one) for one in chunks.values())]), "|", flush=True)


if __name__ == "__main__":
    main()
