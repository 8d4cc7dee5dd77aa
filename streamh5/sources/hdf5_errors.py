"""Where an error of h5py becomes one of ours, which names the object."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamh5.errors import FormatError, SourceError, StreamH5Error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["reading"]

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
        reason = " ".join(str(error.args[0] if error.args else error).split())
        raise SourceError(
            f"{what} cannot be read: {reason[:_MAX_REASON] or type(error).__name__}", path=path
        ) from error
