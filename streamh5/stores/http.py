"""HTTP servers, for reading: an object is one URL, which may be signed.

By fsspec's `HTTPFileSystem`: users know its ``storage_options``. A server must answer requests for ranges of bytes, as
those of object stores and nearly all others do. Its answers are compared with each other (entity tag, date, size):
few servers know If-Match.
"""

from __future__ import annotations

import os
import re
from typing import Any

import aiohttp
from fsspec.asyn import sync
from fsspec.implementations.http import HTTPFileSystem

from streamh5.errors import StoreError
from streamh5.stores.base import StoredObject
from streamh5.stores.failures import translated

_SECRETS = re.compile(r"(?<=://)[^/@]*@|[?#].*", re.DOTALL)

_RANGE = re.compile(r"bytes (?:\d+-\d+|\*)/(\d+)")

_REASONS = {401: "denied", 403: "denied", 404: "missing", 410: "missing", 408: "transient", 429: "transient"}


class HttpObject:
    """An object on an HTTP server; a `ReadableObject`.

    Parameters
    ----------
    url
        ``http://`` or ``https://``; messages show neither its query nor a password.
    storage_options
        Those of `fsspec.implementations.http.HTTPFileSystem`.
    """

    def __init__(self, url: str, storage_options: dict[str, Any]) -> None:
        self.url = _SECRETS.sub("", url)
        self._asked = url
        self._options = storage_options
        self._pid = os.getpid()
        self._system = HTTPFileSystem(**storage_options)

    def __repr__(self) -> str:
        return f"HttpObject({self.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return HttpObject, (self._asked, self._options)

    def read_start(self, nbytes: int) -> tuple[StoredObject, bytes]:
        """See `ReadableObject`."""
        return self._get(0, nbytes)

    def read(self, start: int, stop: int, version: str | None = None) -> bytes:
        """See `ReadableObject`."""
        if start >= stop:
            return b""
        found, content = self._get(start, stop)
        if version not in (None, found.version):
            raise StoreError(f"{self.url} has been replaced", reason="changed")
        return content

    def _get(self, start: int, stop: int) -> tuple[StoredObject, bytes]:
        if self._pid != os.getpid():  # its connections are those of the process that was forked
            self._system, self._pid = HTTPFileSystem(**self._options, skip_instance_cache=True), os.getpid()
        found: tuple[StoredObject, bytes] = translated(
            lambda: sync(self._system.loop, self._request, start, stop),
            (aiohttp.ClientError, ValueError, OSError),
            self._store_error,
        )
        return found

    def _store_error(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        is_refused = isinstance(error, (aiohttp.ClientSSLError, ValueError))
        # its text may show the URL as it was given
        return StoreError(
            f"{self.url}: {type(error).__name__}", reason="refused" if is_refused else "transient"
        )

    async def _request(self, start: int, stop: int) -> tuple[StoredObject, bytes]:
        session = await self._system.set_session()
        given = dict(self._system.kwargs)
        headers = {
            **given.pop("headers", {}),
            "Range": f"bytes={start}-{stop - 1}",
            "Accept-Encoding": "identity",
        }
        async with session.get(self._system.encode_url(self._asked), headers=headers, **given) as answer:
            told = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if answer.status == 206 and told:
                return _stored(answer, int(told[1])), await answer.read()
            if answer.status == 416:  # behind the end: of an empty object, everything is
                return _stored(answer, int(told[1]) if told else 0), b""
            length = answer.content_length
            if answer.status == 200 and start == 0 and length is not None and length <= stop:
                content = await answer.read()
                return _stored(answer, len(content)), content
            if answer.status < 400:
                raise StoreError(
                    f"{self.url}: the server does not send parts of a file; download it", reason="refused"
                )
            reason = _REASONS.get(answer.status, "transient" if answer.status >= 500 else "refused")
            raise StoreError(f"{self.url}: status {answer.status} {answer.reason}", reason=reason)


def _stored(answer: aiohttp.ClientResponse, nbytes: int) -> StoredObject:
    told = (answer.headers.get(name, "") for name in ("ETag", "Last-Modified"))
    return StoredObject(nbytes, " ".join((*told, str(nbytes))))
