"""What was salvaged: the summary, and the attributes of the new objects that describe what is missing.

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
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import counted
from streamh5.model.attribute_spec import attribute_spec
from streamh5.model.chunk_map import ChunkMap
from streamh5.write.rows import stored_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from streamh5.engine.engine import Engine
    from streamh5.model.tree import DatasetNode, Node
    from streamh5.recovery.journal import Journal
    from streamh5.recovery.salvaged_chunks import KeptChunks

MAX_RANGES = 1000
MAX_ORIGINS = 1000
"""Readers fetch attributes with each header, so they must stay small."""


@dataclass(frozen=True, slots=True)
class SalvagedDataset:
    """What was salvaged of one dataset.

    Attributes
    ----------
    path, shape
        The dataset.
    n_chunks, n_missing
        Its chunks, and how many of them are nowhere.
    n_kept
        Chunks that the interrupted write had stored.
    n_rows
        Rows before the first gap; None without `append`.
    has_value
        False for data without chunks whose value was not in the journal: it has the old one, or the fill value.
    is_new
        Whether the interrupted write had created it.

    Examples
    --------
    >>> f = streamh5.File("run.h5", "w")
    >>> x = f.create_dataset("x", (100, 10), chunks=(10, 10))
    >>> x[:30] = 1
    >>> f.suspend()  # or the process dies
    >>> summary = streamh5.salvage("run.h5")
    >>> summary.datasets[0].to_dict()["n_missing"]
    7
    """

    path: str
    shape: tuple[int, ...] | None
    n_chunks: int
    n_missing: int
    n_kept: int
    n_rows: int | None
    has_value: bool
    is_new: bool

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SalvageSummary:
    """A salvaged file.

    Attributes
    ----------
    path
        The file that has everything that was kept.
    interrupted
        Destination of the interrupted write, or the file that was added to.
    is_addition
        Whether it was an addition to a file.
    file_nbytes
        Size of the file in bytes.
    n_changes
        Objects, links, attributes, moves and deletions that were repeated.
    datasets
        All datasets of a new file; those that an addition has created or written to.

    Examples
    --------
    >>> f = streamh5.File("run.h5", "w")
    >>> x = f.create_dataset("x", (100, 10), chunks=(10, 10))
    >>> x[:30] = 1
    >>> f.suspend()  # or the process dies
    >>> summary = streamh5.salvage("run.h5")
    >>> summary.to_dict()["is_addition"]
    False
    """

    path: str
    interrupted: str
    is_addition: bool
    file_nbytes: int
    n_changes: int
    datasets: tuple[SalvagedDataset, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dicts, lists and numbers, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        what = "addition to" if self.is_addition else "write of"
        return "\n".join(
            [
                f"{self.path}: salvaged from the interrupted {what} {self.interrupted}",
                *filter(None, map(_line, self.datasets)),
                f"  {counted(self.n_changes, 'change')} of objects, links and attributes",
            ]
        )


def _line(one: SalvagedDataset) -> str:
    if not one.has_value:
        old = "no value" if one.is_new else "its old value"
        return f"  {one.path}: {old}: another had not been written, or was too large for the journal"
    if not one.n_chunks:
        return ""
    rows = "" if one.n_rows is None else f", {counted(one.n_rows, 'row')} without a gap"
    if one.is_new:
        return f"  {one.path} {one.shape}: {one.n_chunks - one.n_missing:,} of {one.n_chunks:,} chunks{rows}"
    return f"  {one.path} {one.shape}: {counted(one.n_kept, 'new chunk')}{rows}"


def describe_kept(node: DatasetNode, kept: KeptChunks, *, has_value: bool) -> SalvagedDataset:
    """Return what was salvaged of a dataset."""
    is_new = node.stored_address is None
    if node.spec.chunks is None:
        return SalvagedDataset(node.path, node.shape, 0, 0, 0, None, has_value, is_new)
    n_chunks = math.prod(node.grid.present.counts)
    n_missing = n_chunks - len(_stored(node))
    return SalvagedDataset(
        node.path, node.shape, n_chunks, n_missing, kept.n_chunks, kept.n_rows, True, is_new
    )


def mark(engine: Engine, node: DatasetNode, one: SalvagedDataset) -> None:
    """Describe in the attributes of a new dataset what is missing."""
    if node.spec.chunks is None:
        if not one.has_value:
            _set(engine, node, {"streamh5_missing_value": True})
        return
    attributes: dict[str, Any] = {
        "streamh5_chunks": one.n_chunks,
        "streamh5_missing_chunks": one.n_missing,
        "streamh5_missing_rows": _missing_rows(node),
    }
    if one.n_missing <= MAX_ORIGINS:
        is_there = np.zeros(node.grid.present.counts, bool)
        is_there.reshape(-1)[_stored(node).numbers] = True
        attributes["streamh5_missing_origins"] = np.argwhere(~is_there) * np.array(node.spec.chunks)
    if one.n_rows is not None:
        attributes["streamh5_appended_rows"] = one.n_rows
    _set(engine, node, attributes)


def mark_file(engine: Engine, name: str, datasets: Sequence[SalvagedDataset], *, is_addition: bool) -> None:
    """Say in an attribute of the root group which write was salvaged."""
    if is_addition:
        n_chunks = sum(one.n_kept for one in datasets)
        sentence = f"interrupted addition to {name}: {counted(n_chunks, 'chunk')} of it stored"
    else:
        n_chunks = sum(one.n_chunks for one in datasets)
        n_there = n_chunks - sum(one.n_missing for one in datasets)
        sentence = f"interrupted write of {name}: {n_there} of {n_chunks} chunks are there"
    _set(engine, engine.root, {"streamh5_salvaged": sentence})


def _stored(node: DatasetNode) -> ChunkMap:
    return ChunkMap.of(node.grid, *node.table.written(), node.spec.chunk_nbytes).present()


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


def salvage_summary(
    path: Path | str,
    interrupted: Path | str,
    engine: Engine,
    journal: Journal,
    datasets: list[SalvagedDataset],
    *,
    is_addition: bool = False,
) -> SalvageSummary:
    """Return the summary of a salvaged file."""
    n_changes = len(journal.changes)
    return SalvageSummary(
        str(path), str(interrupted), is_addition, engine.end_of_file, n_changes, tuple(datasets)
    )
