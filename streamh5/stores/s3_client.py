"""The client that `S3Store` asks: s3fs, which repeats nothing, sends one checksum and takes buffers as they are."""

from __future__ import annotations

import inspect
import io
import os
from typing import Any

from aiobotocore.session import AioSession
from botocore.config import Config
from s3fs import S3FileSystem

from streamh5.errors import SpecError
from streamh5.stores.failures import translated

_OF_FSSPEC = frozenset({"use_listings_cache", "listings_expiry_time", "max_paths", "skip_instance_cache"})


class _OneAttempt(S3FileSystem):  # type: ignore[misc]
    """s3fs that repeats nothing; as a class of its own it has instances of its own, apart from the user's."""

    retries = 1
    read_timeout = 60  # botocore's own: a busy server needs more for a part than s3fs's 15

    async def set_session(self, *arguments: Any, **names: Any) -> Any:
        """Return the client, made at the first request.

        It does not wait for "100 Continue" before a body: aiohttp would let `read_timeout` begin with that answer, and
        a slow line could never send a large part.
        """
        client = await super().set_session(*arguments, **names)
        client.meta.events.register_last("before-call.s3", _expect_nothing, unique_id="streamh5")
        return client


class SentBuffer(io.RawIOBase):
    """A buffer as a file: botocore copies buffers that it does not know, aiohttp warns of large ones."""

    def __init__(self, content: memoryview) -> None:
        self.nbytes = len(content)
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See `io.IOBase`."""
        self._at = offset + (0, self._at, len(self._content))[whence]
        return self._at

    def read(self, size: int | None = -1) -> memoryview:
        """Return a part of the buffer itself: copies take 3 of 50 ms of processor for a part of 16 MiB."""
        stop = len(self._content) if size is None or size < 0 else self._at + size
        part = self._content[self._at : stop]
        self._at += len(part)
        return part


def _expect_nothing(params: dict[str, Any], **_: object) -> None:
    params["headers"].pop("Expect", None)


def check_s3_options(options: dict[str, Any]) -> None:
    """Refuse options before anything is requested; s3fs would find them when it makes the client.

    Raises
    ------
    TypeError
        s3fs does not know one.
    SpecError
        It cannot be kept.
    """
    known = {
        name for made in (S3FileSystem, AioSession) for name in inspect.signature(made.__init__).parameters
    }
    if options.keys() - known - _OF_FSSPEC:
        raise TypeError("unknown options")
    if "ChecksumAlgorithm" in (options.get("s3_additional_kwargs") or {}):
        raise SpecError(
            "storage_options: ChecksumAlgorithm cannot be chosen: parts are sent with Content-MD5"
        )


def s3_file_system(options: dict[str, Any]) -> S3FileSystem:
    """Return the file system for the user's options, which come before ours.

    Raises
    ------
    SpecError
        They contradict each other.
    """
    config: dict[str, Any] = {"retries": {"total_max_attempts": 1, "mode": "standard"}}
    if "request_checksum_calculation" in Config.OPTION_DEFAULTS:  # no second checksum: there is Content-MD5
        config["request_checksum_calculation"] = "when_required"
    return translated(
        lambda: _OneAttempt(
            **{**options, "config_kwargs": {**config, **(options.get("config_kwargs") or {})}}
        ),
        (KeyError, ValueError),  # of two names for the same
        lambda error: SpecError(f"storage_options: {error.args[0]}"),
    )
