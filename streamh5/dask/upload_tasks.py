"""Tasks on workers that send filtered blocks to an object store, as parts of one upload.

::

    store          s0    s1    s2    s3    s4    s5        a block becomes the bytes of its chunks
                   '-----+-----'     |     |     |
    collect           part 2      part 3   '--.--'         enough bytes are sent; others are passed on
                         |           |      bytes
    join                 '-----------+------part 4         with the number of the first block in it
                                     |
    client                    receipts and records         and bytes that were too few

Tasks keep nothing on their worker. One that runs twice sends the part of the same number again; at the end the client
compares what the store has with the receipts, as only these belong to records that it knows.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from streamh5.dask.store_task import Stored, collect
from streamh5.dask.stored_chunks import CopyCounts
from streamh5.errors import StateError
from streamh5.filters.base import byte_view
from streamh5.write.part_records import NO_NUMBERS, moved
from streamh5.write.shared_upload import end_upload, reach_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamh5.stores.base import PartReceipt
    from streamh5.write.shared_upload import SharedUpload

MAX_ENDS = 128
"""Results that reach the client: with each come up to 5 MiB that were too little for a part."""

N_JOINED = 16
"""Results that one task joins: it may hold 5 MiB of each."""


class SentPart(NamedTuple):
    """A part that was sent; the records of its blocks have offsets in it instead of addresses."""

    receipt: PartReceipt
    stored: list[Stored]


def group_size(n_blocks: int, n_numbers: int, n_fused: int) -> int:
    """Return how many blocks have one part number: a part is at least a block, and there are only so many numbers.

    Parameters
    ----------
    n_blocks
        Blocks of the write.
    n_numbers
        Part numbers.
    n_fused
        Blocks that become one task, because they are small.
    """
    return max(1, n_fused, -(-n_blocks // n_numbers))


def join_levels(n_groups: int) -> tuple[int, ...]:
    """Return how many results are joined at each level of the tree above collect tasks."""
    levels: list[int] = []
    while n_groups > MAX_ENDS or (n_groups > 1 and not levels):
        levels.append(N_JOINED)
        n_groups = -(-n_groups // N_JOINED)
    return tuple(levels)


def send_blocks(
    shared: SharedUpload,
    number: int | None,
    n_kept: int,
    groups: Iterable[list[Stored | SentPart]],
) -> list[Stored | SentPart]:
    """Send blocks as one part; return them with their bytes if these are too few.

    Parameters
    ----------
    shared
        The upload.
    number
        Number of the part; by default the least of its blocks, which tasks before have numbered.
    n_kept
        Bytes of the first blocks that are not sent, up to the end of a chunk: the client needs them at the beginning of
        the file. They get the number 0.
    groups
        Results of stores, or of this function.
    """
    done: list[Stored | SentPart] = []
    left: list[Stored] = []
    for one in (one for group in groups for one in group):
        if isinstance(one, SentPart) or one.part is None:
            done.append(one)
        elif one.number == 0:
            n_kept -= len(one.content)
            done.append(one)
        else:
            if len(one.content) != int(one.part.records["stored_nbytes"].sum(dtype=np.uint64)):
                raise StateError(f"{one.path}: objects in the global heap have no address before the end")
            left.append(one if number is None else one._replace(number=number))
    some: list[Stored] = []
    for one in left:
        if n_kept > 0:
            front, rest = _cut(one, n_kept)
            shared.check(len(front.content))
            n_kept -= len(front.content)
            done.append(front)
            some += rest
        else:
            some.append(one)
    if sum(len(one.content) for one in some) < shared.min_nbytes:
        return [*done, *some]
    return [*done, send_part(shared, some)]


def _cut(one: Stored, nbytes: int) -> tuple[Stored, list[Stored]]:
    """Return the chunks at the beginning of a block that have so many bytes, with the number 0, and the others."""
    part = one.part
    if part is None or len(one.content) <= nbytes:
        return one._replace(number=0), []
    # chunks lie one after the other, in the order of their records
    n_front = 1 + int(np.searchsorted(part.records["address"][1:], np.uint64(nbytes)))
    if n_front >= len(part.records):
        return one._replace(number=0), []
    cut = int(part.records["address"][n_front])
    content = byte_view(one.content)
    front = part._replace(
        records=part.records[:n_front], checksums=part.checksums[:n_front], skipped=NO_NUMBERS, nbytes=cut
    )
    rest = part._replace(
        records=part.records[n_front:], checksums=part.checksums[n_front:], nbytes=part.nbytes - cut
    )
    return (
        one._replace(part=front, counts=CopyCounts(), content=bytes(content[:cut]), number=0, is_front=True),
        [one._replace(part=moved(rest, -cut), content=content[cut:].tobytes())],
    )


def send_part(shared: SharedUpload, some: Sequence[Stored]) -> SentPart:
    """Send bytes as one part."""
    number = min(one.number for one in some if one.number is not None)
    receipt = shared.send(number, [one.content for one in some])
    start, stored = 0, []
    for one in some:
        if one.part is not None:
            stored.append(one._replace(content=b"", part=moved(one.part, start)))
        start += len(one.content)
    return SentPart(receipt, collect([stored]))


async def reach(url: str, pickled: bytes) -> str:
    """Look whether this worker reaches the object: see `reach_object`."""
    return await asyncio.to_thread(reach_object, url, pickled)


async def stop_sending(token: str, turn: int) -> bool:
    """Send no more parts from this worker: see `end_upload`."""
    return await asyncio.to_thread(end_upload, token, turn)
