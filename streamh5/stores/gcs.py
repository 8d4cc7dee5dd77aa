"""Google Cloud Storage: URL, options, session and credentials of gcsfs; requests of the XML API.

The XML API has uploads in parts as S3 has them; the JSON API, which gcsfs itself uses, has none. Differences from S3:

* The token of the write becomes metadata when an upload begins, not when it is completed.
* A condition is refused in all requests of an upload in parts (400 NotImplemented): `complete` looks whether there is
  an object, and one that another writer makes between that and the completion is replaced. `put` has the condition.
* An object has a generation, a number that no other version of it has had.
"""

from __future__ import annotations

import base64
import os
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import fsspec.core
import gcsfs.retry
import google_crc32c
from aiohttp import ClientError, ClientTimeout
from google.auth.exceptions import GoogleAuthError, TransportError
from yarl import URL

from streamh5.errors import SpecError, StoreError, shown
from streamh5.stores import attempts
from streamh5.stores.base import TOKEN_KEY, PartLimits, PartReceipt, PendingUpload, StoredObject
from streamh5.stores.checksums import StoredChecksum
from streamh5.stores.failures import translated
from streamh5.stores.requests import SECRETS_OF_URLS, Body, excused, run_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_CREDENTIALS_ERRORS = (
    GoogleAuthError,
    gcsfs.retry.HttpError,
    getattr(gcsfs.retry, "NonRetryableError", gcsfs.retry.HttpError),  # of newer ones
)
_TOKEN_HEADER = f"x-goog-meta-{TOKEN_KEY}"
_XML = {"Content-Type": "application/xml"}
_JSON_API = "/storage/v1/"  # end of gcsfs's address

_REASONS = {
    "NoSuchUpload": "no upload",
    "InvalidPart": "part differs",
    "InvalidPartOrder": "part differs",
    "PreconditionFailed": "changed",
    "BadDigest": "transient",  # damaged on the way
    "RequestTimeout": "transient",
}
_REASONS_BY_STATUS = {
    401: "denied",
    403: "denied",
    404: "missing",
    408: "transient",
    412: "changed",
    429: "transient",
}
_ADVICE = {
    "NoSuchBucket": ": create the bucket first",
    "UserProjectMissing": ": pass requester_pays in storage_options",
}
_BEHIND_THE_END = 416  # status of a range without a byte
_MAX_LISTED = 1000
_CHECKSUM_PIECE_NBYTES = 1 << 20  # its package takes bytes only: a copy, of a piece


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    content: bytes

    def xml(self) -> ElementTree.Element:
        """Return the content; an error may come after the status has said that all is well."""
        try:
            root = ElementTree.fromstring(self.content)
        except ElementTree.ParseError:
            raise StoreError(f"Google answers {self.status} without XML", reason="transient") from None
        if root.tag == "Error":
            raise _refused(self.status, _text(root, "Code"))
        return root


