"""What stays of a write that did not come to its end, and the words for it.

One rule. What was stored by a *stream* (`File`) is kept: partial file and journal stay beside the destination,
whether its block raised, its process ended, or nobody closed it. A *computed* write (`to_fixed_h5`, `to_netcdf`,
`convert`, ...) can be computed again, so its leftover is kept when it is worth it: `COSTLY_SECONDS` of work or
`COSTLY_NBYTES` stored. With ``resume=True`` it is always kept. Nothing stored, nothing kept; `abort` drops it.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from streamh5.processes.signals import first_frame_outside
from streamh5.sinks.base import as_journaled
from streamh5.sinks.working_names import journal_path, partial_path

if TYPE_CHECKING:
    from streamh5.arguments.keywords import Keep
    from streamh5.sinks.base import Sink

COSTLY_SECONDS = 60.0
COSTLY_NBYTES = 1 << 30
"""Work of a computed write that is worth a file which nobody asked for."""


class InterruptedWriteWarning(UserWarning, ResourceWarning):
    """A file was not closed: what is written is kept beside the destination, or was dropped."""


def _show(category: type[Warning]) -> None:
    """Show `category` although Python hides every ResourceWarning; filters that a person has set come first."""
    filters = cast("list[Any]", warnings.filters)
    hiding = ("ignore", None, ResourceWarning, None, 0)
    if hiding in filters:
        filters.insert(filters.index(hiding), ("default", None, category, None, 0))


_show(InterruptedWriteWarning)


class Leftover:
    """What a write has stored so far.

    Parameters
    ----------
    sink
        Where it goes.
    keep
        ``"always"``, ``"costly"``: when it is worth it, or ``"never"``.

    Attributes
    ----------
    is_told
        The caller knows: there is nothing to warn of.
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
        """Since the write began."""
        return time.perf_counter() - self._began

    @property
    def _partial(self) -> Path:
        return partial_path(Path(self._sink.name))

    def count(self, n_chunks: int, nbytes: int) -> None:
        """Count stored chunks; threads may lose one another's, but never the last."""
        self.n_chunks += n_chunks
        self.nbytes += nbytes

    @property
    def is_worth_it(self) -> bool:
        """Whether what is stored, and what is still to be, stays when the write is interrupted now."""
        is_costly = self.seconds >= COSTLY_SECONDS or self.nbytes >= COSTLY_NBYTES
        return self._journal is not None and (self.keep == "always" or (self.keep == "costly" and is_costly))

    @property
    def kept(self) -> str:
        """What stays, in words; empty where nothing is stored or worth it."""
        if self._journal is None or not self.is_worth_it or not (self.n_chunks or self.has_values):
            return ""
        if not self._partial.exists():  # the file got its name before something went wrong
            return ""
        if not self._journal.has_name(self._partial):
            return (
                f"{self._partial} is a file of another program by now, which has renamed or removed the one with what "
                f"was written; its journal is kept in {journal_path(self._partial)}"
            )
        return (
            f"what was written is kept in {self._partial}; go on with resume=True, or make a file of it: "
            f"streamh5 salvage {self._partial}"
        )

    def tell(self, error: BaseException | None, kept: str) -> None:
        """Say what was `kept`, in a note on the error that ended the write, or in a warning where nobody sees that.

        Python shows neither SystemExit nor the GeneratorExit of a generator that is dropped.
        """
        is_seen = error is not None and not isinstance(error, (SystemExit, GeneratorExit))
        if error is not None and kept:
            error.add_note(kept)
        if is_seen or self.is_told or (self.keep == "costly" and not kept):
            return
        filename, line = self._created_at
        message = f"{self._sink.name} was not closed: {kept or 'nothing of it is kept'}"
        try:
            warnings.warn_explicit(message, InterruptedWriteWarning, filename, line)
        except (
            InterruptedWriteWarning
        ):  # a filter makes errors of warnings: not in the place of the first error
            if error is None:
                raise
