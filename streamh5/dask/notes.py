"""Notes on errors of a person's own tasks: which block was being computed, whatever dask has fused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask._task_spec import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class _NotedTask(Task):
    """A task that says on an error what it was at work on."""

    __slots__ = ("note",)

    note: Callable[[], str]

    def __call__(self, values: Any = ()) -> Any:
        try:
            return super().__call__(values)
        except Exception as error:
            note = self.note()
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
            raise


_SLOTS = [slot for kind in Task.__mro__ for slot in getattr(kind, "__slots__", ()) if slot != "__weakref__"]


def noted(graph: Mapping[Any, Any], what: Callable[[Any], str | None]) -> dict[Any, Any]:
    """Return an optimised graph whose tasks add notes to errors.

    Parameters
    ----------
    graph
        Tasks by key.
    what
        Gives the note of a key; None for a key of other libraries.
    """
    return {key: _noted(key, task, what) for key, task in dict(graph).items()}


def _noted(key: Any, task: Any, what: Callable[[Any], str | None]) -> Any:
    if type(task) is not Task:
        return task
    other = object.__new__(_NotedTask)
    for slot in _SLOTS:
        if hasattr(task, slot):
            setattr(other, slot, getattr(task, slot))
    other.note = lambda: _note_of(key, task, what)
    return other


def _note_of(key: Any, task: Task, what: Callable[[Any], str | None]) -> str:
    inner = task.args[0] if task.args and isinstance(task.args[0], dict) else {}  # tasks that dask has fused
    for one in (key, *inner):
        note = what(one)
        if note is not None:
            return note
    name, *index = key if isinstance(key, tuple) else (key,)
    return (
        f"while computing block {tuple(index)} of {str(name)[:80]}"
        if index
        else f"while computing {str(name)[:80]}"
    )
