"""Wrong keywords of public functions: an error that names the one that was meant."""

from __future__ import annotations

import difflib
import functools
import inspect
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from streamh5.errors import KeywordError, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["did_you_mean", "suggest_keywords", "unknown_keywords"]

P = ParamSpec("P")
R = TypeVar("R")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question after a word that is not among those known, or nothing where none is like it."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def unknown_keywords(function: str, unknown: Iterable[str], known: Iterable[str]) -> KeywordError:
    """Return the error for keywords that a function does not have."""
    names, choices = sorted(unknown), sorted(known)
    return KeywordError(
        f"{function} has no keyword {listed(names)}{did_you_mean(names[0], choices) or f'; it has {listed(choices)}'}",
        unknown=names,
        known=choices,
    )


def suggest_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse keywords that it does not have with an error that suggests one."""
    known = {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD) and name != "self"
    }
    name = function.__qualname__.removesuffix(".__init__").removeprefix("Group.")

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if not kwargs.keys() <= known:
            raise unknown_keywords(name, kwargs.keys() - known, known)
        return function(*args, **kwargs)

    return checked
