"""Groups, datasets and named datatypes, from the messages of their object headers (specification IV.A.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.annotation import (
    decode_comment,
    decode_modification_time,
    decode_old_modification_time,
)
from streamh5.format.attribute import (
    Attribute,
    decode_attribute,
)
from streamh5.format.data_layout import (
    UNSTATED_NBYTES,
    ChunkedLayout,
    CompactLayout,
    ContiguousLayout,
    DataLayout,
    VirtualDatasetLayout,
    decode_data_layout,
)
from streamh5.format.dataspace import Dataspace, decode_dataspace
from streamh5.format.datatype import decode_datatype_message
from streamh5.format.datatype_class import DatatypeClass
from streamh5.format.external_file_list import decode_external_file_list
from streamh5.format.fields import ENCODING, Encoding
from streamh5.format.fill_value import AllocationTime, FillValue, decode_fill_value, decode_old_fill_value
from streamh5.format.filter_pipeline import FilterRecord, decode_filter_pipeline
from streamh5.format.group_info import decode_group_info
from streamh5.format.link import Link, decode_link
from streamh5.format.object_header import MessageFlag, MessageType
from streamh5.format.primitives import N_CACHED, UNDEFINED_ADDRESS
from streamh5.format.reference_count import decode_reference_count
from streamh5.format.storage_info import StorageInfo, decode_attribute_info, decode_link_info
from streamh5.format.symbol_table import decode_symbol_table
from streamh5.reader.chunk_index.chunk_frame import ChunkFrame
from streamh5.reader.object_storage import ExternalFile

if TYPE_CHECKING:
    from streamh5.format.object_header import Message
    from streamh5.reader.object_header import ObjectHeader
    from streamh5.reader.object_storage import ObjectStorage

_DECODERS: dict[int, Callable[[bytes, Encoding], Any]] = {
    MessageType.DATASPACE: decode_dataspace,
    MessageType.LINK_INFO: decode_link_info,
    MessageType.DATATYPE: decode_datatype_message,
    MessageType.OLD_FILL_VALUE: decode_old_fill_value,
    MessageType.FILL_VALUE: decode_fill_value,
    MessageType.LINK: decode_link,
    MessageType.EXTERNAL_FILES: decode_external_file_list,
    MessageType.DATA_LAYOUT: decode_data_layout,
    MessageType.GROUP_INFO: decode_group_info,
    MessageType.FILTER_PIPELINE: decode_filter_pipeline,
    MessageType.COMMENT: decode_comment,
    MessageType.OLD_MODIFICATION_TIME: decode_old_modification_time,
    MessageType.SYMBOL_TABLE: decode_symbol_table,
    MessageType.MODIFICATION_TIME: decode_modification_time,
    MessageType.ATTRIBUTE_INFO: decode_attribute_info,
    MessageType.REFERENCE_COUNT: decode_reference_count,
}

_MAX_PADDING_NBYTES = 7
"""Messages of version 1 headers are padded to multiples of 8 bytes."""


@dataclass(frozen=True, slots=True)
class ObjectMessages:
    """The messages that every object may have.

    Attributes
    ----------
    attributes
        Attributes in creation order if it is tracked, or else in stored order.
    n_links
        Stored number of hard links to the object; uses of a named datatype count as links.
    unchecked
        Structures of the object that the reader does not know.
    comment
        Text of the comment message; None without.
    """

    attributes: tuple[Attribute, ...]
    n_links: int
    unchecked: tuple[str, ...]
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class GroupMessages:
    """A group with its links of all kinds, and whether the creation order of its links is tracked."""

    common: ObjectMessages
    links: tuple[Link, ...]
    is_ordered: bool = False


@dataclass(frozen=True, slots=True)
class DatatypeMessages:
    """A named datatype: its decoded record, and the body of its message as stored."""

    common: ObjectMessages
    datatype: DatatypeClass
    datatype_body: bytes


@dataclass(frozen=True, slots=True)
class DatasetMessages:
    """A dataset, whose messages agree with each other.

    Attributes
    ----------
    common
        Attributes and other messages that every object may have.
    dataspace, datatype, layout
        Shape, datatype and storage. The address of contiguous data is undefined if nothing is stored, or if the data is
        in external files.
    fill_value
        None without a message. Its value is None for zeros and for an undefined fill value.
    filters
        Records of the filters, in the order in which they encode.
    datatype_body
        Body of the datatype message as stored, in this header or in that of a named datatype.
    external_files
        Parts of external files that contain the data, in this order.
    """

    common: ObjectMessages
    dataspace: Dataspace
    datatype: DatatypeClass
    layout: DataLayout
    fill_value: FillValue | None
    filters: tuple[FilterRecord, ...]
    datatype_body: bytes = b""
    external_files: tuple[ExternalFile, ...] = ()

    @property
    def nbytes(self) -> int:
        """Size of all elements in bytes, without filters."""
        shape = self.dataspace.shape
        return 0 if shape is None else math.prod(shape) * self.datatype.nbytes

    def frame(self, path: str) -> ChunkFrame | None:
        """Return what the chunk index must fit; None for other layouts."""
        layout, shape = self.layout, self.dataspace.shape
        if not isinstance(layout, ChunkedLayout) or shape is None:
            return None
        return ChunkFrame(path, shape, self.dataspace.maxshape or shape, layout, self.filters)


def decode_object(
    header: ObjectHeader, dense: ObjectStorage
) -> GroupMessages | DatasetMessages | DatatypeMessages:
    """Decode the messages of an object, read what it stores outside its header, and check that these agree.

    Raises
    ------
    FormatError
        A message is damaged, missing or repeated, or contradicts another message.
    ForeignStructureError
        The object is not a group, dataset or datatype, or has a structure that the reader does not know.
    """
    found: dict[int, Any] = {}
    links: list[Link] = []
    attributes: list[tuple[int, Attribute]] = []
    unchecked: list[str] = []
    encoding = dense.encoding
    padded = encoding.with_padding()
    for message in header.messages:
        message_type = message.type_id
        has_padding = header.version == 1 or message.flags & MessageFlag.SHARED
        try:
            value = _decode_message(message, padded if has_padding else encoding, dense)
        except ForeignStructureError as error:
            if message_type in _DECODERS:
                raise  # without this message, the object cannot be understood
            unchecked.append(str(error))
            continue
        if message_type == MessageType.LINK:
            links.append(value)
        elif message_type == MessageType.ATTRIBUTE:
            attributes.append((message.creation_index, value))
        elif message_type in found:
            raise FormatError(f"object header: it has two messages of type {message_type:#04x}")
        else:
            found[message_type] = value
    in_order = [one for _, one in sorted(attributes, key=itemgetter(0))]
    common = _common(found, in_order, unchecked, header, dense)
    if MessageType.DATA_LAYOUT in found:
        return _dataset(found, common, dense)
    if MessageType.LINK_INFO in found or MessageType.SYMBOL_TABLE in found:
        return _group(found, links, common, dense)
    if MessageType.DATATYPE in found:
        return DatatypeMessages(common, *found[MessageType.DATATYPE])
    types = ", ".join(f"{message_type:#04x}" for message_type in found)
    raise ForeignStructureError(
        f"an object that is not a group, dataset or datatype: its messages are {types or 'none'}"
    )


def _decode_message(message: Message, encoding: Encoding, dense: ObjectStorage) -> Any:
    body, type_id = message.body, message.type_id
    if message.flags & MessageFlag.SHARED:
        body = dense.resolve(type_id, body)
    if type_id == MessageType.ATTRIBUTE:
        return decode_attribute(body, encoding, dense.resolve)
    decode = _DECODERS.get(type_id)
    if decode is None:
        raise ForeignStructureError(f"a message of type {type_id:#04x}")
    return decode(body, encoding)


@lru_cache(N_CACHED)
def without_padding(message: Message) -> bytes:
    """Return the body of a message of a version 1 header without the padding that ends it.

    The body that remains is the shortest one that decodes: headers of version 2 have no padding. Old libraries left
    more than `_MAX_PADDING_NBYTES` after datatypes with arrays.
    """
    decode, body = _DECODERS.get(message.type_id), message.body
    if decode is not None:
        near = max(0, len(body) - _MAX_PADDING_NBYTES)
        for nbytes in (*range(near, len(body) + 1), *range(near)):
            with suppress(FormatError, ForeignStructureError):
                decode(body[:nbytes], ENCODING)
                return body[:nbytes]
    return body


def _common(
    found: dict[int, Any],
    attributes: list[Attribute],
    unchecked: list[str],
    header: ObjectHeader,
    dense: ObjectStorage,
) -> ObjectMessages:
    info: StorageInfo | None = found.get(MessageType.ATTRIBUTE_INFO)
    if info is not None:
        try:
            attributes += dense.attributes(info)
        except ForeignStructureError as error:
            unchecked.append(str(error))
    if len({attribute.name for attribute in attributes}) < len(attributes):
        raise FormatError("object header: two attributes have the same name")
    n_links = found.get(MessageType.REFERENCE_COUNT, 1) if header.n_links is None else header.n_links
    return ObjectMessages(tuple(attributes), n_links, tuple(unchecked), found.get(MessageType.COMMENT))


def _group(
    found: dict[int, Any], links: list[Link], common: ObjectMessages, dense: ObjectStorage
) -> GroupMessages:
    info: StorageInfo | None = found.get(MessageType.LINK_INFO)
    if MessageType.SYMBOL_TABLE in found:
        links += dense.symbol_table(*found[MessageType.SYMBOL_TABLE])
    if info is not None:
        links += dense.links(info)
        if any((link.creation_order is None) != (info.max_creation_index is None) for link in links):
            raise FormatError("object header: only some links of a group have a creation order")
    if len({link.name for link in links}) < len(links):
        raise FormatError("object header: two links have the same name")
    return GroupMessages(common, tuple(links), info is not None and info.max_creation_index is not None)


def _dataset(found: dict[int, Any], common: ObjectMessages, dense: ObjectStorage) -> DatasetMessages:
    for message_type in (MessageType.DATASPACE, MessageType.DATATYPE):
        if message_type not in found:
            raise FormatError(f"object header: a dataset without a message of type {message_type:#04x}")
    datatype, datatype_body = found[MessageType.DATATYPE]
    fill_value: FillValue | None = found.get(MessageType.FILL_VALUE)
    if fill_value is None and MessageType.OLD_FILL_VALUE in found:
        fill_value = FillValue(AllocationTime.LATE, found[MessageType.OLD_FILL_VALUE] or None)
    dataset = DatasetMessages(
        common,
        found[MessageType.DATASPACE],
        datatype,
        found[MessageType.DATA_LAYOUT],
        fill_value,
        found.get(MessageType.FILTER_PIPELINE, ()),
        datatype_body,
        dense.external_files(found[MessageType.EXTERNAL_FILES])
        if MessageType.EXTERNAL_FILES in found
        else (),
    )
    layout = dataset.layout
    if isinstance(layout, ContiguousLayout) and layout.nbytes == UNSTATED_NBYTES:
        dataset = replace(dataset, layout=replace(layout, nbytes=dataset.nbytes))
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
                    f"data layout message: {len(layout.data):,} bytes of compact data, but the elements have "
                    f"{dataset.nbytes:,}"
                )
        case ContiguousLayout():
            if layout.address != UNDEFINED_ADDRESS and layout.nbytes != dataset.nbytes:
                raise FormatError(
                    f"data layout message: {layout.nbytes:,} contiguous bytes, but the elements have {dataset.nbytes:,}"
                )
        case VirtualDatasetLayout():
            pass
        case _:
            if len(layout.chunks) != len(shape or ()) or layout.element_nbytes != element_nbytes:
                raise FormatError(
                    f"data layout message: chunks {layout.chunks} of {layout.element_nbytes}-byte elements for "
                    f"shape {shape} of {element_nbytes}-byte elements"
                )
