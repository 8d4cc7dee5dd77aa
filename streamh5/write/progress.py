"""Progress of a write: a bar if the session is interactive, a callback, or nothing."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Progress:
    """Count processed bytes and show them.

    Thread-safe.

    Parameters
    ----------
    total_nbytes
        Total number of bytes.
    show
        True for a bar: a widget in a notebook with ipywidgets, otherwise text on stderr; False for nothing; None for a
        bar if stderr is a terminal or the code runs in a notebook; or a function of the processed and the total number
        of bytes.
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
        self._bar = _bar(total_nbytes, label) if _is_shown(show) else None

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


@contextmanager
def progress_of_child(
    show: bool | Callable[[int, int], object] | None, label: str
) -> Iterator[bool | Callable[[int, int], object]]:
    """Yield the keyword `progress` for a child process: the bar is here, where the terminal or notebook is.

    Parameters
    ----------
    show, label
        See `Progress`; the child says what the total is.
    """
    if callable(show) or not _is_shown(show):
        yield show if callable(show) else False
        return
    bars: list[Any] = []

    def report(done_nbytes: int, total_nbytes: int) -> None:
        if not bars:
            bars.append(_bar(total_nbytes, label))
        bars[0].update(done_nbytes - bars[0].n)

    try:
        yield report
    finally:
        for bar in bars:
            bar.close()


def _is_shown(show: object) -> bool:
    return show is True or (show is None and (sys.stderr.isatty() or _is_notebook()))


def _bar(total_nbytes: int, label: str) -> Any:
    """Return a bar of tqdm; not by ``tqdm.auto``, which warns in each notebook without ipywidgets."""
    from tqdm import tqdm as bar  # imported here because it takes a third of the time of a small `verify`

    if _is_notebook():
        from tqdm import notebook

        if notebook.IProgress is not None:  # ipywidgets is there
            bar = notebook.tqdm
    return bar(total=total_nbytes, desc=label, unit="B", unit_scale=True, unit_divisor=1024)


def _is_notebook() -> bool:
    """Return whether a kernel of Jupyter runs the code: JupyterLab, VS Code, Colab, whose shells are subclasses.

    Consoles that show no widgets have such a kernel, too; Spyder's is known by its name.
    """
    ipython = sys.modules.get("IPython")
    names = [] if ipython is None else [one.__name__ for one in type(ipython.get_ipython()).__mro__]
    return "ZMQInteractiveShell" in names and "SpyderShell" not in names
