"""Call a function when another package is imported, now or later, without importing it.

A hook on ``sys.meta_path`` instead of an import: dask.array takes longer to import than all of streamh5, and most
commands need neither it nor xarray. With the hook, library and commands follow one rule, and the order of imports does
not matter::

    import streamh5       dask.array in sys.modules?  yes: call now
                                                      no:  insert a finder before the others
    import dask.array     finder ─▶ the other finders find the module ─▶ their loader executes it ─▶ call

The module keeps the spec and the loader that it would have had, and the finder removes itself.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def when_imported(name: str, call: Callable[[ModuleType], None]) -> None:
    """Call `call` with the module `name`: now if it is imported already, otherwise when it is.

    Parameters
    ----------
    name
        Full name of a module.
    call
        Called once, when the module has been executed.
    """
    module = sys.modules.get(name)
    if module is None or getattr(module.__spec__, "_initializing", False):
        sys.meta_path.insert(0, _Finder(name, call))
    else:
        call(module)


class _Finder:  # not a subclass of `importlib.abc.MetaPathFinder`, whose import takes 10 ms
    """Finds one module through the other finders, and replaces its loader."""

    def __init__(self, name: str, call: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._call = call

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment] # a Loader by its methods
        return spec

    def arrived(self, module: ModuleType) -> None:
        """Make the call, once, even if the module is loaded twice (an import may have failed half-way)."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            self._call(module)


class _Loader:
    """Loads a module with its own loader, then tells the finder."""

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        # for `create_module`, and for code that gets this loader from `find_spec` and asks for sources or resources
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._finder.arrived(module)
