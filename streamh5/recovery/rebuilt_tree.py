"""The tree of an interrupted write, built again from its journal, and its values and references."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from streamh5.engine.engine import Engine
from streamh5.errors import JournalError, PathError
from streamh5.model.attribute_spec import blank
from streamh5.model.reference import HeapObject
from streamh5.model.tree import DatasetNode, walk
from streamh5.recovery.journal_facts import page_of
from streamh5.recovery.journal_values import assemble_value
from streamh5.recovery.read_journal import NONSENSE
from streamh5.recovery.salvage_report import describe_kept, mark, mark_file
from streamh5.recovery.salvaged_chunks import keep_chunks

if TYPE_CHECKING:
    from streamh5.engine.reference_targets import ReferenceTargets
    from streamh5.model.reference import AnyReference, Part, Parts
    from streamh5.model.tree import GroupNode
    from streamh5.recovery.journal import Journal
    from streamh5.recovery.resume import Recovery
    from streamh5.recovery.salvage_report import SalvagedDataset
    from streamh5.recovery.salvaged_chunks import KeptChunks


def rebuild(
    journal: Journal, recovery: Recovery, existing: tuple[GroupNode, int, bytes, int] | None = None
) -> Engine:
    """Repeat all changes of the tree that are in the journal.

    Parameters
    ----------
    journal, recovery
        The interrupted write.
    existing
        Tree, end, superblock and size of the pages of the public file, if it is an addition.

    Raises
    ------
    PathError
        A change cannot be repeated: the journal makes no sense.
    """
    header = journal.header
    engine = Engine(
        track_order=bool(header["track_order"]),
        header_slack=int(header["header_slack"]),
        libver=str(header["libver"]),
        page=page_of(header),
    )
    if existing is None:
        engine.resume(recovery.front, recovery.end, recovery.free)
    else:
        engine.extend_file(*existing)
    for change in journal.changes:
        change.apply(engine, change.facts)
    return engine


def blank_references(engine: Engine) -> None:
    """Let references of attributes to what was not written be null."""
    targets = engine.targets()
    for each in walk(engine.root):
        for attribute in list(each.attributes.values()):
            if any(not isinstance(part, bytes) for part in attribute.data):
                known = _known(targets, attribute.data)
                if known != list(attribute.data):
                    engine.set_attribute(each, replace(attribute, data=known))


def keep_value(engine: Engine, node: DatasetNode, journal: Journal, recovery: Recovery) -> bool:
    """Set data without chunks; return False if it is not in the journal.

    Parameters
    ----------
    engine
        Whose tree has the dataset.
    node
        A dataset without chunks.
    journal, recovery
        The interrupted write.
    """
    history = recovery.history(node)
    numbers = [] if history is None else history.numbers
    pieces = [one for number in numbers for one in journal.values.get(number, ())]
    value = assemble_value(node, pieces) if pieces else None
    if value is None:
        return False
    if isinstance(value, np.ndarray):
        engine.set_value(node, value)
    else:
        engine.set_parts(node, _known(engine.targets(), value))
    return True


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


def keep_everything(
    journal: Journal,
    recovery: Recovery,
    destination: str,
    existing: tuple[GroupNode, int, bytes, int] | None = None,
) -> tuple[Engine, list[SalvagedDataset]]:
    """Build the tree of an interrupted write again, with what is stored; nothing is written.

    Parameters
    ----------
    journal, recovery
        The interrupted write.
    destination
        Its path or URL.
    existing
        Tree, end, superblock and size of the pages of the public file, if it is an addition.

    Raises
    ------
    JournalError
        The journal makes no sense.
    """
    try:
        engine = rebuild(journal, recovery, existing)
        is_addition = existing is not None
        nodes: dict[DatasetNode, KeptChunks] = {}
        for one in walk(engine.root):
            if isinstance(one, DatasetNode) and (history := recovery.history(one)) is not None:
                nodes[one] = keep_chunks(engine, one, history, journal, recovery, until_gap=is_addition)
        blank_references(engine)  # now that all lengths are known
        datasets = []
        for node, chunks in nodes.items():
            has_value = _has_value(engine, node, journal, recovery)
            datasets.append(describe_kept(node, chunks, has_value=has_value))
            if datasets[-1].is_new:
                mark(engine, node, datasets[-1])
        mark_file(engine, destination.rpartition("/")[2], datasets, is_addition=is_addition)
    except JournalError:
        raise
    except (*NONSENSE, MemoryError) as error:
        raise JournalError(f"the journal of {destination} makes no sense: {error}") from error
    return engine, datasets


def _has_value(engine: Engine, node: DatasetNode, journal: Journal, recovery: Recovery) -> bool:
    """Set data without chunks, if the journal has it; return False if the data is lost."""
    if node.spec.chunks is not None or node.shape is None or node.is_virtual:
        return True
    return keep_value(engine, node, journal, recovery)
