"""The header messages of groups and datasets, and the chunk index that a dataset needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.format import data_layout
from streamh5.format.attribute import encode_attribute
from streamh5.format.attribute_info import AttributeInfo, encode_attribute_info
from streamh5.format.chunk_index.fixed_array import (
    SIZEOF_FIXED_ARRAY_HEADER,
    FixedArray,
    encode_fixed_array_data_block,
    encode_fixed_array_header,
)
from streamh5.format.data_layout import ChunkedLayout, ContiguousLayout, encode_data_layout
from streamh5.format.dataspace import Dataspace, encode_dataspace
from streamh5.format.datatype import encode_datatype_message
from streamh5.format.fill_value import AllocationTime, FillValue, encode_fill_value
from streamh5.format.filter_pipeline import encode_filter_pipeline
from streamh5.format.group_info import encode_group_info
from streamh5.format.link import HardLink, Link, encode_link
from streamh5.format.link_info import LinkInfo, encode_link_info
from streamh5.format.object_header import Message, encode_object_header, sizeof_object_header
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.plan.index_choice import ChunkIndex, choose_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from streamh5.plan.attribute_spec import AttributeSpec
    from streamh5.plan.tree import DatasetNode, GroupNode, Node

    Elements = Callable[[AttributeSpec], bytes]

__all__ = [
    "dataset_messages",
    "encode_header",
    "encode_index",
    "group_messages",
    "sizeof_header",
    "sizeof_index",
]


def group_messages(group: GroupNode, addresses: Mapping[str, int], elements: Elements) -> list[Message]:
    """Header messages of a group.

    Parameters
    ----------
    group
        The group.
    addresses
        Header address of each link's object, in creation order.
    elements
        Elements of a string attribute.
    """
    links = [
        encode_link(Link(name, HardLink(address), order if group.track_order else None))
        for order, (name, address) in enumerate(addresses.items())
    ]
    info = LinkInfo(len(links) if group.track_order else None)
    return [encode_link_info(info), encode_group_info(), *links, *_attribute_messages(group, elements)]


def dataset_messages(dataset: DatasetNode, address: int, elements: Elements) -> list[Message]:
    """Header messages of a dataset.

    Parameters
    ----------
    dataset
        The dataset.
    address
        Address of its index; of its value for a scalar.
    elements
        Elements of a string attribute.
    """
    spec = dataset.spec
    time = AllocationTime.LATE if spec.chunks is None else AllocationTime.INCREMENTAL
    fill_value = FillValue(time, None if spec.fillvalue is None else spec.fillvalue.tobytes())
    return [
        encode_dataspace(Dataspace(dataset.shape)),
        encode_datatype_message(spec.dtype),
        encode_fill_value(fill_value),
        *([encode_filter_pipeline(spec.filters)] if spec.filters else []),
        encode_data_layout(_layout(dataset, address)),
        *_attribute_messages(dataset, elements),
    ]


def sizeof_header(node: Node, messages: list[Message]) -> int:
    """Bytes of the object header with `messages`."""
    return sizeof_object_header(messages, attribute_order=node.track_order)


def encode_header(node: Node, messages: list[Message], nbytes: int) -> bytes:
    """Encode the object header with `messages`, padded to `nbytes`."""
    return encode_object_header(messages, attribute_order=node.track_order, size=nbytes)


def sizeof_index(dataset: DatasetNode) -> int:
    """Bytes that a dataset needs besides chunks and header: its index, or a scalar's value."""
    array = _fixed_array(dataset)
    if array is not None:
        return SIZEOF_FIXED_ARRAY_HEADER + array.sizeof_data_block
    return len(dataset.value or b"")


def encode_index(dataset: DatasetNode, address: int) -> Iterator[tuple[int, bytes]]:
    """Encode the index of a dataset, or a scalar's value, to lie at `address`.

    Yields
    ------
    tuple of int, bytes
        Address and content of consecutive pieces.
    """
    array = _fixed_array(dataset)
    if array is None:
        if dataset.value:
            yield address, dataset.value
        return
    table = dataset.table.first(array.n_elements)
    header = encode_fixed_array_header(array, address + SIZEOF_FIXED_ARRAY_HEADER)
    pieces = encode_fixed_array_data_block(
        array, address, table.addresses, table.stored_nbytes, table.filter_masks
    )
    position = address + len(header)
    for piece in pieces:
        yield position, piece
        position += len(piece)
    yield address, header


def _fixed_array(dataset: DatasetNode) -> FixedArray | None:
    """Return the Fixed Array of a dataset, None where it has no such index or no chunk at all."""
    if dataset.spec.chunks is None or dataset.shape is None:
        return None
    n_chunks = dataset.n_chunks
    if n_chunks == 0 or choose_index(n_chunks) is not ChunkIndex.FIXED_ARRAY:
        return None
    return FixedArray(n_chunks, dataset.spec.chunk_nbytes, bool(dataset.spec.filters))


def _layout(dataset: DatasetNode, address: int) -> data_layout.DataLayout:
    spec = dataset.spec
    if spec.chunks is None:
        nbytes = 0 if spec.shape is None else spec.dtype.itemsize
        return ContiguousLayout(UNDEFINED_ADDRESS if dataset.value is None else address, nbytes)
    array = _fixed_array(dataset)
    index: data_layout.ChunkIndex
    if array is not None:
        index = data_layout.FixedArray(array.page_bits, address)
    elif dataset.n_chunks == 0:
        index = data_layout.FixedArray(FixedArray(1, 1, False).page_bits)
    else:
        index = _single_chunk(dataset)
    return ChunkedLayout(spec.chunks, spec.dtype.itemsize, index)


def _single_chunk(dataset: DatasetNode) -> data_layout.SingleChunk:
    table = dataset.table
    written = bool(len(table)) and bool(table.addresses[0])
    stored_nbytes = int(table.stored_nbytes[0]) if written and table.stored_nbytes is not None else 0
    return data_layout.SingleChunk(
        int(table.addresses[0]) if written else UNDEFINED_ADDRESS,
        stored_nbytes if dataset.spec.filters else None,
        int(table.filter_masks[0]) if written and table.filter_masks is not None else 0,
    )


def _attribute_messages(node: Node, elements: Elements) -> list[Message]:
    """Attribute info, which readers need to count attributes, and the attributes."""
    if not node.attributes and not node.track_order:
        return []
    info = AttributeInfo(len(node.attributes) if node.track_order else None)
    attributes = [encode_attribute(spec.attribute(elements)) for spec in node.attributes.values()]
    return [encode_attribute_info(info), *attributes]
