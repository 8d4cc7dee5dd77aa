"""``PartlyReadChunks``: chunks that are decompressed once, although several regions need a part of each."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from streamh5.filters.base import Bytes

MAX_PARTLY_READ_NBYTES = 256 << 20
"""Decompressed bytes of chunks that are kept for other regions, of all datasets of a conversion."""


_Key: TypeAlias = tuple[str, int]


class PartlyReadChunks:
    """Chunks of which other regions will need other parts, until these were read or memory is used up. Thread-safe.

    A thread *claims* the chunks that it will decompress, so that another one waits for them. As it decompresses its own
    before it waits, threads never wait for each other. The oldest chunks are given up first; nobody waits for them. So
    those of a dataset that is written already, of which no region needed the rest, make room for the next one's.

    A chunk is given by the path of its dataset, and its row among the chunks of it.

    Parameters
    ----------
    most_nbytes
        Most bytes that are kept.
    """

    def __init__(self, most_nbytes: int = MAX_PARTLY_READ_NBYTES) -> None:
        self._most_nbytes = most_nbytes
        self._kept: dict[_Key, tuple[Bytes, int]] = {}
        self._nbytes = 0
        self._claimed: set[_Key] = set()
        self._changed = threading.Condition()

    def __reduce__(self) -> tuple[Any, ...]:
        return PartlyReadChunks, (self._most_nbytes,)

    def claim(self, path: str, rows: Sequence[int]) -> list[int]:
        """Return those of some chunks that the caller has to decompress, and then to `keep` or to `give_up`."""
        with self._changed:
            mine = [row for row in rows if (path, row) not in self._kept and (path, row) not in self._claimed]
            self._claimed.update((path, row) for row in mine)
            return mine

    def keep(self, path: str, row: int, data: Bytes, n_left: int) -> None:
        """Keep a chunk, of which other regions will need `n_left` elements."""
        key = path, row
        with self._changed:
            self._claimed.discard(key)
            if key in self._kept:
                self._drop(key)
            if n_left > 0:
                self._kept[key] = data, n_left
                self._nbytes += len(data)
            while self._kept and self._nbytes > self._most_nbytes:
                self._drop(next(iter(self._kept)))
            self._changed.notify_all()

    def give_up(self, path: str, rows: Collection[int]) -> None:
        """Let others decompress chunks that the caller has claimed and not kept: those may be claimed again."""
        with self._changed:
            self._claimed.difference_update((path, row) for row in rows)
            self._changed.notify_all()

    def get(self, path: str, row: int, n_used: int) -> Bytes | None:
        """Return a chunk for a region that needs `n_used` elements of it; None where it is not kept any more."""
        key = path, row
        with self._changed:
            self._changed.wait_for(lambda: key not in self._claimed)
            if key not in self._kept:
                return None
            data, n_left = self._kept[key]
            if n_left > n_used:
                self._kept[key] = data, n_left - n_used
            else:
                self._drop(key)
            return data

    def _drop(self, key: _Key) -> None:
        self._nbytes -= len(self._kept.pop(key)[0])
