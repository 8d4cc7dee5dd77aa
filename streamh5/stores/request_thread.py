"""The thread in which fsspec makes requests, and which therefore cannot wait for one."""

from __future__ import annotations

import sys
import threading


def is_request_thread() -> bool:
    """Tell whether this is the thread of fsspec's event loop, where the garbage collector may have ended a write."""
    module = sys.modules.get("fsspec.asyn")
    return module is not None and threading.current_thread() in module.iothread
