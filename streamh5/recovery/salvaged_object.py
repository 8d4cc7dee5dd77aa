"""Salvage of a write to an object: the object is completed with what is there, under its own name.

Index and headers go to addresses of which nothing is there; parts that are missing are sent with zeros around them.
Until the object is complete, the write can still be resumed.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from streamh5.errors import DestinationBusyError, JournalError, SinkError
from streamh5.recovery.entry_kinds import HEADER
from streamh5.recovery.interrupted_upload import (
    find_upload,
    is_made_by,
    open_upload_journal,
    read_upload_journal,
)
from streamh5.recovery.read_journal import NONSENSE, split_entries
from streamh5.recovery.rebuilt_tree import keep_everything
from streamh5.recovery.salvage_report import salvage_summary
from streamh5.sinks.object_sink import ObjectSink
from streamh5.stores.upload import head_object, object_exists_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from streamh5.recovery.interrupted_upload import FoundUpload
    from streamh5.recovery.journal import Journal
    from streamh5.recovery.salvage_report import SalvageSummary
    from streamh5.sinks.upload_journal import UploadJournal
    from streamh5.stores.base import ObjectStore

HEADER_NBYTES = 1 << 16
"""The header of a journal is its first entry, a few hundred bytes."""


@contextmanager
def has_ended() -> Iterator[None]:
    """Say of a journal that cannot be opened, because its writer has locked it, that salvage has to wait.

    Raises
    ------
    DestinationBusyError
        The write has not ended.
    """
    try:
        yield
    except DestinationBusyError as error:
        if "journal" not in error.facts:
            raise
        raise DestinationBusyError(
            f"the write of {error.facts['path']} goes on: another process, or an open File of this one, has locked its "
            "journal. Only what an ended write has left can be salvaged: close it, or end its process",
            **error.facts,
        ) from error


def interrupted_url(path: Path) -> str | None:
    """Return the URL of the object if a file is the journal of a write to one; None for any other."""
    try:
        with path.open("rb") as file:
            letter, payload, _ = next(split_entries(file.read(HEADER_NBYTES)), ("", b"", 0))
        url = json.loads(payload).get("url") if letter == HEADER.letter else None
    except (OSError, *NONSENSE):
        return None
    return url if isinstance(url, str) else None


def salvage_object(
    path: Path, url: str, *, overwrite: bool, storage_options: Mapping[str, Any] | None
) -> SalvageSummary:
    """Complete the object of an interrupted write: see `salvage`."""
    from streamh5.stores.open_store import open_store  # imported here, because it brings fsspec

    store = open_store(url, storage_options)
    with has_ended():
        file = open_upload_journal(path, url)
    sink: ObjectSink | None = None
    try:
        journal, found = _found(file, store, overwrite=overwrite)
        engine, datasets = keep_everything(journal, found.recovery, url)
        file.cut(found.n_valid)
        facts = {"sync": file.sync, "name": None, "inode": None}
        file.add(found.recovery.entries(facts), is_urgent=True)
        sink = ObjectSink(store, overwrite=overwrite, journal=file, resumed=found.resumed)
        for address, piece in engine.finish():
            sink.write(address, [piece])
        sink.commit(engine.end_of_file)
    except BaseException:
        if sink is None:
            file.close()
        else:
            sink.suspend()
        raise
    return salvage_summary(url, url, engine, journal, datasets)


def _found(file: UploadJournal, store: ObjectStore, *, overwrite: bool) -> tuple[Journal, FoundUpload]:
    """Return what is there of the write.

    Raises
    ------
    JournalError
        Nothing is.
    DestinationExistsError
        There is an object of that name.
    SinkError
        It is the finished object of the write.
    """
    url = store.url
    journal = read_upload_journal(file, url)
    if journal is None or journal.front is None or not journal.n_claimed:
        raise JournalError(f"{file.path}: the journal of {url} claims no chunk; there is nothing to salvage")
    present = head_object(store)
    if is_made_by(present, journal):
        raise SinkError(f"{url} is the finished object of {file.path}; remove that journal", path=url)
    if present is not None and not overwrite:
        raise object_exists_error(url)
    found = find_upload(store, journal, is_resumed=False)
    if found is None:
        raise JournalError(
            f"the upload of the interrupted write of {url} is gone: it was removed or has expired; there is nothing to "
            f"salvage, remove {file.path}"
        )
    if not journal.n_claimed:
        raise JournalError(f"the store has no chunk that {file.path} claims; there is nothing to salvage")
    return journal, found
