"""What is kept of an interrupted write, and how the user is told.

The data of a *stream* (`File`) is kept: partial file and journal stay next to the destination, whether its block
raised, its process ended, or the file was never closed. A *computed* write (`to_fixed_h5`, `to_netcdf`, `convert`,
...) can be repeated, so its data is kept only if it was costly: `COSTLY_SECONDS` of work or `COSTLY_NBYTES` stored.
With ``resume=True`` it is always kept. What was added to an existing file is kept in the same way, after its end. If
nothing was stored, nothing is kept; `abort` drops everything.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from streamh5.errors import ResumeError
from streamh5.processes.signals import first_frame_outside
from streamh5.sinks.base import Shareable, as_journaled
from streamh5.sinks.working_names import journal_path, partial_path

if TYPE_CHECKING:
    from streamh5.arguments.keywords import Keep
    from streamh5.sinks.base import Sink

COSTLY_SECONDS = 60.0
COSTLY_NBYTES = 1 << 30
"""Work of a computed write that justifies leaving a file that the user did not ask for."""


class InterruptedWriteWarning(UserWarning, ResourceWarning):
    """A file was not closed: the stored data is kept next to the destination, or was dropped.

    Also raised when mode ``"w"`` (``overwrite=True``) drops what was kept. A filter that turns it into an error keeps
    the data: ``warnings.simplefilter("error", streamh5.InterruptedWriteWarning)``.
    """


def _show(category: type[Warning]) -> None:
    """Show `category` although Python hides every ResourceWarning; filters set by the user come first."""
    filters = cast("list[Any]", warnings.filters)
    hiding = ("ignore", None, ResourceWarning, None, 0)
    if hiding in filters:
        filters.insert(filters.index(hiding), ("default", None, category, None, 0))


_show(InterruptedWriteWarning)


def warn_of_interrupted_write(message: str) -> None:
    """Warn about an interrupted write that was found, at the line that called this package."""
    caller = first_frame_outside()
    warnings.warn_explicit(message, InterruptedWriteWarning, caller.f_code.co_filename, caller.f_lineno)


def warn_of_dropped_write(content: str, where: object) -> None:
    """Warn about what an interrupted write has left, before mode ``"w"`` drops it: a filter may raise the warning."""
    warn_of_interrupted_write(
        f"mode 'w' (overwrite=True) drops {content} that an interrupted write has left in {where}; resume=True "
        "would have continued that write, and streamh5 salvage made a file of it"
    )


class Leftover:
    """The data that a write has stored so far, and whether to keep it after an interruption.

    Parameters
    ----------
    sink
        Where the data goes.
    keep
        ``"always"``, ``"costly"`` (see the constants above) or ``"never"``.

    Attributes
    ----------
    is_told
        The caller asked for the interruption, so no warning is needed.
    """

    def __init__(self, sink: Sink, keep: Keep) -> None:
        self._sink = sink
        self._journal = as_journaled(sink)
        self.keep = keep
        self.n_chunks = 0
        self.nbytes = 0
        self.has_values = False
        self.is_told = False
        self.began_at = time.strftime("%H:%M:%S")
        self._began = time.perf_counter()
        caller = first_frame_outside()
        self._created_at = caller.f_code.co_filename, caller.f_lineno

    @property
    def seconds(self) -> float:
        """Seconds since the write began."""
        return time.perf_counter() - self._began

    @property
    def _data_path(self) -> Path:
        """The file that has the stored data: the partial file, or the public one that is added to."""
        return (
            self._sink.data_path if isinstance(self._sink, Shareable) else partial_path(Path(self._sink.name))
        )

    def count(self, n_chunks: int, nbytes: int) -> None:
        """Count stored chunks. There is no lock: concurrent additions may get lost, but never all of them."""
        self.n_chunks += n_chunks
        self.nbytes += nbytes

    @property
    def is_worth_it(self) -> bool:
        """Whether to keep the stored and the pending data if the write is interrupted now."""
        is_costly = self.seconds >= COSTLY_SECONDS or self.nbytes >= COSTLY_NBYTES
        return self._journal is not None and (self.keep == "always" or (self.keep == "costly" and is_costly))

    @property
    def kept(self) -> str:
        """Sentence that says what is kept; empty if nothing is."""
        if self._journal is None or not self.is_worth_it or not (self.n_chunks or self.has_values):
            return ""
        told: str | None = getattr(self._sink, "how_to_continue", None)
        if told is not None:
            return told
        path, partial = self._data_path, partial_path(Path(self._sink.name))
        if not path.exists():  # the file was published before the error
            return ""
        if not self._journal.has_name(path):
            if path != partial:  # what was added is of no use to the file that replaced the public one
                return ""
            return (
                f"{path} is now a file of another program, which renamed or removed the one with the stored "
                f"data; its journal is kept in {journal_path(partial)}"
            )
        if path != partial:
            return (
                f"{path} is as it was, and what was added is kept after its end; continue with mode 'a' and "
                f"resume=True, make it part of the file (streamh5 salvage {path}), or drop it (resume=True, abort())"
            )
        return (
            f"what was written is kept in {path}; continue with resume=True, or turn it into a file: "
            f"streamh5 salvage {path}"
        )

    def tell(self, error: BaseException | None, kept: str) -> None:
        """Report what was `kept`: in a note on the error that ended the write, or in a warning if that is not shown.

        Python shows neither SystemExit nor the GeneratorExit of a dropped generator.
        """
        is_seen = error is not None and not isinstance(error, (SystemExit, GeneratorExit))
        if error is not None and kept:
            # a ResumeError that names another source: the call that has failed is no way to continue
            is_other = isinstance(error, ResumeError) and "source" in str(error.facts.get("differing"))
            error.add_note(
                kept.replace("resume=True", "resume=True and the original source", 1) if is_other else kept
            )
        if is_seen or self.is_told or (self.keep == "costly" and not kept):
            return
        filename, line = self._created_at
        message = f"{self._sink.name} was not closed: {kept or 'nothing of it is kept'}"
        try:
            warnings.warn_explicit(message, InterruptedWriteWarning, filename, line)
        except InterruptedWriteWarning:
            # a filter turns warnings into errors; it must not replace the first error
            if error is None:
                raise
