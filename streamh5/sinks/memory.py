"""A file in memory, as a bytearray."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

from streamh5.sinks.gated_sink import GatedSink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamh5.sinks.base import Buffer


class MemorySink(GatedSink):
    """Write to the bytearray `image`; after `abort` it is empty, or the state of the last `flush`."""

    def __init__(self) -> None:
        super().__init__("memory")
        self.image = bytearray()
        self._superblock = b""
        self._flushed = (b"", 0)
        self._lock = threading.Lock()  # a bytearray may move when it grows

    def snapshot(self, path: Path) -> None:
        """Write the image to `path`."""
        with self._lock:
            path.write_bytes(self.image)

    def read(self, address: int, nbytes: int) -> bytes:
        """Return bytes of the image; fewer than `nbytes` at its end."""
        with self._writing(), self._lock:
            return bytes(self.image[address : address + nbytes])

    def flush(self, nbytes: int) -> None:
        """Keep what the superblock refers to; `abort` leaves it."""
        with self._writing(), self._lock:
            self._extend(nbytes)
            self._flushed = self._superblock, nbytes

    def _write(self, address: int, buffers: Sequence[Buffer]) -> None:
        if address == 0:
            self._superblock = b"".join(bytes(buffer) for buffer in buffers)
        with self._lock:
            for buffer in buffers:
                piece = memoryview(cast("bytes", buffer))
                end = address + len(piece)
                if end > len(self.image):
                    self.image.extend(bytes(end - len(self.image)))
                self.image[address:end] = piece
                address = end

    def _commit(self, nbytes: int) -> None:
        self._extend(nbytes)

    def _drop(self) -> None:
        superblock, nbytes = self._flushed
        del self.image[nbytes:]
        self.image[: len(superblock)] = superblock

    def _extend(self, nbytes: int) -> None:
        self.image.extend(bytes(max(0, nbytes - len(self.image))))
