"""The journal of a write: what has been stored so far, in entries that prove themselves.

The journal lies beside the partial file. It is a sequence of entries, the header first
(`streamh5.recovery.entry_kinds` says what each kind means).

Entries are appended, never changed. An entry that is cut short or does not match its checksum ends
the journal: what comes after it was never claimed. Nothing in it is executed or unpickled.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from streamh5.errors import JournalError, StreamH5Error
from streamh5.recovery.entry_kinds import CLAIMS, HEADER, KINDS, split_entries
from streamh5.recovery.journal_content import Journal

__all__ = ["NONSENSE", "decode_journal"]

NONSENSE = (
    *(AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError),
    *(StreamH5Error, struct.error, zlib.error),
)
"""What reading facts that nobody wrote can raise."""


def decode_journal(log: bytes) -> Journal | None:
    """Decode a journal as far as it is whole.

    Parameters
    ----------
    log
        Content of the journal file.

    Returns
    -------
    Journal or None
        None when nothing was claimed: the log is empty, or ends within its first entry.

    Raises
    ------
    JournalError
        It is not a journal, is of another version, or its header is damaged though claims follow.
    """
    journal = Journal({})
    for letter, payload, end in split_entries(log):
        if not journal.header and letter != HEADER.letter:
            raise JournalError(f"the journal begins with an entry {letter!r} instead of its header")
        if letter not in KINDS:
            raise JournalError(f"the journal has an entry of unknown kind {letter!r}")
        try:
            KINDS[letter].decode(journal, payload)
        except JournalError:
            raise
        except NONSENSE as error:
            raise JournalError(
                f"entry {letter!r} before byte {end} of the journal makes no sense: {error}"
            ) from error
        journal.nbytes = end
    if not journal.header:
        if CLAIMS.magic in log:
            raise JournalError(
                "the header of the journal is damaged, so its claims cannot be trusted; "
                "remove the partial file and its journal to start again"
            )
        return None
    if journal.voids:
        _leave_out_voids(journal)
    for number in journal.taken_back:
        journal.claims.pop(number, None)
        journal.values.pop(number, None)
    return journal


def _leave_out_voids(journal: Journal) -> None:
    """Drop claims for whose address a V entry follows: one pass, however many entries there are."""
    addresses = np.concatenate([addresses for _, addresses in journal.voids])
    positions = np.concatenate([np.full(len(addresses), position) for position, addresses in journal.voids])
    order = np.lexsort((positions, addresses))
    addresses, positions = addresses[order], positions[order]
    for claims in journal.claims.values():
        for i, (records, position) in enumerate(zip(claims.records, claims.positions, strict=True)):
            last = (
                np.searchsorted(addresses, records["address"], side="right") - 1
            )  # of that address, or less
            is_void = (last >= 0) & (addresses[last] == records["address"]) & (positions[last] > position)
            if is_void.any():
                claims.records[i] = records[~is_void]
                claims.checksums[i] = claims.checksums[i][~is_void]
