"""What is in an HDF5 file: every name, in the order in which it is made again.

Objects are told apart by their addresses, which links name: nothing here opens a chunk index. The first name
of an object counts, others are hard links. Groups are entered one by one without recursion, however deep they
are nested.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from streamh5.conversion.hdf5.datatype import object_address
from streamh5.conversion.hdf5.errors import reading
from streamh5.errors import SourceError
from streamh5.format.link import ExternalLink, SoftLink, UserDefinedLink

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py

    from streamh5.conversion.hdf5.source_bytes import SourceBytes

__all__ = ["Contents", "HardLinkTo", "read_contents"]


@dataclass(frozen=True, slots=True)
class HardLinkTo:
    """One more name for the object that was found first at `path`."""

    path: str


Entry: TypeAlias = "SoftLink | ExternalLink | UserDefinedLink | HardLinkTo | None"


@dataclass(slots=True)
class Contents:
    """What is in a file.

    Attributes
    ----------
    entries
        Links by their paths, None for an object, in the order in which they are made again: a group comes
        before what is in it.
    groups
        Whether the creation order of links is tracked, by path.
    datasets
        Open datasets of h5py by path.
    datatypes
        Open named datatypes of h5py by path.
    paths
        Paths of all objects by their addresses.
    problems
        What cannot be carried over.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    groups: dict[str, bool] = field(default_factory=dict)
    datasets: dict[str, Any] = field(default_factory=dict)
    datatypes: dict[str, Any] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)
    problems: list[SourceError] = field(default_factory=list)

    def drop(self, path: str, problem: SourceError) -> None:
        """Leave an object out, because of a problem."""
        self.problems.append(problem)
        self.datasets.pop(path, None)
        self.datatypes.pop(path, None)
        self.entries.pop(path, None)


def read_contents(file: h5py.File, stored: SourceBytes | None) -> Contents:
    """Find everything that is in a file; `stored` are its bytes, where it is one on disk.

    Raises
    ------
    SourceError
        The root group cannot be read.
    """
    from h5py import h5g

    contents = Contents()
    with reading("the root group", "/"):
        root = h5g.open(file.id, b"/")
        contents.paths[object_address(root)] = "/"
    entered = [(root, "/", _links(root, "/", contents))]
    while entered:
        group, path, links = entered[-1]
        for name, link_type, address in links:
            where = f"{path.rstrip('/')}/{name.decode('utf-8', 'surrogateescape')}"
            try:
                with reading(where, where):
                    found = _enter_link(group, name, link_type, address, where, contents, stored)
            except SourceError as problem:
                contents.problems.append(problem)
                continue
            if found is not None:
                entered.append((found, where, _links(found, where, contents)))
                break
        else:
            entered.pop()
    return contents


def _links(group: Any, path: str, contents: Contents) -> Iterator[tuple[bytes, int, int]]:
    """Enter a group; return name, type and, of hard links, the address of its links."""
    from h5py import h5, h5p

    contents.groups[path] = False
    contents.entries[path] = None
    found: list[tuple[bytes, int, int]] = []

    def enter(name: bytes, info: Any) -> None:  # h5py fills the same `info` for each link
        found.append((name, info.type, info.u))

    try:
        with reading(f"group {path}", path):
            is_ordered = bool(group.get_create_plist().get_link_creation_order() & h5p.CRT_ORDER_TRACKED)
            contents.groups[path] = is_ordered
            order = h5.INDEX_CRT_ORDER if is_ordered else h5.INDEX_NAME
            group.links.iterate(enter, idx_type=order, info=True)
    except SourceError as problem:
        contents.problems.append(problem)
    return iter(found)


def _enter_link(
    group: Any,
    name: bytes,
    link_type: int,
    address: int,
    path: str,
    contents: Contents,
    stored: SourceBytes | None,
) -> Any:
    """Enter what one link leads to; return a group that was not seen before."""
    from h5py import h5g, h5l, h5o

    if link_type == h5l.TYPE_SOFT:
        target = group.links.get_val(name)
        contents.entries[path] = SoftLink(target.decode("utf-8", "surrogateescape"))
        return None
    if link_type == h5l.TYPE_EXTERNAL:
        filename, target = group.links.get_val(name)
        contents.entries[path] = ExternalLink(
            filename.decode("utf-8", "surrogateescape"), target.decode("utf-8", "surrogateescape")
        )
        return None
    if link_type != h5l.TYPE_HARD:
        if stored is None:
            raise SourceError(
                f"{path} is a user-defined link (type {link_type}), which h5py does not read", path=path
            )
        text = name.decode("utf-8", "surrogateescape")
        contents.entries[path] = stored.user_defined_link(object_address(group), text)
        return None
    if address in contents.paths:
        contents.entries[path] = HardLinkTo(contents.paths[address])
        return None
    found = h5o.open(group, name)
    if isinstance(found, h5g.GroupID):
        contents.paths[address] = path
        return found
    return _enter_object(found, address, path, contents)


def _enter_object(found: Any, address: int, path: str, contents: Contents) -> None:
    import h5py
    from h5py import h5d, h5t

    contents.paths[address] = path
    contents.entries[path] = None
    if isinstance(found, h5d.DatasetID):
        contents.datasets[path] = h5py.Dataset(found)
    elif isinstance(found, h5t.TypeID):
        contents.datatypes[path] = found
    else:
        raise SourceError(f"{path} is neither group nor dataset nor named datatype", path=path)
