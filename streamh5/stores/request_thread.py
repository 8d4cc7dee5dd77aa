"""The thread in which fsspec makes requests, and which therefore cannot wait for one."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

COLLECTED_SECONDS = 5.0
"""So long waits the garbage collector for the upload of a dropped write to be removed, which goes on afterwards."""


def is_request_thread() -> bool:
    """Tell whether this is the thread of fsspec's event loop, where the garbage collector may have ended a write."""
    module = sys.modules.get("fsspec.asyn")
    return module is not None and threading.current_thread() in module.iothread


def call_apart(call: Callable[[], None], *, is_waiting: bool) -> None:
    """Call a function in a thread of its own, for the garbage collector, which may run in any thread.

    That thread may make requests, or hold a lock for which those who make them wait.

    Parameters
    ----------
    call
        The function.
    is_waiting
        Whether to wait for its end, up to `COLLECTED_SECONDS`, unless this thread makes requests.

    Raises
    ------
    RuntimeError
        No thread can be started.
    """
    thread = threading.Thread(target=call, name="streamh5-abort")
    thread.start()
    if is_waiting and not is_request_thread():
        thread.join(COLLECTED_SECONDS)
