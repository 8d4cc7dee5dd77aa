"""Speed of the byte shuffle: what its constants come from.

    python tests/benchmarks/shuffle.py

Rows are element sizes, columns ways to do it: streamh5, a copy of the transposed view, and numcodecs.
GB/s of one thread, on what the filter chain gives at once: one chunk of 4 MiB, or a group of small ones.
Then the whole chain with gzip, in MB/s, by the size of such a group.
The last table is the way back, plane by plane and as a transposed copy: GB/s, with the number of elements.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numcodecs
import numpy as np

from streamh5.filters import FilterOptions, chain, shuffle

GROUPS_KIB = (128, 256, 512, 1024, 4096)


def bytes_per_s(run: Callable[[], Any], nbytes: int) -> float:
    """Return the best of seven runs."""
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return nbytes / min(seconds)


def ways(rows: np.ndarray[Any, Any], element_nbytes: int) -> list[float]:
    """Measure every way on one batch."""
    out = np.empty_like(rows)
    planes = rows.reshape(len(rows), -1, element_nbytes).transpose(0, 2, 1)
    target = out.reshape(planes.shape)
    codec = numcodecs.Shuffle(element_nbytes)
    return [
        bytes_per_s(lambda: shuffle.shuffle_rows(rows, out, element_nbytes), rows.nbytes) / 1e9,
        bytes_per_s(lambda: np.copyto(target, planes), rows.nbytes) / 1e9,
        bytes_per_s(lambda: [codec.encode(row) for row in rows], rows.nbytes) / 1e9,
    ]


def groups(chunk_nbytes: int) -> list[float]:
    """Measure shuffle and gzip together for every group size."""
    noise = np.random.default_rng(0).normal(0, 0.05, 4 << 20)
    values = np.round(10 * np.sin(np.arange(4 << 20) / 1e4) + noise, 2).astype("f4")
    rows = values.view(np.uint8).reshape(-1, chunk_nbytes)
    filters = FilterOptions(compression="gzip", shuffle=True).chain(values.dtype, chunk_nbytes)
    figures = []
    for kib in GROUPS_KIB:
        chain.GROUP_NBYTES = kib << 10
        figures.append(bytes_per_s(lambda: filters.encode_rows(rows), rows.nbytes) / 1e6)
    return figures


def ways_back(element_nbytes: int, nbytes: int) -> list[float]:
    """Put elements together in both ways."""
    n_elements = nbytes // element_nbytes
    planes = np.random.default_rng(0).integers(0, 256, (element_nbytes, n_elements), np.uint8)
    out = np.empty(n_elements, (np.void, element_nbytes))
    figures = [float(n_elements)]
    for shuffle.MIN_PLANE_LENGTH in (0, sys.maxsize):
        figures.append(bytes_per_s(lambda: shuffle.unshuffle(planes, out), planes.nbytes) / 1e9)
    return figures


def table(title: str, head: list[str], lines: dict[str, list[float]], digits: int) -> None:
    """Print one Markdown table."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n| {' | '.join(['---'] * len(head))} |")
    for name, figures in lines.items():
        print(f"| {name} | {' | '.join(f'{one:.{digits}f}' for one in figures)} |", flush=True)


def main() -> None:
    """Print the tables."""
    for n_chunks, chunk_nbytes in ((1, 4 << 20), (64, 16 << 10)):
        rows = np.random.default_rng(0).integers(0, 256, (n_chunks, chunk_nbytes), np.uint8)
        figures = {str(size): ways(rows, size) for size in (2, 4, 8, 16)}
        head = ["element bytes", "streamh5", "transposed copy", "numcodecs"]
        table(f"{chunk_nbytes >> 10} KiB chunks, GB/s", head, figures, 1)
    sizes = {f"{size >> 10} KiB": groups(size) for size in (1 << 16, 1 << 14)}
    head = ["chunk", *(f"groups of {kib} KiB" for kib in GROUPS_KIB)]
    table("shuffle and gzip, MB/s", head, sizes, 0)
    for kib in (16, 1024, 4096):
        figures = {str(size): ways_back(size, kib << 10) for size in (3, 8, 12, 16, 64, 100, 256, 1000, 4096)}
        table(f"back, {kib} KiB", ["element bytes", "elements", "planes", "transposed copy"], figures, 2)


if __name__ == "__main__":
    main()
