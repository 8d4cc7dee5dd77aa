"""What is known of stored chunks, as numpy records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import LimitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECORD = np.dtype(
    [("number", "<u8"), ("address", "<u8"), ("stored_nbytes", "<u4"), ("filter_mask", "<u4")], align=False
)
"""What is known of one stored chunk: 24 bytes."""

ChunkRecords = np.ndarray[Any, np.dtype[np.void]]
"""``(n,)`` array of `RECORD`."""

MAX_STORED_NBYTES = 2**32 - 1


def chunk_records(
    numbers: NDArray[np.uint64],
    address: int,
    stored_nbytes: NDArray[np.uint64],
    filter_masks: NDArray[np.uint32] | None,
) -> ChunkRecords:
    """Return the records of chunks that lie one after the other from `address` on.

    Parameters
    ----------
    numbers
        ``(n,)`` uint64 chunk numbers, in the order in which the chunks are stored.
    address
        Address of the first.
    stored_nbytes
        ``(n,)`` uint64 sizes after filters.
    filter_masks
        ``(n,)`` uint32 masks of skipped filters; None for all zero.

    Raises
    ------
    LimitError
        A chunk is larger than 4 GiB - 1 after filters.
    """
    records = np.zeros(len(numbers), RECORD)
    records["number"] = numbers
    ends = np.cumsum(stored_nbytes, dtype=np.uint64)
    records["address"] = ends - stored_nbytes + np.uint64(address)
    if len(numbers) and int(stored_nbytes.max()) > MAX_STORED_NBYTES:
        raise LimitError(
            f"a chunk has {int(stored_nbytes.max()):,} bytes after its filters; "
            f"HDF5 holds {MAX_STORED_NBYTES:,} at most: use smaller chunks",
            stored_nbytes=int(stored_nbytes.max()),
        )
    records["stored_nbytes"] = stored_nbytes
    if filter_masks is not None:
        records["filter_mask"] = filter_masks
    return records
