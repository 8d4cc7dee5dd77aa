"""What is left of a write to an object: found by its journal, and by what the store has."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from streamh5.errors import JournalError, SinkError, SpecError, StoreError
from streamh5.recovery.entry_kinds import HELD, MAGIC, PART, UPLOAD
from streamh5.recovery.read_journal import decode_journal
from streamh5.recovery.resume import Recovery
from streamh5.recovery.upload_state import KeptBytes
from streamh5.sinks.upload_journal import UploadEntries, UploadJournal
from streamh5.sinks.upload_parts import ResumedUpload
from streamh5.stores import attempts
from streamh5.stores.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.arguments.keywords import Sync
    from streamh5.arguments.paths import LocalPath
    from streamh5.recovery.journal import Journal
    from streamh5.stores.base import ObjectStore, PartReceipt, StoredObject

T = TypeVar("T")

_ENTRIES = UploadEntries(UPLOAD.encode, PART.encode, HELD.encode)


class FoundUpload(NamedTuple):
    """An interrupted write to an object: its claims, what its sink needs, and the size of its valid journal."""

    recovery: Recovery
    resumed: ResumedUpload
    n_valid: int


def open_upload_journal(path: LocalPath, url: str, *, sync: Sync = "close") -> UploadJournal:
    """Open the journal of a write to an object, and lock it: see `UploadJournal`."""
    return UploadJournal(path, url, entries=_ENTRIES, magic=MAGIC, sync=sync)


def read_upload_journal(file: UploadJournal, url: str) -> Journal | None:
    """Return the journal of an interrupted write to an object; None if nothing was written.

    Raises
    ------
    JournalError
        It cannot be trusted.
    SpecError
        It is that of another write.
    """
    journal = decode_journal(file.log)
    if journal is None:
        return None
    if journal.header.get("url") != url:
        raise SpecError(
            f"{file.path} is the journal of {journal.header.get('url') or 'a local file'}, not of {url}; name "
            "another one (journal=)"
        )
    return journal if journal.upload is not None or journal.values else None


def is_made_by(found: StoredObject | None, journal: Journal) -> bool:
    """Return whether an object is the one of the write: its last answer was lost."""
    return found is not None and journal.upload is not None and found.token == journal.upload.token


def find_upload(store: ObjectStore, journal: Journal, *, is_resumed: bool = True) -> FoundUpload | None:
    """Return what is there of an interrupted write; None if its upload is gone.

    The claims of everything else are taken out of the journal.

    Raises
    ------
    SinkError
        The store does not answer.
    JournalError
        The journal makes no sense.
    """
    state = journal.upload
    if state is None:
        return None
    if state.upload is None:
        _remove_lost(store, state.others)
    try:
        listed = [] if state.upload is None else _asked(store, lambda: _listed(store, state.upload))
    except SinkError as error:
        if isinstance(error.__cause__, StoreError) and error.__cause__.reason == "no upload":
            return None
        raise
    if state.parts and not listed:
        return None  # Azure cannot tell an upload without parts from none
    try:
        kept = KeptBytes(journal, store.limits, listed, is_resumed=is_resumed)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise JournalError(f"the journal of {store.url} makes no sense: {error}") from error
    recovery = Recovery(journal, _no_reading, store.url, kept=kept)
    resumed = ResumedUpload(
        state.token, state.upload, kept.sizes, kept.receipts, kept.held, recovery.front.end
    )
    return FoundUpload(recovery, resumed, journal.nbytes)


def drop_upload(store: ObjectStore, journal: Journal) -> None:
    """Remove the upload of an interrupted write, if it is there.

    Raises
    ------
    SinkError
        It may be there still, and costs money.
    """
    state = journal.upload
    if state is None:
        return
    if state.upload is None:
        _remove_lost(store, state.others)
    else:
        Upload(store, token=state.token, if_absent=True, upload=state.upload).abort()


def _remove_lost(store: ObjectStore, others: list[str] | None) -> None:
    """Remove an upload that has begun when the process was killed, so that the journal has not its id.

    It has no part, and was not there before. One of another writer that has just begun looks alike.
    """
    if others is None:
        return
    with suppress(SinkError):  # it has no parts, so it costs nothing
        for one in _asked(store, store.list_uploads):
            if one.upload not in others and not _asked(store, lambda one=one: store.list_parts(one.upload)):  # type: ignore[misc]
                store.abort_upload(one.upload)


def _listed(store: ObjectStore, upload: str | None) -> list[PartReceipt]:
    return [] if upload is None else store.list_parts(upload)


def _asked(store: ObjectStore, request: Callable[[], T]) -> T:
    try:
        return attempts.ATTEMPTS.run(request)
    except StoreError as error:
        raise SinkError(f"cannot write {store.url}: {error}", path=store.url) from error


def _no_reading(address: int, nbytes: int) -> bytes:
    raise SinkError(f"byte {address:,} of an object cannot be read before it is complete")
