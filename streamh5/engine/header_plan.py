"""``HeaderPlan``: the header messages of an object, and the dense storage of links and attributes outside of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamh5.engine.chunk_index_plan import index_layout
from streamh5.format.attribute import Attribute, encode_attribute
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
    Message,
    MessageType,
    encode_object_header,
    position_of_body,
    sizeof_object_header,
)
from streamh5.format.primitives import MAX_MESSAGE_NBYTES, UNDEFINED_ADDRESS
from streamh5.format.reference_count import encode_reference_count
from streamh5.format.shared_message import encode_shared_datatype_message
from streamh5.format.storage_info import StorageInfo, encode_attribute_info, encode_link_info
from streamh5.model.reference import Reference, join_parts
from streamh5.model.tree import DatasetNode, DatatypeNode, GroupNode, Node

if TYPE_CHECKING:
    from streamh5.format.link import LinkTarget
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.reference import Resolve
    from streamh5.model.stored_data import StoredMessage
    from streamh5.model.tree import LinkedTarget

MAX_COMPACT_LINKS = 256
"""Most links that a group stores in its header, which readers get with one read; more links go to dense
storage, where a B-tree finds a name."""


@dataclass(slots=True)
class Places:
    """Addresses of the parts of each object; 0 while unknown. ``data`` is a chunk index, or data without chunks."""

    headers: dict[Node, int] = field(default_factory=dict)
    data: dict[Node, int] = field(default_factory=dict)
    dense_links: dict[Node, int] = field(default_factory=dict)
    dense_attributes: dict[Node, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeaderPlan:
    """The header of one object.

    Parameters
    ----------
    node
        The object.
    places
        Addresses of all parts; sizes do not depend on them.
    resolve
        Encodes the parts of attributes and values that contain addresses.
    """

    node: Node
    places: Places
    resolve: Resolve

    @property
    def nbytes(self) -> int:
        """Size in bytes of the smallest header."""
        return sizeof_object_header(
            self._messages(), attribute_order=self.node.track_order, optional=self.node.optional
        )

    @property
    def dense_links_nbytes(self) -> int:
        """Size in bytes of the dense storage of links; 0 if they are in the header."""
        return dense_links(self._links()).nbytes if self._has_dense_links else 0

    @property
    def dense_attributes_nbytes(self) -> int:
        """Size in bytes of the dense storage of attributes; 0 if they are in the header."""
        return self._dense_attributes().nbytes if self._has_dense_attributes else 0

    def encode(self, nbytes: int) -> bytes:
        """Encode the header, padded to `nbytes`."""
        node = self.node
        return encode_object_header(
            self._messages(), attribute_order=node.track_order, optional=node.optional, size=nbytes
        )

    def data_position(self, nbytes: int) -> int:
        """Return the byte position of compact data in the header that `encode` pads to `nbytes`."""
        dataset = self.node
        if not isinstance(dataset, DatasetNode) or not dataset.spec.is_compact:
            raise TypeError(f"{dataset.path} has no data in its header")
        own = self._dataset_messages(dataset)  # its data layout comes last, and ends with the data
        order = dataset.track_order
        start = position_of_body(
            own, len(own) - 1, attribute_order=order, optional=dataset.optional, size=nbytes
        )
        return start + len(own[-1].body) - dataset.spec.value_nbytes

    def encode_dense_links(self) -> bytes:
        """Encode the dense storage of links."""
        return dense_links(self._links()).encode(self.places.dense_links[self.node])

    def encode_dense_attributes(self) -> bytes:
        """Encode the dense storage of attributes."""
        return self._dense_attributes().encode(self.places.dense_attributes[self.node])

    def _messages(self) -> list[Message]:
        node = self.node
        n_references = node.n_links
        match node:
            case DatasetNode():
                own = self._dataset_messages(node)
            case DatatypeNode():
                datatype = node.dtype if node.datatype is None else node.datatype
                own = [encode_committed_datatype_message(datatype), *self._kept()]
                n_references += node.n_users  # H5O__shared_link_adj
            case GroupNode():
                own = self._group_messages(node)
        count = [encode_reference_count(n_references)] if n_references > 1 else []
        return [*own, *self._attribute_messages(), *count]

    def _kept(self) -> list[Message]:
        """Return the messages of an object of the existing file that stay as they are."""
        return list(map(self._as_stored, self.node.messages))

    def _as_stored(self, message: StoredMessage) -> Message:
        return Message(message.type_id, join_parts(message.body, self.resolve), message.flags)

    def _group_messages(self, group: GroupNode) -> list[Message]:
        kept = self._kept()
        if not any(one.type_id == MessageType.GROUP_INFO for one in kept):  # H5G_obj_insert needs it
            kept.insert(0, encode_group_info())
        if self._has_dense_links:
            address = self.places.dense_links.get(group, 0)
            return [encode_link_info(dense_links(self._links()).info(address)), *kept]
        links = self._links()
        info = StorageInfo(len(links) if group.track_order else None)
        return [encode_link_info(info), *kept, *map(encode_link, links)]

    def _dataset_messages(self, dataset: DatasetNode) -> list[Message]:
        """Return the messages of a dataset; the data layout comes last: see `data_position`."""
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
        address = self.places.data.get(dataset, 0)
        if spec.chunks is not None:
            return index_layout(dataset, address)
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
        return ContiguousLayout(address if dataset.has_value else UNDEFINED_ADDRESS, spec.value_nbytes)

    @property
    def _has_dense_links(self) -> bool:
        return isinstance(self.node, GroupNode) and len(self.node.links) > MAX_COMPACT_LINKS

    @property
    def _has_dense_attributes(self) -> bool:
        return any(spec.body_nbytes > MAX_MESSAGE_NBYTES for spec in self.node.attributes.values())

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
            return HardLink(self.places.headers.get(target, 0))
        return target

    def _dense_attributes(self) -> DenseStorage:
        return dense_attributes(self._attributes(), creation_order=self.node.track_order)

    def _attributes(self) -> list[Attribute]:
        return [spec.attribute(self.resolve) for spec in self.node.attributes.values()]

    def _attribute_messages(self) -> list[Message]:
        """Return the Attribute Info message, which readers need to count attributes, and the attribute messages."""
        node = self.node
        if not node.attributes and not node.track_order:
            return []
        if self._has_dense_attributes:
            address = self.places.dense_attributes.get(node, 0)
            return [encode_attribute_info(self._dense_attributes().info(address))]
        info = StorageInfo(len(node.attributes) if node.track_order else None)
        return [encode_attribute_info(info), *map(encode_attribute, self._attributes())]
