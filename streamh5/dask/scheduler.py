"""The schedulers that can write: threads of this process, or the workers of a cluster (`streamh5.dask.cluster`).

With threads, blocks that were persisted on a cluster are fetched one by one.
"""

from __future__ import annotations

import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import dask.array as da
import dask.base
import dask.local
import dask.threaded
from dask.highlevelgraph import HighLevelGraph

from streamh5.arguments.keywords import unknown_keywords
from streamh5.dask.cluster_client import find_client
from streamh5.errors import SchedulerError, SpecError, shown
from streamh5.sinks.destination_path import destination_name, destination_url, is_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


COMPUTE_KEYWORDS = frozenset(
    ("scheduler", "num_workers", "pool", "optimize_graph", "traverse", "chunksize", "cache")
)
"""Keywords of `dask.compute` and of the threaded scheduler."""

CLUSTER_KEYWORDS = frozenset(
    ("workers", "allow_other_workers", "resources", "retries", "priority", "fifo_timeout")
)
"""Keywords of `Client.persist`."""


def check_compute_keywords(function: Callable[..., Any], compute_kwargs: Mapping[str, Any]) -> None:
    """Refuse keywords that neither `function` nor `dask.compute` has.

    Raises
    ------
    KeywordError
        There is such a keyword; the message suggests one with a similar name.
    SpecError
        Fewer than one worker.
    """
    known = COMPUTE_KEYWORDS | CLUSTER_KEYWORDS
    unknown = compute_kwargs.keys() - known
    if unknown:
        own = inspect.signature(function).parameters.keys() - {"args", "compute_kwargs"}
        raise unknown_keywords(function.__name__, unknown, own - known, known)
    n_workers = compute_kwargs.get("num_workers")
    if n_workers is not None and not (isinstance(n_workers, Integral) and int(n_workers) >= 1):
        raise SpecError(
            f"num_workers must be an integer of at least 1, not {shown(n_workers)}", num_workers=n_workers
        )


def store_name(path: str, token: str) -> str:
    """Return the name of the tasks that store the blocks of a dataset; dask's dashboard shows ``store-PATH``."""
    return f"store-{path}-{token}"


def is_for_workers(destination: Any) -> bool:
    """Tell whether workers of a cluster can write to a destination: a path, or an object that all of them reach."""
    url = destination_url(destination)
    return is_path(destination) or (url is not None and not url.lower().startswith("memory:"))


def check_scheduler(scheduler: Any, arrays: list[da.Array], path: Any) -> None:
    """Refuse a scheduler that is neither a cluster nor in this process, unless all blocks are persisted.

    Parameters
    ----------
    scheduler
        As for `dask.compute`.
    arrays
        The arrays.
    path
        The destination: a cluster writes to a path, or to an object that all workers reach.

    Raises
    ------
    SchedulerError
        Neither a `distributed.Client`, nor the threaded or the synchronous scheduler, nor a thread pool.
    """
    remote = [array for array in arrays if not _has_futures(array)]
    client = find_client(scheduler, arrays)
    if not remote or (client is not None and is_for_workers(path)) or _is_local(scheduler, remote):
        return
    if client is not None:
        raise SchedulerError(
            f"workers cannot write to {destination_name(path)}: it is not a path or an object that they reach, or it "
            "has a user block; pass scheduler='threads', or persist the array first, whose blocks are then fetched",
            scheduler=client,
        )
    get = dask.base.get_scheduler(scheduler=scheduler, collections=remote)
    name = getattr(scheduler or get, "__qualname__", None) or shown(scheduler or get)
    raise SchedulerError(
        f"streamh5 writes with threads of this process or with a cluster, not with {name}: pass scheduler='threads', "
        "or a distributed.Client, whose workers are processes",
        scheduler=name,
    )


def cluster_keywords(compute_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of `Client.persist`.

    Raises
    ------
    SpecError
        There are keywords of threads.
    """
    local = compute_kwargs.keys() & {"num_workers", "pool", "chunksize", "cache"}
    if local:
        raise SpecError(
            f"{', '.join(sorted(local))}: only threads of this process have these keywords, and a cluster has its own "
            "number of workers; leave them out, or pass scheduler='threads'"
        )
    return {
        key: value for key, value in compute_kwargs.items() if key in CLUSTER_KEYWORDS | {"optimize_graph"}
    }


def local_keywords(compute_kwargs: dict[str, Any], arrays: list[da.Array]) -> dict[str, Any]:
    """Return keywords of `dask.compute`; the threaded scheduler replaces a default scheduler that is not local.

    Arrays that streamh5 reads itself, and blocks fetched from a cluster, are computed in this process in any case.

    Raises
    ------
    SpecError
        There are keywords of a cluster.
    """
    given = compute_kwargs.keys() & CLUSTER_KEYWORDS
    if given:
        raise SpecError(
            f"{', '.join(sorted(given))}: only a distributed.Client has these keywords; pass one as scheduler=, or "
            "leave them out"
        )
    scheduler = compute_kwargs.get("scheduler")
    if _is_local(scheduler, arrays) or (scheduler is not None and not all(map(_has_futures, arrays))):
        return compute_kwargs
    return {**compute_kwargs, "scheduler": "threads"}


def _is_local(scheduler: Any, arrays: list[da.Array]) -> bool:
    """Return whether tasks run in threads of this process.

    Raises
    ------
    SchedulerError
        There is no such scheduler.
    """
    if isinstance(scheduler, ThreadPoolExecutor):
        return True
    try:
        get = dask.base.get_scheduler(scheduler=scheduler, collections=arrays)
    except (ValueError, TypeError) as error:
        raise SchedulerError(
            f"dask has no scheduler {shown(scheduler)}; pass scheduler='threads' or 'synchronous'",
            scheduler=scheduler,
        ) from error
    if get in (dask.threaded.get, dask.local.get_sync):
        return True
    submit = getattr(get, "args", (None,))[0]
    return isinstance(getattr(submit, "__self__", None), ThreadPoolExecutor)


def _has_futures(array: da.Array) -> bool:
    """Return whether an array depends on blocks that were persisted on a cluster."""
    return any(map(_is_of_futures, array.dask.layers.values()))


def gathered(array: da.Array) -> da.Array:
    """Return an array whose tasks fetch persisted blocks from the cluster, each when it is needed."""
    graph = array.dask
    if not _has_futures(array):
        return array
    layers: dict[str, Any] = {
        name: _fetching(layer) if _is_of_futures(layer) else layer for name, layer in graph.layers.items()
    }
    local = HighLevelGraph(layers, graph.dependencies)
    return da.Array(local, array.name, array.chunks, meta=array._meta)


def _is_of_futures(layer: Mapping[Any, Any]) -> bool:
    distributed = sys.modules.get("distributed")
    is_made = getattr(layer, "is_materialized", lambda: True)()
    if distributed is None or not is_made:  # layers of futures are dictionaries
        return False
    return any(isinstance(value, distributed.Future) for value in layer.values())


def _fetching(layer: Mapping[Any, Any]) -> dict[Any, Any]:
    future = sys.modules["distributed"].Future
    return {
        key: (partial(future.result, value),) if isinstance(value, future) else value
        for key, value in layer.items()
    }
