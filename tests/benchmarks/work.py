"""What is written: lazily computed arrays whose blocks cost almost nothing to produce.

A work has a pool of some tens of MiB of realistic blocks, larger together than the last-level cache.
It is generated once and cached in a file; computing block ``i`` is handing out block
``i % len(pool)`` of it, as a view, so that the clock sees the writer and not the data.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import dask.array as da
    from numpy.typing import NDArray

    Block = NDArray[Any]

__all__ = ["WORKS", "Work", "load_pool", "make_array", "make_array_for_workers", "prepare_pool"]

MIB = 2**20
CLIMATOLOGY = "coads_climatology.cdf"
N_BASE_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Work:
    """One array to write, and the contenders that write it."""

    name: str
    title: str
    block: tuple[int, ...]
    """Shape of a dask block; only the first axis is blocked."""
    chunks: tuple[int, ...]
    """Shape of an HDF5 chunk; divides `block`."""
    dtype: str
    nbytes: int
    """Raw size at scale 1."""
    pool: str
    """Name in `POOLS`; works with the same pool and block share the cached file."""
    n_pool: int
    codecs: tuple[str, ...]
    """Codec families whose contenders take part, see `contenders`."""

    @property
    def block_nbytes(self) -> int:
        return math.prod(self.block) * np.dtype(self.dtype).itemsize

    @property
    def chunk_nbytes(self) -> int:
        return math.prod(self.chunks) * np.dtype(self.dtype).itemsize

    def n_blocks(self, scale: float) -> int:
        return max(4, round(self.nbytes * scale / self.block_nbytes))


def _field(seed: int, shape: tuple[int, int]) -> Block:
    """Smooth waves, instrument noise and two decimals: what shuffle and deflate meet in earth data.

    zlib level 4 after shuffle gives a ratio of 2.36, as do real temperature fields.
    """
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[0 : 1 : shape[0] * 1j, 0 : 1 : shape[1] * 1j]
    waves = np.zeros(shape)
    for _ in range(12):
        ky, kx = rng.integers(1, 9, 2)
        waves += rng.normal() * np.sin(2 * np.pi * ky * y + rng.uniform(0, 6)) * np.cos(2 * np.pi * kx * x)
    return np.round(280 + 5 * waves + rng.normal(0, 0.02, shape), 2).astype("f4")


def _counts(seed: int, shape: tuple[int, int]) -> Block:
    """Photon counts of a detector: a weak background, rings, a few bright spots."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    radius = np.hypot(y, x)
    rate = 1.5 + 6 * np.exp(-(((radius - 0.4) / 0.03) ** 2)) + 3 * np.exp(-(((radius - 0.8) / 0.05) ** 2))
    counts = rng.poisson(rate)
    spots = rng.integers(8, np.array(shape)[:, None] - 8, (2, 200))
    counts[spots[0], spots[1]] += rng.poisson(3000, 200)
    frame: Block = counts.astype("u2")
    return frame


def _frames(make: Callable[[int, tuple[int, int]], Block], work: Work, data: Path) -> Block:
    """Fill a pool with frames; beyond a few base frames, shifted copies of them."""
    frame = work.block[-2], work.block[-1]
    pool = np.empty((work.n_pool * work.block[0], *frame), work.dtype)
    n_base = min(N_BASE_FRAMES, len(pool))
    for i in range(n_base):
        pool[i] = make(i, frame)
    for i in range(n_base, len(pool)):
        pool[i] = np.roll(pool[i % n_base], 37 * i, axis=1)
    return pool


def _noise(work: Work, data: Path) -> Block:
    """Random mantissas and signs: nothing to compress."""
    rng = np.random.default_rng(0)
    noise: Block = rng.normal(size=(work.n_pool * work.block[0], *work.block[1:]))
    return noise


def _climatology(work: Work, data: Path) -> Block:
    """The COADS monthly climatology, land cells at -1e34; each block is shifted in longitude."""
    from scipy.io import netcdf_file

    if not (data / CLIMATOLOGY).exists():
        raise FileNotFoundError(f"{CLIMATOLOGY} is not in {data}: give its directory with --data")
    with netcdf_file(data / CLIMATOLOGY, mmap=False) as file:
        names = ("SST", "AIRT", "UWND", "VWND")
        fields = np.stack([file.variables[name].data for name in names]).astype("f4")
    return np.concatenate([np.roll(fields, 11 * i, axis=-1) for i in range(work.n_pool)])


POOLS: dict[str, Callable[[Work, Path], Block]] = {
    "field": partial(_frames, _field),
    "counts": partial(_frames, _counts),
    "noise": _noise,
    "climatology": _climatology,
}

COMPRESSED = ("gzip", "lzf", "zstd", "blosc")
MIB4 = (1, 1024, 1024)

