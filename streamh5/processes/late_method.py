"""``LateMethod``: a method whose function is imported when somebody looks at it, not when its class gets it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from streamh5.processes.import_hook import IMPORT_LOCK

if TYPE_CHECKING:
    from collections.abc import Callable


class LateMethod:
    """A method of a class of another package, or of an accessor.

    ``help``, Jupyter and `inspect.signature` get the function itself, with its keywords and its docstring; a method
    that only passed its arguments on would show ``**kwargs``. An object has it as a `functools.partial`, not as a bound
    method: jedi (0.20) looks for the methods of a class in the source of the class, and nowhere else.

    Parameters
    ----------
    import_function
        Imports the function and returns it; called at each look.
    """

    def __init__(self, import_function: Callable[[], Callable[..., Any]]) -> None:
        self._import_function = import_function

    def __get__(self, instance: object, owner: type | None = None) -> Callable[..., Any]:
        with IMPORT_LOCK:
            function = self._import_function()
        if instance is None:
            return function
        method: Any = partial(function, instance)
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(method, name, getattr(function, name))
        return method  # type: ignore[no-any-return] # mypy forgets that a partial can be called
