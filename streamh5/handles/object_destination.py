"""Open an object of an object store as destination, with the interrupted write that its journal has."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from streamh5.arguments.paths import local_path, object_url
from streamh5.errors import (
    DestinationMissingError,
    InterruptedWriteError,
    JournalError,
    SinkError,
    SpecError,
)
from streamh5.recovery.origin import check_origin
from streamh5.sinks.working_names import upload_journal_path
from streamh5.write.interruption import warn_of_dropped_write, warn_of_interrupted_write

if TYPE_CHECKING:
    from streamh5.arguments.write_options import WriteOptions
    from streamh5.recovery.interrupted_upload import FoundUpload
    from streamh5.recovery.resume import Recovery
    from streamh5.sinks.object_sink import ObjectSink
    from streamh5.sinks.upload_journal import UploadJournal
    from streamh5.stores.base import ObjectStore, StoredObject


def check_url(url: str, options: WriteOptions) -> None:
    """Refuse the URL of an object that cannot be written, before any work: with one request.

    Raises
    ------
    SpecError
        There is an object that is to be changed: a store can only replace it.
    DestinationExistsError
        There is an object that must not be replaced.
    SinkError
        The store does not answer, or refuses the request.
    """
    from streamh5.stores.open_store import open_store  # imported here, because it brings fsspec

    _check_absent(open_store(url, options.storage_options), options)


def _check_absent(store: ObjectStore, options: WriteOptions) -> StoredObject | None:
    """Return the object, if it may be replaced; None if there is none."""
    from streamh5.stores.upload import head_object, object_exists_error

    _journal_path(store.url, options)
    found = head_object(store)
    if found is not None and options.mode == "x":
        _forget_finished(store, options, found)
        raise object_exists_error(store.url)
    if found is not None and options.mode == "a":
        raise SpecError(
            f"{store.url} exists, and objects cannot be changed: download it, change the file (mode 'a', append_dim, "
            "region) and upload it, or write a new object"
        )
    return found


def open_url(url: str, options: WriteOptions) -> tuple[ObjectSink, Recovery | None]:
    """Open the URL of an object, and the interrupted write of it if it is to be resumed.

    Raises
    ------
    SpecError
        There is an object that is to be changed.
    DestinationExistsError, DestinationMissingError
        There is an object that must not be replaced, or none.
    InterruptedWriteError
        There is an interrupted write, which is neither to be resumed nor to be dropped.
    JournalError
        Its journal cannot be trusted.
    ResumeError
        It is a conversion of another source, or with other options.
    SinkError
        The store does not answer, or refuses a request; or the journal cannot be written.
    """
    from streamh5.recovery.interrupted_upload import open_upload_journal
    from streamh5.sinks.object_sink import ObjectSink
    from streamh5.stores.open_store import open_store

    store = open_store(url, options.storage_options)
    present = _check_absent(store, options)
    if options.must_exist:
        raise DestinationMissingError(f"there is no object {url}; mode 'a' creates it", path=url)
    path, overwrite = _journal_path(url, options), options.mode == "w"
    if path is None and not _has_default_journal(url):
        return ObjectSink(store, overwrite=overwrite), None
    file = open_upload_journal(path or upload_journal_path(url), url, sync=options.sync)
    try:
        found = _interrupted(file, store, present, options)
        if path is None:  # only to see whether a write was interrupted
            file.remove()
            file.close()
            return ObjectSink(store, overwrite=overwrite), None
        if found is None:
            file.cut(0)
            return ObjectSink(store, overwrite=overwrite, journal=file), None
        file.cut(found.n_valid)
        facts = {"sync": options.sync, "name": None, "inode": None}
        file.add(found.recovery.entries(facts), is_urgent=True)
        sink = ObjectSink(store, overwrite=overwrite, journal=file, resumed=found.resumed)
    except BaseException:
        if file.is_new:
            with suppress(OSError):
                file.remove()
        file.close()
        raise
    return sink, found.recovery


def _forget_finished(store: ObjectStore, options: WriteOptions, present: StoredObject) -> None:
    """Remove the journal of a write that was complete when its process was killed."""
    from streamh5.recovery.interrupted_upload import is_made_by, open_upload_journal, read_upload_journal

    path = _journal_path(store.url, options) or upload_journal_path(store.url)
    if present.token is None or not path.is_file():
        return
    with suppress(SinkError, SpecError, OSError):
        file = open_upload_journal(path, store.url)
        try:
            journal = read_upload_journal(file, store.url)
            if journal is not None and is_made_by(present, journal):
                file.remove()
        finally:
            file.close()


def _journal_path(url: str, options: WriteOptions) -> Path | None:
    """Return where the journal of a write lies; None if it has none."""
    if options.journal is None:
        return upload_journal_path(url) if options.resume else None
    name = local_path(options.journal)
    if object_url(name) is not None:
        raise SpecError(f"journal={name:.200} is a URL; the journal of an object is a local file")
    return Path(name)


def _has_default_journal(url: str) -> bool:
    """Tell whether there is a journal of an object under its default name, which objects of other places may have."""
    from streamh5.recovery.read_journal import decode_journal

    path = upload_journal_path(url)
    try:
        journal = decode_journal(path.read_bytes()) if path.is_file() else None
    except (JournalError, OSError):
        return False
    return journal is not None and journal.header.get("url") == url


def _interrupted(
    file: UploadJournal, store: ObjectStore, present: StoredObject | None, options: WriteOptions
) -> FoundUpload | None:
    """Return the interrupted write that is to be resumed; None if there is none, or it is to be dropped."""
    from streamh5.recovery.interrupted_upload import (
        drop_upload,
        find_upload,
        is_made_by,
        read_upload_journal,
    )

    is_dropped = options.mode == "w" and not options.resume
    try:
        journal = read_upload_journal(file, store.url)
    except JournalError:
        if not is_dropped:
            raise
        warn_of_interrupted_write(
            f"{file.path} is damaged, so the upload of an interrupted write may be left; remove it: streamh5 "
            f"abort-upload {store.url}"
        )
        return None
    if journal is None:
        return None
    # that write was complete; or nothing of it is there
    is_empty = not (journal.n_claimed or journal.values) or journal.front is None
    if is_made_by(present, journal) or is_empty or is_dropped:
        if is_dropped and not (is_empty or is_made_by(present, journal)):
            warn_of_dropped_write(journal.content, f"the upload of {store.url} (journal {file.path})")
        drop_upload(store, journal)
        return None
    if not options.resume:
        raise InterruptedWriteError(
            f"an interrupted write of {store.url} has left {journal.content}; resume it (resume=True, "
            f"journal={str(file.path)!r}), drop it with mode 'w' (overwrite=True), or complete it: "
            f"streamh5 salvage {file.path}",
            path=store.url,
            n_chunks=journal.n_claimed,
        )
    check_origin(journal.header, options.origin, store.url)
    found = find_upload(store, journal)
    if found is None:
        warn_of_interrupted_write(
            f"the upload of the interrupted write of {store.url} is gone: it was removed, has expired, or is at "
            "another endpoint or account than that of these storage_options. Nothing of it can be used, and everything "
            "is computed again"
        )
        drop_upload(store, journal)
    return found
