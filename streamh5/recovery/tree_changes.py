"""Journal entries of changes of the tree: the payload of each, how it is entered in a `Journal`, and repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.errors import PathError
from streamh5.model.object_path import join_path, split_path
from streamh5.model.reference import Reference
from streamh5.model.tree import GroupNode, find
from streamh5.recovery.dataset_history import Resized
from streamh5.recovery.journal_facts import (
    address_of,
    attribute_from_facts,
    datatype_from_facts,
    link_from_facts,
    spec_facts,
    spec_from_facts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.engine.engine import Engine
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.tree import Node
    from streamh5.recovery.change_log import Apply
    from streamh5.recovery.journal import Identity, Journal


def path_of(facts: dict[str, Any]) -> str:
    """Return the path of an entry, checked."""
    if not isinstance(facts["path"], str):
        raise TypeError(f"path {facts['path']!r}")
    return facts["path"]


# G, T, D, L: a group, a named datatype, a dataset (its number, counted from 0, and what shapes its bytes) or a link
# (hard to another path, soft or external) was created. O: something is about to be written to a dataset of the public
# file, or of another grid than before, which gets the next number. Z: a dataset has another shape. U: a dataset was
# removed, because its data could not be written. X, M: a link was removed, or got another path.


def group_facts(path: str, *, track_order: bool = False) -> dict[str, Any]:
    """Describe a new group."""
    return {"path": path, "track_order": track_order}


def dataset_facts(number: int, spec: DatasetSpec, source: str | None) -> dict[str, Any]:
    """Describe a new dataset."""
    return {"number": number, **spec_facts(spec), "source": source}


def opened_facts(
    number: int, identity: dict[str, Any], spec: DatasetSpec, source: str | None
) -> dict[str, Any]:
    """Describe the grid of a dataset that is about to be written to, and what from."""
    return {
        "number": number,
        "path": spec.path,
        "opened": True,
        "source": source,
        **_grid_facts(identity, spec),
    }


def resized_facts(identity: dict[str, Any], spec: DatasetSpec, *, is_cut: bool) -> dict[str, Any]:
    """Describe the new shape of a dataset."""
    return {**_grid_facts(identity, spec), "cut": is_cut}


def _grid_facts(identity: dict[str, Any], spec: DatasetSpec) -> dict[str, Any]:
    return {**identity, "shape": spec.shape, "chunks": spec.chunks, "maxshape": spec.maxshape}


def identity_of(journal: Journal, facts: dict[str, Any]) -> Identity:
    """Return which dataset an entry is about: ``made`` with a number, or with a header at an ``address``.

    After a generation whose switch failed, it has both names, and ``former`` is that of the generation before.
    """
    if journal.is_unpublished and "former" in facts:
        facts = facts["former"]
    made = facts["made"]
    return ("address", address_of(facts["address"])) if made is None else ("made", address_of(made))


def path_facts(path: str) -> dict[str, Any]:
    """Name a path."""
    return {"path": path}


def enter_made(make: Apply) -> Callable[[Journal, dict[str, Any]], None]:
    """Return what enters a new object, once for each path."""

    def make_once(engine: Engine, facts: dict[str, Any]) -> None:
        # a resumed write may have created the objects in another order: one inside this group first, with its parents
        *parents, name = split_path(facts["path"])
        parent = find(engine.root, join_path(tuple(parents)))
        if not isinstance(parent, GroupNode) or name not in parent.links:
            make(engine, facts)

    def enter(journal: Journal, facts: dict[str, Any]) -> None:
        path_of(facts)
        journal.changes.add(make_once, facts)

    return enter


def make_group(engine: Engine, facts: dict[str, Any]) -> None:
    """Create a group again."""
    engine.create_group(facts["path"], track_order=bool(facts["track_order"]))


def make_datatype(engine: Engine, facts: dict[str, Any]) -> None:
    """Create a named datatype again."""
    engine.create_datatype(datatype_from_facts(facts))


def make_link(engine: Engine, facts: dict[str, Any]) -> None:
    """Create a link again."""
    target = link_from_facts(facts) or engine.object_of(Reference(facts["hard"]))
    if target is None:
        raise PathError(f"the journal links {facts['path']} to {facts['hard']}, which is not there")
    engine.link(facts["path"], target)


def make_dataset(engine: Engine, facts: dict[str, Any]) -> None:
    """Create a dataset again."""
    engine.create_dataset(spec_from_facts(facts)).number = facts["number"]


def enter_dataset(journal: Journal, facts: dict[str, Any]) -> None:
    """Enter a dataset under the next number."""
    path = path_of(facts)
    # claims refer to datasets by number: none may be given twice; one is left out where an interrupt came first
    number = address_of(facts["number"])
    if number < journal.n_datasets:
        raise ValueError(f"dataset {number} follows on {journal.n_datasets} datasets")
    if "opened" not in facts:
        if path in journal.paths:
            raise ValueError(f"a second object {path}")
        journal.paths.add(path)
        journal.changes.add(make_dataset, facts)
        identity: Identity = ("made", number)
    else:
        identity = identity_of(journal, facts)
    journal.history(identity).add_number(number)
    journal.datasets[number] = {**facts, "session": journal.n_resumed}
    journal.n_datasets = number + 1


def enter_resized(journal: Journal, facts: dict[str, Any]) -> None:
    """Enter the shape that a dataset has from here on."""
    shape, chunks, maxshape = facts["shape"], facts["chunks"], facts["maxshape"]
    resized = Resized(
        tuple(map(address_of, shape)),
        tuple(map(address_of, chunks)),
        None if maxshape is None else tuple(None if n is None else address_of(n) for n in maxshape),
        bool(facts["cut"]),
    )
    journal.history(identity_of(journal, facts)).add_shape(resized)


def moved_facts(source: str, destination: str) -> dict[str, Any]:
    """Name the old and the new path of a link."""
    return {"path": source, "to": destination}


def remove_again(engine: Engine, facts: dict[str, Any]) -> None:
    """Remove a link again."""
    engine.remove(facts["path"])


def move_again(engine: Engine, facts: dict[str, Any]) -> None:
    """Move a link again."""
    engine.move(facts["path"], facts["to"])


def enter_freed(apply: Apply) -> Callable[[Journal, dict[str, Any]], None]:
    """Return what enters that a path is free again."""

    def enter(journal: Journal, facts: dict[str, Any]) -> None:
        path = join_path(split_path(path_of(facts)))
        if not isinstance(facts.get("to", ""), str):
            raise TypeError(f"path {facts['to']!r}")
        journal.paths = {one for one in journal.paths if one != path and not one.startswith(f"{path}/")}
        journal.changes.add_freed(apply, facts)

    return enter


def taken_back_facts(path: str, number: int) -> dict[str, Any]:
    """Name a dataset that was taken back."""
    return {"path": path, "number": number}


def enter_taken_back(journal: Journal, facts: dict[str, Any]) -> None:
    """Enter that a dataset was taken back, with its attributes; nothing if its creation is not in the journal."""
    path, number = path_of(facts), address_of(facts["number"])
    made = next(
        (one.facts for one in journal.changes if one.apply is make_dataset and one.facts["number"] == number),
        None,
    )
    if made is None:
        return
    journal.paths.discard(made["path"])
    journal.taken_back.add(number)
    journal.changes.take_back(
        lambda one: one.facts is made or (one.apply is set_attribute and one.facts["path"] == path)
    )


# A: an attribute was set (its datatype message, shape and parts), or removed.


def no_attribute_facts(node: Node, name: str) -> dict[str, Any]:
    """Name an attribute that was removed."""
    return {"path": node.path, "name": name, "datatype": None}


def set_attribute(engine: Engine, facts: dict[str, Any]) -> None:
    """Set or remove an attribute again."""
    path, name = facts["path"], facts["name"]
    node = engine.object_of(Reference(path))
    if node is None:
        raise PathError(f"the journal has an attribute {name!r} of {path}, which is not there")
    if facts["datatype"] is not None:
        engine.set_attribute(node, attribute_from_facts(facts))
    elif name in node.attributes:
        engine.remove_attribute(node, name)


def enter_attribute(journal: Journal, facts: dict[str, Any]) -> None:
    """Enter an attribute."""
    path_of(facts)
    if not isinstance(facts["name"], str):
        raise TypeError(f"name {facts['name']!r}")
    journal.changes.add(set_attribute, facts)
