"""Regions of a dataset as h5py's methods take them: for references (`regionref`) and for the loop over chunks."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from streamh5.errors import BlockError, LimitError, counted, shown
from streamh5.model.hyperslab import select
from streamh5.model.reference import RegionReference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.handles.dataset_facts import DatasetFacts

MAX_REGION_BLOCKS = 65_536
"""Most blocks of a region with steps: a region reference stores each block."""


class RegionReferences:
    """References to regions of a dataset: ``d.regionref[0:3, ::2]``; made by `Dataset.regionref`.

    Examples
    --------
    >>> with streamh5.File("x.h5", "w") as f:
    ...     f["x"] = np.zeros((10, 4))
    ...     f.attrs["valid"] = f["x"].regionref[0:3, 1:]
    """

    def __init__(self, dataset: DatasetFacts) -> None:
        self._dataset = dataset

    def __getitem__(self, region: Any) -> RegionReference:
        """Return a reference to a region, as a value of an attribute or of a dataset of references.

        Parameters
        ----------
        region
            Ints, slices with or without steps, and ``...``, as for numpy.

        Raises
        ------
        SpecError
            The region is empty, or exceeds the dataset.
        LimitError
            It has more than `MAX_REGION_BLOCKS` blocks.
        """
        dataset = self._dataset
        selected = select(dataset.shape or (), region, dataset.name)
        if selected.n_blocks > MAX_REGION_BLOCKS:
            raise LimitError(
                f"{dataset.name}: the region {shown(region)} has {selected.n_blocks:,} blocks, a reference stores "
                f"{MAX_REGION_BLOCKS:,}; give a region without steps",
                region=region,
            )
        return RegionReference(dataset.name, list(itertools.product(*selected.slices())))


def iter_chunks(dataset: DatasetFacts, sel: Any) -> Iterator[tuple[slice, ...]]:
    """Return an iterator over the chunks of a dataset, cut to a region; see `Dataset.iter_chunks`."""
    shape, chunks = dataset.shape, dataset.chunks
    if shape is None or chunks is None:
        raise BlockError(f"{dataset.name} is stored without chunks; create it with chunks=True")
    given = (slice(None),) * len(shape) if sel is None else sel if isinstance(sel, (tuple, list)) else (sel,)
    if len(given) != len(shape):
        raise BlockError(
            f"{dataset.name}: {shown(sel)} has {counted(len(given), 'dimension')}, not {len(shape)}"
        )
    ranges = []
    for axis, (key, extent, size) in enumerate(zip(given, shape, chunks, strict=True)):
        start, stop = (key.start or 0, key.stop or extent) if isinstance(key, slice) else (key, key + 1)
        if not 0 <= start < stop <= extent and 0 not in shape:
            raise BlockError(
                f"{dataset.name}: {shown(key)} exceeds dimension {axis} of {counted(extent, 'element')}",
                region=sel,
            )
        firsts = range(start // size * size, stop, size)
        ranges.append([slice(max(first, start), min(first + size, stop), 1) for first in firsts])
    return itertools.product(*ranges)
