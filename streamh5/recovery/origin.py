"""The origin of a conversion: the files that it reads and its options, as a resume compares them with those before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from streamh5.errors import MAX_MESSAGE, ResumeError, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ADVICE = ". Repeat the original call, or start again: overwrite=True (--overwrite), no resume"


def check_origin(header: Mapping[str, Any], origin: Mapping[str, Any], name: str) -> None:
    """Refuse to resume a conversion whose source has changed, or which has other options.

    Datasets are compared one by one when they are created again; this is what they do not tell, and comes before any
    of them.

    Parameters
    ----------
    header
        Header of the journal.
    origin
        `WriteOptions.origin` of this call; empty if it is not a conversion.
    name
        The destination, for messages.

    Raises
    ------
    ResumeError
        Something differs; the message says what.
    """
    if not origin:
        return
    now, then = origin["origin"], header.get("origin")
    if not isinstance(then, dict):
        text = "it is not a conversion, or was begun by an older streamh5"
        raise ResumeError(_message(name, text), differing={"origin": (then, now)})
    files, options = (_differing(then.get(part) or {}, now[part]) for part in ("files", "options"))
    # the state of a folder is empty where nobody has looked
    files = {key: states for key, states in files.items() if "" not in states}
    if files or options:
        text = "; ".join([*_files(files), *_options(options)])
        raise ResumeError(_message(name, text), differing=files | options)


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {key: (then.get(key), now.get(key)) for key in {**then, **now} if then.get(key) != now.get(key)}


def _message(name: str, text: str) -> str:
    head = f"the interrupted conversion to {shown(name, 30, quoted=False)} is another one: "
    return f"{head}{shown(text, MAX_MESSAGE - len(head + _ADVICE), quoted=False)}{_ADVICE}"


def _files(differing: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    for key, (before, after) in differing.items():
        if before is None or after is None:
            yield f"{shown(key, 40, quoted=False)} was {'not ' if before is None else ''}read"
        else:
            yield f"{shown(os.path.basename(key), 24, quoted=False)} had {before}, now {after}"


def _options(differing: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    for key, (before, after) in differing.items():
        yield f"{key} was {shown(before, 40)} and is {shown(after, 40)}"
