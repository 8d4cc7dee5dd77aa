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
    parts = {key: (then.get(key) or {}, now[key]) for key in now}
    differing = {
        key: (before.get(key), after.get(key))
        for before, after in parts.values()
        for key in {**before, **after}
        # the state of a folder is empty where nobody has looked
        if before.get(key) != after.get(key) and "" not in (before.get(key), after.get(key))
    }
    if differing:
        files = {key: differing[key] for key in differing if any(key in one for one in parts["files"])}
        options = {key: pair for key, pair in differing.items() if key not in files}
        raise ResumeError(
            _message(name, "; ".join([*_files(files), *_options(options)])), differing=differing
        )


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
