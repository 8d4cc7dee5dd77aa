"""Do something when another package is imported, now or later, without importing it.

A hook on ``sys.meta_path`` instead of an import: dask.array takes longer to import than all of streamh5, and most
commands of the CLI need neither it nor xarray. With the hook there is one rule for the library and the CLI, and no
order of imports that matters::

    import streamh5       dask.array in sys.modules?  yes: call now
                                                      no:  finder in front of the others
    import dask.array     finder ─▶ finders behind it find the module ─▶ their loader executes it ─▶ call

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
    """Call `call` with the module `name`: now where it is imported, as soon as it is otherwise.

    Parameters
    ----------
    name
        Full name of a module.
    call
        Is called once, when the module has been executed.
    """
    module = sys.modules.get(name)
    if module is None or getattr(module.__spec__, "_initializing", False):
        sys.meta_path.insert(0, _Finder(name, call))
    else:
        call(module)


class _Finder:  # not a subclass of `importlib.abc.MetaPathFinder`, whose import takes 10 ms
    """Finds one module where the other finders do."""

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
            spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment] # has what is called of a Loader
        return spec

    def arrived(self, module: ModuleType) -> None:
        """Call once, whichever of two imports comes first (one may have failed half-way)."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            self._call(module)


class _Loader:
    """Loads a module as its own loader does, then says that it has arrived."""

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        # `create_module`; and whoever sees this loader in `importlib.util.find_spec` may ask for sources or resources
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._finder.arrived(module)
