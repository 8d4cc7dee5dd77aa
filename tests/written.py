"""Files that streamh5 has written for a test, and what other programs must find in each of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

import streamh5
from streamh5.format.chunk_index.element import ChunkColumns
from streamh5.model.tree import DatasetNode, find
from tests.readers import readers_for
from tests.readers.protocol import assert_reads

NUMBERS = ("?", *(f"{kind}{n}" for kind in "iu" for n in (1, 2, 4, 8)), "f2", "f4", "f8", "c8", "c16")
DTYPES = tuple(
    order + name if np.dtype(name).itemsize > 1 else name
    for name in NUMBERS
    for order in ("<>" if np.dtype(name).itemsize > 1 else "<")
)
"""Every number that the core writes, in both byte orders."""

GZIP: dict[str, Any] = {"compression": "gzip", "shuffle": True}


def values(dtype: Any, shape: tuple[int, ...], seed: int = 0) -> NDArray[Any]:
    """Values that use the whole range of a dtype; floats hold -0.0, infinities and NaN."""
    dtype = np.dtype(dtype)
    random = np.random.default_rng(seed)
    n = int(np.prod(shape, dtype=np.int64))
    if dtype.kind == "b":
        return random.integers(0, 2, n).astype(dtype).reshape(shape)
    if dtype.kind in "iu":
        return np.frombuffer(random.bytes(n * dtype.itemsize), dtype).reshape(shape).copy()
    found = random.standard_normal(n).astype(dtype)
    if dtype.kind == "c":
        found.imag = random.standard_normal(n).astype(f"f{dtype.itemsize // 2}")
    specials = np.array([-0.0, np.inf, -np.inf, np.nan]).astype(dtype)
    found[: min(4, n)] = specials[: min(4, n)]
    return found.reshape(shape)


def columns(file: streamh5.File, path: str) -> ChunkColumns:
    """What streamh5 has tracked of the chunks of a dataset."""
    node = find(file.session.root, path)
    assert isinstance(node, DatasetNode)
    return node.table.first(node.n_chunks)


def write(path: Path, data: NDArray[Any], name: str = "/x", **keywords: Any) -> ChunkColumns:
    """Write one dataset with `streamh5.File` and return its tracked chunks."""
    with streamh5.File(path, "x") as file:
        file.create_dataset(name, data=data, **keywords)
    return columns(file, name)


def filter_ids(path: Path, dataset: str) -> frozenset[int]:
    """Filters of a dataset, as h5py tells them."""
    with h5py.File(path, "r") as file:
        plist = file[dataset].id.get_create_plist()
        return frozenset(plist.get_filter(i)[0] for i in range(plist.get_nfilters()))


def assert_every_reader(path: Path, dataset: str, expected: NDArray[Any]) -> None:
    """Assert that every reader that is here sees these values."""
    for reader in readers_for(expected.dtype, filter_ids(path, dataset)):
        assert_reads(reader, path, dataset, expected)


def traces(folder: Path) -> list[str]:
    """Names of everything in a folder: what a write has left."""
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Assert that no thread of a write is alive after the block."""
    before = set(threading.enumerate())
    yield
    left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith("streamh5")]
    assert not left, f"threads left behind: {left}"
