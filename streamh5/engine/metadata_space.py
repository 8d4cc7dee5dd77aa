"""`MetadataSpace`: addresses of metadata in a file with pages, apart from those of chunks.

Metadata goes to pages of its own at the end of the file, chunks to what is left of theirs::

    page             page             page             page             page
    │ front region   │ chunks  chunks │ chunks │ free  │ metadata │free │ chunks
                                                        ▲          ▲
                                                        open page  next metadata

The library does the same when it writes such a file (``H5MF__alloc_pagefs``). It adds pages at the end of the file, so
the file ends with a whole page: else all pages that the library adds would lie across those of the file.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamh5.engine.address_cursor import AddressCursor
    from streamh5.format.page_rule import PageRule


class MetadataSpace:
    """Hand out addresses for metadata.

    Parameters
    ----------
    cursor
        Where pages are reserved.
    rule
        Of a file with pages.
    """

    __slots__ = ("_cursor", "_end", "_lock", "_next", "_rule", "_stop")

    def __init__(self, cursor: AddressCursor, rule: PageRule) -> None:
        self._cursor, self._rule = cursor, rule
        self._next = self._stop = self._end = 0
        self._lock = threading.RLock()

    @property
    def end_of_file(self) -> int:
        """End of the page of the last byte reserved so far."""
        return self._rule.end_of_page(self._cursor.address)

    def fill_page(self) -> bool:
        """Reserve the rest of the last page, which becomes part of a generation of the file; return whether it has one.

        What follows goes to other pages, so that a generation stays as it is.
        """
        with self._lock:
            end = self._end if self._stop == self._cursor.address else self._cursor.address
            self._cursor.reserve_aligned(0, self._rule.page_nbytes)
            self._next = self._stop
        return end < self.end_of_file

    def reserve(self, nbytes: int) -> int:
        """Reserve a block of `nbytes` that obeys the rule, and return its address."""
        rule = self._rule
        with self._lock:
            address = rule.position(self._next, nbytes)
            if address + nbytes > self._stop:
                # what is still open is enough for a part of it, if the next page follows
                first = self._cursor.reserve_aligned(rule.end_of_page(nbytes), rule.page_nbytes)
                if first != self._stop:
                    self._next = first
                address = rule.position(self._next, nbytes)
                self._stop = first + rule.end_of_page(nbytes)
            self._end = address + nbytes
            self._next = rule.end(address, nbytes)
            return address
