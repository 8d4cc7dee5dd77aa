"""The bytes of an object in a store: few requests, all of them to one version of the object.

::

    position 0      1 MiB                                                     end of the object
             ├─────────┼──────────────────────────────────────────────────────────┤
             read_start   a small read: the block of 4 MiB around it, which is kept; a large one: just these bytes

All metadata of a file of streamh5 lies in the first MiB, unless there is more: the first request, which opens the
object, is then the only one for it. Requests of several threads run at the same time. Each asks for the version that
the first one has found, so that the bytes are never a mixture of two objects.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import IO, TYPE_CHECKING, Any, cast

from streamh5.errors import FileMissingError, StoreError, UnreadableError
from streamh5.stores import attempts

if TYPE_CHECKING:
    from streamh5.stores.base import ReadableObject

OBJECT_START_NBYTES = 1 << 20
"""Size of the first request: all metadata of most files of streamh5, without much data."""

OBJECT_BLOCK_NBYTES = 4 << 20
"""Size of a block. Metadata that is scattered over a file of another program, and small datasets one after the other,
take half of the time that they take with 1 MiB (`python -m tests.benchmarks.object_reads`)."""

N_OBJECT_BLOCKS = 8
"""Most blocks in memory, besides the first MiB."""


class ObjectSource:
    """An object; see `ByteSource`.

    A failure is final: the reads that follow fail as well, and so does `close`, since libraries above may have
    swallowed it.

    Parameters
    ----------
    store
        The object.
    """

    def __init__(self, store: ReadableObject) -> None:
        self.name = store.url
        self._store = store
        self._failure: StoreError | None = None
        try:
            found, self._start = attempts.ATTEMPTS.run(lambda: store.read_start(OBJECT_START_NBYTES))
        except StoreError as error:
            raise _unreadable(self.name, error, is_open=False) from error
        self.nbytes = found.nbytes
        self.version = found.version
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, nbytes: int, position: int) -> bytes:
        """See `ByteSource`."""
        stop = min(position + nbytes, self.nbytes)
        if position >= stop:
            return b""
        if position < len(self._start):
            return self._start[position:stop]
        if stop - position >= OBJECT_BLOCK_NBYTES:
            return self._fetch(position, stop)
        number, begin = divmod(position - len(self._start), OBJECT_BLOCK_NBYTES)
        return self._block(number)[begin : begin + stop - position]

    def read_into(self, memory: memoryview, position: int) -> int:
        """See `ByteSource`."""
        part = self.read(len(memory), position)
        memory[: len(part)] = part
        return len(part)

    def for_h5py(self) -> IO[bytes]:
        """See `ByteSource`."""
        return cast("IO[bytes]", _ObjectFile(self))

    def close(self) -> None:
        """See `ByteSource`."""
        failure, self._failure = self._failure, None
        self._blocks.clear()
        if failure is not None:
            raise _unreadable(self.name, failure, is_open=True) from failure

    def _block(self, number: int) -> bytes:
        """Return a block; threads that ask for it meanwhile wait for the one request."""
        with self._lock:
            block = self._blocks.get(number)
            is_mine = block is None
            if block is None:
                block = self._blocks[number] = Future()
                if len(self._blocks) > N_OBJECT_BLOCKS:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(number)
        if is_mine:
            start = len(self._start) + number * OBJECT_BLOCK_NBYTES
            try:
                block.set_result(self._fetch(start, min(start + OBJECT_BLOCK_NBYTES, self.nbytes)))
            except BaseException as error:
                block.set_exception(error)
                with self._lock:
                    self._blocks.pop(number, None)
                raise
        return block.result()

    def _fetch(self, start: int, stop: int) -> bytes:
        def request() -> bytes:
            content = self._store.read(start, stop, self.version)
            if len(content) != stop - start:
                raise StoreError(
                    f"it has sent {len(content):,} bytes instead of {stop - start:,}", reason="transient"
                )
            return content

        if self._failure is not None:
            raise self._failure
        try:
            return attempts.ATTEMPTS.run(request)
        except StoreError as error:
            self._failure = error
            raise


def _unreadable(url: str, error: StoreError, *, is_open: bool) -> UnreadableError:
    if error.reason == "missing" and not is_open:
        return FileMissingError(f"{url} does not exist", path=url)
    if error.reason in ("missing", "changed"):
        done = "removed" if error.reason == "missing" else "replaced"
        return UnreadableError(f"{url} has been {done} while it was read; begin again", path=url)
    return UnreadableError(f"{url} cannot be read: {error}", path=url)


class _ObjectFile(io.RawIOBase):
    """A source as a file object. `readinto` fills the memory: h5py does not look at what it returns."""

    def __init__(self, source: ObjectSource) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.nbytes}
        self._position = begin[whence] + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        memory = memoryview(buffer).cast("B")
        n_read = 0
        while n_read < len(memory):
            n = self._source.read_into(memory[n_read:], self._position)
            if not n:
                break
            n_read += n
            self._position += n
        return n_read
