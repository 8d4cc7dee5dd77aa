"""``DatasetNumbers``: the numbers by which the journal names datasets, and the entries that give and follow them.

A claim names its dataset by number. A dataset gets one when it is created (entry D); one of the public file, and one
whose chunks are numbered anew, gets its next number when something of it is about to be written (entry O). Entries O
and Z say which dataset they are about in a way that a `move` does not change: by the number with which it was created,
or by the address of its header in the public file.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from streamh5.errors import SinkError, StateError
from streamh5.recovery import entry_kinds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamh5.model.tree import DatasetNode
    from streamh5.recovery.entry_log import EntryLog


class DatasetNumbers:
    """Give datasets their numbers. Thread-safe: jobs, which must not wait for the lock of the engine, call it, too.

    Parameters
    ----------
    log
        Gets the entries.
    n_datasets
        Numbers that an interrupted write has given.
    """

    def __init__(self, log: EntryLog, n_datasets: int) -> None:
        self._log = log
        self._n_datasets = n_datasets
        # reentrant: a signal handler may end the write in the middle of a call
        self._lock = threading.RLock()
        self._made: dict[DatasetNode, int] = {}
        self._former: dict[DatasetNode, dict[str, Any]] = {}
        self._appended: set[DatasetNode] = set()

    def add(self, node: DatasetNode, source: str | None, *, has_value: bool) -> None:
        """Give a new dataset its number, and enter it, and its value if it has one, with one write."""
        with self._lock:
            number = self._n_datasets
            entries = self._log.encoded(_creation, number, node, source, has_value=has_value)
            self._made[node] = node.number = number
            self._enter_next(entries)

    def take_back(self, node: DatasetNode) -> None:
        """Enter that a dataset was taken back, if it has a number.

        An interrupt may have come before its creation was in the journal: then the entry means nothing.
        """
        number = self._made.get(node)
        if number is not None:
            self._log.enter(entry_kinds.TAKEN_BACK, node.path, number)

    def restore(self, node: DatasetNode, number: int) -> None:
        """Give a dataset of an interrupted write its number again."""
        with self._lock:
            self._made[node] = node.number = number

    def of(self, node: DatasetNode) -> int:
        """Return the number of a dataset; one that has none gets it now."""
        number = node.number
        if number is None:
            with self._lock:
                number = node.number
                if number is None:
                    number = self._n_datasets
                    self._enter_next(self._log.encoded(self._opening, number, node))
                    node.number = number
        return number

    def _opening(self, number: int, node: DatasetNode) -> bytes:
        entries = entry_kinds.OPENED.encode(number, self._identity(node), node.spec, node.source)
        return entries + entry_kinds.ROWS.encode(number, 0) if node in self._appended else entries

    def _enter_next(self, entries: bytes) -> None:
        """Enter the next number, once its entries are encoded."""
        # first: entries that cannot be written now wait to be written, and no number may be given twice. An interrupt
        # before the journal has taken them leaves a number out
        self._n_datasets += 1
        self._log.append(entries)

    def log_shape(self, node: DatasetNode, *, is_cut: bool) -> None:
        """Enter the shape that a dataset has now, and whether it had a larger extent before."""
        self._log.enter(entry_kinds.RESIZED, self._identity(node), node.spec, is_cut=is_cut)

    def log_rows(self, node: DatasetNode, n_rows: int) -> None:
        """Enter that a dataset is appended to (0), or its number of rows at the end."""
        number = self.of(node)
        self._appended.add(node)
        self._log.enter(entry_kinds.ROWS, number, n_rows)

    @contextmanager
    def all_rows_logged(self) -> Iterator[None]:
        """Enter the number of rows of each dataset that is appended to; if the block fails, that more may follow."""
        try:
            for node in list(self._appended):
                self._log.enter(entry_kinds.ROWS, self.of(node), node.n_rows)
            yield
        except BaseException:
            with suppress(StateError, SinkError):  # the failure may have ended the write
                for node in list(self._appended):
                    if node.number is not None:  # one without gets this entry with its number
                        self._log.enter(entry_kinds.ROWS, node.number, 0)
            raise

    def identities(self, nodes: Iterable[DatasetNode]) -> dict[DatasetNode, dict[str, Any]]:
        """Return what entries name datasets by."""
        return {node: self._identity(node) for node in nodes}

    def begin_generation(self, former: dict[DatasetNode, dict[str, Any]]) -> None:
        """Take all numbers back: everything that was written under them is about to be public.

        Until `settle` is called, entries name datasets in both ways, because nobody knows which generation is public.

        Parameters
        ----------
        former
            The `identities` before the generation was written.
        """
        with self._lock:
            # the oldest ones: of the generation that is certainly public
            self._former = former | self._former
            self._made.clear()
            for node in former:
                node.number = None

    def settle(self) -> None:
        """Know that the last generation is public."""
        self._former = {}

    def _identity(self, node: DatasetNode) -> dict[str, Any]:
        identity = {"made": self._made.get(node), "address": node.stored_address}
        former = self._former.get(node)
        return identity if former is None else {**identity, "former": former}


def _creation(number: int, node: DatasetNode, source: str | None, *, has_value: bool) -> bytes:
    entries = entry_kinds.DATASET.encode(number, node.spec, source)
    return entries + entry_kinds.ELEMENTS.encode(number, node, ...) if has_value else entries
