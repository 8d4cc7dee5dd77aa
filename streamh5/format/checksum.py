"""The metadata checksum: Jenkins' lookup3 with initial value 0 (H5_checksum_lookup3).

The C routine of numcodecs is the same function. One call per row is faster than numpy operations across rows at
every row length: 40 ns + 3 GB/s against 0.2 GB/s (10,000 pages of 16 KiB: 0.06 s).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numcodecs.jenkins import jenkins_lookup3
from numpy.typing import NDArray

Buffer: TypeAlias = bytes | bytearray | memoryview | np.ndarray[Any, Any]

SIZEOF_CHECKSUM = 4


def lookup3(data: Buffer) -> int:
    """Return the lookup3 hash of contiguous `data`; the name indexes of links and attributes use it too."""
    return int(jenkins_lookup3(data))


def append_checksum(*parts: bytes) -> bytes:
    """Join encoded fields into a block that ends with its little-endian checksum."""
    block = b"".join(parts)
    return block + lookup3(block).to_bytes(SIZEOF_CHECKSUM, "little")


def lookup3_rows(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the checksum of every row.

    Parameters
    ----------
    rows
        ``(n, m) uint8``; each row is contiguous, but gaps between rows are allowed.

    Returns
    -------
    ``(n,) uint32``
    """
    return np.fromiter((jenkins_lookup3(row) for row in rows), np.uint32, len(rows))
