"""Errors of other packages become ours, and nothing of them stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def translated(
    function: Callable[[], T],
    failures: tuple[type[Exception], ...],
    error_of: Callable[[Exception], Exception],
) -> T:
    """Call a function; an error of another package becomes one of ours.

    Such an error may hold the request with its headers, and a server's answer may repeat them: keys, tokens,
    signatures. ``raise ... from None`` hides it, but keeps it as ``__context__``, and `distributed` pickles that
    (with `tblib`) to send it to the client. Ours is raised after the other one is gone.

    Parameters
    ----------
    function
        The function.
    failures
        What is translated.
    error_of
        Returns our error.
    """
    try:
        return function()
    except failures as error:
        failure = error_of(error)
    try:
        raise failure
    finally:
        del failure  # its traceback has this frame: a cycle that would keep what was to be sent
