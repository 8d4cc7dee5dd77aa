"""What a failed request to S3 means: the codes of its servers, and the exceptions of botocore, aiobotocore and s3fs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp import ClientConnectorCertificateError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError

from streamh5.errors import StoreError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

_REASONS = {
    "NoSuchKey": "missing",
    "NoSuchUpload": "no upload",
    "NoSuchBucket": "refused",
    "InvalidPart": "part differs",
    "InvalidPartOrder": "part differs",
    "EntityTooSmall": "refused",
    "NotImplemented": "refused",
    **dict.fromkeys(
        ("PreconditionFailed", "412"),
        "exists",
    ),
    **dict.fromkeys(
        (  # a damaged, cut or slow body; a store that is busy
            "BadDigest",
            "IncompleteBody",
            "XAmzContentSHA256Mismatch",
            "RequestTimeout",
            "RequestTimeoutException",
            "SlowDown",
            "OperationAborted",
            "RequestLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "TooManyRequests",
            "TooManyRequestsException",
        ),
        "transient",
    ),
    **dict.fromkeys(
        (  # 400 and not 403, as most of them are
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidToken",
            "TokenRefreshRequired",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
        ),
        "denied",
    ),
}

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    SSOError,
    ProfileNotFound,
)

_SIGNATURE = re.compile(r"(?<=://)[^/@\s]*@|\bA[KS]IA[A-Z0-9]{12,}|\bX-Amz-[\w-]+=[^&\s\"']*", re.IGNORECASE)
"""What is secret in any message: credentials of URLs, key ids, queries of signed URLs."""


def store_error(error: Exception, url: str, operation: str, secrets: Iterable[str]) -> StoreError:
    """Return the `StoreError` for an exception of a request.

    Parameters
    ----------
    error
        As s3fs raises it.
    url
        The object.
    operation
        As botocore's clients call it.
    secrets
        What the message must not hold.
    """
    cause = error if isinstance(error, ClientError) else error.__cause__
    if not isinstance(cause, ClientError):
        said = f"{url}: {type(error).__name__}: {_safe(error, secrets)}"
        return StoreError(said, reason=_reason_without_answer(error))
    code = str(cause.response.get("Error", {}).get("Code", ""))
    status = int(cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    reason = _reason(code, status, operation)
    said = cause.response.get("Error", {}).get("Message", "")
    message = f"{url}: {code or status}: {_safe(said or operation, secrets)}"
    return StoreError(message, reason=reason, status=status, code=code)


def _reason(code: str, status: int, operation: str) -> str:
    """Return the `Reason` of an answer; what the code says counts more than the status."""
    is_read = operation in ("get_object", "head_object")
    if code == "ConditionalRequestConflict":
        # an upload has to begin anew, an object in one request is just sent again
        return "exists" if operation == "complete_multipart_upload" else "transient"
    reason = _REASONS.get(code, "")
    if reason == "exists" and is_read:
        return "changed"
    if reason == "missing" and not is_read:  # Ceph has no other code for an upload that is gone
        return "no upload"
    if reason:
        return reason
    if status >= 500 or status in (408, 429):
        return "refused" if status == 501 else "transient"
    if status in (401, 403):
        return "denied"
    return "missing" if status == 404 and is_read else "refused"


def _reason_without_answer(error: Exception) -> str:
    """Return the `Reason` of a request that got no answer, or none that can be read."""
    if isinstance(error, _NO_CREDENTIALS):
        return "denied"
    if isinstance(error, SSLError) and isinstance(error.kwargs.get("error"), ClientConnectorCertificateError):
        return "refused"
    if isinstance(error, (BotoConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError)):
        return "transient"
    # what remains of botocore, and ValueError, are wrong parameters and settings
    return "refused" if isinstance(error, (BotoCoreError, ValueError)) else "transient"


def _safe(message: object, secrets: Iterable[str]) -> str:
    text = str(message) or type(message).__name__
    for secret in secrets:
        text = text.replace(secret, "...")
    return shown(_SIGNATURE.sub("...", text), 160, quoted=False)
