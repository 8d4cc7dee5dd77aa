"""``EntryLog``: encode entries and append them to the journal of a write, if it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.recovery.entry_kinds import EntryKind
    from streamh5.sinks.base import Journaled

P = ParamSpec("P")


class EntryLog:
    """The journal of one write; without one, nothing is encoded. Thread-safe.

    Entries that cannot be written now, which raises, wait in the sink to be written later.

    Parameters
    ----------
    journal
        The sink, if it has a journal.
    """

    def __init__(self, journal: Journaled | None) -> None:
        self._journal = journal

    def enter(self, kind: EntryKind[P], *args: P.args, **kwargs: P.kwargs) -> None:
        """Encode an entry and append it."""
        if self._journal is not None:
            self._journal.append_log(kind.encode(*args, **kwargs))

    def encoded(self, encode: Callable[P, bytes], *args: P.args, **kwargs: P.kwargs) -> bytes:
        """Return entries, to be appended later; nothing without a journal."""
        return b"" if self._journal is None else encode(*args, **kwargs)

    def append(self, entries: bytes) -> None:
        """Append encoded entries with one write."""
        if self._journal is not None and entries:
            self._journal.append_log(entries)

    def append_all(self, gathered: bytearray) -> None:
        """Append encoded entries with one write, and take them out of `gathered`, even if they cannot be written."""
        entries = bytes(gathered)
        gathered.clear()
        self.append(entries)
