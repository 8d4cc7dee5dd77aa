"""Pieces of metadata that lie side by side, gathered into one write: a file may have many small headers."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_GATHERED_NBYTES = 1 << 20
"""Most bytes of pieces that are gathered. 1,500 small headers are one or two writes instead of 1,500
(tests/benchmarks/many_objects)."""


def gather_pieces(pieces: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, list[bytes]]]:
    """Join pieces that follow on one another, upwards or downwards, as long as they do.

    A piece at address 0, the superblock, stays alone: everything before it has been written when it is yielded, and it
    is yielded before `pieces` goes on, whose code behind it takes it for written. So is a piece that is too large for a
    group: it would wait in memory while the next one is made.

    Parameters
    ----------
    pieces
        Address and content of each piece.

    Yields
    ------
    tuple of int, list of bytes
        Address and contents of one write.
    """
    group: deque[bytes] = deque()
    start = stop = 0
    for address, piece in pieces:
        if address and stop - start + len(piece) <= MAX_GATHERED_NBYTES:
            if address == stop:
                group.append(piece)
                stop += len(piece)
                continue
            # as headers in the front region do: the root group is there first
            if address + len(piece) == start:
                group.appendleft(piece)
                start = address
                continue
        if group:
            yield start, list(group)
        if address and len(piece) <= MAX_GATHERED_NBYTES:
            group, start, stop = deque([piece]), address, address + len(piece)
        else:
            group, start, stop = deque(), 0, 0
            yield address, [piece]
            del piece
    if group:
        yield start, list(group)
