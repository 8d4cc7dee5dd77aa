"""Objects of an HDF5 file that cannot be carried over: refused, or left out with a note; errors of h5py."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamh5.errors import (
    BlockError,
    DatatypeError,
    FormatError,
    LimitError,
    SourceError,
    SpecError,
    StreamH5Error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Problems:
    """Collects the objects that cannot be carried over.

    Parameters
    ----------
    skips
        Whether it is left out; otherwise the first problem is raised.
    """

    def __init__(self, *, skips: bool) -> None:
        self.skips = skips
        self.found: list[SourceError] = []

    def add(self, problem: SourceError) -> None:
        """Add a problem whose message names the object."""
        self.found.append(problem)

    def add_object(self, path: str, error: StreamH5Error) -> None:
        """Add the error of the object at `path`."""
        text = str(error)
        is_named = text.startswith((f"{path} ", f"{path}: "))
        problem = SourceError(text if is_named else f"{path} cannot be carried over: {text}", path=path)
        problem.__cause__ = error
        self.add(problem)

    @contextmanager
    def leaving_out(self, path: str) -> Iterator[None]:
        """Leave out what cannot be written, if requested; otherwise raise an error that names the object."""
        try:
            yield
        except (SpecError, LimitError, DatatypeError, BlockError, SourceError, UnicodeError) as error:
            problem = SourceError(str(error) if path in str(error) else f"{path}: {error}", path=path)
            if not self.skips:
                raise problem from error
            self.add(problem)

    def check(self) -> None:
        """Refuse a file with problems, unless they are to be left out.

        Raises
        ------
        SourceError
            The first problem; the message says how many more there are.
        """
        if not self.found or self.skips:
            return
        first = self.found[0]
        others = f" ({len(self.found) - 1} more such objects)" if len(self.found) > 1 else ""
        raise SourceError(
            f"{first}{others}; skip_unsupported=True (--skip-unsupported) leaves it out", **first.facts
        ) from first.__cause__


_MAX_REASON = 160
"""Characters that a message quotes of the HDF5 library's own."""


@contextmanager
def reading(what: str, path: str) -> Iterator[None]:
    """Turn what h5py raises while an object is read into a `SourceError`.

    A damaged file makes h5py raise `KeyError`, `RuntimeError`, `ValueError`, `OSError` and others. Errors of
    streamh5, interrupts and `MemoryError` pass.

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
    except FormatError as error:  # from the reader of streamh5, which does not know the name
        raise SourceError(f"{what} cannot be read: {error}", path=path) from error
    except (StreamH5Error, MemoryError):
        raise
    except Exception as error:
        raise SourceError(f"{what} cannot be read: {library_reason(error)}", path=path) from error


def library_reason(error: Exception) -> str:
    """Return why the HDF5 library failed, without h5py's own words about the call and the documentation.

    Examples
    --------
    >>> library_reason(KeyError("Unable to synchronously open object (bad object header version number)"))
    'bad object header version number'
    """
    text = " ".join(str(error.args[0] if error.args else error).split())
    inner = re.fullmatch(r"(?:Unable to|Can't|Link iteration) [^(]*\((.+)\)", text)
    text = (inner[1] if inner else text).split(". See documentation")[0]
    return text[:_MAX_REASON] or type(error).__name__
