"""Runs the tasks that dask has fused into one.

dask orders the tasks inside of a fused task each time that it runs, which for small blocks takes a quarter of the
profile of a write (tests/benchmarks/blocks.py).
"""

from __future__ import annotations

import inspect
from collections import Counter
from typing import TYPE_CHECKING, Any

from dask import _task_spec
from dask._task_spec import GraphNode, Task, TaskRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


_DASKS_OWN: Any = getattr(_task_spec, "_execute_subgraph", None)
_PARAMETERS = ["inner_dsk", "outkey", "inkeys", "dependencies"]
_IS_KNOWN = _DASKS_OWN is not None and list(inspect.signature(_DASKS_OWN).parameters) == _PARAMETERS
"""Whether dask makes fused tasks as `run_fused` takes them; its own function runs those of other versions."""


def is_fused(task: Any) -> bool:
    """Return whether a task is made of several, in the way that `run_fused` knows."""
    return _IS_KNOWN and type(task) is Task and task.func is _DASKS_OWN


def run_fused(inner: Mapping[Any, GraphNode], target: Any, needs: Iterable[Any], *given: Any) -> Any:
    """Run the tasks that lead to one of them; each value is dropped when nothing needs it any more.

    Parameters
    ----------
    inner
        The tasks.
    target
        Key of the one whose value is returned.
    needs, given
        Keys and values of what was computed before.
    """
    values = dict(zip(needs, given, strict=True))
    n_uses = Counter(need for task in inner.values() for need in task.dependencies)
    stack = [target]
    while stack:
        key = stack[-1]
        if key in values:
            stack.pop()
            continue
        task = inner[key]
        missing = [need for need in task.dependencies if need not in values]
        if len(missing) > 1:
            wanted = set(missing)  # in the order of the tasks, because that of a set differs from run to run
            missing = [one for one in reversed(inner) if one in wanted]
        if missing:
            stack += missing
            continue
        stack.pop()
        values[key] = _run(task, values)
        for need in task.dependencies:
            n_uses[need] -= 1
            if not n_uses[need]:
                del values[need]
    return values[target]


def _run(task: GraphNode, values: dict[Any, Any]) -> Any:
    if not is_fused(task):
        return task(values)
    return run_fused(*(_value(one, values) for one in task.args))  # type: ignore[attr-defined]


def _value(one: Any, values: dict[Any, Any]) -> Any:
    if isinstance(one, TaskRef):
        return values[one.key]
    return one(values) if isinstance(one, GraphNode) else one
