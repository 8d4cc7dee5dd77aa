"""Filters and chunks of a dataset as the HDF5 library lists them, for structures that streamh5 does not read.

``H5Dchunk_iter`` may report two things wrongly:

* coords: see `tells_coords`;
* addresses in a file with a user block: some versions include the bytes of the block, others do not.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.format.chunk_index.element import ChunkColumns
from streamh5.format.filter_pipeline import FilterRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray


def filter_records(plist: Any) -> tuple[FilterRecord, ...]:
    """Return the filters of a dataset, from h5py's property list of its creation."""
    found = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    return tuple(
        FilterRecord(i, name.decode(errors="replace"), flags, values) for i, flags, values, name in found
    )


def tells_coords(maxshape: tuple[int | None, ...]) -> bool:
    """Return whether the library reports the right coords for a dataset that may have an Extensible Array.

    That index numbers chunks with the unlimited dimension first, but ``H5D__earray_idx_iterate_cb`` (in HDF5 2.0 as
    well) assumes that this is the first dimension of the dataset. If it is not, chunks get the coords of others.
    """
    unlimited = [axis for axis, most in enumerate(maxshape) if most is None]
    return len(unlimited) != 1 or unlimited == [0]


def iterate_chunks(dataset: Any) -> tuple[NDArray[np.uint64], ChunkColumns]:
    """Return the chunks of a dataset in the order of the library.

    Parameters
    ----------
    dataset
        `h5py.h5d.DatasetID` of a dataset with chunks.

    Returns
    -------
    tuple of ndarray, `ChunkColumns`
        Origins, ``(n, rank) uint64``, and columns of addresses, stored sizes and filter masks. Some versions of the
        library omit chunks outside the current shape, others do not.
    """
    # Arrays of 8 bytes a number: tuples for millions of chunks would take ten times as much memory.
    origins, numbers = array("Q"), array("Q")

    def collect(chunk: Any) -> None:
        origins.extend(chunk.chunk_offset)
        numbers.extend((chunk.byte_offset, chunk.size, chunk.filter_mask))

    if 0 not in dataset.shape and dataset.get_num_chunks():
        dataset.chunk_iter(collect)
    table = np.frombuffer(numbers, np.uint64).reshape(-1, 3)
    columns = ChunkColumns(table[:, 0], table[:, 1], table[:, 2].astype(np.uint32))
    return np.frombuffer(origins, np.uint64).reshape(-1, len(dataset.shape)), columns
