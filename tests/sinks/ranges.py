"""A system that notes which ranges of files are written, and which other calls were made for ranges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.faults.systems import Calls


class Ranges:
    """Notes each write, and each call of one other name, in their order: kind, start and stop."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self.events: list[tuple[str, int, int]] = []
        self.system = Calls(self.note)

    def note(self, number: int, name: str, arguments: tuple[Any, ...]) -> Callable[..., Any] | None:
        if name == "pwritev":
            _, buffers, address = arguments
            self.events.append(("write", address, address + sum(map(len, buffers))))
        elif name == self.name:
            _, address, nbytes = arguments
            self.events.append((self.kind, address, address + nbytes))
        return None
