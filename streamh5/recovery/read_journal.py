"""From the bytes of a journal to a `Journal`: its entries up to the first that is incomplete or damaged."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING

from streamh5.errors import JournalError, StreamH5Error
from streamh5.recovery.entry_kinds import CLAIMS, DATASET, HEADER, KINDS, MAGIC, OPENED, PUBLIC
from streamh5.recovery.journal import Generation, Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NONSENSE = (
    *(AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError),
    *(StreamH5Error, struct.error, zlib.error),
)
"""Errors that decoding invalid facts can raise."""


def split_entries(log: bytes) -> Iterator[tuple[str, bytes, int]]:
    """Yield letter, payload and end of each entry, up to the first that is cut short or damaged."""
    position = 0
    while position + 12 <= len(log):
        head, checksum = log[position : position + 8], log[position + 8 : position + 12]
        start = position + 12
        end = start + int.from_bytes(head[4:], "little")
        if head[:3] != MAGIC or end > len(log):
            return
        payload = log[start:end]
        if zlib.crc32(payload, zlib.crc32(head)) != int.from_bytes(checksum, "little"):
            return
        yield chr(head[3]), payload, end
        position = end


def after_generation(log: bytes, header: Callable[[Generation, int], bytes]) -> bytes | None:
    """Return a journal that begins with the last generation of a journal, if that is public.

    Parameters
    ----------
    log
        Contents of the journal file.
    header
        Returns the header of a journal for a state of the file, and a number of datasets that were numbered before.

    Returns
    -------
    bytes or None
        The header, and the entries that follow that generation. None if the log has no generation.
    """
    found: tuple[Generation, int, int] | None = None
    n_datasets = n_valid = 0
    for letter, payload, end in split_entries(log):
        n_valid = end
        if letter == HEADER.letter:
            n_datasets = json.loads(payload).get("numbers", 0)
        elif letter in (DATASET.letter, OPENED.letter):
            n_datasets = json.loads(payload)["number"] + 1
        elif letter == PUBLIC.letter:
            found = Generation(*json.loads(payload)["base"]), n_datasets, end
    if found is None:
        return None
    base, n_before, start = found
    return header(base, n_before) + log[start:n_valid]


def decode_journal(log: bytes, present: Generation | None = None) -> Journal | None:
    """Decode a journal up to its first incomplete or damaged entry.

    Parameters
    ----------
    log
        Contents of the journal file.
    present
        State in which the public file was found, if there is one: what it contains is not in the journal that is
        returned.

    Returns
    -------
    Journal or None
        None if nothing was claimed: the log is empty, or ends within its first entry.

    Raises
    ------
    JournalError
        It is not a journal, has another version, or its header is damaged although claims follow.
    """
    journal = Journal({}, present=present)
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
    journal.drop_voided()
    for number in journal.taken_back:
        journal.claims.pop(number, None)
        journal.values.pop(number, None)
    return journal
