"""Questions to a cluster: is there one, who are its workers, and what do they answer."""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask.base

from streamh5.errors import SchedulerError, StreamH5Error
from streamh5.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import dask.array as da
    from distributed import Client, as_completed

MAX_ASKED = 100
"""Workers that are asked at the same time, as they may all wait for one disk."""


def find_client(scheduler: Any, arrays: list[da.Array]) -> Client | None:
    """Return the client whose cluster computes the arrays; None if it is not a cluster.

    Raises
    ------
    SchedulerError
        There is no such scheduler, or the client is asynchronous.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    if isinstance(scheduler, distributed.Client):
        client = scheduler
    else:
        try:
            get = dask.base.get_scheduler(scheduler=scheduler, collections=arrays)
        except (ValueError, TypeError):
            return None  # `check_scheduler` says what is wrong
        client = getattr(get, "__self__", None)
    if not isinstance(client, distributed.Client):
        return None
    if client.asynchronous:
        raise SchedulerError(
            "this call waits for the cluster, which an asynchronous Client does not allow: call it in a thread "
            "(asyncio.to_thread) with a Client that is not asynchronous"
        )
    return client


@contextmanager
def usable(client: Client) -> Iterator[Client]:
    """Give a client that may wait for tasks: inside a task, its thread leaves the pool of its worker meanwhile."""
    import distributed

    try:
        distributed.get_worker()
    except ValueError:
        yield client
        return
    with distributed.worker_client() as own:
        yield own


def list_workers(client: Client) -> list[str]:
    """Return the addresses of the workers that the scheduler knows now."""
    return list(client.nthreads())


def ask(
    client: Client,
    function: Callable[..., Any],
    *args: Any,
    workers: Iterable[str],
    seconds: float,
    n_at_once: int = MAX_ASKED,
) -> dict[str, Any]:
    """Call a function on workers, and return the answers, or errors, by address; those that are silent are left out.

    Parameters
    ----------
    client
        The cluster.
    function
        Called by the event loop of each worker, also while it computes; may be a coroutine function.
    *args
        Its arguments.
    workers
        Addresses.
    seconds
        Time for each answer.
    n_at_once
        Workers that are asked at the same time. Those that are silent keep others waiting.
    """
    limit: asyncio.Semaphore

    async def one(worker: str) -> tuple[str, Any] | None:
        async with limit:
            try:
                asked = client.run(function, *args, workers=[worker], on_error="return")
                replies = await asyncio.wait_for(asked, seconds)
            except (OSError, TimeoutError):
                return None
        reply = replies.get(worker)
        # an error of the connection: the worker has just been lost
        is_lost = isinstance(reply, OSError) and not isinstance(reply, StreamH5Error)
        return None if worker not in replies or is_lost else (worker, reply)

    async def run() -> list[tuple[str, Any] | None]:
        nonlocal limit
        limit = asyncio.Semaphore(n_at_once)
        return await asyncio.gather(*map(one, workers))

    return dict(found for found in client.sync(run) if found is not None)


def check_versions(client: Client) -> None:
    """Refuse a cluster where the scheduler or a worker has no streamh5, or another version than this process.

    A worker that joins later is checked when it unpickles its first task.

    Raises
    ------
    SchedulerError
        Names the machine.
    """
    # a builtin function and text: a function of streamh5 could not be unpickled where streamh5 is missing
    question = "__import__('socket').gethostname() + ' ' + __import__('streamh5').__version__"
    replies = ask(client, eval, question, workers=list_workers(client), seconds=15)
    try:
        replies["the scheduler"] = client.run_on_scheduler(eval, question)
    except ImportError as error:
        replies["the scheduler"] = error
    for where, reply in replies.items():
        if isinstance(reply, Exception) and not isinstance(reply, ImportError):
            raise reply
        if isinstance(reply, Exception):
            raise SchedulerError(
                f"{where} of the cluster cannot import streamh5 ({reply}): install streamh5 {__version__} on the "
                "scheduler and on all workers, or pass scheduler='threads'"
            )
        host, version = reply.split()
        if version != __version__:
            raise SchedulerError(
                f"{where} on {host} has streamh5 {version}, this process has {__version__}: install the same version "
                "on the scheduler and on all workers, or pass scheduler='threads'"
            )


def received(results: as_completed, name: str) -> Iterator[Any]:
    """Yield the results of tasks as they arrive.

    Parameters
    ----------
    results
        The tasks.
    name
        What they write.

    Raises
    ------
    SchedulerError
        The cluster has cancelled them.
    """
    for _, result in results:
        if isinstance(result, BaseException):  # a lost scheduler is a value here, not raised
            raise SchedulerError(
                f"the cluster has cancelled the write to {name} ({result}): its scheduler was lost, its Client was "
                "closed, or another program has cancelled the tasks"
            ) from result
        yield result
