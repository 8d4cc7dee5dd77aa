"""Links of the tree of a file: made and removed, with the counts and the paths of the objects to which they lead."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from streamh5.errors import PathError, did_you_mean
from streamh5.model.object_path import join_path, split_path
from streamh5.model.tree import DatasetNode, DatatypeNode, GroupNode, Node, find, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.model.tree import LinkedTarget


MAX_COMPARED = 1000
"""Most names that are compared with one that does not exist: a few milliseconds."""


def similar_name(root: GroupNode, path: str) -> str:
    """Return a suggestion for the first name of a path that does not exist; an empty text without a similar one."""
    group = root
    for name in split_path(path):
        child = group.links.get(name)
        if not isinstance(child, GroupNode):
            return did_you_mean(name, islice(list(group.links), MAX_COMPARED))
        group = child
    return ""


def make_parents(root: GroupNode, path: str, *, track_order: bool) -> tuple[GroupNode, str]:
    """Return the group for the last name of `path`, and that name; create missing groups.

    Nothing is created if an error is raised.

    Raises
    ------
    PathError
        The path is the root group, exists already, or leads through an object that is not a group.
    """
    names = split_path(path)
    if not names:
        raise PathError(f"{path!r} is the root group; name an object in it, for example '/x'", path=path)
    group, n_found = root, 0
    while n_found < len(names) - 1 and names[n_found] in group.links:
        child = group.links[names[n_found]]
        if not isinstance(child, GroupNode):
            raise PathError(
                f"{join_path(names)}: {join_path(names[: n_found + 1])} is not a group, so it cannot contain objects; "
                "choose another name",
                path=path,
            )
        group, n_found = child, n_found + 1
    if n_found == len(names) - 1 and names[-1] in group.links:
        taken = group.links[names[-1]]
        kinds: dict[type, str] = {
            GroupNode: "group",
            DatasetNode: "dataset",
            DatatypeNode: "named datatype",
        }
        kind = kinds.get(type(taken), "link")
        raise PathError(f"a {kind} {join_path(names)} exists already; choose another name", path=path)
    group.is_changed = True
    for i in range(n_found, len(names) - 1):
        # H5G__traverse_real: missing groups track the creation order of links if the group does in which they are
        made = GroupNode(join_path(names[: i + 1]), track_order or group.track_order)
        group.links[names[i]] = made
        group = made
    return group, names[-1]


def check_link(root: GroupNode, path: str) -> tuple[GroupNode, str]:
    """Return the group of the link `path`, and its name there.

    Raises
    ------
    PathError
        There is no such link.
    """
    names = split_path(path)
    group = find(root, join_path(names[:-1])) if names else None
    if not isinstance(group, GroupNode) or names[-1] not in group.links:
        meant = similar_name(root, path)
        raise PathError(f"there is no object or link {join_path(names)}{meant}", path=path)
    return group, names[-1]


def take_link(root: GroupNode, path: str) -> LinkedTarget:
    """Remove the link `path`, and return what it led to.

    Raises
    ------
    PathError
        There is no such link.
    """
    group, name = check_link(root, path)
    target = group.links.pop(name)
    group.is_changed = True
    if isinstance(target, Node):
        target.n_links, target.is_changed = target.n_links - 1, True
    return target


def release(root: GroupNode, node: Node) -> list[Node]:
    """Let go of an object that a link no longer leads to; return the objects that are deleted with it.

    If another link leads to it, the object gets the path of that link. Otherwise, what it contains has fewer links.
    """
    alive = set(walk(root))
    if node in alive:
        _follow_link(root, node)
        return []
    deleted = [one for one in walk(node) if one not in alive]
    for gone in deleted:
        if isinstance(gone, GroupNode):
            for child in gone.links.values():
                if isinstance(child, Node) and child in alive:
                    child.n_links, child.is_changed = child.n_links - 1, True
                    _follow_link(root, child)
    return deleted


def _follow_link(root: GroupNode, node: Node) -> None:
    """Give an object the path of a link that leads to it, unless its own path still does."""
    if find(root, node.path) is not node:
        rename(node, next(path for path, one in paths(root) if one is node))


def paths(root: GroupNode) -> Iterator[tuple[str, Node]]:
    """Yield the hard links of the tree, those in the root group first: their path, and the object they lead to."""
    seen = {root}
    waiting = deque([("", root)])
    while waiting:
        above, group = waiting.popleft()
        for name, target in group.links.items():
            if isinstance(target, Node):
                yield f"{above}/{name}", target
                if isinstance(target, GroupNode) and target not in seen:
                    seen.add(target)
                    waiting.append((f"{above}/{name}", target))


def rename(node: Node, path: str) -> None:
    """Give an object another path; what is below it, and was named after it, follows."""
    old = node.path
    for inner in walk(node):
        if inner is node or inner.path.startswith(f"{old}/"):
            set_path(inner, path + inner.path[len(old) :])


def set_path(node: Node, path: str) -> None:
    """Give a single object another path."""
    if isinstance(node, DatasetNode):
        node.spec = replace(node.spec, path=path)
    else:
        node.path = path
