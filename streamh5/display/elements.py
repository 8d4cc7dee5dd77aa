"""Parts of which everything is made; texts are escaped here."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from streamh5.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_CHARACTERS = 300
"""Most characters of one text."""

MAX_LINES = 50
"""Most rows of a table or list, unless a caller says less."""


def escaped(value: object) -> str:
    """Return a text as HTML; of a long one its beginning."""
    text = str(value)
    cut = text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + " ..."
    return html.escape(printable(cut))


def heading(kind: str, name: object, *badges: str) -> str:
    """Return the first line: what it is, its name, and `badge`s."""
    return (
        f'<div class="sh5-head"><b>{escaped(kind)}</b> <code>{escaped(name)}</code> {" ".join(badges)}</div>'
    )


def badge(text: object, mood: str = "soft") -> str:
    """Return a short text in a box; `mood` is ``"soft"``, ``"good"``, ``"bad"`` or ``"warn"``."""
    return f'<span class="sh5-badge sh5-{mood}">{escaped(text)}</span>'


def line(text: object) -> str:
    """Return a line of text; nothing of an empty one."""
    return f"<div>{escaped(text)}</div>" if text else ""


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Return a table of names and values."""
    rows = "".join(f"<tr><th>{escaped(name)}</th><td>{escaped(value)}</td></tr>" for name, value in pairs)
    return f'<table class="sh5-facts">{rows}</table>' if rows else ""


def table(names: Iterable[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table with a row of names; the caller limits the number of rows."""
    head = "".join(f"<th>{escaped(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="sh5-wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def bullets(texts: Sequence[object], n_all: int | None = None, *, limit: int = MAX_LINES) -> str:
    """Return a list of the first `limit` texts, and the number of the others of `n_all`."""
    items = "".join(f"<li>{escaped(text)}</li>" for text in texts[:limit])
    n_more = (len(texts) if n_all is None else n_all) - min(limit, len(texts))
    return f"<ul>{items}{f'<li>and {n_more:,} more</li>' if n_more > 0 else ''}</ul>"


def section(title: object, body: str, *, is_open: bool = False) -> str:
    """Return a part that folds."""
    return f"<details{' open' if is_open else ''}><summary>{escaped(title)}</summary>{body}</details>"


def attribute_section(attributes: Sequence[tuple[str, str]], n_all: int | None = None) -> str:
    """Return the attributes of an object by name, folded; an empty text if there are none."""
    n = len(attributes) if n_all is None else n_all
    more = [("...", f"and {n - MAX_LINES:,} more")] if n > MAX_LINES else []
    return section(f"Attributes ({n:,})", facts([*attributes[:MAX_LINES], *more])) if n else ""


def side_by_side(*parts: str) -> str:
    """Return parts beside each other, or below each other where the window is narrow."""
    return f'<div class="sh5-row">{"".join(f"<div>{part}</div>" for part in parts if part)}</div>'
