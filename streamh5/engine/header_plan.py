"""``HeaderPlan``: the header messages of an object, and the dense storage of links and attributes outside of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from streamh5.engine.chunk_index_plan import index_layout
from streamh5.format.data_layout import (
    CompactLayout,
    ContiguousLayout,
    DataLayout,
    VirtualDatasetLayout,
    encode_data_layout,
)
from streamh5.format.dataspace import Dataspace, encode_dataspace
from streamh5.format.datatype import encode_committed_datatype_message, encode_datatype_message
from streamh5.format.dense_storage import (
    DenseStorage,
    dense_attributes,
    dense_links,
)
from streamh5.format.fill_value import AllocationTime, FillValue, WriteTime, encode_fill_value
from streamh5.format.filter_pipeline import encode_filter_pipeline
from streamh5.format.group_info import encode_group_info
from streamh5.format.link import HardLink, Link, encode_link
from streamh5.format.object_header import (
    MAX_FREE_NBYTES,
    POSITION_OF_CONTINUED_MESSAGES,
    SIZEOF_CONTINUATION_BLOCK,
    Message,
    MessageType,
    PackedMessages,
    encode_continuation,
    encode_continuation_block,
    pack_messages,
    position_of_messages,
    sizeof_object_header,
)
from streamh5.format.page_rule import NO_PAGES, PageRule
from streamh5.format.primitives import MAX_MESSAGE_NBYTES, UNDEFINED_ADDRESS
from streamh5.format.reference_count import encode_reference_count
from streamh5.format.shared_message import encode_shared_datatype_message
from streamh5.format.storage_info import StorageInfo, encode_attribute_info, encode_link_info
from streamh5.model.attribute_spec import blank
from streamh5.model.reference import Reference, join_parts
from streamh5.model.tree import DatasetNode, DatatypeNode, GroupNode, Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamh5.format.link import LinkTarget
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.reference import AnyReference, HeapObject, Resolve
    from streamh5.model.stored_data import StoredMessage
    from streamh5.model.tree import LinkedTarget

MAX_COMPACT_LINKS = 256
"""Most links that a group stores in its header, which readers get with one read; more links go to dense
storage, where a B-tree finds a name."""

MAX_KEPT_NBYTES = 1024
"""Most bytes of messages that are kept in memory until it is written; others contain data and are encoded again."""


@dataclass(slots=True)
class Places:
    """Addresses of the parts of each object; 0 while unknown. ``data`` is a chunk index, or data without chunks.

    ``rule`` says where blocks of metadata may lie.
    """

    rule: PageRule = NO_PAGES
    headers: dict[Node, int] = field(default_factory=dict)
    data: dict[Node, int] = field(default_factory=dict)
    dense_links: dict[Node, int] = field(default_factory=dict)
    dense_attributes: dict[Node, int] = field(default_factory=dict)


class HeaderPlan:
    """The header of one object: its size, and its bytes once everything that it refers to has an address.

    Its messages are encoded when the plan is made: those that every object may have, and those of its own. Each of the
    two is encoded a second time only if it has an address that was not known then. Sizes do not depend on addresses.

    Parameters
    ----------
    node
        The object, which must not change any more.
    places
        Addresses of all parts, as far as they are known.

    Attributes
    ----------
    nbytes
        Size in bytes of the smallest header.
    dense_links_nbytes, dense_attributes_nbytes
        Sizes in bytes of the dense storage of links and of attributes; 0 if they are in the header.
    """

    __slots__ = (
        *("_data_stop", "_dense_links", "_has_targets", "_n_messages", "_node", "_own", "_shared"),
        *("dense_attributes_nbytes", "dense_links_nbytes", "nbytes"),
    )

    def __init__(self, node: Node, places: Places) -> None:
        self._node = node
        messages = _Messages(node, places, blank)
        own = self._pack(messages.own())
        is_final = messages.are_final and messages.has_targets
        self._own = own if is_final and len(own) <= MAX_KEPT_NBYTES else None
        self._data_stop = len(own)
        self._dense_links = links = messages.dense_links
        self._has_targets = messages.has_targets
        messages.are_final = True
        shared = self._pack(messages.shared())
        self._shared = shared if messages.are_final and len(shared) <= MAX_KEPT_NBYTES else None
        attributes = messages.dense_attributes
        self.dense_links_nbytes = 0 if links is None else links.nbytes
        self.dense_attributes_nbytes = 0 if attributes is None else attributes.nbytes
        self._n_messages = len(own) + len(shared)
        self.nbytes = sizeof_object_header(self._n_messages, node.optional)

    def sizeof(self, rule: PageRule, slack: int = 0) -> int:
        """Return the size in bytes of the header under a rule, padded with `slack` as far as a page has room.

        A header of two blocks has a page for the first one, in front of the other.
        """
        if not rule.page_nbytes:
            return self.nbytes + slack
        if rule.holds_header(self.nbytes):
            return rule.header_nbytes(self.nbytes, slack)
        n_rest = self._n_messages - self._first_block(rule)[0]
        return rule.page_nbytes + SIZEOF_CONTINUATION_BLOCK + n_rest + slack

    def sizeof_dense_links(self, rule: PageRule) -> int:
        """Return the size of the dense storage of links under another rule."""
        return 0 if self._dense_links is None else replace(self._dense_links, rule=rule).nbytes

    def encode(self, nbytes: int, places: Places, resolve: Resolve) -> Iterator[tuple[int, bytes]]:
        """Yield address and content of the dense storage, and of the header.

        Parameters
        ----------
        nbytes
            Size of the header as `sizeof` returns it, to which it is padded.
        places
            Addresses of all parts.
        resolve
            Encodes parts of attributes and values that contain addresses.
        """
        node, links = self._node, self._dense_links
        if links is not None and isinstance(node, GroupNode):
            if not self._has_targets:
                targets = node.links.values()
                links = links.with_targets(
                    places.headers[one] if isinstance(one, Node) else None for one in targets
                )
            address = places.dense_links[node]
            yield address, links.encode(address)
        messages = _Messages(node, places, resolve, links)
        if self.dense_attributes_nbytes:
            address = places.dense_attributes[node]
            yield address, messages.storage_of_attributes().encode(address)
        own = self._pack(messages.own()) if self._own is None else self._own
        shared = self._pack(messages.shared()) if self._shared is None else self._shared
        yield places.headers[node], self._encode_header(own + shared, nbytes, places)

    def data_position(self, nbytes: int, rule: PageRule) -> int:
        """Return the byte position of compact data in the header that `encode` pads to `nbytes`."""
        dataset = self._node
        if not isinstance(dataset, DatasetNode) or not dataset.spec.is_compact:
            raise TypeError(f"{dataset.path} has no data in its header")
        # the data layout is the last message of its own, and ends with the data
        position = self._data_stop - dataset.spec.value_nbytes
        if not rule.holds_header(self.nbytes):
            n_first, nbytes = self._first_block(rule)
            if not n_first:
                return rule.page_nbytes + POSITION_OF_CONTINUED_MESSAGES + position
        return position_of_messages(nbytes, dataset.optional) + position

    def _first_block(self, rule: PageRule) -> tuple[int, int]:
        """Return of the first of two blocks how many bytes of messages it has, and its size, with free space.

        It has the messages of its own and leaves the others to the continuation block, or leaves all of them to it.
        """
        node = self._node
        pointer = len(self._pack([encode_continuation(0, 0)]))
        n_first = self._data_stop
        if not rule.holds_header(sizeof_object_header(n_first + pointer, node.optional)):
            n_first = 0
        smallest = sizeof_object_header(n_first + pointer, node.optional)
        return n_first, rule.header_nbytes(smallest, MAX_FREE_NBYTES)

    def _encode_header(self, messages: bytes, nbytes: int, places: Places) -> bytes:
        """Encode the header, in a file with pages in two blocks if it would be larger than one."""
        order, optional, rule = self._node.track_order, self._node.optional, places.rule
        if not rule.page_nbytes or rule.holds_header(self.nbytes):
            return PackedMessages(messages, order).encode(optional=optional, size=nbytes)
        n_first, size = self._first_block(rule)
        block = encode_continuation_block(messages[n_first:])
        pointer = encode_continuation(places.headers[self._node] + rule.page_nbytes, len(block))
        head = PackedMessages(messages[:n_first] + self._pack([pointer]), order).encode(
            optional=optional, size=size
        )
        return head.ljust(rule.page_nbytes, b"\0") + block

    def _pack(self, messages: Iterable[Message]) -> bytes:
        return pack_messages(messages, attribute_order=self._node.track_order).content


class _Messages:
    """The messages of an object, with the addresses that are known; others are 0.

    ``are_final`` says whether all addresses were known so far, apart from those of linked objects, of which
    ``has_targets`` says it. ``dense_links`` and ``dense_attributes`` are the storages outside of the header.
    """

    __slots__ = ("are_final", "dense_attributes", "dense_links", "has_targets", "node", "places", "resolver")

    def __init__(
        self, node: Node, places: Places, resolve: Resolve, dense_links: DenseStorage | None = None
    ) -> None:
        self.node = node
        self.places = places
        self.resolver = resolve
        self.dense_links = dense_links
        self.dense_attributes: DenseStorage | None = None
        self.are_final = self.has_targets = True

    def own(self) -> list[Message]:
        """Return the messages that its kind of object has."""
        node = self.node
        match node:
            case DatasetNode():
                return self._dataset_messages(node)
            case DatatypeNode():
                datatype = node.dtype if node.datatype is None else node.datatype
                return [encode_committed_datatype_message(datatype), *self._kept()]
            case GroupNode():
                return self._group_messages(node)

    def shared(self) -> list[Message]:
        """Return the messages that every kind of object may have: attributes, and the number of its names."""
        node = self.node
        n_references = node.n_links
        if isinstance(node, DatatypeNode):
            n_references += node.n_users  # H5O__shared_link_adj
        messages = self._attribute_messages()
        return [*messages, encode_reference_count(n_references)] if n_references > 1 else messages

    def storage_of_links(self) -> DenseStorage:
        """Return the dense storage of the links of a group."""
        if self.dense_links is None:
            self.dense_links = dense_links(self._links(), self.places.rule)
        return self.dense_links

    def storage_of_attributes(self) -> DenseStorage:
        """Return the dense storage of attributes."""
        if self.dense_attributes is None:
            attributes, order = self.node.attributes, self.node.track_order
            self.dense_attributes = dense_attributes(
                list(attributes), self._attribute_bodies(), creation_order=order, rule=self.places.rule
            )
        return self.dense_attributes

    def resolve(self, part: AnyReference | HeapObject) -> bytes:
        """Encode a part of an attribute or a value that contains an address."""
        self.are_final = False
        return self.resolver(part)

    def _address(self, places: dict[Node, int]) -> int:
        """Return the address of a part of the object."""
        address = places.get(self.node)
        if address is None:
            self.are_final = False
            return 0
        return address

    def _kept(self) -> list[Message]:
        """Return the messages of an object of the existing file that stay as they are."""
        return list(map(self._as_stored, self.node.messages))

    def _as_stored(self, message: StoredMessage) -> Message:
        return Message(message.type_id, join_parts(message.body, self.resolve), message.flags)

    def _group_messages(self, group: GroupNode) -> list[Message]:
        kept = self._kept()
        if not any(one.type_id == MessageType.GROUP_INFO for one in kept):  # H5G_obj_insert needs it
            kept.insert(0, encode_group_info())
        if len(group.links) > MAX_COMPACT_LINKS:
            address = self._address(self.places.dense_links)
            return [encode_link_info(self.storage_of_links().info(address)), *kept]
        links = self._links()
        info = StorageInfo(len(links) if group.track_order else None)
        return [encode_link_info(info), *kept, *map(encode_link, links)]

    def _dataset_messages(self, dataset: DatasetNode) -> list[Message]:
        """Return the messages of a dataset; the data layout comes last: see `HeaderPlan.data_position`."""
        stored = dataset.stored
        own = self._property_messages(dataset) if stored is None else self._kept()
        layout = (
            self._as_stored(stored.layout)
            if stored is not None and not dataset.is_written
            else encode_data_layout(self._layout(dataset))
        )
        # Stored even if it repeats the shape, as the library does: chunks are numbered over the
        # maximum shape, which must not change when a program shrinks the dataset.
        spec = dataset.spec
        maxshape = dataset.shape if spec.maxshape is None and spec.chunks is not None else spec.maxshape
        return [encode_dataspace(Dataspace(dataset.shape, maxshape)), *own, layout]

    def _property_messages(self, dataset: DatasetNode) -> list[Message]:
        """Return the messages of a new dataset that describe its elements and its filters."""
        spec = dataset.spec
        time = AllocationTime.INCREMENTAL
        if spec.is_early:
            time = AllocationTime.EARLY
        elif spec.chunks is None and spec.virtual is None:
            time = AllocationTime.EARLY if spec.is_compact else AllocationTime.LATE
        data = spec.fill_data
        fill = None if data is None else join_parts(data, self.resolve)
        # without a fill value, elements of variable length must become null when they are allocated
        is_null = spec.is_encoded and data is None
        write_time = WriteTime.ON_ALLOCATION if is_null else WriteTime.IF_SET
        if spec.write_time is not None:
            write_time = spec.write_time
        return [
            self._datatype_message(spec),
            encode_fill_value(FillValue(spec.allocation_time or time, fill, write_time)),
            *([encode_filter_pipeline(spec.filters)] if spec.filters else []),
        ]

    def _datatype_message(self, spec: DatasetSpec) -> Message:
        if spec.type_path is None:
            return encode_datatype_message(spec.file_datatype)
        return encode_shared_datatype_message(
            int.from_bytes(self.resolve(Reference(spec.type_path)), "little")
        )

    def _layout(self, dataset: DatasetNode) -> DataLayout:
        spec = dataset.spec
        if spec.chunks is not None:
            return index_layout(dataset, self._address(self.places.data), self.places.rule)
        if spec.virtual == b"":
            return VirtualDatasetLayout(UNDEFINED_ADDRESS, 0)
        if dataset.mappings is not None:
            # its length, then the address and the index of its object
            element = self.resolve(dataset.mappings)
            return VirtualDatasetLayout(
                int.from_bytes(element[4:12], "little"), int.from_bytes(element[12:], "little")
            )
        if spec.shape is None:
            return ContiguousLayout(UNDEFINED_ADDRESS, 0)
        if spec.is_compact:
            return CompactLayout(join_parts(dataset.value_parts, self.resolve))
        address = self._address(self.places.data) if dataset.has_value else UNDEFINED_ADDRESS
        return ContiguousLayout(address, spec.value_nbytes)

    def _links(self) -> list[Link]:
        group = self.node
        if not isinstance(group, GroupNode):
            return []
        return [
            Link(name, self._link_target(target), order if group.track_order else None)
            for order, (name, target) in enumerate(group.links.items())
        ]

    def _link_target(self, target: LinkedTarget) -> LinkTarget:
        if isinstance(target, Node):
            address = self.places.headers.get(target)
            self.has_targets = self.has_targets and address is not None
            return HardLink(address or 0)
        return target

    def _attribute_bodies(self) -> list[bytes]:
        return [one.body(self.resolve) for one in self.node.attributes.values()]

    def _attribute_messages(self) -> list[Message]:
        """Return the Attribute Info message, which readers need to count attributes, and the attribute messages."""
        node = self.node
        if not node.attributes and not node.track_order:
            return []
        bodies = self._attribute_bodies()
        if max(map(len, bodies), default=0) > MAX_MESSAGE_NBYTES:
            address = self._address(self.places.dense_attributes)
            return [encode_attribute_info(self.storage_of_attributes().info(address))]
        info = StorageInfo(len(node.attributes) if node.track_order else None)
        return [encode_attribute_info(info), *[Message(MessageType.ATTRIBUTE, body) for body in bodies]]
