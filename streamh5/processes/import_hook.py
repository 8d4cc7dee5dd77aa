"""Call a function when another package is imported, now or later, without importing it.

A hook on ``sys.meta_path`` instead of an import: dask.array takes longer to import than all of streamh5, and most
commands need neither it nor xarray. With the hook, library and commands follow one rule, and the order of imports does
not matter::

    import streamh5       dask.array in sys.modules?  yes: call now
                                                      no:  insert a finder before the others
    import dask.array     finder ─▶ the finders after it find the module ─▶ their loader executes it ─▶ call

The module keeps the spec and the loader that it would have had. The finder stays on ``sys.meta_path`` and finds nothing
more: an import of another thread iterates over that list, and would miss a finder if an item before it were removed.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType


IMPORT_LOCK = threading.RLock()
"""Held while a public name is imported when it is first used.

Python locks each module by itself. Where a package imports its own modules (filters, dask), one thread has the lock of
the package and another that of the module, and each waits for the other's; Python then gives one of them a module that
is half initialized, and the first use of streamh5 in several threads would fail now and then.
"""


def when_imported(name: str, call: Callable[[ModuleType], None]) -> None:
    """Call `call` with the module `name`: now if it is imported already, otherwise when it is.

    Parameters
    ----------
    name
        Full name of a module.
    call
        Called once, when the module has been executed.
    """
    finder = _Finder(name, call)
    # before the look at `sys.modules`, so that no import is missed in between
    sys.meta_path.insert(0, finder)
    if sys.modules.get(name) is None:
        return
    try:
        # waits if another thread is importing the module, and has asked the finders already
        module = import_module(name)
    except ImportError:
        return  # that import has failed; the finder waits for the next one
    # while the module is being initialized, it imports streamh5 itself, and its names are not defined yet
    if not getattr(getattr(module, "__spec__", None), "_initializing", False):
        finder.arrived(module)


class _Finder:  # not a subclass of `importlib.abc.MetaPathFinder`, whose import takes 10 ms
    """Finds one module through the finders after it, and replaces its loader; once the call is made, it finds none."""

    def __init__(self, name: str, call: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._call: Callable[[ModuleType], None] | None = call

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name or self._call is None:
            return None
        # Those before this one have found nothing. They must not be asked again: a streamh5 that is reloaded inserts a
        # second finder for the same module, and the two would ask each other without end.
        finders = list(sys.meta_path)
        after = finders[finders.index(self) + 1 :] if self in finders else []
        specs = (finder.find_spec(fullname, path, target) for finder in after)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment] # a Loader by its methods
        return spec

    def arrived(self, module: ModuleType) -> None:
        """Make the call, once, even if the module is loaded twice (an import may have failed half-way)."""
        call, self._call = self._call, None
        if call is not None:
            call(module)


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
