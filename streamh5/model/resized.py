"""A dataset of another shape: its chunks get other numbers, and those outside the new shape are dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from streamh5.model.chunk_grid import ChunkGrid

if TYPE_CHECKING:
    from streamh5.model.chunk_table import ChunkTable
    from streamh5.model.tree import DatasetNode


def resize_dataset(
    dataset: DatasetNode, shape: tuple[int, ...], maxshape: tuple[int | None, ...] | None
) -> None:
    """Change the shape and the maximum shape of a dataset that has chunks.

    Parameters
    ----------
    dataset
        The dataset.
    shape, maxshape
        The new shapes; None for a maximum shape that is the shape.
    """
    old, table = dataset.grid, dataset.table
    new = ChunkGrid(shape, old.chunks, maxshape)
    shrinks = any(n < m for n, m in zip(shape, dataset.shape or (), strict=True))
    if shrinks or old.counts[1:] != new.counts[1:]:
        dataset.chunk_table = _renumbered(table, old, new)
    dataset.spec = replace(dataset.spec, shape=shape, maxshape=maxshape)
    dataset.n_rows = shape[0]


def _renumbered(table: ChunkTable, old: ChunkGrid, new: ChunkGrid) -> ChunkTable:
    """Return a table of the chunks of `old` that are inside the shape of `new`, with their numbers there."""
    numbers, _ = table.written()
    coords = old.coords_of(numbers)
    is_kept = np.ones(len(numbers), np.bool_)
    for coord, n in zip(coords, new.present.counts, strict=True):
        is_kept &= coord < n
    renumbered, _ = new.locate([coord[is_kept] for coord in coords])
    return table.renumbered(is_kept, renumbered, new.n_numbers or 0)
