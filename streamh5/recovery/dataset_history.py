"""``DatasetHistory``: the numbers and the shapes that a dataset had, as one sequence, although programs repeat calls.

A resumed program begins with the dataset of the public file again. What it does counts at the place that it has come
to in the history of the earlier writes::

    first write      0    Z cut ─▶ 20    Z 40    1
    resumed write    2                                      killed before it repeated the cut
    together         0    2    Z cut ─▶ 20    Z 40    1     the chunks of 2 beyond row 20 are cut off
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True, eq=False)
class Resized:
    """The shape that a dataset has from here on; ``is_cut`` if it had a larger extent before."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    maxshape: tuple[int | None, ...] | None
    is_cut: bool

    def covers(self, other: Resized) -> bool:
        """Return whether nothing more is known after `other` came before this one; neither cuts anything off."""
        is_same = (self.chunks, self.maxshape) == (other.chunks, other.maxshape)
        return is_same and all(n >= m for n, m in zip(self.shape, other.shape, strict=True))

    def repeats(self, other: Resized) -> bool:
        """Return whether both are the same change."""
        return self.is_cut == other.is_cut and self.shape == other.shape and self.covers(other)


Event: TypeAlias = "int | Resized"


@dataclass(slots=True)
class DatasetHistory:
    """What the journal has of one dataset.

    Attributes
    ----------
    events
        Its numbers, under which chunks and values were claimed, and its shapes, in their order.
    ahead
        Shapes of earlier writes to which the present one has not come.
    """

    events: list[Event] = field(default_factory=list)
    ahead: deque[Resized] = field(default_factory=deque)

    @property
    def numbers(self) -> list[int]:
        """Its numbers in their order."""
        return [one for one in self.events if not isinstance(one, Resized)]

    def begin_session(self) -> None:
        """Enter that the write was resumed: the program repeats its calls."""
        self.ahead = deque(one for one in self.events if isinstance(one, Resized))

    def add_number(self, number: int) -> None:
        """Enter that the dataset has a number from here on."""
        self._insert(number, self.ahead[0] if self.ahead else None)

    def add_shape(self, resized: Resized) -> None:
        """Enter that the dataset has a shape from here on, unless that repeats an earlier write."""
        if resized.is_cut:
            if not any(one.repeats(resized) for one in self.ahead):
                self.events.append(resized)
            else:
                while not self.ahead.popleft().repeats(resized):
                    pass
            return
        for one in self.ahead:
            if one.is_cut:
                self._insert(resized, one)
                return
            if one.covers(resized):
                if one.repeats(resized):
                    while self.ahead.popleft() is not one:
                        pass
                return
        last = self.events[-1] if self.events else None
        if isinstance(last, Resized) and not self.ahead and not last.is_cut and resized.covers(last):
            self.events[-1] = resized  # of a loop that adds row after row, one is enough
        else:
            self.events.append(resized)

    def _insert(self, event: Event, before: Resized | None) -> None:
        if before is None:
            self.events.append(event)
        else:
            self.events.insert(next(i for i, one in enumerate(self.events) if one is before), event)
