"""Paths as users pass them: text, bytes, `os.PathLike`, ``file://`` URLs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import unquote

from streamh5.errors import SpecError, shown

LocalPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

WorkerPath: TypeAlias = LocalPath | Mapping[str, str]
"""A file as other machines see it: its path there, or prefixes of paths here with what they are there."""

PARTIAL_SUFFIX = ".partial"
JOURNAL_SUFFIX = ".journal"
"""What the working names of a write end in: see `sinks.working_names`."""

_FILE_URL = re.compile(r"file:(?://(?P<host>[^/]*)|(?=/))(?P<path>/.*)?", re.IGNORECASE | re.DOTALL)

# also chained (simplecache::s3://...), and with the single slash that pathlib leaves (s3:/...)
_URL = re.compile(r"(?P<root>[A-Za-z][\w+.-]+(?:::[A-Za-z][\w+.-]+)*:)(?P<slashes>//?)")


def local_path(path: LocalPath) -> str:
    """Return a path as text; of a ``file://`` URL the path that it names.

    Raises
    ------
    SpecError
        It is not a path, or a ``file://`` URL of another machine or without a path.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise SpecError(f"a path is needed (str, bytes or os.PathLike), not {shown(path)}")
    name = os.fsdecode(path)
    url = _FILE_URL.fullmatch(name)
    if url is None:
        return name
    if url["host"] not in (None, "", "localhost"):
        raise SpecError(
            f"{name:.200} is a file on the machine {url['host']!r}; write file:///path for a local file"
        )
    if url["path"] is None:
        raise SpecError(f"{name:.200} does not name a file; write file:///path")
    return unquote(url["path"], errors="surrogateescape")


def unfinished_write(path: str) -> str:
    """Return what to do if a path is the partial file of a write that goes on or was interrupted, or will be its file.

    It follows on a sentence; empty for every other path. A destination with a very long name is not recognised
    (`sinks.working_names`).
    """
    partial = path if path.endswith(PARTIAL_SUFFIX) else path + PARTIAL_SUFFIX
    if not (os.path.isfile(partial) and os.path.isfile(partial + JOURNAL_SUFFIX)):
        return ""
    return (
        "; its write goes on, or was interrupted: then resume it (resume=True), or make a file of it: streamh5 salvage "
        f"{partial}"
    )


def is_url(path: str) -> bool:
    """Return whether a path is a URL; ``s3:/x`` is a path if there is a directory ``s3:``."""
    url = _URL.match(path)
    return url is not None and (url["slashes"] == "//" or not os.path.isdir(url["root"]))


def object_url(path: str) -> str | None:
    """Return a path that is a URL but not ``file://``, with both slashes (pathlib leaves one); None for others."""
    url = _URL.match(path)
    if url is None or _FILE_URL.fullmatch(path) is not None or not is_url(path):
        return None
    return f"{url['root'].lower()}//{path[url.end() :]}"
