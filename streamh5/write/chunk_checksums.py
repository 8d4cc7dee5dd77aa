"""CRC-32 of stored chunks: computed by who writes them, compared by who has to know whether they are on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

try:  # ISA-L's CRC-32 is several times faster than zlib's
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from streamh5.filters import Buffer
    from streamh5.model.chunk_records import ChunkRecords

PIECE_NBYTES = 16 << 20
"""Most bytes of a chunk in memory while its checksum is computed: a chunk may have up to 4 GiB."""


def checksums_of(buffers: Sequence[Buffer]) -> NDArray[np.uint32]:
    """Return the CRC-32 of each buffer."""
    return np.fromiter(map(crc32, buffers), np.uint32, len(buffers))


def are_intact(
    read: Callable[[int, int], bytes], records: ChunkRecords, checksums: NDArray[np.uint32]
) -> NDArray[np.bool_]:
    """Read chunks back, and return which of them have their checksums.

    Parameters
    ----------
    read
        Reads ``(address, nbytes)`` of the file; fewer bytes at its end.
    records
        ``(n,)`` of `RECORD`.
    checksums
        ``(n,) uint32``.
    """
    stored = zip(records["address"].tolist(), records["stored_nbytes"].tolist(), strict=True)
    found = np.array([_checksum(read, *place) for place in stored], np.int64)
    return np.asarray(found == checksums)


def _checksum(read: Callable[[int, int], bytes], address: int, nbytes: int) -> int:
    checksum, stop = 0, address + nbytes
    while address < stop:
        piece = read(address, min(stop - address, PIECE_NBYTES))
        if not piece:
            return -1
        checksum = crc32(piece, checksum)
        address += len(piece)
    return checksum