class GCSStore:
    """An object of `gcsfs.GCSFileSystem`."""

    limits = PartLimits()

    def __init__(self, url: str, storage_options: dict[str, Any]) -> None:
        self.url = url
        self._options = storage_options
        self._connect()

    def __reduce__(self) -> tuple[object, ...]:
        return GCSStore, (self.url, self._options)

    def head(self) -> StoredObject | None:
        """See `ObjectStore`."""
        with excused("missing"):
            answer = self._ask("HEAD")
            return _stored(answer.headers, int(answer.headers["Content-Length"]))
        return None

    def read_start(self, nbytes: int) -> tuple[StoredObject, bytes]:
        """See `ReadableObject`; an empty object takes two requests."""
        try:
            answer = self._read(0, nbytes)
        except StoreError as error:
            if error.facts.get("status") != _BEHIND_THE_END:
                raise
        else:
            size = answer.headers["Content-Range"].rpartition("/")[2]
            return _stored(answer.headers, int(size)), answer.content
        found = self.head()
        if found is None or found.nbytes:
            raise StoreError(f"{self.url} was replaced while it was opened", reason="transient")
        return found, b""

    def read(self, start: int, stop: int, version: str | None = None) -> bytes:
        """See `ReadableObject`; a bucket with versions still has one that was replaced."""
        if stop <= start:
            return b""
        try:
            return self._read(start, stop, {"generation": version} if version else {}).content
        except StoreError as error:
            if error.facts.get("status") == _BEHIND_THE_END:
                return b""
            if error.reason == "missing" and version and self.head() is not None:
                raise StoreError(f"{self.url} was replaced", reason="changed") from None
            raise

    def checksum(self, version: str) -> StoredChecksum | None:
        """See `ChecksummedObject`: Google has the CRC-32C of every object."""
        answer = attempts.ATTEMPTS.run(lambda: self._ask("HEAD", {"generation": version}))
        told = [
            value for name, value in answer.headers.items() if name.lower() == "x-goog-hash"
        ]  # a line for each
        for one in ",".join(told).split(","):
            name, _, value = one.strip().partition("=")
            if name == "crc32c":
                return StoredChecksum("CRC-32C", base64.b64decode(value))
        return None

    def put(self, content: memoryview, *, token: str, if_absent: bool) -> None:
        """See `ObjectStore`."""
        headers = {_TOKEN_HEADER: token, **({"x-goog-if-generation-match": "0"} if if_absent else {})}
        try:
            self._ask("PUT", headers=headers, content=content)
        except StoreError as error:
            raise self._exists() if error.reason == "changed" else error from None

    def begin_upload(self, token: str) -> str:
        """See `ObjectStore`."""
        return _text(self._ask("POST", {"uploads": ""}, headers={_TOKEN_HEADER: token}).xml(), "UploadId")

    def send_part(self, upload: str, number: int, content: memoryview) -> PartReceipt:
        """See `ObjectStore`."""
        answer = self._ask("PUT", {"partNumber": str(number), "uploadId": upload}, content=content)
        return PartReceipt(number, answer.headers["ETag"].strip('"'), len(content))

    def list_parts(self, upload: str) -> list[PartReceipt]:
        """See `ObjectStore`."""
        parts: list[PartReceipt] = []
        query = {"uploadId": upload, "max-parts": str(_MAX_LISTED)}
        for page in self._pages(query, {"part-number-marker": "NextPartNumberMarker"}):
            parts += [
                PartReceipt(
                    int(_text(one, "PartNumber")), _text(one, "ETag").strip('"'), int(_text(one, "Size"))
                )
                for one in page.iterfind("{*}Part")
            ]
        return parts

    def complete(self, upload: str, parts: Sequence[PartReceipt], *, token: str, if_absent: bool) -> None:
        """See `ObjectStore`; the token is that of `begin_upload`. Looks before, and cannot do better."""
        if if_absent and self.head() is not None:
            raise self._exists()
        root = ElementTree.Element("CompleteMultipartUpload")
        for one in parts:
            part = ElementTree.SubElement(root, "Part")
            ElementTree.SubElement(part, "PartNumber").text = str(one.number)
            ElementTree.SubElement(part, "ETag").text = f'"{one.etag}"'
        self._ask(
            "POST", {"uploadId": upload}, headers=_XML, content=memoryview(ElementTree.tostring(root))
        ).xml()

    def abort_upload(self, upload: str) -> None:
        """See `ObjectStore`."""
        with excused("no upload", "missing"):
            self._ask("DELETE", {"uploadId": upload})

    def list_uploads(self) -> list[PendingUpload]:
        """See `ObjectStore`."""
        pending: list[PendingUpload] = []
        query = {"uploads": "", "prefix": self._key, "max-uploads": str(_MAX_LISTED)}
        markers = {"key-marker": "NextKeyMarker", "upload-id-marker": "NextUploadIdMarker"}
        for page in self._pages(query, markers, of_bucket=True):
            found = [(_text(one, "Key"), one) for one in page.iterfind("{*}Upload")]
            pending += [
                PendingUpload(_text(one, "UploadId"), _text(one, "Initiated"))
                for key, one in found
                if key == self._key
            ]
            if any(
                key != self._key for key, _ in found
            ):  # in the order of their names, and this is the first
                break
        return pending

    def _exists(self) -> StoreError:
        return StoreError(f"{self.url} exists", reason="exists")

    def _read(self, start: int, stop: int, query: Mapping[str, str] | None = None) -> _Answer:
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        answer = self._ask("GET", query, headers=headers, nbytes=stop - start)
        if answer.status != 206:
            raise StoreError(f"Google answers {answer.status} to a range", reason="refused")
        return answer

    def _pages(
        self, query: dict[str, str], markers: Mapping[str, str], *, of_bucket: bool = False
    ) -> Iterator[ElementTree.Element]:
        while True:
            page = self._ask("GET", query, of_bucket=of_bucket).xml()
            yield page
            if _text(page, "IsTruncated") != "true":
                return
            query = query | {marker: _text(page, tag) for marker, tag in markers.items()}

    def _connect(self) -> None:
        self._system, path = translated(
            lambda: fsspec.core.url_to_fs(self.url, **self._options),
            (*_CREDENTIALS_ERRORS, OSError, ValueError, KeyError),
            lambda error: SpecError(  # the message of the error may repeat the options
                f"storage_options of {self.url} do not connect ({type(error).__name__}): gcsfs takes token, project, "
                f"endpoint_url; these are given: {shown(sorted(self._options))}"
            ),
        )
        bucket, self._key, generation = self._system.split_path(path)
        if generation is not None:
            raise SpecError(f"{self.url} names a version of an object, which cannot be written or chosen")
        address = self._system.base.removesuffix(_JSON_API)
        self._bucket_url = URL(f"{address}/{quote(bucket, safe='')}", encoded=True)
        self._object_url = URL(f"{self._bucket_url}/{quote(self._key, safe='/~')}", encoded=True)
        given = self._system.requests_timeout
        if not isinstance(given, ClientTimeout):  # aiohttp's own is five minutes for a request of any size
            given = ClientTimeout(total=given or None, sock_connect=30, sock_read=120)
        self._timeout = given
        self._process = os.getpid()

    def _ask(
        self,
        method: str,
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        content: memoryview | None = None,
        nbytes: int = 0,
        of_bucket: bool = False,
    ) -> _Answer:
        """Make one request; a refusal is a `StoreError`."""
        if self._process != os.getpid():  # the event loop did not come along
            self._connect()
        sent = dict(headers or {})
        if content is not None:
            sent["Content-Length"] = str(len(content))  # else the pieces go with a length each
            if method == "PUT":
                sent["x-goog-hash"] = f"crc32c={base64.b64encode(_crc32c(content)).decode()}"
        payer = self._system.requester_pays
        if payer:
            sent["x-goog-user-project"] = payer if isinstance(payer, str) else self._system.project

        async def ask() -> _Answer:
            await self._system._set_session()
            async with self._system.session.request(
                method,
                self._bucket_url if of_bucket else self._object_url,
                params=query,
                headers=sent,
                data=None if content is None else Body(content),
                timeout=self._timeout,
            ) as answer:
                return _Answer(answer.status, answer.headers, await answer.read())

        def run() -> _Answer:
            self._system.credentials.apply(sent)
            return run_request(self._system, ask, nbytes=nbytes + len(content or b""))

        answer = translated(run, (*_CREDENTIALS_ERRORS, ClientError, OSError), _unreachable)
        if answer.status >= 300:
            raise _refused(answer.status, _code(answer.content))
        return answer


