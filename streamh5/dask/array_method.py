"""The method ``to_fixed_h5`` of dask arrays; the rest of streamh5 is imported when somebody looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.processes.late_method import LateMethod

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def add_array_method(dask_array: ModuleType) -> None:
    """Add the method `to_fixed_h5` to dask arrays."""
    dask_array.Array.to_fixed_h5 = LateMethod(_method)


def _method() -> Callable[..., Any]:
    from streamh5.dask.to_fixed_h5 import array_to_fixed_h5

    return array_to_fixed_h5
