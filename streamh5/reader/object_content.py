"""Groups and datasets: what the messages of an object header say together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.attribute import Attribute
from streamh5.format.attribute_info import AttributeInfo
from streamh5.format.data_layout import (
    ChunkedLayout,
    ChunkedLayoutV3,
    CompactLayout,
    ContiguousLayout,
    DataLayout,
)
from streamh5.format.dataspace import Dataspace
from streamh5.format.datatype_class import DatatypeClass
from streamh5.format.fill_value import FillValue
from streamh5.format.filter_pipeline import FilterRecord
from streamh5.format.link import Link
from streamh5.format.link_info import LinkInfo
from streamh5.format.object_header import MessageType
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.attribute import decode_attribute, decode_attribute_info, decode_reference_count
from streamh5.reader.chunk_index.chunk_map import ChunkFrame
from streamh5.reader.data_layout import decode_data_layout
from streamh5.reader.dataspace import decode_dataspace
from streamh5.reader.datatype import decode_datatype
from streamh5.reader.fill_value import decode_fill_value
from streamh5.reader.filter_pipeline import decode_filter_pipeline
from streamh5.reader.link import decode_group_info, decode_link, decode_link_info

if TYPE_CHECKING:
    from streamh5.format.object_header import Message
    from streamh5.reader.dense_storage import DenseStorage
    from streamh5.reader.object_header import ObjectHeader

__all__ = ["DatasetMessages", "GroupMessages", "ObjectMessages", "decode_object"]

_SHARED = 0x02

_DECODERS: dict[int, Callable[[bytes], Any]] = {
    MessageType.DATASPACE: decode_dataspace,
    MessageType.LINK_INFO: decode_link_info,
    MessageType.DATATYPE: decode_datatype,
    MessageType.FILL_VALUE: decode_fill_value,
    MessageType.LINK: decode_link,
    MessageType.DATA_LAYOUT: decode_data_layout,
    MessageType.GROUP_INFO: decode_group_info,
    MessageType.FILTER_PIPELINE: decode_filter_pipeline,
    MessageType.ATTRIBUTE: decode_attribute,
    MessageType.ATTRIBUTE_INFO: decode_attribute_info,
    MessageType.REFERENCE_COUNT: decode_reference_count,
}
_REPEATED = frozenset({MessageType.LINK, MessageType.ATTRIBUTE})
_WITHOUT_EFFECT = frozenset({0x04, 0x0D, 0x0E, 0x12})
"""The old fill value, which stands beside the new one; a comment; times of modification."""


@dataclass(frozen=True, slots=True)
class ObjectMessages:
    """What every object has.

    Attributes
    ----------
    attributes
        In the order in which they stand.
    n_links
        Hard links to the object, as it says itself.
    unchecked
        What it has that streamh5 does not write.
    """

    attributes: tuple[Attribute, ...]
    n_links: int
    unchecked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupMessages:
    """A group: its links."""

    common: ObjectMessages
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class DatasetMessages:
    """A dataset; its messages agree with each other."""

    common: ObjectMessages
    dataspace: Dataspace
    datatype: DatatypeClass
    layout: DataLayout
    fill_value: FillValue | None
    filters: tuple[FilterRecord, ...]

    @property
    def nbytes(self) -> int:
        """Raw bytes of all elements."""
        shape = self.dataspace.shape
        return 0 if shape is None else math.prod(shape) * self.datatype.nbytes

    def frame(self, path: str) -> ChunkFrame | None:
        """Return what its chunk index must fit; None where it is not chunked."""
        layout, shape = self.layout, self.dataspace.shape
        if not isinstance(layout, (ChunkedLayout, ChunkedLayoutV3)) or shape is None:
            return None
        version = layout.version if isinstance(layout, ChunkedLayout) else 3
        maxshape = self.dataspace.maxshape or shape
        return ChunkFrame(
            path, shape, maxshape, layout.chunks, layout.element_nbytes, len(self.filters), version
        )


def decode_object(header: ObjectHeader, dense: DenseStorage) -> GroupMessages | DatasetMessages:
    """Decode the messages of a group or dataset, read its dense storage, and check that all go together.

    Raises
    ------
    FormatError
        A message is damaged, missing, there twice, or contradicts another.
    ForeignStructureError
        An object that is neither group nor dataset, or whose structure streamh5 does not write.
    """
    found: dict[int, Any] = {}
    lists: dict[int, list[Any]] = {message_type: [] for message_type in _REPEATED}
    unchecked: list[str] = []
    for stored in header.messages:
        message_type = stored.message.type_id
        if message_type in _WITHOUT_EFFECT:
            continue
        try:
            value = _decode_message(stored.message)
        except ForeignStructureError as error:
            if message_type in _DECODERS and message_type != MessageType.ATTRIBUTE:
                raise
            unchecked.append(str(error))
            continue
        if message_type in _REPEATED:
            lists[message_type].append(value)
        elif message_type in found:
            raise FormatError(f"object header: two messages of type {message_type:#04x}")
        else:
            found[message_type] = value
    common = _common(found, lists[MessageType.ATTRIBUTE], unchecked, dense)
    if MessageType.DATA_LAYOUT in found:
        return _dataset(found, common)
    if MessageType.LINK_INFO in found:
        return _group(found[MessageType.LINK_INFO], lists[MessageType.LINK], common, dense)
    types = ", ".join(f"{message_type:#04x}" for message_type in found)
    raise ForeignStructureError(f"an object that is neither group nor dataset: messages {types or 'none'}")


def _decode_message(message: Message) -> Any:
    if message.flags & _SHARED:
        raise ForeignStructureError(f"a shared message of type {message.type_id:#04x}")
    decode = _DECODERS.get(message.type_id)
    if decode is None:
        raise ForeignStructureError(f"a message of type {message.type_id:#04x}")
    return decode(message.body)


def _common(
    found: dict[int, Any], attributes: list[Attribute], unchecked: list[str], dense: DenseStorage
) -> ObjectMessages:
    info: AttributeInfo | None = found.get(MessageType.ATTRIBUTE_INFO)
    if info is not None:
        try:
            attributes += dense.attributes(info)
        except ForeignStructureError as error:
            unchecked.append(str(error))
    if len({attribute.name for attribute in attributes}) < len(attributes):
        raise FormatError("object header: two attributes of one name")
    if attributes and info is None:
        raise FormatError(f"object header: {len(attributes)} attributes, but no attribute info message")
    n_links = found.get(MessageType.REFERENCE_COUNT, 1)
    return ObjectMessages(tuple(attributes), n_links, tuple(unchecked))


def _group(info: LinkInfo, links: list[Link], common: ObjectMessages, dense: DenseStorage) -> GroupMessages:
    links += dense.links(info)
    if len({link.name for link in links}) < len(links):
        raise FormatError("object header: two links of one name")
    if any((link.creation_order is None) != (info.max_creation_index is None) for link in links):
        raise FormatError("object header: the links of a group disagree whether their order is tracked")
    return GroupMessages(common, tuple(links))


def _dataset(found: dict[int, Any], common: ObjectMessages) -> DatasetMessages:
    for message_type in (MessageType.DATASPACE, MessageType.DATATYPE):
        if message_type not in found:
            raise FormatError(f"object header: a dataset without message of type {message_type:#04x}")
    dataset = DatasetMessages(
        common,
        found[MessageType.DATASPACE],
        found[MessageType.DATATYPE],
        found[MessageType.DATA_LAYOUT],
        found.get(MessageType.FILL_VALUE),
        found.get(MessageType.FILTER_PIPELINE, ()),
    )
    _check_dataset(dataset)
    return dataset


def _check_dataset(dataset: DatasetMessages) -> None:
    layout, shape, element_nbytes = dataset.layout, dataset.dataspace.shape, dataset.datatype.nbytes
    value = None if dataset.fill_value is None else dataset.fill_value.value
    if value and len(value) != element_nbytes:
        raise FormatError(
            f"fill value message: {len(value):,} bytes for a datatype of {element_nbytes:,} bytes"
        )
    match layout:
        case CompactLayout():
            if len(layout.data) != dataset.nbytes:
                raise FormatError(
                    f"data layout message: {len(layout.data):,} bytes of compact data, the shape needs "
                    f"{dataset.nbytes:,}"
                )
        case ContiguousLayout():
            if layout.address != UNDEFINED_ADDRESS and layout.nbytes != dataset.nbytes:
                raise FormatError(
                    f"data layout message: {layout.nbytes:,} contiguous bytes, the shape needs {dataset.nbytes:,}"
                )
        case _:
            if len(layout.chunks) != len(shape or ()) or layout.element_nbytes != element_nbytes:
                raise FormatError(
                    f"data layout message: chunks {layout.chunks} of {layout.element_nbytes}-byte elements for "
                    f"shape {shape} of {element_nbytes}-byte elements"
                )
            return
    if dataset.filters:
        raise FormatError("filter pipeline message: filters of a dataset without chunks")
