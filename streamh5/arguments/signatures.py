"""Signatures of functions that pass keywords on: `inspect.signature`, ``help`` and Jupyter show all of them.

The function that the keywords belong to has the only list of them, and the only text about them.
"""

from __future__ import annotations

import functools
import inspect
import re
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from inspect import Signature

F = TypeVar("F", bound="Callable[..., Any]")


class Annotation(str):
    """The text of an annotation, which `help` and Jupyter show without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def shown_signature(function: Callable[..., Any]) -> Signature:
    """Return the signature of a function whose annotations are text, to be shown to people."""
    return _unquoted(inspect.signature(function))


def passes_on(target: Callable[..., Any], *, omit: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Decorate a function that passes its ``*args`` and ``**kwargs`` on to `target`.

    Its signature gets the parameters of `target` in their place, and its docstring what `target` says about them.

    Parameters
    ----------
    target
        The function that gets them.
    omit
        Names of its parameters that the decorated function passes itself.
    """

    def decorate(function: F) -> F:
        own = inspect.signature(function)
        merged = _merged(own, inspect.signature(target), omit)
        function.__signature__ = merged  # type: ignore[attr-defined] # `inspect` looks for it
        function.__doc__ = _documented(
            function.__doc__, target.__doc__, merged.parameters.keys() - own.parameters.keys()
        )
        return function

    return decorate


def said_as(name: str) -> Callable[[F], F]:
    """Decorate a function that users know by another name, which Python's own errors about its arguments then say."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def known(*args: Any, **kwargs: Any) -> Any:  # keeps the name under which it is pickled
            return function(*args, **kwargs)

        function.__qualname__ = name
        return known  # type: ignore[return-value] # the same parameters

    return decorate


def _unquoted(signature: Signature) -> Signature:
    return signature.replace(
        parameters=[one.replace(annotation=_shown(one.annotation)) for one in signature.parameters.values()],
        return_annotation=_shown(signature.return_annotation),
    )


def _shown(annotation: Any) -> Any:
    return Annotation(annotation) if isinstance(annotation, str) else annotation


def _merged(own: Signature, target: Signature, omit: tuple[str, ...]) -> Signature:
    """Return the signature `own`, with the parameters of `target` in the place of ``*args`` and ``**kwargs``."""
    mine = [one for one in own.parameters.values() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    takes_positional = len(mine) < len(own.parameters) - 1
    known = {one.name for one in mine} | {*omit}
    passed = [
        one
        if takes_positional or one.kind != one.POSITIONAL_OR_KEYWORD
        else one.replace(kind=one.KEYWORD_ONLY)
        for one in target.parameters.values()
        if one.name not in known and one.kind != one.VAR_POSITIONAL
    ]
    everything = sorted([*mine, *passed], key=lambda one: one.kind)
    return _unquoted(own.replace(parameters=everything))


def _documented(own: str | None, target: str | None, passed: set[str]) -> str | None:
    """Return a docstring, with the entries of `passed` from that of the target, and sections that it has not itself."""
    if own is None or target is None:  # python -OO
        return own
    sections, others = dict(_sections(own)), dict(_sections(target))
    entries = re.findall(r"^\S.*\n(?:[ ].*\n|\n)*", others["Parameters"], re.M)
    of_own = re.findall(r"^[^*\s].*\n(?:[ ].*\n|\n)*", sections["Parameters"], re.M)
    of_target = [one for one in entries if set(re.findall(r"\w+", one.partition("\n")[0])) & passed]
    sections["Parameters"] = "".join(one.rstrip("\n") + "\n" for one in [*of_own, *of_target]) + "\n"
    merged = others | sections
    head = merged.pop("")
    text = head + "".join(f"{name}\n{'-' * len(name)}\n{body}" for name, body in merged.items())
    return text.rstrip("\n")


def _sections(docstring: str) -> Iterator[tuple[str, str]]:
    """Yield the sections of a numpydoc docstring with their names; the text before the first has the name ``""``."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.cleandoc(docstring) + "\n\n", flags=re.M)
    yield "", parts[0]
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        yield name, text.rstrip("\n") + "\n\n"
