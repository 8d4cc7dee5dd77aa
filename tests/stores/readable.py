"""An object in memory that notes every request and fails when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable

from streamh5.errors import StoreError
from streamh5.stores.base import StoredObject


class NotedObject:
    """A `ReadableObject` of given bytes.

    Attributes
    ----------
    content
        The bytes; None for an object that does not exist. Another value is another version.
    ranges
        Start and stop of each request.
    before
        Called before each answer, with the number of the request; it may raise or change `content`.
    """

    url = "s3://bucket/out.h5"

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.ranges: list[tuple[int, int]] = []
        self.before: Callable[[int], object] = lambda number: None
        self._lock = threading.Lock()

    def read_start(self, nbytes: int) -> tuple[StoredObject, bytes]:
        content = self._answer(0, nbytes)
        return StoredObject(len(content), str(hash(content))), content[:nbytes]

    def read(self, start: int, stop: int, version: str | None = None) -> bytes:
        content = self._answer(start, stop)
        if version not in (None, str(hash(content))):
            raise StoreError("another version", reason="changed")
        return content[start:stop]

    def _answer(self, start: int, stop: int) -> bytes:
        with self._lock:
            number = len(self.ranges)
            self.ranges.append((start, stop))
        self.before(number)
        if self.content is None:
            raise StoreError("no such key", reason="missing")
        return self.content
