"""What the stores over fsspec share: one request on its event loop, and failures that are an answer."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import fsspec.asyn

from streamh5.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

T = TypeVar("T")

REQUEST_SECONDS = 120.0
"""Time for a request without content; a peer that was suspended answers nothing, and resets nothing, for ever."""

SLOWEST_BYTES_PER_SECOND = 50_000
"""Content that moves more slowly counts as stuck."""

SECRETS_OF_URLS = re.compile(r"(?<=://)[^/@\s]*@|\?\S*")
"""In any message: credentials, and queries, of which a shared access signature is one."""

_PIECE_NBYTES = 256 << 10  # aiohttp warns of content in one piece, during which its loop does nothing else


class Body:
    """Content for aiohttp, in pieces and without a copy; it can be sent again."""

    def __init__(self, content: memoryview) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for start in range(0, len(self._content), _PIECE_NBYTES):
            yield self._content[start : start + _PIECE_NBYTES]


def run_request(system: Any, request: Callable[[], Coroutine[Any, Any, T]], *, nbytes: int = 0) -> T:
    """Run a coroutine on the event loop of a file system, in a thread of its own, and return its result.

    Parameters
    ----------
    system
        An `fsspec.asyn.AsyncFileSystem`.
    request
        Makes the coroutine.
    nbytes
        Size of the content that is sent or received, from which the time limit follows.

    Raises
    ------
    fsspec.exceptions.FSTimeoutError
        It took too long, and was cancelled.
    """
    limit = REQUEST_SECONDS + nbytes / SLOWEST_BYTES_PER_SECOND
    result: T = fsspec.asyn.sync(system.loop, request, timeout=limit)
    return result


@contextmanager
def excused(*reasons: str) -> Iterator[None]:
    """Leave the block quietly if a request in it fails for one of these reasons."""
    try:
        yield
    except StoreError as error:
        if error.reason not in reasons:
            raise
