"""What a group contains: links by name, and everything below it, in the order of h5py."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from streamh5.arguments.keywords import check_keywords
from streamh5.format.character_set import decode_text
from streamh5.format.link import HardLink, SoftLink
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.handles.attributes import Handle, names_in_order
from streamh5.model.object_path import join_path, split_path
from streamh5.model.tree import GroupNode, LinkValue, Node, find

if TYPE_CHECKING:
    from collections.abc import Callable, ItemsView, Iterator, ValuesView

    from streamh5.handles.dataset import Dataset
    from streamh5.handles.group import Group
    from streamh5.handles.named_datatype import Datatype
    from streamh5.model.reference import Reference
    from streamh5.model.tree import LinkedTarget


MAX_SOFT_LINKS = 16
"""Most soft links that a path leads through (``H5L_NUM_LINKS``)."""


def links_below(group: GroupNode) -> Iterator[tuple[str, LinkedTarget]]:
    """Yield path and target of each link in a group and in the groups below it, each once (``H5Lvisit``).

    The paths begin in the group. Names are sorted in each group; a group comes before its contents, which a second
    hard link to it does not repeat.
    """
    # with a list instead of recursion, because groups may be nested more deeply than Python's stack allows
    seen = {id(group)}
    entered = [("", iter(sorted(group.links.items())))]
    while entered:
        prefix, links = entered[-1]
        for name, target in links:
            yield prefix + name, target
            if isinstance(target, GroupNode) and id(target) not in seen:
                seen.add(id(target))
                entered.append((f"{prefix}{name}/", iter(sorted(target.links.items()))))
                break
        else:
            entered.pop()


def objects_below(group: GroupNode) -> Iterator[tuple[str, Node]]:
    """Yield path and node of each object in a group and in the groups below it, each once (``H5Ovisit``)."""
    seen = {id(group)}
    for path, target in links_below(group):
        if not isinstance(target, LinkValue) and id(target) not in seen:
            seen.add(id(target))
            yield path, target


def object_at(root: GroupNode, path: str) -> Node | None:
    """Return the object at a path, along hard and soft links; None if there is none, or it is in another file."""
    found: Node = root
    names = list(split_path(path)[::-1])
    entered: list[str] = []  # the path of `found`, from which a relative link begins
    n_followed = 0
    while names:
        name = names.pop()
        target = found.links.get(name) if isinstance(found, GroupNode) else None
        if isinstance(target, SoftLink) and n_followed < MAX_SOFT_LINKS:
            n_followed += 1
            begin = () if target.path.startswith("/") else entered
            names += [*begin, *split_path(target.path)][::-1]
            found, entered = root, []
        elif target is None or isinstance(target, LinkValue):
            return None
        else:
            found = target
            entered.append(name)
    return found


def link_at(root: GroupNode, path: str) -> LinkedTarget | None:
    """Return what the link at a path refers to, or the soft or external link itself; None if there is none."""
    names = split_path(path)
    group = find(root, join_path(names[:-1]))
    if not names or not isinstance(group, GroupNode):
        return None
    return group.links.get(names[-1])


class GroupContents(Handle[GroupNode], MutableMapping[str, "Group | Dataset | Datatype"]):
    """The part of `Group` that looks up names, with the methods of h5py."""

    @abstractmethod
    def __getitem__(self, name: str | bytes | Reference) -> Group | Dataset | Datatype:
        """Return the handle of an object, by its path or a reference to it."""

    @abstractmethod
    def handle_of(self, node: Node) -> Group | Dataset | Datatype:
        """Return the handle of an object of the file.

        Raises
        ------
        KeyError
            It has none.
        """

    @check_keywords
    def get(
        self, name: str | bytes, default: Any = None, *, getclass: bool = False, getlink: bool = False
    ) -> Any:
        """Return the handle of an object, its class, or the link to it.

        Parameters
        ----------
        name
            Path, from this group or, with a leading ``/``, from the root.
        default
            What to return if there is nothing of that name.
        getclass
            Return the class of the handle, or with `getlink` that of the link.
        getlink
            Return the link: a `HardLink`, `SoftLink` or `ExternalLink`.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f["x"] = np.arange(5)
        ...     f["soft"] = streamh5.SoftLink("/x")
        ...     f.get("soft", getlink=True)
        ...     f.get("y") is None
        SoftLink(path='/x')
        True
        """
        path = self.absolute_path(name)
        if getlink:
            target = link_at(self.session.root, path)
            if target is None:
                return default
            link = target if isinstance(target, LinkValue) else HardLink(UNDEFINED_ADDRESS)
            return type(link) if getclass else link
        node = object_at(self.session.root, path)
        if node is None:
            return default
        try:
            handle = self.handle_of(node)
        except KeyError:
            return default
        return type(handle) if getclass else handle

    def visit(self, func: Callable[[str], Any]) -> Any:
        """Call `func` with the path of each object below this group, until it returns something other than None.

        As in h5py, paths begin in the group, names are sorted, each object is visited once, and soft and external links
        are left out.

        Parameters
        ----------
        func
            Called with a path.

        Returns
        -------
        object
            What `func` has returned; None at the end.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f["a/x"] = np.arange(5)
        ...     f["a/soft"] = streamh5.SoftLink("/a/x")
        ...     f.visit(print)
        a
        a/x
        """
        return _first(func(path) for path, _ in objects_below(self._node))

    def visititems(self, func: Callable[[str, Any], Any]) -> Any:
        """Call `func` with the path and the handle of each object below this group; see `visit`.

        Parameters
        ----------
        func
            Called with a path and a handle.

        Returns
        -------
        object
            What `func` has returned; None at the end.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f["a/x"] = np.arange(5)
        ...     f["a/soft"] = streamh5.SoftLink("/a/x")
        ...     f.visititems(print)
        a <streamh5.Group '/a': 2 objects>
        a/x <streamh5.Dataset '/a/x': shape (5,), int64, chunks None>
        """
        return _first(func(path, self.handle_of(node)) for path, node in objects_below(self._node))

    def visit_links(self, func: Callable[[str], Any]) -> Any:
        """Call `func` with the path of each link below this group, of all kinds; see `visit`.

        Parameters
        ----------
        func
            Called with a path.

        Returns
        -------
        object
            What `func` has returned; None at the end.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f["a/x"] = np.arange(5)
        ...     f["a/soft"] = streamh5.SoftLink("/a/x")
        ...     f.visit_links(print)
        a
        a/soft
        a/x
        """
        return _first(func(path) for path, _ in links_below(self._node))

    def visititems_links(self, func: Callable[[str, Any], Any]) -> Any:
        """Call `func` with the path and the link of each link below this group; see `visit` and `get`.

        Parameters
        ----------
        func
            Called with a path and a link.

        Returns
        -------
        object
            What `func` has returned; None at the end.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     f["a/x"] = np.arange(5)
        ...     f["a/soft"] = streamh5.SoftLink("/a/x")
        ...     f.visititems_links(print)
        a HardLink(address=...)
        a/soft SoftLink(path='/a/x')
        a/x HardLink(address=...)
        """
        return _first(func(path, self.get(path, getlink=True)) for path, _ in links_below(self._node))

    def items(self) -> ItemsView[str, Group | Dataset | Datatype]:
        """Return the names and handles of objects."""
        links = self._node.links
        return {name: self.handle_of(node) for name in self if isinstance(node := links[name], Node)}.items()

    def values(self) -> ValuesView[Group | Dataset | Datatype]:
        """Return the handles of objects."""
        return dict(self.items()).values()

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, (str, bytes)):
            return False
        path = self.absolute_path(name)
        return not split_path(path) or link_at(self.session.root, path) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(names_in_order(self._node, self._node.links))

    def __reversed__(self) -> Iterator[str]:
        return reversed(names_in_order(self._node, self._node.links))

    def __len__(self) -> int:
        return len(self._node.links)

    def absolute_path(self, name: str | bytes) -> str:
        """Return the absolute path of a name in this group."""
        names = split_path(name)
        name = decode_text(name)
        return join_path(names if name.startswith("/") else (*split_path(self.name), *names))


def _first(results: Iterator[Any]) -> Any:
    """Return the first result that is not None."""
    return next((result for result in results if result is not None), None)
