"""The contents of an HDF5 file: every name, in the order in which it is created again.

Objects are identified by their addresses, which links contain: nothing here opens a chunk index. The first name
of an object counts, others are hard links. Groups are entered one by one without recursion, however deep they
are nested.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamh5.conversion.hdf5.datatype import object_address
from streamh5.conversion.hdf5.problems import reading
from streamh5.errors import SourceError
from streamh5.format.character_set import decode_text
from streamh5.format.link import ExternalLink, SoftLink
from streamh5.handles.file_plan import PlannedLink
from streamh5.model.tree import GroupNode

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py

    from streamh5.conversion.hdf5.problems import Problems
    from streamh5.conversion.hdf5.source_bytes import SourceBytes
    from streamh5.handles.file_plan import PlannedObject
    from streamh5.model.tree import LinkValue


@dataclass(slots=True)
class Contents:
    """The contents of a file.

    Attributes
    ----------
    objects
        Groups and links, and None for what is not planned yet, by their paths, in the order in which they are created.
    opened
        The latter: identifiers of h5py, of datasets and named datatypes.
    paths
        Paths of all objects by their addresses.
    """

    objects: dict[str, PlannedObject | None] = field(default_factory=dict)
    opened: dict[str, Any] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)

    def drop(self, path: str, address: int) -> None:
        """Leave an object out; references to it become null."""
        del self.objects[path], self.opened[path], self.paths[address]


def read_contents(file: h5py.File, stored: SourceBytes | None, problems: Problems) -> Contents:
    """Find all objects and links of a file; `stored` are its bytes, where it is one file on disk.

    Raises
    ------
    SourceError
        The root group cannot be read.
    """
    from h5py import h5g, h5l

    contents = Contents()
    with reading("the root group", "/"):
        root = h5g.open(file.id, b"/")
        contents.paths[object_address(root)] = "/"
    entered = [(root, "/", _links(root, "/", contents, problems))]
    while entered:
        group, path, links = entered[-1]
        for name, link_type, address in links:
            where = f"{path.rstrip('/')}/{decode_text(name)}"
            found = None
            try:
                with reading(where, where):
                    if link_type == h5l.TYPE_HARD:
                        found = _enter_object(group, name, address, where, contents)
                    else:
                        contents.objects[where] = _link_value(group, name, link_type, where, stored)
            except SourceError as problem:
                problems.add(problem)
                continue
            if found is not None:
                entered.append((found, where, _links(found, where, contents, problems)))
                break
        else:
            entered.pop()
    return contents


def _links(group: Any, path: str, contents: Contents, problems: Problems) -> Iterator[tuple[bytes, int, int]]:
    """Enter a group; return name, type and, of hard links, the address of its links."""
    from h5py import h5, h5p

    node = contents.objects[path] = GroupNode(path)
    found: list[tuple[bytes, int, int]] = []

    def enter(name: bytes, info: Any) -> None:  # h5py fills the same `info` for each link
        found.append((name, info.type, info.u))

    try:
        with reading(f"group {path}", path):
            is_ordered = bool(group.get_create_plist().get_link_creation_order() & h5p.CRT_ORDER_TRACKED)
            node.track_order = is_ordered
            order = h5.INDEX_CRT_ORDER if is_ordered else h5.INDEX_NAME
            group.links.iterate(enter, idx_type=order, info=True)
    except SourceError as problem:
        problems.add(problem)
    return iter(found)


def _link_value(group: Any, name: bytes, link_type: int, path: str, stored: SourceBytes | None) -> LinkValue:
    """Return a soft, external or user-defined link."""
    from h5py import h5l

    if link_type == h5l.TYPE_SOFT:
        return SoftLink(decode_text(group.links.get_val(name)))
    if link_type == h5l.TYPE_EXTERNAL:
        return ExternalLink(*map(decode_text, group.links.get_val(name)))
    if stored is None:
        raise SourceError(
            f"{path} is a user-defined link (type {link_type}), which h5py does not read", path=path
        )
    return stored.user_defined_link(object_address(group), decode_text(name))


def _enter_object(group: Any, name: bytes, address: int, path: str, contents: Contents) -> Any:
    """Enter the target of a hard link; return it if it is a group that was not seen before."""
    from h5py import h5d, h5g, h5o, h5t

    if address in contents.paths:
        contents.objects[path] = PlannedLink(contents.paths[address])
        return None
    found = h5o.open(group, name)
    contents.paths[address] = path
    if isinstance(found, h5g.GroupID):
        return found
    contents.objects[path] = None
    if not isinstance(found, (h5d.DatasetID, h5t.TypeID)):
        raise SourceError(f"{path} is neither group nor dataset nor named datatype", path=path)
    contents.opened[path] = found
    return None
