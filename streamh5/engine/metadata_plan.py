"""``MetadataPlan``: everything of a file except chunks. First every block gets an address, then all are encoded.

::

    place     for each object, members before their group:
                  index or contiguous data, dense links, dense attributes, object header
              then the global heap of attributes and references
    encode    indexes and contiguous data ─▶ heap ─▶ for each object: data that contains addresses, dense
              storage, header

Sizes do not depend on addresses, so all addresses are known before the first byte is encoded. ReferenceTargets are
yielded before references, so a file whose encoding is cut short has no reachable object.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from streamh5.engine.attribute_heap import AttributeHeap
from streamh5.engine.chunk_index_plan import encode_data, sizeof_data
from streamh5.engine.header_plan import HeaderPlan, Places
from streamh5.engine.reference_targets import referring
from streamh5.format.object_header import MAX_FREE_NBYTES
from streamh5.format.page_rule import NO_PAGES, PageRule
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.model.chunk_records import RECORD
from streamh5.model.reference import join_parts
from streamh5.model.tree import DatasetNode, GroupNode, Node, ReservedRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamh5.engine.reference_targets import ReferenceTargets
    from streamh5.model.reference import AnyReference, Resolve


class Placer(Protocol):
    """Returns the address of a block of a given size: in the region reserved for it if it fits, or elsewhere."""

    def __call__(self, region: ReservedRange | None, nbytes: int, /, *, is_raw: bool = False) -> int:
        """Return the address; `is_raw` says that it is data, which may cross the pages of a file."""


@dataclass(frozen=True, slots=True)
class Front:
    """The front region: regions reserved for headers and indexes, by path, and its end.

    In a file with pages of `page_nbytes`, the indexes are also those of links outside of headers, and the superblock
    extension is at `extension`.
    """

    headers: dict[str, ReservedRange]
    indexes: dict[str, ReservedRange]
    heap: ReservedRange | None
    end: int
    page_nbytes: int = 0
    extension: int = UNDEFINED_ADDRESS


class MetadataPlan:
    """Addresses and bytes of everything in the next generation of a file, except chunks.

    Parameters
    ----------
    targets
        The tree of the file, which must not change until everything is encoded.
    heap
        Region that is reserved for the global heap, if any.
    place
        Returns the address of each block.
    headers
        Headers that are planned already.
    rule
        Where blocks of metadata may lie.
    """

    def __init__(
        self,
        targets: ReferenceTargets,
        heap: ReservedRange | None,
        place: Placer,
        headers: Mapping[Node, HeaderPlan] = MappingProxyType({}),
        rule: PageRule = NO_PAGES,
    ) -> None:
        self._targets = targets
        self._place = place
        self._rule = rule
        self._places = Places(rule)
        self._headers = dict(headers)
        self._header_nbytes: dict[Node, int] = {}
        self._dense_nbytes: dict[Node, int] = {}
        targets.count_users()
        self._nodes = targets.to_write()
        moving = set(self._nodes)
        for node in targets.nodes:
            if node.stored_address is not None and node not in moving:
                self._places.headers[node] = node.stored_address
        for node in self._nodes:
            self._place_node(node)
        self._heap = AttributeHeap(referring(self._nodes))
        self._heap.place(place(heap, self._heap.nbytes) if self._heap.nbytes else 0)

    def address(self, node: Node) -> int:
        """Return the address of the header of an object."""
        return self._places.headers[node]

    def encode(self) -> Iterator[tuple[int, bytes]]:
        """Yield address and contents of each block, referents before references."""
        for node in self._nodes:
            if isinstance(node, DatasetNode) and node.parts is None and node.is_data_changed:
                yield from encode_data(node, self._places.data[node], self._rule)
        yield from self._heap.encode(self._address_of)
        resolve = self._heap.resolver(self._address_of)
        for node in self._nodes:
            yield from self._encode_node(node, resolve)

    def settle(self) -> int:
        """Enter in the tree that the generation is in the file: later ones are written elsewhere.

        Returns
        -------
        int
            Bytes of the last generation, apart from chunks, to which nothing refers any more.
        """
        unused = 0
        for node in self._nodes:
            unused += node.header_nbytes
            node.header_nbytes = self._header_nbytes[node] + self._dense_nbytes.get(node, 0)
            node.stored_address, node.is_changed, node.header = self._places.headers[node], False, None
            if isinstance(node, DatasetNode):
                if node.is_data_changed:
                    unused += node.data_nbytes
                    node.data_nbytes = sizeof_data(node, self._rule)
                node.is_data_changed, node.moves_chunks, node.index = False, False, None
            elif isinstance(node, GroupNode):
                node.dense_links = None
        return unused

    def _place_node(self, node: Node) -> None:
        """Assign addresses to an object's index or contiguous data, dense storage and header."""
        places = self._places
        if isinstance(node, DatasetNode):
            if node.is_data_changed:
                if node.moves_chunks:
                    self._place_chunks(node)
                nbytes = sizeof_data(node, self._rule)
                places.data[node] = self._place(node.index, nbytes, is_raw=node.spec.chunks is None)
                node.data_address = places.data[node] if nbytes else None
            else:
                places.data[node] = node.data_address or 0
        header = self._headers.get(node) or HeaderPlan(node, places)
        self._headers[node] = header
        links = node.dense_links if isinstance(node, GroupNode) else None
        for dense, region, dense_nbytes in (
            (places.dense_links, links, header.dense_links_nbytes),
            (places.dense_attributes, None, header.dense_attributes_nbytes),
        ):
            if dense_nbytes:
                dense[node] = self._place(region, dense_nbytes)
                self._dense_nbytes[node] = self._dense_nbytes.get(node, 0) + dense_nbytes
        nbytes = header.sizeof(self._rule)
        places.headers[node] = self._place(node.header, nbytes)
        if node.header is not None and places.headers[node] == node.header.address:
            # the whole region, so that programs can edit it in place, as far as a header can have so much free
            nbytes = header.sizeof(self._rule, min(node.header.nbytes - nbytes, MAX_FREE_NBYTES))
        self._header_nbytes[node] = nbytes

    def _place_chunks(self, dataset: DatasetNode) -> None:
        """Assign addresses to chunks of references: unfiltered, as their sizes must be known before their bytes."""
        old, spec = dataset.chunk_map, dataset.spec
        start = self._place(None, len(old) * spec.chunk_nbytes, is_raw=True)
        records = np.zeros(len(old), RECORD)
        records["number"] = old.numbers
        records["address"] = start + np.arange(len(old)) * spec.chunk_nbytes
        records["stored_nbytes"] = spec.chunk_nbytes
        records["filter_mask"] = (1 << len(spec.filters)) - 1
        chunks = [dataset.reference_chunks[address] for address in old.addresses.tolist()]
        dataset.reference_chunks = dict(zip(records["address"].tolist(), chunks, strict=True))
        dataset.table.record(records)

    def _encode_node(self, node: Node, resolve: Resolve) -> Iterator[tuple[int, bytes]]:
        places = self._places
        header = self._headers[node]
        nbytes = self._header_nbytes[node]
        if isinstance(node, DatasetNode):
            if node.moves_chunks:
                for address, chunk in node.reference_chunks.items():
                    yield address, join_parts(chunk, resolve)
            if node.parts is not None and node.is_data_changed and not node.spec.is_compact:
                yield places.data[node], join_parts(node.parts, resolve)
            elif node.parts is None and node.spec.is_compact and (node.stored is None or node.is_written):
                node.data_address = places.headers[node] + header.data_position(nbytes, self._rule)
        yield from header.encode(nbytes, places, resolve)

    def _address_of(self, reference: AnyReference) -> int:
        found = self._targets.find(reference)
        return found if isinstance(found, int) else self._places.headers[found]
