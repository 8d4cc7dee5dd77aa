"""How long a test waits for what must happen."""

from __future__ import annotations

import signal
import subprocess

__all__ = ["DEADLOCK_SECONDS", "press_ctrl_c"]

DEADLOCK_SECONDS = 600
"""Nothing takes so long on the slowest, busiest machine: what has not ended by then hangs."""


def press_ctrl_c(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Interrupt a process until it ends, as a person would; return what it printed.

    Python notices a signal that comes just before its main thread waits for a lock only when something wakes that
    thread. The handler of the process must raise for the first signal only.
    """
    for _ in range(DEADLOCK_SECONDS):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            pass
    process.kill()
    raise TimeoutError(f"it does not end; it printed {process.communicate()}")
