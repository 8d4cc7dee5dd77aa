"""Azure: a blob, through the client of adlfs; the parts of an upload are blocks that are not committed yet.

An upload is not begun: blocks are sent under the name of a blob, and wait until someone commits a list of block ids,
which makes the blob of these and drops all others, or for a week. A block has no entity tag, but an id that its sender
chooses, of the same length for all that wait under one name::

    6f1e…(32 digits)     .  00012  .  1B2M2Y8AsgTpgAmY7PhCfg
    id of the upload        number    MD5 of the content

so that a part sent again with the same content replaces itself, and with other content is another block: the object
has exactly the content that the receipts name, or is not made.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

import fsspec.core
from adlfs import AzureBlobFileSystem
from aiohttp import ClientError
from azure.core import MatchConditions
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.storage.blob import BlobBlock

from streamh5.errors import SpecError, StoreError, shown
from streamh5.stores import attempts
from streamh5.stores.base import TOKEN_KEY, PartLimits, PartReceipt, PendingUpload, StoredObject
from streamh5.stores.checksums import StoredChecksum
from streamh5.stores.failures import translated
from streamh5.stores.requests import SECRETS_OF_URLS, Body, excused, run_request

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

T = TypeVar("T")

_TOKEN_KEY = TOKEN_KEY.replace("-", "_")  # keys of metadata are identifiers of C#

_BLOCK_ID = re.compile(r"(?P<upload>[0-9a-f]{32})\.(?P<number>[0-9]{5})\.[\w-]{22}", re.ASCII)

_MAX_PUT = 64 << 20  # the client cuts more than this into blocks of its own
_TIMEOUTS = ("timeout", "connection_timeout", "read_timeout")  # adlfs passes these to each request

_REASONS = {
    "BlobAlreadyExists": "exists",
    "ConditionNotMet": "changed",
    "InvalidBlockList": "part differs",
    "Md5Mismatch": "transient",  # damaged on the way
    "OperationTimedOut": "transient",
}
_REASONS_BY_STATUS = {401: "denied", 403: "denied", 404: "missing", 408: "transient", 429: "transient"}
_ADVICE = {
    "ContainerNotFound": ": create the container first",
    "InvalidBlobType": ": an append or page blob has this name; delete it, or choose another name",
    "InvalidBlobOrBlock": ": blocks of another program wait under this name; delete the blob, or choose another name",
}
_BEHIND_THE_END = 416  # status of a range without a byte


class AzureStore:
    """A blob of `adlfs.AzureBlobFileSystem`."""

    limits = PartLimits(min_nbytes=1, max_nbytes=4000 << 20, max_number=50_000)

    def __init__(self, url: str, storage_options: dict[str, Any]) -> None:
        self.url = url
        self._options = storage_options
        self._connect()

    def __reduce__(self) -> tuple[object, ...]:
        return AzureStore, (self.url, self._options)

    def head(self) -> StoredObject | None:
        """See `ObjectStore`."""
        with excused("missing"):
            found = self._request(lambda blob: blob.get_blob_properties(**self._each))
            return StoredObject(found.size, found.etag, found.metadata.get(_TOKEN_KEY))
        return None

    def read_start(self, nbytes: int) -> tuple[StoredObject, bytes]:
        """See `ReadableObject`; an empty blob takes two requests."""
        try:
            return self._download(0, nbytes)
        except StoreError as error:
            if error.facts.get("status") != _BEHIND_THE_END:
                raise
        found = self.head()
        if found is None or found.nbytes:
            raise StoreError(f"{self.url} was replaced while it was opened", reason="transient")
        return found, b""

    def read(self, start: int, stop: int, version: str | None = None) -> bytes:
        """See `ReadableObject`."""
        same = _if_version(version) if version else {}
        if stop <= start:
            return b""
        try:
            return self._download(start, stop - start, **same)[1]
        except StoreError as error:
            if error.facts.get("status") == _BEHIND_THE_END:
                return b""
            raise

    def checksum(self, version: str) -> StoredChecksum | None:
        """See `ChecksummedObject`: Azure has the MD5 of a blob that was sent in one request."""

        def properties() -> Any:
            return self._request(lambda blob: blob.get_blob_properties(**_if_version(version), **self._each))

        digest = attempts.ATTEMPTS.run(properties).content_settings.content_md5
        return StoredChecksum("MD5", bytes(digest)) if digest else None

    def _download(self, start: int, nbytes: int, **same: Any) -> tuple[StoredObject, bytes]:
        async def download(blob: Any) -> tuple[StoredObject, bytes]:
            stream = await blob.download_blob(start, nbytes, **same, **self._each)
            found = stream.properties
            size = int(found.content_range.rpartition("/")[2])  # found.size is that of the range
            stored = StoredObject(size, found.etag, found.metadata.get(_TOKEN_KEY))
            return stored, await stream.readall()

        return self._request(download, nbytes=nbytes)

    def put(self, content: memoryview, *, token: str, if_absent: bool) -> None:
        """See `ObjectStore`; above 64 MiB the one block of an upload."""
        if len(content) <= _MAX_PUT:
            whole = bytes(content)
            with excused("exists"):
                self._publish(
                    lambda blob, headers: blob.upload_blob(
                        whole,
                        length=len(whole),
                        overwrite=True,  # unless the headers say otherwise
                        metadata={_TOKEN_KEY: token},
                        headers={**headers, "Content-MD5": base64.b64encode(_md5(content)).decode()},
                        **self._each,
                    ),
                    if_absent=if_absent,
                    nbytes=len(content),
                )
                return
            if self.head() is not None:
                raise self._exists()
            # Azurite counts a name as taken, to this request only, for which blocks wait
        upload = self.begin_upload(token)
        self.complete(upload, [self.send_part(upload, 1, content)], token=token, if_absent=if_absent)

    def begin_upload(self, token: str) -> str:
        """See `ObjectStore`; nothing is requested."""
        return uuid.uuid4().hex

    def send_part(self, upload: str, number: int, content: memoryview) -> PartReceipt:
        """See `ObjectStore`; an upload that was completed or aborted begins anew."""
        digest = _md5(content)
        block = f"{upload}.{number:05d}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
        headers = {"Content-MD5": base64.b64encode(digest).decode()}
        self._request(
            lambda blob: blob.stage_block(
                block, Body(content), length=len(content), headers=headers, **self._each
            ),
            nbytes=len(content),
        )
        return PartReceipt(number, block, len(content))

    def list_parts(self, upload: str) -> list[PartReceipt]:
        """See `ObjectStore`; without parts an upload cannot be told from none: it has no parts then.

        A part that was sent again with other content is there twice.
        """
        return sorted(part for found, part in self._waiting() if found == upload)

    def complete(self, upload: str, parts: Sequence[PartReceipt], *, token: str, if_absent: bool) -> None:
        """See `ObjectStore`."""
        try:
            self._commit([BlobBlock(one.etag) for one in parts], token=token, if_absent=if_absent)
        except StoreError as error:
            if error.reason == "part differs" and not self.list_parts(upload):
                raise StoreError(
                    f"{self.url} has no blocks of upload {upload}: another write of this name was completed or aborted",
                    reason="no upload",
                ) from None
            raise

    def abort_upload(self, upload: str) -> None:
        """See `ObjectStore`.

        Azure drops blocks when a blob of their name is made. One without content is made and deleted, where that
        harms nobody.

        Raises
        ------
        StoreError
            ``"refused"``: the name has a blob, or the blocks of another upload. The blocks stay for a week at most.
        """
        mark = f"abort-{upload}"
        waiting = [found for found, _ in self._waiting()]
        if upload in waiting:
            found = self.head()
            has_blob = found is not None and found.token != mark
            if has_blob or len(set(waiting)) > 1:
                raise StoreError(
                    f"Azure drops its {waiting.count(upload):,} blocks only with "
                    f"{'the blob' if has_blob else 'those of another upload'} of that name, or when it is written "
                    "again, or after a week",
                    waiting=waiting.count(upload),
                )
            with excused("exists"):  # made meanwhile, which dropped the blocks
                self._commit([], token=mark, if_absent=True)
        made = self.head()
        if made is not None and made.token == mark:
            with excused("missing", "changed"):
                self._request(
                    lambda blob: blob.delete_blob(
                        etag=made.version, match_condition=MatchConditions.IfNotModified, **self._each
                    )
                )

    def list_uploads(self) -> list[PendingUpload]:
        """See `ObjectStore`; blocks of other programs are left out."""
        return [
            PendingUpload(upload, "") for upload in sorted({found for found, _ in self._waiting()} - {""})
        ]

    def _waiting(self) -> list[tuple[str, PartReceipt]]:
        """Return the blocks that are not committed, each with its upload; "" if another program has sent it."""
        waiting = []
        with excused("missing"):
            _, blocks = self._request(lambda blob: blob.get_block_list("uncommitted", **self._each))
            for block in blocks:
                parsed = _BLOCK_ID.fullmatch(block.id)
                upload, number = (parsed["upload"], int(parsed["number"])) if parsed else ("", 0)
                waiting.append((upload, PartReceipt(number, block.id, block.size)))
        return waiting

    def _commit(self, blocks: list[BlobBlock], *, token: str, if_absent: bool) -> None:
        self._publish(
            lambda blob, headers: blob.commit_block_list(
                blocks, metadata={_TOKEN_KEY: token}, headers=headers, **self._each
            ),
            if_absent=if_absent,
        )

    def _publish(
        self,
        request: Callable[[Any, dict[str, str]], Coroutine[Any, Any, object]],
        *,
        if_absent: bool,
        nbytes: int = 0,
    ) -> None:
        headers = {"If-None-Match": "*"} if if_absent else {}
        try:
            self._request(lambda blob: request(blob, dict(headers)), nbytes=nbytes)
        except StoreError as error:
            raise self._exists() if error.reason in ("changed", "exists") else error from None

    def _exists(self) -> StoreError:
        return StoreError(f"{self.url} exists", reason="exists")

    def _connect(self) -> None:
        options = self._options
        self._system, path = translated(
            lambda: fsspec.core.url_to_fs(self.url, **options),
            (ValueError,),
            lambda error: SpecError(  # the message of the error may repeat the options
                f"storage_options of {self.url} do not say how to connect: adlfs takes account_name, or "
                f"connection_string, and credentials; these are given: {shown(sorted(options))}"
            ),
        )
        container, key, _ = AzureBlobFileSystem.split_path(self._system, path)
        self._blob = self._system.service_client.get_blob_client(container, key)
        self._each = {
            "retry_total": 0,  # requests are repeated by those who call: each is one attempt
            "raw_request_hook": _send_in_pieces,
            **{name: options[name] for name in _TIMEOUTS if name in options},
        }
        self._process = os.getpid()

    def _request(self, request: Callable[[Any], Coroutine[Any, Any, T]], *, nbytes: int = 0) -> T:
        if self._process != os.getpid():  # the event loop did not come along
            self._connect()
        return translated(
            lambda: run_request(self._system, lambda: request(self._blob), nbytes=nbytes),
            (AzureError, ClientError, OSError),
            _store_error,
        )


def _store_error(error: Exception) -> StoreError:
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        status, code = error.status_code, getattr(error, "error_code", None) or error.reason or ""
        code = str(getattr(code, "value", code))
        reason = _REASONS.get(code) or _REASONS_BY_STATUS.get(status)
        if reason is None:
            reason = "transient" if status >= 500 and status not in (501, 505) else "refused"
        return StoreError(
            f"Azure answers {status} {code:.100}{_ADVICE.get(code, '')}",
            reason=reason,
            status=status,
            code=code,
        )
    said = shown(SECRETS_OF_URLS.sub("...", str(error)), 160, quoted=False)
    reason = "denied" if isinstance(error, ClientAuthenticationError) else "transient"
    return StoreError(f"Azure cannot be asked: {type(error).__name__}: {said}", reason=reason)


def _send_in_pieces(request: Any) -> None:
    """Send the bytes that the client has made of an object or a list of blocks as `Body` sends a part."""
    content = request.http_request.data
    if isinstance(content, bytes):
        request.http_request.data = Body(memoryview(content))


def _if_version(version: str) -> dict[str, Any]:
    return {"etag": version, "match_condition": MatchConditions.IfNotModified}


def _md5(content: memoryview) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()
