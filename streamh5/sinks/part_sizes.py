"""How the addresses of a file are cut into the parts of an upload."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from streamh5.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamh5.stores.base import PartLimits

PART_NBYTES = 16 << 20
"""Size of a part. From 8 to 32 MiB the size makes no difference of speed; larger parts take more memory, and of smaller
ones a file of unknown length uses up the numbers earlier (tests/benchmarks, object store)."""

GROWTH_NBYTES = 13 << 20
"""By so much grow the parts of a stream of unknown length after each hundredth of them, from the tenth hundredth on:
10,000 of them hold 5 TiB, the largest object of most stores, and streams of up to 16 GiB have small parts."""

KNOWN_SHARE = 0.8
"""Share of the part numbers that a file of known size may need; the rest is for what was not known."""


class PartRange(NamedTuple):
    """A part: its number, which begins with 1, and the addresses in it."""

    number: int
    start: int
    stop: int


class PartSizes:
    """The parts of a file, by address. The sizes of all parts follow from `steps`.

    Parameters
    ----------
    limits
        Of the store.
    bound
        Size that the file cannot exceed, in bytes; None if nobody knows.

    Attributes
    ----------
    steps
        First number, its address, and the size of each part from there on; ascending.
    """

    def __init__(self, limits: PartLimits, bound: int | None = None) -> None:
        self._limits = limits
        n, step = limits.max_number, max(1, limits.max_number // 100)
        n_equal, nbytes = step * 10, PART_NBYTES
        if bound is not None:
            n_known = max(1, int(n * KNOWN_SHARE))
            known_nbytes = max(PART_NBYTES, _round_up(-(-bound // n_known)))
            if known_nbytes <= limits.max_nbytes:
                n_equal, nbytes = n_known, known_nbytes
            else:  # no object is so large: the chunks will be compressed, or most of them missing
                bound = None
        self.steps = [(1, 0, nbytes)]
        first, start = 1, 0
        while first + (n_equal if first == 1 else step) <= n:
            n_here = n_equal if first == 1 else step
            first, start = first + n_here, start + n_here * nbytes
            # a file that becomes larger than was known has few parts left
            nbytes = min(4 * nbytes if bound is not None else nbytes + GROWTH_NBYTES, limits.max_nbytes)
            self.steps.append((first, start, nbytes))
        self._settle()

    @classmethod
    def of(cls, limits: PartLimits, steps: Sequence[tuple[int, int, int]]) -> PartSizes:
        """Return the parts of an interrupted write from their `steps`."""
        sizes = cls.__new__(cls)
        sizes._limits, sizes.steps = limits, list(steps)
        sizes._settle()
        return sizes

    def _settle(self) -> None:
        self._firsts = [one[0] for one in self.steps]
        self._starts = [one[1] for one in self.steps]
        first, start, nbytes = self.steps[-1]
        self.max_nbytes = start + (self._limits.max_number + 1 - first) * nbytes
        self._cut: tuple[PartRange, PartSizes, int, int] | None = None

    def part(self, number: int) -> PartRange:
        """Return the part of a number."""
        first, start, nbytes = self.steps[bisect_right(self._firsts, number) - 1]
        return PartRange(number, start + (number - first) * nbytes, start + (number + 1 - first) * nbytes)

    def cut(self, last: PartRange, first: int, start: int) -> None:
        """Let a part end where `last` does, and leave what follows to other processes.

        Parameters
        ----------
        last
            The part, of which nothing has been sent.
        first, start
            Number and address of the first part behind those of other processes.
        """
        # what is left, index and headers that outgrew their place, is of unknown size, but small
        limits = self._limits._replace(max_number=self._limits.max_number - first + 1)
        self._cut = last, PartSizes(limits), first, start

    def at(self, address: int) -> PartRange:
        """Return the part that holds an address; those of other processes are one with the number 0.

        Raises
        ------
        LimitError
            The store has no parts for it.
        """
        if self._cut is not None and address >= self._cut[0].start:
            last, others, first, origin = self._cut
            if address < last.stop:
                return last
            if address < origin:
                return PartRange(0, last.stop, origin)
            number, start, stop = others.at(address - origin)
            return PartRange(number + first - 1, start + origin, stop + origin)
        if address >= self.max_nbytes:
            raise LimitError(
                f"the file has more than {self.max_nbytes:,} bytes, which {self._limits.max_number:,} parts do not "
                "hold; write to several objects, or create all datasets with their shapes before the first data",
                nbytes=address,
            )
        first, start, nbytes = self.steps[bisect_right(self._starts, address) - 1]
        n = (address - start) // nbytes
        return PartRange(first + n, start + n * nbytes, start + (n + 1) * nbytes)


def _round_up(nbytes: int) -> int:
    return -(-nbytes >> 20) << 20
