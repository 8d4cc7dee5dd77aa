"""Errors that other libraries raise while they read a damaged source, as errors of streamh5."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamh5.errors import SourceError, StreamH5Error, shown

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def foreign_errors(what: str, **facts: object) -> Iterator[None]:
    """Turn any error that is not of streamh5 into a SourceError that begins with `what`; the cause is kept.

    Given damaged bytes, zarr, numcodecs, zipfile, json and numpy raise errors of many types: KeyError, RuntimeError,
    zlib.error, RecursionError, MemoryError, ...

    Parameters
    ----------
    what
        The object and the failed operation: ``"/x: chunk (3,) cannot be read"``.
    **facts
        Attributes of the error.
    """
    try:
        yield
    except StreamH5Error:
        raise
    except Exception as error:
        raise SourceError(f"{what}: {describe(error)}", **facts) from error


def describe(error: BaseException) -> str:
    """Return type and message of an error, for another message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {shown(text, quoted=False)}" if text else type(error).__name__
