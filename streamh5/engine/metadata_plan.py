"""``MetadataPlan``: everything of a file except chunks. First every block gets an address, then all are encoded.

::

    place     for each object, members before their group:
                  index or contiguous data, dense links, dense attributes, object header
              then the global heap of attributes and references
    encode    indexes and contiguous data ─▶ heap ─▶ for each object: data that contains addresses, dense
              storage, header

Sizes do not depend on addresses, so all addresses are known before the first byte is encoded. Referents are
yielded before references, so a file whose encoding is cut short has no reachable object.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.engine.attribute_heap import AttributeHeap
from streamh5.engine.chunk_index_plan import encode_data, max_sizeof_data, sizeof_data
from streamh5.engine.header_plan import HeaderPlan, Places
from streamh5.model.attribute_spec import blank
from streamh5.model.reference import Reference, join_parts
from streamh5.model.tree import (
    DatasetNode,
    DatatypeNode,
    GroupNode,
    Node,
    ReservedRange,
    StoredObject,
    moved_groups,
    reference_target,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamh5.model.reference import Parts, RegionReference, Resolve

    Placer = Callable[[ReservedRange | None, int], int]
    """Returns the address of a block of a given size: in the region reserved for it if it fits, or elsewhere."""


@dataclass(frozen=True, slots=True)
class Front:
    """The front region: regions reserved for headers and indexes, by path, and its end."""

    headers: dict[str, ReservedRange]
    indexes: dict[str, ReservedRange]
    heap: ReservedRange | None
    end: int


def reserve_front(root: GroupNode, reserve: Callable[[int], int], *, header_slack: int) -> Front:
    """Reserve the front region of a file: headers, heap, then the indexes of datasets whose shape is known.

    Parameters
    ----------
    root
        The objects known so far.
    reserve
        Reserves bytes at the present end of the front region.
    header_slack
        Bytes after each header for later attributes and links.
    """

    def region(nbytes: int) -> ReservedRange:
        return ReservedRange(reserve(nbytes), nbytes)

    nodes = list(walk(root))
    _count_users(nodes)
    # The root group comes last in the walk and first in the file: readers begin with it.
    headers = {
        node.path: region(HeaderPlan(node, Places(), blank).nbytes + header_slack) for node in reversed(nodes)
    }
    heap_nbytes = AttributeHeap(_referring(nodes)).nbytes
    heap = region(heap_nbytes) if heap_nbytes else None
    indexes = {
        node.path: region(max_sizeof_data(node))
        for node in nodes
        if isinstance(node, DatasetNode) and node.spec.shape is not None and None not in node.spec.shape
    }
    return Front(headers, indexes, heap, reserve(0))


class MetadataPlan:
    """Addresses and bytes of everything except chunks.

    Parameters
    ----------
    root
        The tree of the file, which must not change until everything is encoded.
    heap
        Region that is reserved for the global heap, if any.
    place
        Returns the address of each block.
    """

    def __init__(self, root: GroupNode, heap: ReservedRange | None, place: Placer) -> None:
        self._root = root
        self._place = place
        self._places = Places()
        self._header_nbytes: dict[str, int] = {}
        self._nodes = list(self._written_nodes())
        _count_users(self._nodes)
        for node in self._nodes:
            self._place_node(node)
        self._heap = AttributeHeap(_referring(self._nodes))
        self._heap.place(place(heap, self._heap.nbytes) if self._heap.nbytes else 0)

    @property
    def root_address(self) -> int:
        """Address of the header of the root group."""
        return self._places.headers["/"]

    def encode(self) -> Iterator[tuple[int, bytes]]:
        """Yield address and contents of each block, referents before references."""
        for node in self._nodes:
            if isinstance(node, DatasetNode) and node.parts is None:
                yield from encode_data(node, self._places.indexes[node.path])
        yield from self._heap.encode(self._address_of)
        resolve = self._heap.resolver(self._address_of)
        for node in self._nodes:
            yield from self._encode_node(node, resolve)

    def _written_nodes(self) -> Iterator[Node]:
        """Yield the objects to write; unchanged groups of an existing file stay where they are."""
        moved = moved_groups(self._root)
        for node in walk(self._root):
            if isinstance(node, GroupNode) and node.stored_address is not None and id(node) not in moved:
                self._places.headers[node.path] = node.stored_address
            else:
                yield node

    def _place_node(self, node: Node) -> None:
        """Assign addresses to an object's index or contiguous data, dense storage and header."""
        path, places = node.path, self._places
        if isinstance(node, DatasetNode):
            nbytes = sizeof_data(node)
            places.indexes[path] = self._place(node.index, nbytes)
            if node.spec.chunks is None and nbytes:
                node.data_address = places.indexes[path]
        header = HeaderPlan(node, places, blank)
        for dense, dense_nbytes in (
            (places.dense_links, header.dense_links_nbytes),
            (places.dense_attributes, header.dense_attributes_nbytes),
        ):
            if dense_nbytes:
                dense[path] = self._place(None, dense_nbytes)
        nbytes = header.nbytes
        places.headers[path] = self._place(node.header, nbytes)
        if node.header is not None and places.headers[path] == node.header.address:
            nbytes = node.header.nbytes  # padded to the whole region, so that programs can edit it in place
        self._header_nbytes[path] = nbytes

    def _encode_node(self, node: Node, resolve: Resolve) -> Iterator[tuple[int, bytes]]:
        path, places = node.path, self._places
        header = HeaderPlan(node, places, resolve)
        nbytes = self._header_nbytes[path]
        if isinstance(node, DatasetNode):
            if node.parts is not None and not node.spec.is_compact:
                yield places.indexes[path], join_parts(node.parts, resolve)
            elif node.parts is None and node.spec.is_compact:
                node.data_address = places.headers[path] + header.data_position(nbytes)
        if path in places.dense_links:
            yield places.dense_links[path], header.encode_dense_links()
        if path in places.dense_attributes:
            yield places.dense_attributes[path], header.encode_dense_attributes()
        yield places.headers[path], header.encode(nbytes)

    def _address_of(self, reference: Reference | RegionReference) -> int:
        node = reference_target(self._root, reference)
        return node.address if isinstance(node, StoredObject) else self._places.headers[node.path]


def _count_users(nodes: list[Node]) -> None:
    """Count the users of each named datatype, which are datasets and attributes: its header has their number."""
    n_users: Counter[str | None] = Counter()
    n_users.update(node.spec.type_path for node in nodes if isinstance(node, DatasetNode))
    attributes = (attribute for node in nodes for attribute in node.attributes.values())
    n_users.update(one.committed.path for one in attributes if isinstance(one.committed, Reference))
    for node in nodes:
        if isinstance(node, DatatypeNode):
            node.n_users = n_users[node.path]


def _referring(nodes: list[Node]) -> Iterator[Parts]:
    """Yield all parts that may have objects in the global heap: attributes, fill values, values with references."""
    for node in nodes:
        if isinstance(node, DatasetNode) and node.spec.fill_parts is not None:
            yield node.spec.fill_parts
        if isinstance(node, DatasetNode) and node.parts is not None:
            yield node.parts
        for attribute in node.attributes.values():
            yield attribute.data
