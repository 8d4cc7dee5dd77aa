"""`MetadataSpace`: addresses of metadata in a file with pages, apart from those of chunks.

Metadata goes to pages of its own at the end of the file, chunks to what is left of theirs::

    page             page             page             page             page
    │ front region   │ chunks  chunks │ chunks │ free  │ metadata │free │ chunks
                                                        ▲          ▲
                                                        open page  next metadata

The library does the same when it writes such a file (``H5MF__alloc_pagefs``). The rest of the last page of metadata is
not part of the file: nothing is written there before more metadata follows.
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

    __slots__ = ("_cursor", "_lock", "_next", "_rule", "_stop")

    def __init__(self, cursor: AddressCursor, rule: PageRule) -> None:
        self._cursor, self._rule = cursor, rule
        self._next = self._stop = 0
        self._lock = threading.RLock()

    @property
    def end_of_file(self) -> int:
        """First address after everything reserved so far."""
        with self._lock:
            return self._next if self._stop == self._cursor.address else self._cursor.address

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
            self._next = address + nbytes
            return address
