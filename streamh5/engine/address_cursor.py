"""The one owner of "where am I": every byte of the file is reserved here, and it never goes back."""

from __future__ import annotations

import threading

from streamh5.errors import LimitError

MAX_FILE_NBYTES = (1 << 63) - 1
"""POSIX's off_t, which libhdf5 uses too (``H5FD_SEC2_MAXADDR``)."""


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
        self._lock = threading.RLock()  # a signal handler may close the file in the midst of a call

    @property
    def address(self) -> int:
        """First address that nobody has reserved: the end of the file so far."""
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
            Address of the range; the next call gets the one right after it.

        Raises
        ------
        LimitError
            The file would be larger than any that a system can have.
        """
        with self._lock:
            address = self._address
            if address + nbytes > MAX_FILE_NBYTES:
                raise LimitError(
                    f"{nbytes:,} bytes more make a file of {address + nbytes:,} bytes; the largest has "
                    f"{MAX_FILE_NBYTES:,} (2**63 - 1): write a smaller shape, or chunks that are stored when written",
                    nbytes=nbytes,
                )
            self._address = address + nbytes
        return address
