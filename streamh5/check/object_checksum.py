"""Compare an object with the checksum that its store has of it: a second pass over its bytes, in their order.

::

    pieces of 8 MiB, in the order of the object ──▶ pool: read ──▶ digest of each part ──▶ digest of these
                                                    `jobs` at a time
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from streamh5.errors import FormatError, StoreError, UnreadableError
from streamh5.reader.file_bytes import FileBytes
from streamh5.stores.checksums import ALGORITHMS, StoredChecksum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from streamh5.stores.base import ReadableObject

_PIECE_NBYTES = 8 << 20
"""Size of one request, as in the check of the chunks."""


def compare_object(
    store: ReadableObject, version: str, *, jobs: int, progress: Callable[[int], object]
) -> str:
    """Return which checksum of the store agrees with the object, or why none was compared.

    Parameters
    ----------
    store, version
        The object, and what it must be.
    jobs
        Number of requests at a time.
    progress
        Called with the number of bytes of each piece.

    Raises
    ------
    FormatError
        The checksum differs: the object is damaged, or not what was uploaded.
    UnreadableError
        The object has been replaced, or cannot be read.
    """
    ask = getattr(store, "checksum", None)
    try:
        stored: StoredChecksum | None = None if ask is None else ask(version)
    except StoreError as error:
        if error.reason in ("missing", "changed"):
            raise UnreadableError(
                f"{store.url} has been replaced while it was read; begin again", path=store.url
            ) from error
        return f"not compared with a checksum of the store, which it does not tell: {error}"
    if stored is None:
        return "not compared with a checksum of the store, which tells none that can be computed"
    with FileBytes(store) as file:
        if file.version != version:
            raise UnreadableError(
                f"{store.url} has been replaced while it was read; begin again", path=store.url
            )
        if _digest(file, stored, jobs, progress) != stored.digest:
            raise FormatError(f"the object has another {stored} than its store has computed at the upload")
    return f"the {stored} is that of the store"


def _digest(file: FileBytes, stored: StoredChecksum, jobs: int, progress: Callable[[int], object]) -> bytes:
    new = ALGORITHMS[stored.algorithm]
    ranges = [
        (start, min(start + _PIECE_NBYTES, stop), stop)
        for first, stop in pairwise(stored.edges or (0, file.nbytes))
        for start in range(first, stop, _PIECE_NBYTES)
    ]
    part, of_parts = new(), new()
    for (_, end, stop), piece in zip(ranges, _pieces(file, ranges, jobs), strict=True):
        part.update(piece)
        progress(len(piece))
        if end == stop:
            of_parts.update(part.digest())
            part = new() if stored.edges else part
    return of_parts.digest() if stored.edges else part.digest()


def _pieces(file: FileBytes, ranges: list[tuple[int, int, int]], jobs: int) -> Iterator[bytes]:
    pending: deque[Future[bytes]] = deque()
    left = iter(ranges)
    with ThreadPoolExecutor(jobs, "streamh5-checksum") as pool:
        try:
            while True:
                for start, end, _ in islice(left, jobs - len(pending)):
                    pending.append(pool.submit(file.read, start, end - start, "object"))
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
