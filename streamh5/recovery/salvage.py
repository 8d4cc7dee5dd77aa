"""Salvage: turn the data that an interrupted write has stored into a valid HDF5 file.

Index and headers are written behind the data, the superblock last. Until then the write can still be resumed.

==================== ====================================================== =====================================
interrupted          where everything goes                                  with ``output=``
==================== ====================================================== =====================================
write of a new file  into the partial file, which then gets its name        the name; nothing is copied
addition to a file   a new generation of the file (`engine`), in its place  a copy of the file gets the
                                                                            generation; the file stays as it was
==================== ====================================================== =====================================

A write to an object is completed under its own name: `salvaged_object`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.paths import PARTIAL_SUFFIX
from streamh5.errors import (
    DestinationExistsError,
    FileMissingError,
    InterruptedWriteError,
    JournalError,
    SinkError,
    SpecError,
    UnreadableError,
)
from streamh5.filters import FilterChain
from streamh5.model.tree import DatasetNode, walk
from streamh5.reader.existing_file import read_existing
from streamh5.recovery.entry_kinds import PUBLIC, PUBLISHED, USED
from streamh5.recovery.journal import generation_of
from streamh5.recovery.read_journal import decode_journal
from streamh5.recovery.rebuilt_tree import keep_everything
from streamh5.recovery.resume import Recovery
from streamh5.recovery.salvage_report import SalvageSummary, salvage_summary
from streamh5.recovery.salvaged_object import has_ended, interrupted_url, salvage_object
from streamh5.sinks.append_file import AppendFileSink
from streamh5.sinks.destination_path import real_path
from streamh5.sinks.local_file import LocalFileSink
from streamh5.sinks.working_names import journal_path, partial_path
from streamh5.write.chunk_writer import ChunkWriter
from streamh5.write.place import Place

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from streamh5.arguments.paths import LocalPath
    from streamh5.engine.engine import Engine
    from streamh5.reader.existing_file import ExistingFile
    from streamh5.recovery.journal import Journal

COPY_NBYTES = 16 << 20
"""Bytes of a copy that are in memory at a time."""


@check_keywords
def salvage(
    path: LocalPath,
    *,
    output: LocalPath | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> SalvageSummary:
    """Turn what an interrupted write has stored into a valid HDF5 file.

    What was stored of a new file becomes a file of its own, without being copied. What was added to a file becomes the
    next generation of that file: a dataset that was appended to ends before the first gap, chunks that were written
    replace the old ones, and objects, links, attributes and shapes are as they were when the write was interrupted.
    Of a write to the URL of an object, the object is completed with what is there.

    Parameters
    ----------
    path
        The file that was written, ``OUT.h5``, or its partial file, ``OUT.h5.partial``. (For a destination with a very
        long name, ``OUT.h5`` is abbreviated there: see docs/reliability.md.) Of an object: the journal of the write.
    output
        Name of the new file, ``OUT.salvaged.h5`` by default, in the same file system. Of an addition: name of a copy,
        which is salvaged instead of the file; the addition can then still be resumed. An object keeps its name.
    overwrite
        Replace an object that is there.
    storage_options
        How to reach the object store, as for fsspec.

    Returns
    -------
    SalvageSummary
        What was kept of each dataset; its text is a few lines.

    Raises
    ------
    FileMissingError
        There is no such file, nor a partial file of it.
    UnreadableError
        It has no journal of an interrupted write.
    DestinationBusyError
        The write has not ended.
    DestinationExistsError
        The output exists.
    InterruptedWriteError
        The file was changed by another program since the addition.
    JournalError
        The journal cannot be trusted, or nothing of what it claims is stored.
    SinkError, SpecError
        The file cannot be written, or streamh5 cannot add to it; the write can still be resumed.

    Examples
    --------
    >>> f = streamh5.File("run.h5", "w")
    >>> x = f.create_dataset("x", (100, 10), chunks=(10, 10))
    >>> x[:30] = 1
    >>> f.suspend()  # or the process dies
    >>> summary = streamh5.salvage("run.h5")
    >>> print(summary)
    /...run.salvaged.h5: salvaged from the interrupted write of /...run.h5
      /x (100, 10): 3 of 10 chunks
      1 change of objects, links and attributes
    >>> summary.datasets[0].n_missing, summary.to_dict()["is_addition"]
    (7, False)
    """
    given = real_path(path)
    url = interrupted_url(given)
    if url is not None:
        if output is not None:
            raise SpecError(
                f"the name of an object is fixed when its upload begins: {url} gets its own name; leave output out, "
                "and copy it afterwards"
            )
        return salvage_object(given, url, overwrite=overwrite, storage_options=storage_options)
    if overwrite or storage_options:
        raise SpecError(
            f"overwrite and storage_options are for the journal of an object, which {given} is not; output names "
            "another file for what is salvaged"
        )
    destination = _destination(given)
    partial = partial_path(destination)
    is_public = destination.exists() and (given == destination or not partial.exists())
    # a crash in the first flush leaves both names to one file
    if is_public and (not partial.exists() or destination.samefile(partial)):
        return _salvage_addition(destination, None if output is None else real_path(output))
    target = _default_target(destination) if output is None else output
    try:
        with has_ended():
            sink = LocalFileSink(destination, overwrite=False, publish_as=target)
    except DestinationExistsError:
        raise DestinationExistsError(
            f"{real_path(target)} exists: choose another name for what is salvaged (output=), or remove it",
            path=str(real_path(target)),
        ) from None
    try:
        return _publish(sink, real_path(target))
    except BaseException:
        sink.suspend()
        raise


def _default_target(destination: Path) -> Path:
    return destination.with_suffix(f".salvaged{destination.suffix}")


def _destination(path: Path) -> Path:
    """Return the destination of an interrupted write from its name, or that of its partial file.

    Raises
    ------
    FileMissingError, UnreadableError
        It is not one.
    """
    destination = path.with_suffix("") if path.suffix == PARTIAL_SUFFIX else path
    partial = partial_path(destination)
    if path not in (destination, partial) or not (os.path.lexists(path) or os.path.lexists(partial)):
        salvaged = _default_target(destination)
        done = f"; {salvaged} may be what a salvage has made of it" if salvaged.exists() else ""
        raise FileMissingError(
            f"{path}: no such file, so it is not the partial file of an interrupted write{done}",
            path=str(path),
        )
    data = [one for one in (destination, partial) if os.path.lexists(one)]
    if not data[-1].is_file() or not journal_path(partial).is_file():
        raise UnreadableError(
            f"{path} is not the partial file of an interrupted write, nor a file with an interrupted addition: both "
            f"have a journal, {journal_path(partial).name}, until they are complete, resumed or salvaged",
            path=str(path),
        )
    return destination


def _publish(sink: LocalFileSink, target: Path) -> SalvageSummary:
    """Salvage a new file."""
    journal = decode_journal(sink.read_log())
    if journal is None or not journal.has_content(sink.nbytes):
        raise JournalError(f"{sink.partial}: its journal claims no chunk; there is nothing to salvage")
    destination = sink.destination(journal.name)
    for name in (str(destination), *journal.published):
        if sink.has_name(name):
            raise SinkError(
                f"{sink.partial} is the finished file {name} under its working name; remove that name and the journal",
                path=name,
            )
    recovery = Recovery(journal, sink.read, str(destination), nbytes=sink.nbytes)
    if not (journal.n_claimed or journal.values):  # the partial file was cut off before every chunk
        raise JournalError(
            f"{sink.partial} holds no chunk that its journal claims; there is nothing to salvage"
        )
    engine, datasets = keep_everything(journal, recovery, str(destination))
    entries = recovery.entries(sink.journal_facts)
    sink.check_content(journal.inode, recovery.is_intact)
    sink.resume_at(journal.nbytes, recovery.end, entries)
    for node in walk(engine.root):
        if isinstance(node, DatasetNode):
            _fill_places(engine, sink, node)
    for address, piece in engine.finish():
        if address == 0:
            # a snapshot shares the superblock: if the write is resumed after all, it must keep what this one refers to
            sink.append_log(USED.encode(engine.end_of_file))
            sink.append_log(PUBLISHED.encode(str(target)))
        sink.write(address, [piece])
    sink.commit(engine.end_of_file)
    return salvage_summary(target, destination, engine, journal, datasets)


def _salvage_addition(path: Path, output: Path | None) -> SalvageSummary:
    """Make what was added to a file its next generation, or that of a copy."""
    with has_ended():
        sink = AppendFileSink(path)
    try:
        with read_existing(path) as existing:
            sink.base_address = existing.base_address
            sink.check_name()  # the file that was read must be the one that is open and locked
            journal = _addition(sink, existing)
            recovery = Recovery(journal, sink.read, sink.name, nbytes=sink.nbytes, inode=os.stat(path).st_ino)
            end = max(existing.end_of_file, sink.leased_end, recovery.end)
            found = existing.root, end, existing.superblock, existing.page_nbytes
            engine, datasets = keep_everything(journal, recovery, str(path), found)
            if output is None:
                _switch(sink, engine, journal, recovery, existing, begin=end)
            else:
                _copy(sink, engine, output, end)
                sink.suspend()
    except BaseException:
        sink.suspend()
        raise
    return salvage_summary(
        path if output is None else output, path, engine, journal, datasets, is_addition=True
    )


def _addition(sink: AppendFileSink, existing: ExistingFile) -> Journal:
    """Return the journal of an interrupted addition to the present state of a file.

    Raises
    ------
    InterruptedWriteError
        Another program has changed the file since.
    JournalError
        There is nothing in it.
    """
    generation = generation_of(existing.superblock)
    journal = decode_journal(sink.read_log(), generation)
    if journal is None or journal.is_over or journal.base is None:
        raise JournalError(
            f"{sink.path} has everything that {sink.journal.name} is about; nothing to salvage"
        )
    if journal.base != generation:
        raise InterruptedWriteError(
            f"{sink.path}: another program has changed it since the interrupted addition, of which "
            f"{journal.content} cannot be used any more; remove {sink.journal.name} beside it",
            path=str(sink.path),
            n_chunks=journal.n_claimed,
        )
    if not (journal.n_claimed or journal.values or journal.changes or journal.histories):
        raise JournalError(
            f"{sink.path}: {sink.journal.name} has no change of it; there is nothing to salvage"
        )
    return journal


def _switch(
    sink: AppendFileSink,
    engine: Engine,
    journal: Journal,
    recovery: Recovery,
    existing: ExistingFile,
    *,
    begin: int,
) -> None:
    """Write the generation behind the end of the file, and let readers see it."""
    entries = recovery.entries(sink.journal_facts)
    sink.resume_at(journal.nbytes, begin, entries, is_synced=recovery.is_synced)
    sink.begin_at(begin, existing.public_end, existing.superblock)
    for address, piece in engine.finish():
        if address == 0:
            sink.append_log(PUBLIC.encode(generation_of(piece), is_last=True), is_urgent=True)
        sink.write(address, [piece])
    sink.commit(engine.end_of_file)


def _copy(sink: AppendFileSink, engine: Engine, output: Path, end: int) -> None:
    """Write a copy of a file, with its user block, and the generation behind it."""
    copy, base = LocalFileSink(output, overwrite=False), sink.base_address
    try:
        copy.restart()
        for start in range(0, base + min(end, sink.nbytes), COPY_NBYTES):
            nbytes = min(COPY_NBYTES, base + end - start)
            copy.write(start, [sink.read(start - base, nbytes)])
        for address, piece in engine.finish():
            copy.write(base + address, [piece])
        copy.commit(base + engine.end_of_file)
    except BaseException:
        copy.abort()
        raise


def _fill_places(engine: Engine, sink: LocalFileSink, node: DatasetNode) -> None:
    """Write the fill value to the addresses of missing chunks, which an Implicit index cannot mark as missing."""
    spec = node.spec
    if not spec.is_early or spec.fill_data is None:  # bytes that were never written read as 0
        return
    writer = ChunkWriter(spec, FilterChain((), spec.chunk_nbytes), engine.allocate(node).address)
    writer.fill_missing(node, Place(engine.reserve, sink.write))
