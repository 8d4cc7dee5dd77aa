"""S3 and whatever speaks its language, by s3fs: users know its ``storage_options``, and its client has single requests.

* A part and a plain object carry Content-MD5: AWS, Ceph and MinIO refuse a body that differs, and what they return as
  entity tag is an MD5 as well, which is compared. It costs 22 ms of processor for 16 MiB outside the interpreter's
  lock; CRC-32 would cost 1 ms, but servers other than AWS take any value of it for right.
* s3fs and botocore repeat nothing here: `streamh5.stores.attempts` does it. (aiohttp repeats a request whose
  connection was lost, once.)
* If-None-Match: AWS, MinIO and moto refuse to replace an object; Ceph's gateway (16.2) does so for objects of one
  request, and ignores it where parts are joined.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError
from fsspec.asyn import sync
from s3fs import S3FileSystem

from streamh5.errors import StoreError
from streamh5.stores import attempts
from streamh5.stores.base import TOKEN_KEY, PartLimits, PartReceipt, PendingUpload, StoredObject
from streamh5.stores.checksums import StoredChecksum
from streamh5.stores.failures import translated
from streamh5.stores.s3_client import SentBuffer, check_s3_options, s3_file_system
from streamh5.stores.s3_errors import store_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

CONTENT_TYPE = "application/x-hdf5"

MIN_SPEED = 64 << 10
"""Bytes a second: a connection that sends fewer is taken for dead, after `read_timeout` and what they would take."""

_FAILURES = (OSError, BotoCoreError, ClientError, aiohttp.ClientError, asyncio.TimeoutError, ValueError)
"""What s3fs raises for a request, or when it makes the client for the first one."""

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"})

_RENEWING = threading.Lock()


_MD5 = re.compile("[0-9a-f]{32}")

_MD5_OF_PARTS = re.compile("([0-9a-f]{32})-([0-9]+)")


class S3Store:
    """An object of S3.

    Parameters
    ----------
    url
        ``s3://bucket/key``.
    storage_options
        Those of `s3fs.S3FileSystem`.
    """

    limits = PartLimits()

    def __init__(self, url: str, storage_options: dict[str, Any]) -> None:
        self.url = url
        self._options = storage_options
        check_s3_options(storage_options)
        self._pid = os.getpid()
        self._system = s3_file_system(storage_options)
        self._bucket, self._key, _ = self._system.split_path(url)

    def __repr__(self) -> str:
        return f"S3Store({self.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return S3Store, (self.url, self._options)

    def head(self) -> StoredObject | None:
        """See `ObjectStore`."""
        try:
            return _stored(self._call("head_object"))
        except StoreError as error:
            if error.reason == "missing":
                return None
            raise

    def read_start(self, nbytes: int) -> tuple[StoredObject, bytes]:
        """See `ReadableObject`."""
        try:
            answer, content = self._get(0, nbytes)
        except StoreError as error:
            if error.facts.get("status") != 416:
                raise
            found = self.head()  # it is empty: it has no first byte to ask for
            if found is None:
                raise StoreError(f"{self.url} does not exist", reason="missing") from error
            return found, b""
        _, _, nbytes_all = answer.get("ContentRange", "").rpartition("/")
        return _stored(answer, int(nbytes_all) if nbytes_all.isdecimal() else None), content

    def read(self, start: int, stop: int, version: str | None = None) -> bytes:
        """See `ReadableObject`."""
        if start >= stop:
            return b""
        try:
            answer, content = self._get(start, stop, **self._if_match(version))
        except StoreError as error:
            if error.facts.get("status") == 416:  # behind the end
                return b""
            raise
        if version is not None and _tag(answer) != version:
            raise StoreError(f"{self.url} has been replaced", reason="changed")
        return content

    def checksum(self, version: str) -> StoredChecksum | None:
        """See `ChecksummedObject`: the entity tag is the MD5 of the object, or that of the MD5s of its parts."""
        answer = self._head(**self._if_match(version))
        of_parts = _MD5_OF_PARTS.fullmatch(version)
        if not _is_tag_md5(answer):
            return None
        if _MD5.fullmatch(version):
            return StoredChecksum("MD5", bytes.fromhex(version))
        edges = None if of_parts is None else self._edges(int(of_parts[2]), answer["ContentLength"])
        return StoredChecksum("MD5", bytes.fromhex(of_parts[1]), edges) if of_parts and edges else None

    def _edges(self, n_parts: int, nbytes: int) -> tuple[int, ...] | None:
        """Return the positions between the parts; None from a server that does not tell the sizes of parts."""
        edges = [0]
        for number in range(1, self.limits.max_number + 1):  # numbers may be left out
            try:
                edges.append(edges[-1] + self._head(PartNumber=number)["ContentLength"])
            except StoreError as error:
                if error.reason in ("transient", "denied") or number == 1:
                    raise
            if len(edges) > n_parts or edges[-1] >= nbytes:
                break
        return tuple(edges) if len(edges) == n_parts + 1 and edges[-1] == nbytes else None

    def _head(self, **parameters: Any) -> dict[str, Any]:
        return attempts.ATTEMPTS.run(lambda: self._call("head_object", **parameters))

    def _if_match(self, version: str | None) -> dict[str, str]:
        # servers that do not know If-Match have an option of s3fs
        asks = version is not None and not getattr(self._system, "local_expiry_check", False)
        return {"IfMatch": f'"{version}"'} if asks else {}

    def put(self, content: memoryview, *, token: str, if_absent: bool) -> None:
        """See `ObjectStore`."""
        digest = _md5(content)
        answer = self._call_if_absent(
            "put_object",
            if_absent,
            Body=SentBuffer(content),
            ContentMD5=base64.b64encode(digest).decode(),
            **self._description(token),
        )
        self._check_tag(answer, digest, "the object")

    def begin_upload(self, token: str) -> str:
        """See `ObjectStore`."""
        upload: str = self._call("create_multipart_upload", **self._description(token))["UploadId"]
        return upload

    def send_part(self, upload: str, number: int, content: memoryview) -> PartReceipt:
        """See `ObjectStore`."""
        digest = _md5(content)
        answer = self._call(
            "upload_part",
            UploadId=upload,
            PartNumber=number,
            Body=SentBuffer(content),
            ContentMD5=base64.b64encode(digest).decode(),
        )
        self._check_tag(answer, digest, f"part {number}")
        return PartReceipt(number, _tag(answer), len(content))

    def list_parts(self, upload: str) -> list[PartReceipt]:
        """See `ObjectStore`."""
        pages = self._pages("list_parts", ("PartNumberMarker",), UploadId=upload)
        parts = (part for page in pages for part in page.get("Parts", ()))
        return sorted(PartReceipt(part["PartNumber"], _tag(part), part["Size"]) for part in parts)

    def complete(self, upload: str, parts: Sequence[PartReceipt], *, token: str, if_absent: bool) -> None:
        """See `ObjectStore`."""
        named = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]
        answer = self._call_if_absent(
            "complete_multipart_upload", if_absent, UploadId=upload, MultipartUpload={"Parts": named}
        )
        if "ETag" not in answer:  # the status is sent before the work is done: an answer may be cut
            raise StoreError(f"{self.url}: the answer to its completion is not whole", reason="transient")

    def abort_upload(self, upload: str) -> None:
        """See `ObjectStore`."""
        try:
            self._call("abort_multipart_upload", UploadId=upload)
        except StoreError as error:
            if error.reason != "no upload":
                raise

    def list_uploads(self) -> list[PendingUpload]:
        """See `ObjectStore`."""
        pages = self._pages("list_multipart_uploads", ("KeyMarker", "UploadIdMarker"), Prefix=self._key)
        uploads = (one for page in pages for one in page.get("Uploads", ()))
        return [  # of longer names, too
            PendingUpload(one["UploadId"], one["Initiated"].isoformat() if "Initiated" in one else "")
            for one in uploads
            if one["Key"] == self._key
        ]

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make one request; s3fs adds those of the user's ``s3_additional_kwargs`` that the operation knows."""
        system = self._usable_system()
        names = {"Bucket": self._bucket, "Key": self._key} | parameters
        if "Body" in parameters:  # while it is sent, nothing limits the time but this
            names["timeout"] = system.read_timeout + parameters["Body"].nbytes / MIN_SPEED
        request = partial(self._run, operation, system._call_s3, operation, system.req_kw, **names)
        client = system._s3
        try:
            answer: dict[str, Any] = request()
        except StoreError as error:
            if error.facts.get("code") not in EXPIRED or not self._renew(system, client):
                raise
            if "Body" in parameters:
                parameters["Body"].seek(0)
            answer = request()
        return answer

    def _renew(self, system: S3FileSystem, client: object) -> bool:
        """Read credentials again that have expired: another program may have renewed their file.

        Those of roles and machines botocore renews in time, and there is nothing to read if the user gave them.
        """
        if next(self._secrets(), None) is not None:
            return False
        with _RENEWING:
            if system._s3 is client:  # otherwise another thread has done it
                self._run("renewal of credentials", system.set_session, refresh=True)
        return True

    def _run(
        self, operation: str, function: Callable[..., Awaitable[Any]], *arguments: Any, **names: Any
    ) -> Any:
        return translated(
            lambda: sync(self._system.loop, function, *arguments, **names),
            _FAILURES,
            lambda error: store_error(error, self.url, operation, self._secrets()),
        )

    def _call_if_absent(self, operation: str, if_absent: bool, **parameters: Any) -> dict[str, Any]:
        if not if_absent:
            return self._call(operation, **parameters)
        if self._knows(operation, "IfNoneMatch"):
            try:
                return self._call(operation, IfNoneMatch="*", **parameters)
            except StoreError as error:
                if error.facts.get("status") != 501:  # the server has it not
                    raise
        if self.head() is not None:
            raise StoreError(f"{self.url} exists", reason="exists")
        if "Body" in parameters:
            parameters["Body"].seek(0)  # the refused request has read it
        return self._call(operation, **parameters)

    def _knows(self, operation: str, parameter: str) -> bool:
        """Tell whether the installed botocore knows a parameter: s3fs drops those that it does not."""
        name = "".join(word.capitalize() for word in operation.split("_"))
        client = self._run(operation, self._usable_system().set_session)
        return parameter in client.meta.service_model.operation_model(name).input_shape.members

    def _get(self, start: int, stop: int, **parameters: Any) -> tuple[dict[str, Any], bytes]:
        answer = self._call("get_object", Range=f"bytes={start}-{stop - 1}", **parameters)

        async def body() -> bytes:
            stream = answer["Body"]
            async with stream:  # what this returns has another `read` before aiobotocore 3
                if "ContentRange" in answer:
                    return await stream.read()  # type: ignore[no-any-return]
                found = bytearray()  # a server that ignores the range sends everything, piece by piece
                while len(found) < stop and (piece := await stream.read(stop - len(found))):
                    found += piece
                return bytes(found[start:])

        content: bytes = self._run("get_object", body)
        return answer, content

    def _pages(self, operation: str, markers: tuple[str, ...], **parameters: Any) -> Iterator[dict[str, Any]]:
        while True:
            page = self._call(operation, **parameters)
            yield page
            if not page.get("IsTruncated"):
                return
            parameters |= {marker: page[f"Next{marker}"] for marker in markers}

    def _description(self, token: str) -> dict[str, Any]:
        """Return what the object is described with, the user's own included."""
        asked = self._system.s3_additional_kwargs
        return {
            "ContentType": asked.get("ContentType", CONTENT_TYPE),
            "Metadata": {**asked.get("Metadata", {}), TOKEN_KEY: token},
        }

    def _check_tag(self, answer: dict[str, Any], digest: bytes, what: str) -> None:
        tag = _tag(answer)
        if not tag or (_is_tag_md5(answer) and _MD5.fullmatch(tag) and tag != digest.hex()):
            raise StoreError(f"{self.url}: {what} has not been stored as it was sent", reason="transient")

    def _usable_system(self) -> S3FileSystem:
        if self._pid != os.getpid():  # its connections are those of the process that was forked
            self._system, self._pid = s3_file_system(self._options), os.getpid()
        return self._system

    def _secrets(self) -> Iterator[str]:
        given = {**self._options, **(self._options.get("client_kwargs") or {})}
        names = ("key", "secret", "token", "username", "password", "aws_access_key_id")
        for name in (*names, "aws_secret_access_key", "aws_session_token"):
            if given.get(name):
                yield str(given[name])


def _md5(content: memoryview) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


def _is_tag_md5(answer: dict[str, Any]) -> bool:
    """Tell whether an entity tag is an MD5 of the content; with keys of the user or of KMS it is one of other bytes."""
    is_of_kms = answer.get("ServerSideEncryption", "").startswith("aws:kms")
    return not is_of_kms and not answer.get("SSECustomerAlgorithm")


def _tag(answer: dict[str, Any]) -> str:
    """Return an entity tag without its quotes, which some servers leave out of lists."""
    tag: str = answer.get("ETag", "")
    return tag.strip('"')


def _stored(answer: dict[str, Any], nbytes: int | None = None) -> StoredObject:
    size = answer["ContentLength"] if nbytes is None else nbytes
    return StoredObject(size, _tag(answer), answer.get("Metadata", {}).get(TOKEN_KEY))
