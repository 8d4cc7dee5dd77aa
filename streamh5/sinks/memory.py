"""A file in a bytearray."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from streamh5.errors import StateError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from streamh5.sinks.base import Buffer

__all__ = ["MemorySink"]


class MemorySink:
    """Keep the file in memory, in `image`."""

    name = "memory"
    keeps_journal = False
    sync = "none"

    def __init__(self) -> None:
        self.image = bytearray()
        self._open = True
        self._lock = threading.Lock()

    @property
    def journal_facts(self) -> dict[str, Any]:
        """Nothing: there is no journal."""
        return {}

    def has_name(self, path: str | os.PathLike[str]) -> bool:
        """Nothing has."""
        return False

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Put `buffers`, one after the other, at `address`."""
        with self._lock:
            if not self._open:
                raise StateError("the file in memory is closed; nothing more can be written to it")
            for buffer in buffers:
                piece = memoryview(cast("bytes", buffer))
                end = address + len(piece)
                if end > len(self.image):
                    self.image.extend(bytes(end - len(self.image)))
                self.image[address:end] = piece
                address = end

    def append_log(self, entries: bytes, nbytes: int = 0, *, is_urgent: bool = False) -> None:
        """Keep no journal: memory is lost with its process."""

    def commit(self, nbytes: int) -> None:
        """Pad the image to `nbytes` and close it."""
        self.image.extend(bytes(nbytes - len(self.image)))
        self._open = False

    def snapshot(self, path: Path) -> None:
        """Write the image to `path`."""
        with self._lock:
            path.write_bytes(self.image)

    def suspend(self) -> None:
        """Drop the image."""
        self.abort()

    def abort(self) -> None:
        """Drop the image."""
        if self._open:
            self._open = False
            self.image.clear()
