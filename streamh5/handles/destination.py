"""Open a destination, with the interrupted write or the existing file that is found there."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from streamh5.errors import (
    DestinationBusyError,
    DestinationExistsError,
    DestinationMissingError,
    FormatError,
    InterruptedWriteError,
    JournalError,
    SpecError,
)
from streamh5.handles.open_sessions import open_here
from streamh5.reader.existing_file import ExistingFile, present_superblock, read_existing
from streamh5.recovery.journal import generation_of
from streamh5.recovery.origin import check_origin
from streamh5.recovery.read_journal import decode_journal
from streamh5.recovery.resume import Recovery
from streamh5.sinks.append_file import AppendFileSink
from streamh5.sinks.destination_path import (
    check_path,
    destination_exists,
    destination_name,
    destination_url,
    is_path,
    is_sink,
    real_path,
)
from streamh5.sinks.file_object import FileObjectSink, check_file_object
from streamh5.sinks.local_file import LocalFileSink
from streamh5.sinks.sequential_object import SequentialObjectSink
from streamh5.sinks.working_names import journal_path, partial_path
from streamh5.stores.open_store import refuse_storage_options
from streamh5.write.interruption import warn_of_dropped_write

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

    from streamh5.arguments.paths import LocalPath
    from streamh5.arguments.write_options import WriteOptions
    from streamh5.recovery.journal import Journal
    from streamh5.references.file_references import ReferencesOutput
    from streamh5.sinks.base import Sink
    from streamh5.sinks.destination_path import Destination


def open_free_destination(
    path: Destination, options: WriteOptions
) -> tuple[Sink, Recovery | None, ExistingFile | None]:
    """Open a destination; if it is open already in this process, say which write has it."""
    try:
        return open_destination(path, options)
    except DestinationBusyError as error:
        mine = open_here(destination_url(path) or str(real_path(cast("LocalPath", path))))
        if mine is not None:
            raise DestinationBusyError(
                f"{mine.sink.name} is open in this process since {mine.leftover.began_at}; close it (f.close()), or "
                "abort it (f.abort())",
                path=mine.sink.name,
            ) from error
    return open_destination(path, options)  # `open_here` has collected the dropped write that had it open


def references_output(options: WriteOptions) -> ReferencesOutput | None:
    """Return where the references of a file go; None for none."""
    if options.references is None:
        return None
    from streamh5.references.file_references import ReferencesOutput  # 20 ms that few files need

    # of a local path none are given: they are those of the file
    is_url = destination_url(options.references) is not None
    given = options.storage_options if is_url else None
    return ReferencesOutput(options.references, overwrite=options.mode != "x", storage_options=given)


def open_destination(
    path: Destination, options: WriteOptions
) -> tuple[Sink, Recovery | None, ExistingFile | None]:
    """Open any destination that `File` accepts.

    Raises
    ------
    SinkError
        The destination cannot be written, or is missing and must exist.
    SpecError
        It is not a destination; see also `open_existing`.
    """
    check_path(path)
    url = destination_url(path)
    if url is not None:
        from streamh5.handles.object_destination import open_url  # few writes need it

        return *open_url(url, options), None
    if options.journal is not None:
        raise SpecError(
            f"journal= is for the URL of an object; the journal of {destination_name(path):.100} lies beside it: leave "
            "journal out"
        )
    if destination_url(options.references) is None:
        refuse_storage_options(destination_name(path), options.storage_options)
    if not is_path(path):
        return open_object(path, options), None, None
    if options.must_exist and not destination_exists(path):
        raise DestinationMissingError(
            f"there is no file {destination_name(path)}; mode 'a' creates it", path=destination_name(path)
        )
    if options.mode != "a" or not destination_exists(path):
        return *open_local(path, options), None
    return open_existing(path, options)


def open_object(destination: Destination, options: WriteOptions) -> Sink:
    """Open a destination without a path: a file object, or a `Sink`, which is returned unchanged.

    Raises
    ------
    SpecError
        It is a file object that cannot be written, or one to be added to or resumed.
    DestinationExistsError
        It contains data that must not be replaced.
    """
    if is_sink(destination):
        return destination
    file = cast("IO[bytes]", destination)
    if options.resume:
        raise SpecError(
            f"{destination_name(file)} is a file object, whose write cannot be resumed; write to a path for that"
        )
    nbytes = check_file_object(file, overwrite=options.mode != "x")
    if options.mode == "a" and (nbytes or options.must_exist):
        raise SpecError(
            f"{destination_name(file)} is a file object, and mode 'a' adds to files that have a path; write it "
            "to a path first"
        )
    return SequentialObjectSink(file) if nbytes is None else FileObjectSink(file, nbytes=nbytes)


def open_existing(
    path: LocalPath, options: WriteOptions
) -> tuple[AppendFileSink, Recovery | None, ExistingFile]:
    """Open an existing file to add to, read its groups, and find the interrupted addition if it is to be resumed.

    It keeps its `libver` unless a newer one is requested. ``"v110"`` is the default value, so it does not
    contradict a file for older readers.

    Raises
    ------
    SinkError
        See `AppendFileSink`.
    SpecError
        streamh5 cannot add to the file safely, or its `libver` contradicts `options.libver`.
    InterruptedWriteError
        There is an interrupted write, which is neither to be resumed nor to be dropped.
    JournalError
        Its journal cannot be trusted.
    """
    libver = options.libver
    sink = AppendFileSink(path, sync=options.sync)
    try:
        existing = read_existing(sink.path)
        sink.base_address = existing.base_address
        sink.check_name()  # the file that was read must be the one that is open and locked
        _check_page(sink.path, existing.page_nbytes, options.page)
        if existing.libver == "v110" and libver == "v200":
            existing = replace(existing, libver=libver)
        if libver not in ("v110", existing.libver):
            raise SpecError(
                f"{sink.path} was written with libver={existing.libver!r}, so libver={libver!r} cannot hold for all of "
                "it; leave libver out, or write a new file",
                libver=libver,
            )
        journal = _interrupted_addition(sink, existing, is_resumed=options.resume)
        public_nbytes, end = existing.end_of_file, max(existing.end_of_file, sink.leased_end)
        recovery = None
        if journal is None:
            sink.restart()
        else:
            inode = os.stat(sink.path).st_ino
            recovery = Recovery(journal, sink.read, sink.name, nbytes=sink.nbytes, inode=inode)
            end = max(end, recovery.end)
            entries = recovery.entries(sink.journal_facts)
            sink.resume_at(journal.nbytes, end, entries, is_synced=recovery.is_synced)
        sink.begin_at(end, public_nbytes, existing.superblock)
    except BaseException:
        sink.suspend()
        raise
    return sink, recovery, replace(existing, end_of_file=end)


def _check_page(path: Path, present: int, wanted: bool | int) -> None:
    """Refuse to change the pages of a file that is there."""
    if wanted is not False and (not present or wanted not in (True, present)):
        has = f"has pages of {present:,} bytes" if present else "has no pages"
        raise SpecError(
            f"{path} {has}, which stay: leave page out, or write a new file (streamh5 convert --page)",
            page=wanted,
        )


def _interrupted_addition(
    sink: AppendFileSink, existing: ExistingFile, *, is_resumed: bool
) -> Journal | None:
    """Return the journal of an interrupted addition to the present state of a file; None if there is none.

    Raises
    ------
    InterruptedWriteError
        There is one, which is not to be resumed or cannot be; or there is an interrupted write of a new file.
    """
    generation = generation_of(existing.superblock)
    journal = decode_journal(sink.read_log(), generation)
    if journal is None or journal.is_over:
        return None
    if journal.base is None:
        if sink.has_name(sink.partial):  # that write was complete: only its working name remains
            sink.partial.unlink()
        if not sink.partial.exists():
            return None
        raise InterruptedWriteError(
            f"{sink.partial} is what an interrupted write of a new file has left; resume it in its mode ('w' or 'x', "
            f"resume=True), drop it (mode 'w'), or turn it into a file: streamh5 salvage {sink.partial}",
            path=str(sink.partial),
        )
    if not journal.has_content(sink.nbytes):
        return None
    if journal.base != generation:
        raise InterruptedWriteError(
            f"{sink.path}: another program has changed it since an interrupted addition, of which {journal.content} "
            f"cannot be used any more; remove {sink.journal.name} beside it to continue without them",
            path=str(sink.path),
            n_chunks=journal.n_claimed,
        )
    if not is_resumed:
        raise InterruptedWriteError(
            f"{sink.path} is as it was, and an interrupted addition has left {journal.content} after its end: resume "
            f"it (resume=True), make them part of the file (streamh5 salvage {sink.path}), or drop it (resume=True, "
            "then abort())",
            path=str(sink.path),
            n_chunks=journal.n_claimed,
        )
    return journal


def open_local(path: LocalPath, options: WriteOptions) -> tuple[LocalFileSink, Recovery | None]:
    """Open a local destination, and the interrupted write there if it is to be resumed.

    Raises
    ------
    SinkError
        See `LocalFileSink`.
    InterruptedWriteError
        There is an interrupted write, which is neither to be resumed nor to be dropped; or one to be resumed that is
        an addition to the present file.
    JournalError
        Its journal cannot be trusted.
    ResumeError
        It is a conversion of another source, or with other options.
    """
    overwrite, resume = options.mode == "w", options.resume
    try:
        sink = LocalFileSink(path, overwrite=overwrite, sync=options.sync)
    except DestinationExistsError:
        _refuse_flushed(real_path(path))
        raise
    try:
        journal = _interrupted_write(sink, overwrite=overwrite, is_resumed=resume)
        if journal is not None and not resume:
            raise InterruptedWriteError(
                f"an interrupted write has left {journal.content}; resume it (resume=True), drop it "
                f"with mode 'w' (overwrite=True), or turn it into a file: streamh5 salvage {sink.partial}",
                path=str(sink.partial),
                n_chunks=journal.n_claimed,
            )
        if journal is not None and (journal.n_claimed or journal.front is not None):
            check_origin(journal.header, options.origin, sink.name)
            recovery = Recovery(journal, sink.read, sink.name, nbytes=sink.nbytes)
            entries = recovery.entries(sink.journal_facts)
            sink.check_content(journal.inode, recovery.is_intact)
            sink.resume_at(journal.nbytes, recovery.end, entries, is_synced=recovery.is_synced)
            return sink, recovery
        sink.restart()
    except BaseException:
        sink.leave()
        raise
    return sink, None


def _interrupted_write(sink: LocalFileSink, *, overwrite: bool, is_resumed: bool) -> Journal | None:
    """Return the journal of an interrupted write of a new file; None if there is none, or it is to be dropped.

    Raises
    ------
    InterruptedWriteError
        It is to be resumed, and is an addition to the present file.
    """
    is_dropped = overwrite and not is_resumed
    log = sink.read_log()
    superblock = present_superblock(sink.path) if log else None
    present = None if superblock is None else generation_of(superblock)
    try:
        journal = decode_journal(log, present)
    except JournalError:
        if is_dropped:
            return None
        raise
    if journal is None or journal.is_over:
        return None
    if any(sink.has_name(name) for name in (str(sink.path), *journal.published)):
        return None  # that write was complete: only its working name remains
    is_addition = journal.base is not None
    if is_addition and is_resumed and sink.path.exists():
        raise _flushed_error(sink.path)
    if (
        is_dropped
        and journal.base in (None, present)
        and journal.has_content(1 if is_addition else sink.nbytes)
    ):
        warn_of_dropped_write(journal.content, sink.path if is_addition else sink.partial)
    if is_addition or is_dropped:
        return None
    return journal if journal.has_content(sink.nbytes) else None


def _refuse_flushed(path: Path) -> None:
    """Refuse a new file where one was flushed, and an interrupted write has left more behind its end.

    Raises
    ------
    InterruptedWriteError
        It is so; a journal that cannot be read says nothing.
    """
    try:
        superblock, log = present_superblock(path), journal_path(partial_path(path)).read_bytes()
        journal = None if superblock is None else decode_journal(log, generation_of(superblock))
    except (OSError, FormatError):
        return
    if journal is not None and not journal.is_over and journal.base is not None:
        raise _flushed_error(path)


def _flushed_error(path: Path) -> InterruptedWriteError:
    return InterruptedWriteError(
        f"{path} has its name already, with the state of its last flush, and what follows is an addition to it: resume "
        "it with mode 'a' and resume=True, or replace the file with mode 'w' (overwrite=True), without resume",
        path=str(path),
    )
