"""Salvage: turn the data that an interrupted write has stored into a valid HDF5 file.

Nothing is copied: index and headers are written into the partial file, the superblock last; then the
file gets its name and the journal is removed. Until then the write can still be resumed.

Missing chunks read as the fill value; attributes describe what is missing:

===========================  ======================================================================
attribute                    value
===========================  ======================================================================
of the root group
``streamh5_salvaged``        a sentence: the name of the write, and how many of its chunks are stored
of each dataset with chunks
``streamh5_chunks``          number of chunks of the dataset
``streamh5_missing_chunks``  number of missing chunks
``streamh5_missing_rows``    ``(n, 2)`` ranges ``[start, stop)`` of the leading dimension in which a chunk is
                             missing; the `MAX_RANGES`-th range covers all later ones
``streamh5_missing_origins``  ``(n, rank)`` first element of each missing chunk, if there are at most
                             `MAX_ORIGINS`
``streamh5_appended_rows``   appended rows before the first gap, if it was appended to
of each dataset without chunks
``streamh5_missing_value``   True if its value had not been written, or was too large for the journal
===========================  ======================================================================
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.engine.engine import Engine
from streamh5.errors import FileMissingError, JournalError, PathError, SinkError, UnreadableError
from streamh5.filters import FilterChain
from streamh5.model.attribute_spec import attribute_spec, blank
from streamh5.model.chunk_map import ChunkMap
from streamh5.model.reference import HeapObject
from streamh5.model.tree import DatasetNode, Node, walk
from streamh5.recovery.entry_kinds import PUBLISHED, USED
from streamh5.recovery.journal_facts import assemble_value
from streamh5.recovery.read_journal import NONSENSE, decode_journal
from streamh5.recovery.resume import Recovery
from streamh5.sinks.destination_path import real_path
from streamh5.sinks.local_file import LocalFileSink
from streamh5.sinks.working_names import PARTIAL_SUFFIX, journal_path, partial_path
from streamh5.write.chunk_writer import ChunkWriter
from streamh5.write.place import Place
from streamh5.write.rows import stored_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from streamh5.arguments.paths import LocalPath
    from streamh5.engine.reference_targets import ReferenceTargets
    from streamh5.model.reference import AnyReference, Part, Parts
    from streamh5.recovery.journal import Journal

MAX_RANGES = 1000
MAX_ORIGINS = 1000
"""Readers fetch attributes with each header, so they must stay small."""

_OPTIONS = {"track_order": bool, "header_slack": int, "libver": str}


@dataclass(frozen=True, slots=True)
class SalvagedDataset:
    """What was salvaged of one dataset; ``n_rows``: appended rows before the first gap, None without `append`."""

    path: str
    shape: tuple[int, ...] | None
    n_chunks: int
    n_missing: int
    n_rows: int | None
    has_value: bool

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SalvageSummary:
    """A salvaged file."""

    path: str
    interrupted: str
    file_nbytes: int
    datasets: tuple[SalvagedDataset, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dicts, lists and numbers, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.path}: salvaged from the interrupted write of {self.interrupted}"]
        for one in self.datasets:
            if not one.has_value:
                lines.append(
                    f"  {one.path}: no value: it had not been written, or was too large for the journal"
                )
            elif one.n_chunks:
                rows = "" if one.n_rows is None else f", {one.n_rows:,} rows without a gap"
                lines.append(
                    f"  {one.path} {one.shape}: {one.n_chunks - one.n_missing:,} of {one.n_chunks:,} chunks{rows}"
                )
        return "\n".join(lines)


def salvage(partial: LocalPath, *, output: LocalPath | None = None) -> SalvageSummary:
    """Publish the data that an interrupted write has stored as a valid HDF5 file, without copying it.

    Parameters
    ----------
    partial
        The partial file, ``OUT.h5.partial``, next to its journal. It becomes the new file. (For a
        destination with a very long name, ``OUT.h5`` is abbreviated: see docs/reliability.md.)
    output
        Name of the new file, in the same file system; ``OUT.salvaged.h5`` by default.

    Returns
    -------
    SalvageSummary

    Raises
    ------
    FileMissingError
        The partial file does not exist.
    UnreadableError
        It is not a partial file with its journal.
    DestinationBusyError
        The write has not ended.
    DestinationExistsError
        The output exists.
    JournalError
        The journal cannot be trusted, or none of the chunks that it claims is stored.
    SinkError
        The file cannot be written; the write can still be resumed.
    """
    path = real_path(partial)
    if not os.path.lexists(path):
        raise FileMissingError(
            f"{path}: no such file, so it is not the partial file of an interrupted write",
            path=str(path),
        )
    destination = path.with_suffix("")
    is_partial = path.suffix == PARTIAL_SUFFIX and partial_path(destination) == path
    if not is_partial or not path.is_file() or not journal_path(path).is_file():
        raise UnreadableError(
            f"{path} is not the partial file of an interrupted write: one is named OUT.h5.partial and has its "
            "journal OUT.h5.partial.journal next to it",
            path=str(path),
        )
    target: LocalPath = (
        destination.with_suffix(f".salvaged{destination.suffix}") if output is None else output
    )
    sink = LocalFileSink(destination, overwrite=False, publish_as=target)
    try:
        return _publish(sink, real_path(target))
    except BaseException:
        sink.suspend()
        raise


def _publish(sink: LocalFileSink, target: Path) -> SalvageSummary:
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
    try:
        engine = _rebuild(journal, recovery)
        nodes = [node for node in walk(engine.root) if isinstance(node, DatasetNode)]
        n_rows = {node.path: recovery.salvage(node) for node in nodes if node.spec.chunks is not None}
        without_value = _describe(engine, journal)
        datasets = [_mark(engine, node, n_rows.get(node.path), without_value) for node in nodes]
    except JournalError:
        raise
    except (*NONSENSE, MemoryError) as error:
        raise JournalError(f"the journal of {destination} makes no sense: {error}") from error
    n_chunks = sum(one.n_chunks for one in datasets)
    n_there = n_chunks - sum(one.n_missing for one in datasets)
    sentence = f"interrupted write of {destination.name}: {n_there} of {n_chunks} chunks are there"
    _set(engine, engine.root, {"streamh5_salvaged": sentence})
    entries = recovery.entries(sink.journal_facts)
    sink.check_content(journal.inode, recovery.is_intact)
    sink.resume_at(journal.nbytes, recovery.end, entries)
    for node in nodes:
        _fill_places(engine, sink, node)
    for address, piece in engine.finish():
        if address == 0:
            # a snapshot shares the superblock: if the write is resumed after all, it must keep what this one refers to
            sink.append_log(USED.encode(engine.end_of_file))
            sink.append_log(PUBLISHED.encode(str(target)))
        sink.write(address, [piece])
    sink.commit(engine.end_of_file)
    return SalvageSummary(str(target), str(destination), engine.end_of_file, tuple(datasets))


def _rebuild(journal: Journal, recovery: Recovery) -> Engine:
    """Create all objects that are in the journal."""
    options: dict[str, Any] = {name: kind(journal.header[name]) for name, kind in _OPTIONS.items()}
    engine = Engine(**options)
    engine.resume(recovery.front, recovery.end)
    for apply, facts in journal.changes:
        apply(engine, facts)
    return engine


def _describe(engine: Engine, journal: Journal) -> set[str]:
    """Set data without chunks, and let references to what was not written be null.

    Returns the paths of datasets whose value is not in the journal.
    """
    targets = engine.targets()
    for each in walk(engine.root):
        for attribute in list(each.attributes.values()):
            if any(not isinstance(part, bytes) for part in attribute.data):
                engine.set_attribute(each, replace(attribute, data=_known(targets, attribute.data)))
    without_value: set[str] = set()
    for node in walk(engine.root):
        if not isinstance(node, DatasetNode) or node.spec.chunks is not None or node.shape is None:
            continue
        pieces = None if node.number is None else journal.values.get(node.number)
        if node.is_virtual:
            continue
        value = None if pieces is None else assemble_value(node, pieces)
        if value is None:
            without_value.add(node.path)
        elif isinstance(value, np.ndarray):
            engine.set_value(node, value)
        else:
            engine.set_parts(node, _known(targets, value))
    return without_value


def _known(targets: ReferenceTargets, parts: Parts) -> list[Part]:
    """Return parts in which references to objects, or rows, that were not written are null."""
    known: list[Part] = []
    for part in parts:
        if isinstance(part, HeapObject):
            known.append(HeapObject(part.n, _known(targets, part.parts)))
        elif isinstance(part, bytes) or _leads_somewhere(targets, part):
            known.append(part)
        else:
            known.append(blank(part))
    return known


def _leads_somewhere(targets: ReferenceTargets, reference: AnyReference) -> bool:
    try:
        targets.find(reference)
    except PathError:
        return False
    return True


def _fill_places(engine: Engine, sink: LocalFileSink, node: DatasetNode) -> None:
    """Write the fill value to the addresses of missing chunks, which an Implicit index cannot mark as missing."""
    spec = node.spec
    if not spec.is_early or spec.fill_data is None:  # bytes that were never written read as 0
        return
    writer = ChunkWriter(spec, FilterChain((), spec.chunk_nbytes), engine.allocate(node).address)
    writer.fill_missing(node, Place(engine.reserve, sink.write))


def _mark(engine: Engine, node: DatasetNode, n_rows: int | None, without_value: set[str]) -> SalvagedDataset:
    """Describe in the attributes of a dataset what is missing."""
    if node.spec.chunks is None:
        has_value = node.path not in without_value
        if not has_value:
            _set(engine, node, {"streamh5_missing_value": True})
        return SalvagedDataset(node.path, node.shape, 0, 0, None, has_value)
    counts = node.grid.present.counts
    stored = ChunkMap.of(node.grid, *node.table.written(), node.spec.chunk_nbytes).present()
    n_chunks = math.prod(counts)
    n_missing = n_chunks - len(stored)
    attributes: dict[str, Any] = {
        "streamh5_chunks": n_chunks,
        "streamh5_missing_chunks": n_missing,
        "streamh5_missing_rows": _missing_rows(node),
    }
    if n_missing <= MAX_ORIGINS:
        is_there = np.zeros(counts, bool)
        is_there.reshape(-1)[stored.numbers] = True
        attributes["streamh5_missing_origins"] = np.argwhere(~is_there) * np.array(node.spec.chunks)
    if n_rows is not None:
        attributes["streamh5_appended_rows"] = n_rows
    _set(engine, node, attributes)
    return SalvagedDataset(node.path, node.shape, n_chunks, n_missing, n_rows, True)


def _missing_rows(node: DatasetNode) -> NDArray[np.int64]:
    """Return the ranges of rows in which a chunk is missing."""
    n_rows, stored = node.grid.present.counts[0], stored_rows(node)
    if not stored.n_whole:
        return np.zeros((0, 2), np.int64)
    whole = stored.whole[stored.whole < n_rows].astype(np.int64)
    first, last = np.append(0, whole + 1), np.append(whole, n_rows)
    is_gap = first < last
    length, extent = (node.shape or (0,))[0], (node.spec.chunks or (1,))[0]
    ranges = np.stack([first[is_gap] * extent, np.minimum(last[is_gap] * extent, length)], axis=1)
    if len(ranges) > MAX_RANGES:
        ranges[MAX_RANGES - 1, 1] = ranges[-1, 1]
        ranges = ranges[:MAX_RANGES]
    return ranges


def _set(engine: Engine, node: Node, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        engine.set_attribute(node, attribute_spec(name, value, path=node.path))
