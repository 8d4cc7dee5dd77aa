"""Values of a zarr store, chunks or shards: files of a directory, or what any other store returns by its ``get``.

A directory is read with plain system calls: shards in the calling thread, chunks by threads that read ahead of it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from streamh5.dask.foreign_errors import describe, foreign_errors
from streamh5.dask.stored_chunks import BLOCK_NBYTES
from streamh5.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import zarr

    from streamh5.filters import Buffer

BATCH_READ_NBYTES = 4 << 20
"""Raw bytes of the chunks of a directory that are read, and then stored, together. While they are stored, as many are
read: a thread that copies holds up to three batches, or chunks that are larger."""

N_READERS = 8
"""Threads that read the files of a batch ahead. A loop that only read 24,000 files of 16 KiB that were not in the page
cache took 1.9 s with 2 threads, 1.0 s with 8 and 0.9 s with 16; whole copies: tests/benchmarks, zarr_copy --cold."""

N_TRIED = 16
"""Files of a block that are read first, to see whether threads help: the page cache is as fast without."""

SLOW_FILE_SECONDS = 50e-6
SLOW_BYTE_SECONDS = 1e-9
"""A file and each of its bytes take so long, or longer, where a thread has to wait. Not tuned: a small file takes about
10 us from the page cache, and a disk or a server takes ten times as long or longer."""

_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)

Range = tuple[int, int]
"""First byte, from the end where negative, and number of bytes."""

Batch = tuple[slice, "Sequence[Buffer | None]"]
"""Which of the values that were asked for, and these; None for one that is missing."""


class StoredValues(Protocol):
    """Values of a store by their keys, relative to an array; None for one that is missing."""

    @property
    def at_once_nbytes(self) -> int:
        """Most bytes of parts that should be asked for in one call."""

    def whole(self, keys: Sequence[str], value_nbytes: int) -> Iterator[Batch]:
        """Yield values of about `value_nbytes` or less in batches, in the order of `keys`."""

    def parts(self, key: str, ranges: Sequence[Range]) -> Sequence[Buffer | None]:
        """Return parts of one value; those beyond its end are short or empty."""


def stored_values(array: zarr.Array[Any]) -> StoredValues:
    """Return the values of an array in its store."""
    from zarr.storage import LocalStore

    store, prefix = array.store_path.store, array.store_path.path
    # a subclass may store its values in another way, so only LocalStore itself is read as a directory
    if type(store) is LocalStore:
        return _Files(os.path.join(store.root, prefix) if prefix else str(store.root))
    return _StoreValues(store, f"{prefix}/" if prefix else "")


@dataclass(frozen=True, slots=True)
class _Files:
    """Values that are files of a directory."""

    folder: str
    at_once_nbytes: int = BATCH_READ_NBYTES

    def whole(self, keys: Sequence[str], value_nbytes: int) -> Iterator[Batch]:
        """Read files of about `value_nbytes` or less in batches, ahead where that takes time."""
        if not keys:
            return
        n = max(1, BATCH_READ_NBYTES // value_nbytes)
        n_tried = min(N_TRIED, n, len(keys))
        start = time.perf_counter()
        tried = self._contents(keys[:n_tried])
        seconds = time.perf_counter() - start
        usual = (
            n_tried * SLOW_FILE_SECONDS
            + sum(len(one) for one in tried if one is not None) * SLOW_BYTE_SECONDS
        )
        yield slice(0, n_tried), tried
        del tried
        parts = [slice(i, min(i + n, len(keys))) for i in range(n_tried, len(keys), n)]
        if seconds > usual:
            yield from self._ahead(keys, parts, -(-n // N_READERS))
            return
        for part in parts:
            yield part, self._contents(keys[part])

    def _ahead(self, keys: Sequence[str], parts: Sequence[slice], n_each: int) -> Iterator[Batch]:
        """Read batches by threads, each file list of `n_each` by one, while the batch before is stored."""
        readers, ahead = ThreadPoolExecutor(N_READERS, "streamh5_reader"), deque[Any]()
        try:
            for part in (*parts, None):
                if part is not None:
                    starts = range(part.start, part.stop, n_each)
                    lists = [keys[i : min(i + n_each, part.stop)] for i in starts]
                    ahead.append((part, [readers.submit(self._contents, some) for some in lists]))
                if ahead and (part is None or len(ahead) > 1):
                    done, runs = ahead.popleft()
                    found = [one for run in runs for one in run.result()]
                    runs.clear()
                    yield done, found
                    del found  # it is stored
        finally:
            readers.shutdown(cancel_futures=True)

    def _contents(self, keys: Sequence[str]) -> list[Buffer | None]:
        return [self._content(key) for key in keys]

    def _content(self, key: str) -> Buffer | None:
        try:
            file = os.open(f"{self.folder}/{key}", os.O_RDONLY)
            try:
                nbytes = os.fstat(file).st_size
                data = os.read(file, nbytes)
                while len(data) < nbytes and (more := os.read(file, nbytes - len(data))):
                    data += more
                return data
            finally:
                os.close(file)
        except _ABSENT:
            return None
        except Exception as error:
            raise SourceError(
                f"{self.folder}: the chunk {key} cannot be read: {describe(error)}", key=key
            ) from error

    def parts(self, key: str, ranges: Sequence[Range]) -> Sequence[Buffer | None]:
        with foreign_errors(f"{self.folder}: the shard {key} cannot be read", key=key):
            try:
                with open(f"{self.folder}/{key}", "rb", buffering=0) as file:
                    return [_part(file.fileno(), *one) for one in ranges]
            except _ABSENT:
                return [None] * len(ranges)


def _part(file: int, start: int, nbytes: int) -> bytes:
    """Read a range of a file; a range past its end (of a damaged index) is empty."""
    end = os.fstat(file).st_size
    first = min(start, end) if start >= 0 else max(0, end + start)
    return os.pread(file, min(nbytes, end - first), first)


@dataclass(frozen=True, slots=True)
class _StoreValues:
    """Values of any store, through its ``get``."""

    store: Any
    prefix: str
    at_once_nbytes: int = BLOCK_NBYTES  # a store may be far away: many requests at once

    def whole(self, keys: Sequence[str], value_nbytes: int) -> Iterator[Batch]:
        """Yield all values as one batch: zarr limits how many are requested at once, and a block has a limit."""
        yield slice(0, len(keys)), self._get([(self.prefix + key, None) for key in keys])

    def parts(self, key: str, ranges: Sequence[Range]) -> Sequence[Buffer | None]:
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest

        requests = [
            RangeByteRequest(start, start + nbytes) if start >= 0 else SuffixByteRequest(-start)
            for start, nbytes in ranges
        ]
        return self._get([(self.prefix + key, request) for request in requests])

    def _get(self, requests: list[tuple[str, Any]]) -> Sequence[Buffer | None]:
        import zarr

        # zarr 3 has no public function that runs coroutines on its event loop, with its limit of concurrent requests
        from zarr.core.buffer.cpu import buffer_prototype
        from zarr.core.common import concurrent_map
        from zarr.core.sync import sync

        async def get(key: str, byte_range: Any) -> Any:
            with foreign_errors(f"{self.store}: the chunk {key} cannot be read", key=key):
                return await self.store.get(key, buffer_prototype, byte_range)

        found = sync(concurrent_map(requests, get, zarr.config.get("async.concurrency")))
        return [None if value is None else value.as_numpy_array() for value in found]
