"""``AddressCursor``: the next free address. Every byte is reserved at a cursor, and no address is reserved twice."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from streamh5.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    More = Callable[[int], tuple[int, int]]

MAX_FILE_NBYTES = (1 << 63) - 1
"""Largest off_t of POSIX, which libhdf5 uses, too (``H5FD_SEC2_MAXADDR``)."""


class AddressCursor:
    """Hand out consecutive address ranges.

    Thread-safe: ``reserve`` is the only point where concurrent writers meet, and it adds one
    integer under a lock.

    While several processes write one file, each has a cursor of its own, which goes through one lease after the other.

    Parameters
    ----------
    address
        First free address.
    stop
        End of the free range; by default the largest file.
    free
        Ranges before `address` that are free, too.
    more
        Called with a number of bytes when the range is used up; returns start and stop of another one that has at
        least as many.
    """

    __slots__ = ("_address", "_free", "_lock", "_more", "_stop")

    def __init__(
        self,
        address: int = 0,
        *,
        stop: int = MAX_FILE_NBYTES,
        free: Iterable[tuple[int, int]] = (),
        more: More | None = None,
    ) -> None:
        self._address = address
        self._stop = stop
        self._more = more
        self._free = sorted(free)
        self._lock = threading.RLock()  # a signal handler may close the file in the middle of a call

    @property
    def address(self) -> int:
        """First address that is not reserved: the present end of the file, unless it is shared."""
        return self._address

    @property
    def rest(self) -> tuple[int, int]:
        """Start and stop of the free range."""
        with self._lock:
            return self._address, self._stop

    def reserve(self, nbytes: int) -> int:
        """Reserve `nbytes` and return the address of the first.

        Parameters
        ----------
        nbytes
            Size of the range, at least 0.

        Returns
        -------
        int
            Address of the range; the next call returns the address right after it, or one in another range.

        Raises
        ------
        LimitError
            The file would exceed the largest size that a system allows.
        """
        with self._lock:
            if self._free and nbytes:
                for i, (start, stop) in enumerate(self._free):
                    if stop - start >= nbytes:
                        self._free[i : i + 1] = [(start + nbytes, stop)] if stop - start > nbytes else []
                        return start
            if self._address + nbytes > self._stop and self._more is not None and nbytes:
                self._address, self._stop = self._more(nbytes)
            address = self._address
            if address + nbytes > min(self._stop, MAX_FILE_NBYTES):
                raise LimitError(
                    f"{nbytes:,} more bytes make a file of {address + nbytes:,} bytes; the largest has "
                    f"{MAX_FILE_NBYTES:,} (2**63 - 1): write a smaller shape, or chunks that are stored when written",
                    nbytes=nbytes,
                )
            self._address = address + nbytes
        return address

    def reserve_aligned(self, nbytes: int, alignment: int) -> int:
        """Reserve `nbytes` at a multiple of `alignment`, behind everything else; what is left before stays unused.

        Raises
        ------
        LimitError
            See `reserve`.
        """
        with self._lock:
            free, self._free = self._free, []
            try:
                rest = -self._address % alignment
                if self._more is not None:  # another lease begins elsewhere
                    rest = alignment - 1
                address = self.reserve(rest + nbytes)
            finally:
                self._free = free
        return address + -address % alignment

    def share(self, begin: Callable[[int], More]) -> None:
        """Take addresses from leases from now on, as other processes do.

        Parameters
        ----------
        begin
            Called with the first address of the leases; returns the `more` of the class.
        """
        with self._lock:
            self._more = begin(self._address)
            self._stop = self._address

    def unshare(self, end: int, free: Iterable[tuple[int, int]]) -> int:
        """Continue at `end`, after all leases; small reservations use the `free` ranges before it.

        Returns
        -------
        int
            Unused bytes of the last lease of this cursor, which are used, too.
        """
        with self._lock:
            own = (self._address, self._stop)
            self._free = sorted(one for one in (own, *self._free, *free) if one[0] < one[1])
            # without a lease, the write continues where it was shared
            self._address, self._stop, self._more = max(end, self._stop), MAX_FILE_NBYTES, None
            return own[1] - own[0]

    @property
    def free_nbytes(self) -> int:
        """Bytes of the free ranges before the end."""
        with self._lock:
            return sum(stop - start for start, stop in self._free)
