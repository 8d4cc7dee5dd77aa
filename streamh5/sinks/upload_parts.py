"""Parts of an object in memory, and what is handed over of an upload."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from streamh5.sinks.base import Buffer
    from streamh5.sinks.part_sizes import PartRange, PartSizes
    from streamh5.stores.base import PartReceipt
    from streamh5.stores.upload import Upload


class OpenUpload(NamedTuple):
    """An upload that other processes send parts to.

    Attributes
    ----------
    upload
        The upload, which has begun.
    first_number, n_numbers
        Numbers of these parts.
    missing_nbytes
        Bytes that must come before them: only the last part may be small.
    """

    upload: Upload
    first_number: int
    n_numbers: int
    missing_nbytes: int


class FilledPart:
    """A part in memory; pages that are never written take no room.

    Attributes
    ----------
    content, n_filled
        Its bytes, and how many of them have been written.
    ranges
        What has been written and is not in the journal.
    """

    __slots__ = ("content", "n_filled", "ranges")

    def __init__(self, nbytes: int) -> None:
        self.content = np.zeros(nbytes, np.uint8)
        self.n_filled = 0
        self.ranges: list[tuple[int, int]] = []

    def note(self, first: int, last: int) -> None:
        """Add to `ranges`; chunks come mostly one after the other."""
        if self.ranges and self.ranges[-1][1] == first:
            first = self.ranges.pop()[0]
        self.ranges.append((first, last))

    def resized(self, nbytes: int) -> FilledPart:
        """Return the same part with another size; what is cut off is empty."""
        other, n_kept = FilledPart(nbytes), min(nbytes, len(self.content))
        other.content[:n_kept] = self.content[:n_kept]
        other.n_filled = self.n_filled
        return other


class PartsInMemory:
    """Parts that the store has not confirmed, by number. Thread-safe."""

    def __init__(self) -> None:
        self._parts: dict[int, FilledPart] = {}
        self._lock = threading.RLock()  # reentrant: a signal handler may end the write meanwhile

    def fill(self, part: PartRange, first: int, content: NDArray[np.uint8]) -> FilledPart:
        """Copy bytes to a part: the caller uses its memory again."""
        with self._lock:
            filled = self._parts.get(part.number)
            if filled is None:
                filled = self._parts[part.number] = FilledPart(part.stop - part.start)
        filled.content[first : first + len(content)] = content
        return filled

    def count(self, filled: FilledPart, first: int, last: int, *, is_noted: bool) -> bool:
        """Count bytes as written, and note which they are; return whether the part is full."""
        with self._lock:
            filled.n_filled += last - first
            if is_noted:
                filled.note(first, last)
            return filled.n_filled == len(filled.content)

    def get(self, number: int) -> FilledPart | None:
        """Return a part; None if nothing of it is in memory."""
        return self._parts.get(number)

    def drop(self, number: int) -> None:
        """Forget a part, which the store has."""
        with self._lock:
            self._parts.pop(number, None)

    def resize(self, number: int, nbytes: int) -> None:
        """Give a part another size."""
        with self._lock:
            if number in self._parts:
                self._parts[number] = self._parts[number].resized(nbytes)

    def nbytes_after(self, number: int) -> int:
        """Return the size of the parts with higher numbers."""
        # a copy is one step of the interpreter: it needs no lock, as the sender has its own
        return sum(len(filled.content) for i, filled in self._parts.copy().items() if i > number)

    def items(self) -> list[tuple[int, FilledPart]]:
        """Return the parts by number."""
        return sorted(self._parts.items())

    def clear(self) -> None:
        """Forget all."""
        self._parts.clear()


class ResumedUpload(NamedTuple):
    """What is there of an interrupted write.

    Attributes
    ----------
    token
        The token of the write.
    upload
        Id of the upload; None if it had not begun.
    sizes
        The parts.
    receipts
        Parts that the store has as they were confirmed.
    held
        Addresses and bytes of what else is there.
    front_end
        End of the front region.
    """

    token: str
    upload: str | None
    sizes: PartSizes
    receipts: Sequence[PartReceipt]
    held: Sequence[tuple[int, Buffer]]
    front_end: int
