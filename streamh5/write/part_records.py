"""``PartRecords``: what a process reports of the chunks that it wrote to the file of another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from streamh5.model.chunk_records import RECORD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.model.chunk_records import ChunkRecords


class PartRecords(NamedTuple):
    """Chunks that a `PartWriter` has written: numbers only, a few hundred bytes.

    They count once the process that owns the file has passed them to `Dataset.record_part`.

    Attributes
    ----------
    token
        The write.
    writer
        The process that wrote.
    path
        The dataset.
    records
        ``(n,)`` of `RECORD`: numbers, addresses, stored sizes, filter masks.
    checksums
        ``(n,) uint32``: CRC-32 of the stored bytes of each chunk.
    skipped
        ``(m,) uint64``: numbers of chunks that were left out, because they hold only the fill value.
    nbytes
        Bytes written: the chunks, and elements of variable length.
    stop
        End of the block along the first dimension.
    is_safe
        Whether the bytes outlive the process that wrote them and its machine, or are on the machine of the owner, who
        makes them durable.
    """

    token: str
    writer: str
    path: str
    records: ChunkRecords
    checksums: NDArray[np.uint32]
    skipped: NDArray[np.uint64]
    nbytes: int
    stop: int
    is_safe: bool


def moved(part: PartRecords, nbytes: int) -> PartRecords:
    """Return records for chunks that lie so many bytes further on, or, if it is negative, further in front."""
    records = part.records.copy()
    records["address"] += np.uint64(nbytes % 2**64)  # adds modulo 2**64
    return part._replace(records=records)


NO_RECORDS = np.zeros(0, RECORD)
NO_CHECKSUMS = np.zeros(0, np.uint32)
NO_NUMBERS = np.zeros(0, np.uint64)
