"""``ChangeLog``: the changes of the tree that a journal has, as one sequence that can be repeated.

A resumed program begins with the public file and repeats its calls, so the journal has its changes again. Such a
change counts only if no earlier write has made it as often. One that is new comes last; its paths are those that the
resumed program sees, which may not have come to all moves and deletions of the earlier writes yet, so they are
followed through the rest of these::

    first write      D /x    M /x ─▶ /y    D /x
    resumed write    D /x    A /x                      the attribute belongs to /y
    together         D /x    M /x ─▶ /y    D /x    A /y
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from streamh5.model.object_path import join_path, split_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamh5.engine.engine import Engine

    Apply = Callable[[Engine, dict[str, Any]], None]


class Change(NamedTuple):
    """A change of the tree: the function that repeats it, and its facts."""

    apply: Apply
    facts: dict[str, Any]


class ChangeLog:
    """Changes of the tree in their order: a path may lead through a link that was created before."""

    def __init__(self) -> None:
        self._changes: list[Change | None] = []
        self._freed: list[tuple[int, str, str | None]] = []
        self._before: defaultdict[str, deque[int]] = defaultdict(deque)
        self._n_before = 0
        self._n_repeated = 0

    def __iter__(self) -> Iterator[Change]:
        return (change for change in self._changes if change is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def begin_session(self) -> None:
        """Enter that the write was resumed: the program repeats its calls."""
        self._before.clear()
        self._n_before, self._n_repeated = len(self._changes), 0
        for i, change in enumerate(self._changes):
            if change is not None:
                self._before[_key(change)].append(i)

    def add(self, apply: Apply, facts: dict[str, Any]) -> None:
        """Enter a change, unless it repeats one of an earlier write."""
        if self._n_before:
            repeated = self._before.get(_key(Change(apply, facts)))
            if repeated:
                self._n_repeated = max(self._n_repeated, repeated.popleft() + 1)
                return
            now: dict[str, Any] = {
                key: self._path_now(facts[key]) for key in ("path", "to", "hard") if key in facts
            }
            if None in now.values():  # of an object that an earlier write has deleted later on
                return
            facts = {**facts, **now}
        self._changes.append(Change(apply, facts))

    def add_freed(self, apply: Apply, facts: dict[str, Any]) -> None:
        """Enter that a path is free again: a deletion, or a move to another path."""
        n = len(self._changes)
        self.add(apply, facts)
        for change in self._changes[n:]:
            if change is not None:
                self._freed.append((n, _plain(change.facts["path"]), change.facts.get("to")))

    def take_back(self, is_taken_back: Callable[[Change], bool]) -> None:
        """Forget changes."""
        self._changes = [
            None if change is None or is_taken_back(change) else change for change in self._changes
        ]

    def _path_now(self, path: str) -> str | None:
        """Return where the object is that a resumed program has at some path; None if it was deleted."""
        path = _plain(path)
        for i, freed, to in self._freed:
            if self._n_repeated <= i < self._n_before and (path == freed or path.startswith(f"{freed}/")):
                if to is None:
                    return None
                path = _plain(to) + path[len(freed) :]
        return path


def _plain(path: str) -> str:
    return join_path(split_path(path))


def _key(change: Change) -> str:
    return json.dumps([change.apply.__name__, change.facts], sort_keys=True)
