"""fsspec's ``memory://``: objects in the memory of this process."""

from __future__ import annotations

import hashlib
import threading
import uuid
from typing import TYPE_CHECKING, Any

from fsspec.implementations.memory import MemoryFileSystem

from streamh5.errors import StoreError
from streamh5.stores.base import PartLimits, PartReceipt, PendingUpload, StoredObject

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOCK = threading.RLock()
"""Reentrant: the garbage collector may end a dropped write in the middle of a request of another one."""

_UPLOADS: dict[tuple[str, str], dict[int, bytes]] = {}
"""The parts of the uploads of this process, by object and id."""

_TOKENS: dict[str, tuple[str, str]] = {}
"""Version of each object that streamh5 made, and the token of its write."""


class MemoryStore:
    """An object of `fsspec.implementations.memory.MemoryFileSystem`."""

    limits = PartLimits(min_nbytes=1, max_nbytes=1 << 62)

    def __init__(self, url: str, storage_options: dict[str, Any]) -> None:
        self.url = url
        self._options = storage_options
        self._key: str = MemoryFileSystem._strip_protocol(url)
        self._system = MemoryFileSystem(**storage_options)

    def __reduce__(self) -> tuple[object, ...]:
        raise StoreError(
            f"{self.url} lies in the memory of one process, which others do not see", reason="refused"
        )

    def head(self) -> StoredObject | None:
        """See `ObjectStore`."""
        found = self._system.store.get(self._key)
        if found is None:
            return None
        version = f"{found.modified.timestamp()}-{id(found)}"
        made, token = _TOKENS.get(self._key, ("", None))
        return StoredObject(found.size, version, token if made == version else None)

    def read_start(self, nbytes: int) -> tuple[StoredObject, bytes]:
        """See `ReadableObject`."""
        with _LOCK:
            found = self.head()
            if found is None:
                raise StoreError(f"{self.url} does not exist", reason="missing")
            return found, self._system.store[self._key].getbuffer()[:nbytes].tobytes()

    def read(self, start: int, stop: int, version: str | None = None) -> bytes:
        """See `ReadableObject`."""
        with _LOCK:
            found = self.head()
            if found is None:
                raise StoreError(f"{self.url} does not exist", reason="missing")
            if version not in (None, found.version):
                raise StoreError(f"{self.url} has been replaced", reason="changed")
            content: bytes = self._system.store[self._key].getbuffer()[start:stop].tobytes()
            return content

    def put(self, content: memoryview, *, token: str, if_absent: bool) -> None:
        """See `ObjectStore`."""
        with _LOCK:
            if if_absent and self._key in self._system.store:
                raise StoreError(f"{self.url} exists", reason="exists")
            self._system.pipe_file(self._key, bytes(content))
            found = self.head()
            _TOKENS[self._key] = (found.version if found else "", token)

    def begin_upload(self, token: str) -> str:
        """See `ObjectStore`."""
        upload = uuid.uuid4().hex
        with _LOCK:
            _UPLOADS[self._key, upload] = {}
        return upload

    def send_part(self, upload: str, number: int, content: memoryview) -> PartReceipt:
        """See `ObjectStore`."""
        part = bytes(content)
        with _LOCK:
            self._parts(upload)[number] = part
        return _receipt(number, part)

    def list_parts(self, upload: str) -> list[PartReceipt]:
        """See `ObjectStore`."""
        with _LOCK:
            return [_receipt(number, part) for number, part in sorted(self._parts(upload).items())]

    def complete(self, upload: str, parts: Sequence[PartReceipt], *, token: str, if_absent: bool) -> None:
        """See `ObjectStore`."""
        with _LOCK:
            stored = self._parts(upload)
            for one in parts:
                if one.number not in stored or _receipt(one.number, stored[one.number]) != one:
                    raise StoreError(f"part {one.number} of {self.url} is another one", reason="part differs")
            content = memoryview(b"".join(stored[one.number] for one in parts))
            self.put(content, token=token, if_absent=if_absent)
            self.abort_upload(upload)

    def abort_upload(self, upload: str) -> None:
        """See `ObjectStore`."""
        with _LOCK:
            _UPLOADS.pop((self._key, upload), None)

    def list_uploads(self) -> list[PendingUpload]:
        """See `ObjectStore`."""
        with _LOCK:
            return [PendingUpload(upload, "") for key, upload in _UPLOADS if key == self._key]

    def _parts(self, upload: str) -> dict[int, bytes]:
        try:
            return _UPLOADS[self._key, upload]
        except KeyError:
            raise StoreError(f"{self.url} has no upload {upload}", reason="no upload") from None


def _receipt(number: int, part: bytes) -> PartReceipt:
    return PartReceipt(number, hashlib.md5(part, usedforsecurity=False).hexdigest(), len(part))
