"""What the journal keeps of a conversion, so that a resume refuses a source that has changed, and other options."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from numbers import Integral
from typing import TYPE_CHECKING, Any

from streamh5.dask.seen_file import SeenFile

if TYPE_CHECKING:
    from collections.abc import Iterable


_COMPARED = (
    *("name", "chunks", "compression", "compression_opts", "shuffle", "fletcher32", "copy", "verify"),
    *("skip_unsupported", "cloud"),
)
"""Keywords that a resumed conversion must repeat; `libver` and `page` are compared for every write."""


def origin_of(
    source: str, others: Iterable[str], keywords: Mapping[str, Any], *, is_resumable: bool
) -> dict[str, Any]:
    """Describe a conversion by its files and options: see `WriteOptions.origin`.

    Parameters
    ----------
    source
        A path or a URL.
    others
        Further files that it reads.
    keywords
        Those of `convert`.
    is_resumable
        Whether a resume was asked for: only then a folder is searched, which takes a moment for each of its files.
    """
    if "://" in source:
        files = {source: ""}
    elif os.path.isdir(source):
        folder = os.path.realpath(source)
        files = {folder: _folder_state(folder) if is_resumable else ""}
    else:
        files = {path: _file_state(path) for path in map(os.path.realpath, (source, *others))}
    options: dict[str, Any] = json.loads(
        json.dumps({key: _with_texts(keywords[key]) for key in _COMPARED}, default=_plain)
    )
    return {"origin": {"files": files, "options": options}}


def _file_state(path: str) -> str:
    """Return size and time of the last change as text: for messages, and because it is only compared."""
    try:
        seen = SeenFile.of(path)
    except OSError as error:
        return f"{error.strerror}"
    seconds, rest = divmod(seen.mtime_ns, 10**9)
    return f"{seen.nbytes:,} bytes of {_time_text(seconds)}.{rest:09d} UTC"


def _folder_state(source: str) -> str:
    """Return number and bytes of all files in a folder, the time of the last change of one, and a checksum of these."""
    n = nbytes = last = checksum = 0
    for folder, _, names in os.walk(source, followlinks=True):
        for name in names:
            path = os.path.join(folder, name)
            with suppress(OSError):  # a link that leads nowhere
                status = os.stat(path)
                n, nbytes, last = n + 1, nbytes + status.st_size, max(last, status.st_mtime_ns)
                # a sum: the order of a folder is not always the same
                facts = path[len(source) :], status.st_size, status.st_mtime_ns
                checksum += zlib.crc32(repr(facts).encode())
    return f"{n:,} files, {nbytes:,} bytes of {_time_text(last // 10**9)} UTC #{checksum & 0xFFFF_FFFF:08x}"


def _time_text(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def _with_texts(value: Any) -> Any:
    """Return a value of an option with keys that JSON has; paths may be bytes."""
    if isinstance(value, Mapping):
        return {os.fsdecode(key) if isinstance(key, bytes) else key: one for key, one in value.items()}
    return value


def _plain(value: Any) -> Any:
    """Return a value of an option that JSON does not have; the filters that it leads to are compared exactly anyway."""
    if isinstance(value, Mapping):
        return dict(value)
    return int(value) if isinstance(value, Integral) else type(value).__name__
