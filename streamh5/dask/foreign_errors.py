"""The boundary at which errors of the libraries that read a damaged source become errors of streamh5."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamh5.errors import SourceError, StreamH5Error, shown

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def foreign_errors(what: str, **facts: object) -> Iterator[None]:
    """Raise a SourceError that begins with `what` for any error but those of streamh5; its cause is kept.

    zarr, numcodecs, zipfile, json and numpy raise whatever their own parts raise when bytes are not what they
    expect: KeyError, RuntimeError, zlib.error, RecursionError, MemoryError, ...

    Parameters
    ----------
    what
        The object, and what was tried: ``"/x: chunk (3,) cannot be read"``.
    **facts
        Facts of the error.
    """
    try:
        yield
    except StreamH5Error:
        raise
    except Exception as error:
        raise SourceError(f"{what}: {describe(error)}", **facts) from error


def describe(error: BaseException) -> str:
    """Kind and message of an error, as a part of another message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {shown(text, quoted=False)}" if text else type(error).__name__
