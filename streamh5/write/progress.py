"""Progress of a write: a bar if the session is interactive, a callback, or nothing."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from tqdm import tqdm


class Progress:
    """Count processed bytes and show them.

    Thread-safe.

    Parameters
    ----------
    total_nbytes
        Total number of bytes.
    show
        True for a bar on stderr; False for nothing; None for a bar if stderr is a terminal or the
        code runs in a notebook; or a function of the processed and the total number of bytes.
    label
        Label in front of the bar.
    """

    def __init__(
        self, total_nbytes: int, show: bool | Callable[[int, int], object] | None, label: str
    ) -> None:
        self._total_nbytes = total_nbytes
        self._done_nbytes = 0
        self._lock = threading.Lock()
        self._call = show if callable(show) else None
        is_shown = _is_interactive() if show is None else show is True
        self._bar = _bar(total_nbytes, label) if is_shown else None

    def add(self, nbytes: int) -> None:
        """Count `nbytes` more."""
        with self._lock:
            self._done_nbytes += nbytes
            if self._bar is not None:
                self._bar.update(nbytes)
            if self._call is not None:
                self._call(self._done_nbytes, self._total_nbytes)

    def close(self) -> None:
        """Close the bar, which stays visible."""
        if self._bar is not None:
            self._bar.close()


def _bar(total_nbytes: int, label: str) -> tqdm[NoReturn]:
    from tqdm import tqdm  # imported here because it takes a third of the time of a small `verify`

    return tqdm(total=total_nbytes, desc=label, unit="B", unit_scale=True, unit_divisor=1024)


def _is_interactive() -> bool:
    return sys.stderr.isatty() or type(_ipython()).__name__ == "ZMQInteractiveShell"


def _ipython() -> object:
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()
