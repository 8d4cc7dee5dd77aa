"""The one owner of "where am I": every byte of the file is reserved here, and it never goes back."""

from __future__ import annotations

import threading

__all__ = ["AddressCursor"]


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
        """
        with self._lock:
            address = self._address
            self._address = address + nbytes
        return address
