"""What of an HDF5 file cannot be carried over: refused as a whole, or left out and noted."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamh5.errors import (
    BlockError,
    DatatypeError,
    LimitError,
    SourceError,
    SpecError,
    StreamH5Error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Problems"]


class Problems:
    """Collects what cannot be carried over.

    Parameters
    ----------
    skips
        Whether it is left out; otherwise the first problem is raised.
    """

    def __init__(self, *, skips: bool) -> None:
        self.skips = skips
        self.found: list[SourceError] = []

    def add(self, problem: SourceError) -> None:
        """Enter a problem whose message names the object."""
        self.found.append(problem)

    def add_object(self, path: str, error: StreamH5Error) -> None:
        """Enter what is wrong with the object at `path`."""
        text = str(error)
        is_named = text.startswith((f"{path} ", f"{path}: "))
        problem = SourceError(text if is_named else f"{path} cannot be carried over: {text}", path=path)
        problem.__cause__ = error
        self.add(problem)

    @contextmanager
    def leaving_out(self, path: str) -> Iterator[None]:
        """Leave out what cannot be written, where that is asked for; otherwise the error names the object."""
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
