"""Open a destination, with the interrupted write or the existing file that is found there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from streamh5.errors import DestinationMissingError, InterruptedWriteError, SpecError
from streamh5.reader.existing_file import ExistingFile, read_existing
from streamh5.recovery.read_journal import decode_journal
from streamh5.recovery.resume import Recovery
from streamh5.sinks.append_file import AppendFileSink
from streamh5.sinks.destination_path import check_path, destination_exists, destination_name, is_path
from streamh5.sinks.file_object import FileObjectSink, check_file_object
from streamh5.sinks.local_file import LocalFileSink

if TYPE_CHECKING:
    from typing import IO

    from streamh5.arguments.paths import LocalPath
    from streamh5.arguments.write_options import WriteOptions
    from streamh5.recovery.journal import Journal
    from streamh5.sinks.base import Sink
    from streamh5.sinks.destination_path import Destination


def open_destination(
    path: Destination, options: WriteOptions
) -> tuple[Sink, Recovery | None, ExistingFile | None]:
    """Open any destination that `File` accepts.

    Raises
    ------
    SinkError
        The destination cannot be written, or is missing and must exist.
    SpecError
        It is not a destination, or an addition (mode ``"a"``) is to be resumed; see also `open_existing`.
    """
    check_path(path)
    if not is_path(path):
        return open_object(path, options), None, None
    if options.must_exist and not destination_exists(path):
        raise DestinationMissingError(
            f"there is no file {destination_name(path)}; mode 'a' creates it", path=destination_name(path)
        )
    if options.mode != "a" or not destination_exists(path):
        return *open_local(path, options), None
    if options.resume:
        raise SpecError(
            "an addition (mode 'a') is not resumed: it is made completely or not at all; leave resume out"
        )
    sink, existing = open_existing(path, options)
    return sink, None, existing


def open_object(destination: Destination, options: WriteOptions) -> Sink:
    """Open a destination without a path: a file object, or a `Sink`, which is returned unchanged.

    Raises
    ------
    SpecError
        It is a file object that cannot be written, or one to be added to or resumed.
    DestinationExistsError
        It contains data that must not be replaced.
    """
    if hasattr(destination, "commit"):
        return cast("Sink", destination)
    file = cast("IO[bytes]", destination)
    if options.resume:
        raise SpecError(
            f"{destination_name(file)} is a file object, whose write cannot be resumed; write to a path for that"
        )
    if options.mode == "a" and (check_file_object(file, overwrite=True) or options.must_exist):
        raise SpecError(
            f"{destination_name(file)} is a file object, and mode 'a' adds to files that have a path; write it "
            "to a path first"
        )
    return FileObjectSink(file, overwrite=options.mode == "w")


def open_existing(path: LocalPath, options: WriteOptions) -> tuple[AppendFileSink, ExistingFile]:
    """Open an existing file to add objects to, and read its groups.

    It keeps its `libver` unless a newer one is requested. ``"v110"`` is the default value, so it does not
    contradict a file for older readers.

    Raises
    ------
    SinkError
        See `AppendFileSink`.
    SpecError
        streamh5 cannot add to the file safely, or its `libver` contradicts `options.libver`.
    """
    libver = options.libver
    sink = AppendFileSink(path, sync=options.sync)
    try:
        existing = read_existing(sink.path)
        sink.base_address = existing.base_address
        sink.check_name()  # the file that was read must be the one that is open and locked
        existing = replace(existing, end_of_file=max(existing.end_of_file, sink.leased_end))
        if existing.libver == "v110" and libver == "v200":
            existing = replace(existing, libver=libver)
        if libver not in ("v110", existing.libver):
            raise SpecError(
                f"{sink.path} was written with libver={existing.libver!r}, so libver={libver!r} cannot hold for all of "
                "it; leave libver out, or write a new file",
                libver=libver,
            )
    except BaseException:
        sink.abort()
        raise
    sink.end_of_file = existing.end_of_file
    return sink, existing


def open_local(path: LocalPath, options: WriteOptions) -> tuple[LocalFileSink, Recovery | None]:
    """Open a local destination, and the interrupted write there if it is to be resumed.

    Raises
    ------
    SinkError
        See `LocalFileSink`.
    InterruptedWriteError
        There is an interrupted write, which is neither to be resumed nor to be dropped.
    JournalError
        Its journal cannot be trusted.
    """
    overwrite, resume = options.mode == "w", options.resume
    sink = LocalFileSink(path, overwrite=overwrite, sync=options.sync)
    try:
        journal = None if overwrite and not resume else decode_journal(sink.read_log())
        if journal is not None and any(sink.has_name(name) for name in (str(sink.path), *journal.published)):
            journal = None  # that write was complete: only its working name remains
        if journal is not None and not journal.has_content(sink.nbytes):
            journal = None
        if journal is not None and not resume:
            raise InterruptedWriteError(
                f"an interrupted write has left {_content(journal)}; resume it (resume=True), drop it "
                f"(overwrite=True), or turn it into a file: streamh5 salvage {sink.partial}",
                path=str(sink.partial),
                n_chunks=journal.n_claimed,
            )
        if journal is not None and (journal.n_claimed or journal.front is not None):
            recovery = Recovery(journal, sink.read, sink.name, nbytes=sink.nbytes)
            entries = recovery.entries(sink.journal_facts)
            sink.check_content(journal.inode, recovery.is_intact)
            sink.resume_at(journal.nbytes, recovery.end, entries, is_synced=recovery.is_synced)
            return sink, recovery
        sink.restart()
    except BaseException:
        sink.suspend()
        raise
    return sink, None


def _content(journal: Journal) -> str:
    return f"{journal.n_claimed:,} chunks" if journal.n_claimed else f"{len(journal.values):,} values"