WORKS = {
    work.name: work
    for work in (
        Work("a", "2 GiB float32, 4 MiB chunks", MIB4, MIB4, "f4", 2048 * MIB, "field", 16, COMPRESSED),
        Work("b", "512 MiB float32, 64 KiB chunks in 4 MiB blocks", MIB4, (1, 128, 128), "f4",
             512 * MIB, "field", 16, COMPRESSED),
        Work("c", "256 MiB float32, 16 KiB chunks in 4 MiB blocks", MIB4, (1, 64, 64), "f4",
             256 * MIB, "field", 16, COMPRESSED),
        Work("da", "2 GiB float32, 4 MiB chunks, uncompressed", MIB4, MIB4, "f4",
             2048 * MIB, "field", 16, ("none",)),
        Work("db", "512 MiB float32, 64 KiB chunks, uncompressed", MIB4, (1, 128, 128), "f4",
             512 * MIB, "field", 16, ("none",)),
        Work("dc", "256 MiB float32, 16 KiB chunks, uncompressed", MIB4, (1, 64, 64), "f4",
             256 * MIB, "field", 16, ("none",)),
        Work("e", "1 GiB uint16 detector counts, 4 MiB chunks", (2, 1024, 1024), (2, 1024, 1024), "u2",
             1024 * MIB, "counts", 16, COMPRESSED),
        Work("f", "1 GiB float64 noise, 4 MiB chunks", (1, 512, 1024), (1, 512, 1024), "f8",
             1024 * MIB, "noise", 16, COMPRESSED),
        Work("g", "1 GiB float32 climatology, 3 MiB chunks", (4, 12, 90, 180), (4, 12, 90, 180), "f4",
             1024 * MIB, "climatology", 20, COMPRESSED),
        Work("h", "2 GiB float32, 1 MiB chunks in 128 MiB blocks", (32, 1024, 1024), (1, 512, 512), "f4",
             2048 * MIB, "field", 2, COMPRESSED),
    )
}  # fmt: skip


def _pool_path(work: Work, directory: Path) -> Path:
    shape = "x".join(map(str, work.block))
    return directory / f"pool-{work.pool}-{shape}-{work.n_pool}.npy"


def prepare_pool(work: Work, directory: Path, data: Path) -> None:
    """Generate the pool of `work` in `directory` unless it is there."""
    path = _pool_path(work, directory)
    if not path.exists():
        partial_path = path.with_suffix(f".{os.getpid()}")
        with partial_path.open("wb") as file:
            np.save(file, POOLS[work.pool](work, data))
        partial_path.rename(path)


def load_pool(work: Work, directory: Path) -> Block:
    """``(n_pool, *block)`` array of `work.dtype` in memory, every page of it touched."""
    pool: Block = np.load(_pool_path(work, directory))
    return pool.reshape(work.n_pool, *work.block)


class _Producer:
    """Hands out block ``i % len(pool)``; a view, or a copy where memory is measured."""

    def __init__(self, pool: Block, *, copy: bool) -> None:
        self.pool = pool
        self.copy = copy

    def __call__(self, block_id: tuple[int, ...]) -> Block:
        block: Block = self.pool[block_id[0] % len(self.pool)]
        return block.copy() if self.copy else block

    def __dask_tokenize__(self) -> tuple[str, int]:
        # dask would hash the whole pool: no reader or computation has its data in its function.
        return "producer", id(self.pool)


def make_array(work: Work, pool: Block, n_blocks: int, *, copy: bool = False) -> da.Array:
    """Dask array of `n_blocks` blocks that are views of `pool`, or copies where memory is measured."""
    import dask.array as da

    chunks = ((work.block[0],) * n_blocks, *((n,) for n in work.block[1:]))
    meta = np.empty((0,) * len(chunks), work.dtype)
    options: dict[str, Any] = {"chunks": chunks, "dtype": work.dtype, "meta": meta}
    array: da.Array = da.map_blocks(_Producer(pool, copy=copy), **options)
    return array


@cache
def _loaded(path: Path) -> Block:
    pool: Block = np.load(path)
    return pool


class _WorkerProducer:
    """As `_Producer`, but each process that computes blocks reads the pool for itself."""

    def __init__(self, work: Work, path: Path, *, copy: bool) -> None:
        self.path = path
        self.shape = work.n_pool, *work.block
        self.copy = copy

    def __call__(self, block_id: tuple[int, ...]) -> Block:
        block: Block = _loaded(self.path).reshape(self.shape)[block_id[0] % self.shape[0]]
        return block.copy() if self.copy else block

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return "worker-producer", str(self.path), self.copy


def make_array_for_workers(work: Work, directory: Path, n_blocks: int, *, copy: bool = False) -> da.Array:
    """Return the array of `make_array`, for other processes: nothing but the name of the cached file is sent."""
    import dask.array as da

    chunks = ((work.block[0],) * n_blocks, *((n,) for n in work.block[1:]))
    meta = np.empty((0,) * len(chunks), work.dtype)
    options: dict[str, Any] = {"chunks": chunks, "dtype": work.dtype, "meta": meta}
    producer = _WorkerProducer(work, _pool_path(work, directory), copy=copy)
    array: da.Array = da.map_blocks(producer, **options)
    return array
