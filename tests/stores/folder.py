"""An object store in a folder, which several processes use: strict as S3, and it tells afterwards what was asked."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamh5.errors import StoreError
from streamh5.stores.base import PartLimits, PartReceipt, PendingUpload, StoredObject


class FolderStore:
    """An object in a folder, given as ``storage_options={"folder": ...}``; further options are `PartLimits`.

    ``denied_to``: a process that may do nothing.
    """

    def __init__(self, url: str, storage_options: dict[str, Any]) -> None:
        self.url = url
        self._options = storage_options
        self._folder = Path(storage_options["folder"])
        self.limits = PartLimits(**{k: v for k, v in storage_options.items() if k in PartLimits._fields})

    def __reduce__(self) -> tuple[object, ...]:
        return FolderStore, (self.url, self._options)

    @property
    def path(self) -> Path:
        """The object, as a file."""
        return self._folder / "object"

    def _log(self, request: str, *facts: object) -> None:
        with open(self._folder / "log", "a") as file:
            file.write(json.dumps([request, *facts]) + "\n")

    def requests(self, name: str) -> list[list[Any]]:
        """Return the requests of a kind, with their facts."""
        lines = (self._folder / "log").read_text().splitlines()
        return [one[1:] for one in map(json.loads, lines) if one[0] == name]

    def head(self) -> StoredObject | None:
        """See `ObjectStore`."""
        self._log("head", os.getpid())
        if self._options.get("denied_to") == os.getpid():
            raise StoreError("denied", reason="denied")
        if not self.path.exists():
            return None
        content = self.path.read_bytes()
        token = (self._folder / "token").read_text()
        return StoredObject(len(content), hashlib.md5(content).hexdigest(), token)

    def read_start(self, nbytes: int) -> tuple[StoredObject, bytes]:
        """See `ReadableObject`."""
        found = self.head()
        if found is None:
            raise StoreError("no object", reason="missing")
        return found, self.read(0, nbytes)

    def read(self, start: int, stop: int, version: str | None = None) -> bytes:
        """See `ReadableObject`."""
        return self.path.read_bytes()[start:stop]

    def put(self, content: memoryview, *, token: str, if_absent: bool) -> None:
        """See `ObjectStore`."""
        self._log("put", len(content))
        (self._folder / "token").write_text(token)
        self.path.write_bytes(content)

    def begin_upload(self, token: str) -> str:
        """See `ObjectStore`."""
        upload = uuid.uuid4().hex
        (self._folder / "uploads" / upload).mkdir(parents=True)
        return upload

    def _upload(self, upload: str) -> Path:
        folder = self._folder / "uploads" / upload
        if not folder.exists():
            raise StoreError(f"no upload {upload}", reason="no upload")
        return folder

    def send_part(self, upload: str, number: int, content: memoryview) -> PartReceipt:
        """See `ObjectStore`."""
        assert 1 <= number <= self.limits.max_number
        folder = self._upload(upload)
        self._log("part", number, len(content), os.getpid())
        temporary = self._folder / f"{uuid.uuid4().hex}.part"
        temporary.write_bytes(content)
        temporary.rename(folder / f"{number:06d}")
        return PartReceipt(number, hashlib.md5(content).hexdigest(), len(content))

    def list_parts(self, upload: str) -> list[PartReceipt]:
        """See `ObjectStore`."""
        found = [(int(one.name), one.read_bytes()) for one in sorted(self._upload(upload).iterdir())]
        return [PartReceipt(number, hashlib.md5(part).hexdigest(), len(part)) for number, part in found]

    def complete(self, upload: str, parts: Sequence[PartReceipt], *, token: str, if_absent: bool) -> None:
        """See `ObjectStore`."""
        stored = {one.number: one for one in self.list_parts(upload)}
        numbers = [one.number for one in parts]
        assert numbers == sorted(set(numbers))
        for one in parts:
            if stored.get(one.number) != one:
                raise StoreError(f"part {one.number} is another one", reason="part differs")
        assert all(one.nbytes >= self.limits.min_nbytes for one in parts[:-1]), "EntityTooSmall"
        self._log("complete", *numbers)
        folder = self._upload(upload)
        (self._folder / "token").write_text(token)
        self.path.write_bytes(b"".join((folder / f"{n:06d}").read_bytes() for n in numbers))
        self.abort_upload(upload)

    def abort_upload(self, upload: str) -> None:
        """See `ObjectStore`."""
        folder = self._folder / "uploads" / upload
        if folder.exists():
            for one in folder.iterdir():
                one.unlink()
            folder.rmdir()

    def list_uploads(self) -> list[PendingUpload]:
        """See `ObjectStore`."""
        folder = self._folder / "uploads"
        return [PendingUpload(one.name, "") for one in folder.iterdir()] if folder.exists() else []
