"""Which objects a generation of a file writes, and where references lead.

A header that changes is written at a new address, so everything that refers to it is written, too: the groups with
links to it, attributes and elements with references to it, and users of a named datatype; and what refers to these, up
to the root group. All other headers, and all chunks and indexes that did not change, stay where they are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from streamh5.errors import PathError
from streamh5.format.object_header import MessageType
from streamh5.model.reference import (
    Reference,
    RegionReference,
    StoredReference,
    StoredRegionReference,
    references_in,
)
from streamh5.model.tree import DatasetNode, DatatypeNode, GroupNode, Node, check_region, find, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from streamh5.model.reference import AnyReference, Parts

_NULL = 0


class ReferenceTargets:
    """The objects of a file to which references lead.

    Parameters
    ----------
    root
        The tree.
    stored
        Objects of the existing file, by the addresses of their headers when it was opened.
    former
        Objects that were moved or deleted (None), by their former paths.
    """

    def __init__(self, root: GroupNode, stored: Mapping[int, Node], former: Mapping[str, Node]) -> None:
        self._root = root
        self._stored = stored
        self._former = former
        self.nodes = list(walk(root))
        self._alive = set(self.nodes)

    def find(self, reference: AnyReference) -> Node | int:
        """Return the object to which a reference leads, or the address of one without a name; 0 if it was deleted.

        Raises
        ------
        PathError
            The object was not created, or the region is not inside it.
        """
        if isinstance(reference, (StoredReference, StoredRegionReference)):
            stored = self._stored.get(reference.address)
            if stored is None or stored in self._alive:
                return reference.address if stored is None else stored
            # a datatype without a name stays in use; its header does not refer to anything that moves
            return reference.address if isinstance(stored, DatatypeNode) else _NULL
        node = find(self._root, reference.path)
        if node is None and reference.path in self._former:
            node = self._former[reference.path]
            if node is None or node not in self._alive:
                return _NULL
        if node is None:
            raise PathError(
                f"a reference points to {reference.path}, which was not created; create it before the file is closed",
                path=reference.path,
            )
        if isinstance(reference, RegionReference) and node.stored_address is None:
            check_region(reference, node)
        return node

    def count_users(self) -> None:
        """Count the users of each named datatype: its header has their number."""
        n_users = self.users()
        for node in self.nodes:
            if isinstance(node, DatatypeNode) and node.n_users != n_users[node]:
                node.n_users = n_users[node]
                node.is_changed = True

    def users(self) -> Counter[Node | int]:
        """Return the number of users of each named datatype, which are datasets and attributes."""
        return Counter(self.find(one) for node in self.nodes for one in _datatypes(node))

    def to_write(self) -> list[Node]:
        """Return the objects that the next generation writes, children before their group."""
        holders: defaultdict[Node, list[Node]] = defaultdict(list)
        data: defaultdict[Node, list[DatasetNode]] = defaultdict(list)
        waiting: list[Node] = []
        for node in self.nodes:
            if node.stored_address is None or node.is_changed or _has_new_data(node):
                waiting.append(node)
            for target in self._targets(node):
                if isinstance(target, int):
                    waiting += [node] if target == _NULL else []
                else:
                    holders[target].append(node)
            if isinstance(node, DatasetNode):
                for found in {self.find(one) for parts in _elements(node) for one in references_in(parts)}:
                    if isinstance(found, int):
                        if found == _NULL:
                            _rewrite(node)
                            waiting.append(node)
                    else:
                        data[found].append(node)
        moved: set[Node] = set()
        while waiting:
            node = waiting.pop()
            if node not in moved:
                moved.add(node)
                waiting += holders.get(node, ())
                for holder in data.get(node, ()):
                    _rewrite(holder)
                    waiting.append(holder)
        return [node for node in self.nodes if node in moved]

    def _targets(self, node: Node) -> Iterator[Node | int]:
        """Yield everything to which the header of an object refers."""
        if isinstance(node, GroupNode):
            yield from (target for target in node.links.values() if isinstance(target, Node))
        for attribute in node.attributes.values():
            yield from map(self.find, references_in(attribute.data))
            if attribute.committed is not None:
                yield self.find(attribute.committed)
        for message in node.messages:
            yield from map(self.find, references_in(message.body))
        if isinstance(node, DatasetNode) and node.spec.type_path is not None:
            yield self.find(Reference(node.spec.type_path))


def _datatypes(node: Node) -> Iterator[AnyReference]:
    """Yield the named datatype of a dataset, and those of the attributes of an object."""
    if isinstance(node, DatasetNode) and node.spec.type_path is not None:
        yield Reference(node.spec.type_path)
    for message in node.messages:
        if message.type_id == MessageType.DATATYPE:
            yield from references_in(message.body)
    for attribute in node.attributes.values():
        if attribute.committed is not None:
            yield attribute.committed


def _has_new_data(node: Node) -> bool:
    return isinstance(node, DatasetNode) and node.is_data_changed


def _elements(node: DatasetNode) -> Iterable[Parts]:
    """Return those elements of a dataset that the next generation does not write yet, if they have references."""
    stored = node.stored
    if stored is not None and stored.read_chunk_references is not None and not node.moves_chunks:
        chunks = node.chunk_map
        if not node.reference_chunks:
            node.reference_chunks = stored.read_chunk_references(chunks)
        return [node.reference_chunks[address] for address in chunks.addresses.tolist()]
    if node.is_data_changed:
        return ()
    if (
        node.parts is None
        and stored is not None
        and stored.read_references is not None
        and not node.is_written
    ):
        node.parts = stored.read_references()
    return () if node.parts is None else (node.parts,)


def _rewrite(node: DatasetNode) -> None:
    """Make the references of a dataset part of the next generation."""
    node.moves_chunks = node.spec.chunks is not None
    node.is_data_changed = node.is_written = True


def _writes_parts(node: DatasetNode) -> bool:
    """Return whether a generation that has the header of a dataset has its elements, too."""
    return node.is_data_changed or (node.spec.is_compact and (node.stored is None or node.is_written))


def referring(nodes: Iterable[Node]) -> Iterator[Parts]:
    """Yield all parts that may have objects in the global heap: attributes, fill values, mappings, references."""
    for node in nodes:
        if isinstance(node, DatasetNode) and node.spec.fill_parts is not None and node.stored is None:
            yield node.spec.fill_parts
        if isinstance(node, DatasetNode) and node.mappings is not None:
            yield (node.mappings,)
        if isinstance(node, DatasetNode) and node.parts is not None and _writes_parts(node):
            yield node.parts
        if isinstance(node, DatasetNode) and node.moves_chunks:
            yield from node.reference_chunks.values()
        for attribute in node.attributes.values():
            yield attribute.data
