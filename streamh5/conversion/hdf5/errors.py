"""Where an error of h5py becomes one of ours, which names the object."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamh5.errors import FormatError, SourceError, StreamH5Error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["library_reason", "reading"]

_MAX_REASON = 160
"""Characters that a message quotes of the HDF5 library's own."""


@contextmanager
def reading(what: str, path: str) -> Iterator[None]:
    """Turn what h5py raises while an object is read into a `SourceError`.

    A damaged file makes h5py raise `KeyError`, `RuntimeError`, `ValueError`, `OSError` and others. Errors of
    ours, interrupts and `MemoryError` pass.

    Parameters
    ----------
    what
        What is read, with the name of the object.
    path
        The object, for the facts of the error.

    Raises
    ------
    SourceError
        It cannot be read.
    """
    try:
        yield
    except FormatError as error:  # of our own reader, which does not know the name
        raise SourceError(f"{what} cannot be read: {error}", path=path) from error
    except (StreamH5Error, MemoryError):
        raise
    except Exception as error:
        raise SourceError(f"{what} cannot be read: {library_reason(error)}", path=path) from error


def library_reason(error: Exception) -> str:
    """Return why the HDF5 library failed, without what h5py was doing and where to read on.

    Examples
    --------
    >>> library_reason(KeyError("Unable to synchronously open object (bad object header version number)"))
    'bad object header version number'
    """
    text = " ".join(str(error.args[0] if error.args else error).split())
    inner = re.fullmatch(r"(?:Unable to|Can't|Link iteration) [^(]*\((.+)\)", text)
    text = (inner[1] if inner else text).split(". See documentation")[0]
    return text[:_MAX_REASON] or type(error).__name__
