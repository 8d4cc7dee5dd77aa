"""Groups and what is in them, as lists that fold."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from streamh5.display.elements import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_OBJECTS = 300
"""Most objects of a tree."""

MAX_MEMBERS = 40
"""Most members of one group that are shown."""

MAX_BODIES = 50
"""Most objects of which more is shown than a line: a picture has about 6 kB."""

MAX_DEPTH = 12
"""Most groups inside each other that are shown."""


@dataclass(frozen=True, slots=True)
class TreeItem:
    """One object in a group.

    Attributes
    ----------
    name, text
        Its name there, and facts about it.
    members
        Returns what is in a group, called when it is shown, and only as far as it is shown; None for other objects.
    n_members
        Number of its members.
    body
        Returns the HTML of what is shown of another object when its line is unfolded.
    """

    name: str
    text: str
    members: Callable[[], Iterator[TreeItem]] | None = None
    n_members: int = 0
    body: Callable[[], str] | None = None


@dataclass(slots=True)
class _Room:
    """How much may still be shown."""

    n_objects: int = MAX_OBJECTS
    n_bodies: int = MAX_BODIES


def object_tree(items: Sequence[TreeItem], *, are_bodies_open: bool = False) -> str:
    """Return items and what is in them, as far as `MAX_OBJECTS` and the other limits go."""
    return "<ul>" + "".join(_items(iter(items), len(items), _Room(), 0, are_bodies_open)) + "</ul>"


def _items(
    items: Iterator[TreeItem], n_items: int, room: _Room, depth: int, are_bodies_open: bool
) -> Iterator[str]:
    n_shown = min(n_items, MAX_MEMBERS, room.n_objects)
    room.n_objects -= n_shown  # first those of this group, then what is in them
    for item in islice(items, n_shown):
        own = f'<b>{escaped(item.name)}</b> <span class="sh5-soft">{escaped(item.text)}</span>'
        if item.members is not None and item.n_members and depth < MAX_DEPTH:
            inner = "".join(_items(item.members(), item.n_members, room, depth + 1, are_bodies_open))
            yield _folded(own, f"<ul>{inner}</ul>", is_open=depth < 2)
        elif item.body is not None and room.n_bodies > 0:
            room.n_bodies -= 1
            yield _folded(own, item.body(), is_open=are_bodies_open)
        else:
            yield f"<li>{own}</li>"
    if n_items > n_shown:
        yield f'<li class="sh5-soft">and {n_items - n_shown:,} more</li>'


def _folded(own: str, body: str, *, is_open: bool) -> str:
    return f"<li><details{' open' if is_open else ''}><summary>{own}</summary>{body}</details></li>"
