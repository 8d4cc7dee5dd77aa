"""``AddressCursor``: the end of the file. Every byte is reserved here, and the cursor never moves back."""

from __future__ import annotations

import threading

from streamh5.errors import LimitError

MAX_FILE_NBYTES = (1 << 63) - 1
"""Largest off_t of POSIX, which libhdf5 uses, too (``H5FD_SEC2_MAXADDR``)."""


class AddressCursor:
    """Hand out consecutive address ranges.

    Thread-safe: ``reserve`` is the only point where concurrent writers meet, and it adds one
    integer under a lock.

    Parameters
    ----------
    address
        First free address.
    """

    __slots__ = ("_address", "_lock")

    def __init__(self, address: int = 0) -> None:
        self._address = address
        self._lock = threading.RLock()  # a signal handler may close the file in the middle of a call

    @property
    def address(self) -> int:
        """First address that is not reserved: the present end of the file."""
        return self._address

    def reserve(self, nbytes: int) -> int:
        """Reserve `nbytes` and return the address of the first.

        Parameters
        ----------
        nbytes
            Size of the range, at least 0.

        Returns
        -------
        int
            Address of the range; the next call returns the address right after it.

        Raises
        ------
        LimitError
            The file would exceed the largest size that a system allows.
        """
        with self._lock:
            address = self._address
            if address + nbytes > MAX_FILE_NBYTES:
                raise LimitError(
                    f"{nbytes:,} more bytes make a file of {address + nbytes:,} bytes; the largest has "
                    f"{MAX_FILE_NBYTES:,} (2**63 - 1): write a smaller shape, or chunks that are stored when written",
                    nbytes=nbytes,
                )
            self._address = address + nbytes
        return address
