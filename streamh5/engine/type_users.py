"""Datasets and attributes that share a named datatype, which they name by its path, while links change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from streamh5.model.reference import Reference
from streamh5.model.tree import DatasetNode, DatatypeNode, find, walk

if TYPE_CHECKING:
    from streamh5.model.tree import GroupNode, Node


class TypeUser(NamedTuple):
    """A dataset, or the attribute of this name of an object, and its named datatype."""

    owner: Node
    attribute: str | None
    datatype: DatatypeNode


def type_users(root: GroupNode, path: str) -> list[TypeUser]:
    """Return the users of all named datatypes, if the object at `path` is one or contains one."""
    changed = find(root, path)
    if changed is None or not any(isinstance(one, DatatypeNode) for one in walk(changed)):
        return []
    users: list[tuple[Node, str | None, str]] = []
    for node in walk(root):
        if isinstance(node, DatasetNode) and node.spec.type_path is not None:
            users.append((node, None, node.spec.type_path))
        for name, attribute in node.attributes.items():
            if isinstance(attribute.committed, Reference):
                users.append((node, name, attribute.committed.path))
    found = ((owner, name, find(root, type_path)) for owner, name, type_path in users)
    return [TypeUser(owner, name, one) for owner, name, one in found if isinstance(one, DatatypeNode)]


def follow_types(root: GroupNode, users: list[TypeUser]) -> None:
    """Enter the present path of each named datatype in its users; a deleted one leaves them a datatype of their own."""
    for owner, name, datatype in users:
        is_alive = find(root, datatype.path) is datatype
        if name is not None:
            committed = Reference(datatype.path) if is_alive else None
            owner.attributes[name] = replace(owner.attributes[name], committed=committed)
        elif isinstance(owner, DatasetNode):
            owner.spec = replace(owner.spec, type_path=datatype.path if is_alive else None)
        owner.is_changed = True
