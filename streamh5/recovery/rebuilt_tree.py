"""The tree of an interrupted write, built again from its journal, and its values and references."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.engine.engine import Engine
from streamh5.errors import PathError
from streamh5.model.attribute_spec import blank
from streamh5.model.reference import HeapObject
from streamh5.model.tree import walk
from streamh5.recovery.journal_values import assemble_value

if TYPE_CHECKING:
    from streamh5.engine.reference_targets import ReferenceTargets
    from streamh5.model.reference import AnyReference, Part, Parts
    from streamh5.model.tree import DatasetNode, GroupNode
    from streamh5.recovery.journal import Journal
    from streamh5.recovery.resume import Recovery

_OPTIONS = {"track_order": bool, "header_slack": int, "libver": str}


def rebuild(
    journal: Journal, recovery: Recovery, existing: tuple[GroupNode, int, bytes] | None = None
) -> Engine:
    """Repeat all changes of the tree that are in the journal.

    Parameters
    ----------
    journal, recovery
        The interrupted write.
    existing
        Tree, end and superblock of the public file, if it is an addition.

    Raises
    ------
    PathError
        A change cannot be repeated: the journal makes no sense.
    """
    options: dict[str, Any] = {name: kind(journal.header[name]) for name, kind in _OPTIONS.items()}
    engine = Engine(**options)
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