def _crc32c(content: memoryview) -> bytes:
    """Return the checksum that the store verifies; it takes a fifth of the time of an MD5."""
    checksum = 0
    for start in range(0, len(content), _CHECKSUM_PIECE_NBYTES):
        checksum = google_crc32c.extend(checksum, bytes(content[start : start + _CHECKSUM_PIECE_NBYTES]))
    return checksum.to_bytes(4, "big")


def _stored(headers: Mapping[str, str], nbytes: int) -> StoredObject:
    return StoredObject(nbytes, headers["x-goog-generation"], headers.get(_TOKEN_HEADER))


def _text(element: ElementTree.Element, tag: str) -> str:
    """Return the text of a child, in whichever namespace; "" if there is none."""
    return element.findtext(f"{{*}}{tag}") or ""


def _code(content: bytes) -> str:
    try:
        return _text(ElementTree.fromstring(content), "Code")
    except ElementTree.ParseError:
        return ""


def _refused(status: int, code: str) -> StoreError:
    reason = _REASONS.get(code) or _REASONS_BY_STATUS.get(status)
    if reason is None:
        reason = "transient" if status >= 500 and status not in (501, 505) else "refused"
    said = f"Google answers {status} {code:.100}".rstrip()
    return StoreError(said + _ADVICE.get(code, ""), reason=reason, status=status, code=code)


def _unreachable(error: Exception) -> StoreError:
    if isinstance(error, _CREDENTIALS_ERRORS) and not isinstance(error, TransportError):
        return StoreError(f"Google does not take the credentials ({type(error).__name__})", reason="denied")
    said = shown(SECRETS_OF_URLS.sub("...", str(error)), 160, quoted=False)
    return StoreError(f"Google cannot be asked: {type(error).__name__}: {said}", reason="transient")
