"""The codec calls: as an expert writes them by hand around h5py, and as the limits make them.

The limits make the codec calls alone, with the fastest shuffle that we know, and keep its memory. The expert makes the
same calls behind a strided numpy copy that splits and shuffles a block at once; those who write chunk by chunk
(`shuffle_and_deflate`) make the plain call. For gzip, both use the setting of `GZIP_SETTINGS` that
`tests.benchmarks.expert` has found to be the fastest one.
"""

from __future__ import annotations

import threading
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.filters.deflate import DEFAULT_LEVEL, deflate_encoder
from streamh5.filters.shuffle import shuffle_rows
from streamh5.filters.zstd import zstd_encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Block = NDArray[Any]
    Encode = Callable[[Block, tuple[int, ...]], list[Any]]

__all__ = ["ENCODE", "GZIP_SETTINGS", "LIMIT", "chunk_origins", "shuffle_and_deflate", "shuffled_chunks"]

ZSTD_LEVEL = 3
BLOSC_LEVEL = 5
LIMIT_BATCH_NBYTES = 2**20


def _grid(block: Block, chunks: tuple[int, ...]) -> tuple[Block, int]:
    """View of `block` as ``(*grid, *chunks)``, and the number of chunks."""
    split: list[int] = []
    for n, c in zip(block.shape, chunks, strict=True):
        split += [n // c, c]
    ndim = block.ndim
    view = block.reshape(split).transpose(*range(0, 2 * ndim, 2), *range(1, 2 * ndim, 2))
    return view, block.size // int(np.prod(chunks))


def chunk_origins(shape: tuple[int, ...], chunks: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Origins of the chunks of a block of `shape`, in the order in which `ENCODE` returns them."""
    grid = tuple(n // c for n, c in zip(shape, chunks, strict=True))
    return [tuple(i * c for i, c in zip(index, chunks, strict=True)) for index in np.ndindex(grid)]


def raw_chunks(block: Block, chunks: tuple[int, ...]) -> list[Any]:
    """Each chunk as one buffer; a block that is one chunk is not copied."""
    if block.shape == chunks:
        return [block]
    view, n_chunks = _grid(block, chunks)
    return list(np.ascontiguousarray(view).reshape(n_chunks, -1))


def shuffled_chunks(block: Block, chunks: tuple[int, ...]) -> list[Any]:
    """Each chunk after HDF5's byte shuffle."""
    view, n_chunks = _grid(block, chunks)
    octets = view[..., None].view("u1")
    ndim = block.ndim
    planes = octets.transpose(*range(ndim), 2 * ndim, *range(ndim, 2 * ndim))
    return list(np.ascontiguousarray(planes).reshape(n_chunks, -1))


def isal(chunk: Any, *, level: int, mem_level: str) -> Any:
    from isal import igzip_lib

    return igzip_lib.compress(chunk, level, igzip_lib.COMP_ZLIB, getattr(igzip_lib, mem_level))


def encode_gzip(block: Block, chunks: tuple[int, ...], *, compress: Callable[[Any], Any]) -> list[Any]:
    return [compress(chunk) for chunk in shuffled_chunks(block, chunks)]


def shuffle_and_deflate(chunk: Block) -> Any:
    """One chunk, shuffled by numpy and compressed by ISA-L as its own documentation calls it."""
    from isal import isal_zlib

    planes = np.ascontiguousarray(np.ascontiguousarray(chunk).view("u1").reshape(-1, chunk.itemsize).T)
    return isal_zlib.compress(planes, 1)


def encode_zstd(block: Block, chunks: tuple[int, ...], *, shuffle: bool) -> list[Any]:
    split = shuffled_chunks if shuffle else raw_chunks
    return [_zstd(chunk) for chunk in split(block, chunks)]


def encode_blosc(block: Block, chunks: tuple[int, ...]) -> list[Any]:
    return [_blosc(chunk) for chunk in raw_chunks(block, chunks)]


@cache
def _zstd_encoder(nbytes: int) -> Callable[[Any], Any]:
    return zstd_encoder((ZSTD_LEVEL,), nbytes)[1]


def _zstd(chunk: Any) -> Any:
    return _zstd_encoder(chunk.nbytes)(chunk)


def _blosc(chunk: Any) -> Any:
    from numcodecs import blosc

    blosc.use_threads = False
    return blosc.compress(chunk, b"lz4", BLOSC_LEVEL, blosc.SHUFFLE)


_kept = threading.local()


def _drop_raw(block: Block, chunks: tuple[int, ...], *, compress: Callable[[Any], Any]) -> None:
    for chunk in raw_chunks(block, chunks):
        compress(chunk)


def _drop_shuffled(block: Block, chunks: tuple[int, ...], *, compress: Callable[[Any], Any]) -> None:
    view, n_chunks = _grid(block, chunks)
    rows = np.ascontiguousarray(view).reshape(n_chunks, -1).view("u1")
    n_rows = max(1, LIMIT_BATCH_NBYTES // rows.shape[1])
    scratch = getattr(_kept, "scratch", None)
    if scratch is None:
        scratch = _kept.scratch = np.empty((n_rows, rows.shape[1]), "u1")
    for first in range(0, n_chunks, n_rows):
        batch = rows[first : first + n_rows]
        planes = scratch[: len(batch)]
        shuffle_rows(batch, planes, block.itemsize)
        for chunk in planes:
            compress(chunk)


GZIP_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "streamh5's own": deflate_encoder(DEFAULT_LEVEL),
    "isal 0": partial(isal, level=0, mem_level="MEM_LEVEL_DEFAULT"),
    **{
        f"isal {level} {size}": partial(isal, level=level, mem_level=f"MEM_LEVEL_{size.upper()}")
        for level in (1, 2, 3)
        for size in ("small", "medium", "large")
    },
}
"""Name of a setting -> function that makes a zlib stream of a shuffled chunk."""

ENCODE: dict[str, Encode] = {
    "none": raw_chunks,
    **{name: partial(encode_gzip, compress=compress) for name, compress in GZIP_SETTINGS.items()},
    "zstd": partial(encode_zstd, shuffle=False),
    "zstd+shuffle": partial(encode_zstd, shuffle=True),
    "blosc-lz4": encode_blosc,
}
"""Codec name, or setting of gzip -> function of a block and its chunk shape that gives the stored chunks."""

LIMIT: dict[str, Callable[[Block, tuple[int, ...]], object]] = {
    "none": raw_chunks,
    **{name: partial(_drop_shuffled, compress=compress) for name, compress in GZIP_SETTINGS.items()},
    "zstd": partial(_drop_raw, compress=_zstd),
    "zstd+shuffle": partial(_drop_shuffled, compress=_zstd),
    "blosc-lz4": partial(_drop_raw, compress=_blosc),
}
"""Codec name, or setting of gzip -> function that makes the codec calls alone."""
