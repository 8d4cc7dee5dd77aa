"""A store that loses the answers of some requests: they have their effect, and fail."""

from __future__ import annotations

from typing import Any

from streamh5.errors import StoreError


class LosingStore:
    """Another store, whose first answer to each request of these names is lost."""

    def __init__(self, store: Any, *names: str) -> None:
        self._store = store
        self._names = set(names)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in self._names:
            return found
        self._names.remove(name)

        def lose(*arguments: Any, **keywords: Any) -> None:
            found(*arguments, **keywords)
            raise StoreError("the connection was reset", reason="transient")

        return lose
