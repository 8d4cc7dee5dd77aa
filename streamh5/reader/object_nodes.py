"""The objects of an existing file as nodes of a tree that can be changed.

What the model does not express (datatypes of other libraries, fill values, filters, comments, unknown messages) is kept
as messages, byte for byte.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import ForeignStructureError, StreamH5Error
from streamh5.filters.chunk_decoder import chunk_decoder
from streamh5.format.data_layout import ChunkedLayout, CompactLayout, ContiguousLayout, VirtualDatasetLayout
from streamh5.format.datatype import datatype_class, encode_datatype
from streamh5.format.datatype_class import EncodedDatatype, VariableLengthString
from streamh5.format.dtype import numpy_dtype
from streamh5.format.elements import has_references, needs_global_heap
from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import SIZEOF_ADDRESS, UNDEFINED_ADDRESS
from streamh5.format.shared_message import decode_shared_message, encode_shared_datatype
from streamh5.model.attribute_spec import AttributeSpec
from streamh5.model.chunk_records import RECORD
from streamh5.model.chunk_table import ChunkTable
from streamh5.model.dataset_spec import DatasetSpec
from streamh5.model.reference import (
    HeapObject,
    Reference,
    RegionReference,
    StoredReference,
    StoredRegionReference,
)
from streamh5.model.stored_data import StoredData, StoredMessage
from streamh5.model.tree import DatasetNode, DatatypeNode, GroupNode
from streamh5.reader.chunk_index.read_index import read_chunk_map
from streamh5.reader.elements import read_elements
from streamh5.reader.file_map import FileMap
from streamh5.reader.global_heap import GlobalHeap
from streamh5.reader.object_content import (
    DatasetMessages,
    DatatypeMessages,
    GroupMessages,
    without_padding,
)
from streamh5.reader.stored_chunks import StoredChunks
from streamh5.reader.stored_parts import stored_parts, stored_value

if TYPE_CHECKING:
    from streamh5.format.attribute import Attribute
    from streamh5.format.datatype_class import DatatypeClass
    from streamh5.format.link import Link
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.model.reference import Parts
    from streamh5.model.tree import Node
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.object_header import ObjectHeader
    from streamh5.reader.object_walk import ObjectPlace, ObjectWalk

_OURS = frozenset(
    {
        MessageType.DATASPACE,
        MessageType.DATA_LAYOUT,
        MessageType.LINK_INFO,
        MessageType.LINK,
        MessageType.SYMBOL_TABLE,
        MessageType.ATTRIBUTE,
        MessageType.ATTRIBUTE_INFO,
        MessageType.REFERENCE_COUNT,
    }
)
"""Messages that are encoded again from the model when a header moves."""


MAX_REFERENCE_NBYTES = 64 << 20
"""Most bytes of chunks with references of one dataset: a reference takes 100 to 200 bytes of memory."""


class NodeReader:
    """Reads the objects of one file as nodes.

    Parameters
    ----------
    file, walk
        The file, and the walk over its objects.
    libver
        Oldest library that can read it, which decides the chunk index of data that gets chunks later.
    is_paged
        Whether it has pages: then old chunk indexes are replaced when they change, as they do not obey the `PageRule`.

    Attributes
    ----------
    nodes
        The objects by the addresses of their headers.
    """

    def __init__(self, file: FileBytes, walk: ObjectWalk, libver: str, *, is_paged: bool = False) -> None:
        self._file = file
        self._libver, self._is_paged = libver, is_paged
        self.walk = walk
        self._heap = GlobalHeap(file, FileMap(file.nbytes))
        self.nodes: dict[int, Node] = {}

    def read(self, place: ObjectPlace) -> tuple[Node, list[Link]]:
        """Return the object at a place, and its links in the order of creation.

        Raises
        ------
        FormatError
            It is damaged.
        ForeignStructureError
            It has something that the reader does not know.
        """
        before = self.walk.file_map.claimed_nbytes
        header = self.walk.header(place)
        content = self.walk.messages(place, header)
        links: list[Link] = []
        node: Node
        match content:
            case GroupMessages():
                node = GroupNode(place.path, header.attribute_order)
                links = sorted(content.links, key=lambda link: link.creation_order or 0)
                node.track_order = header.attribute_order or content.is_ordered
            case DatatypeMessages(datatype=datatype, datatype_body=body):
                node = DatatypeNode(
                    place.path, _dtype(datatype), EncodedDatatype(body), track_order=header.attribute_order
                )
            case DatasetMessages():
                node = self._dataset(place, header, content)
        node.stored_address, node.n_links = place.address, content.common.n_links
        node.optional = header.optional
        node.header_nbytes = self.walk.file_map.claimed_nbytes - before
        is_type = isinstance(node, DatatypeNode)  # its message is encoded from the node
        node.messages = tuple(
            self._kept(one, header)
            for one in header.messages
            if one.type_id not in _OURS and not (is_type and one.type_id == MessageType.DATATYPE)
        )
        for one in content.common.attributes:
            node.attributes[one.name] = self._attribute(one, place.path)
        self.nodes[place.address] = node
        return node, links

    def _kept(self, message: Message, header: ObjectHeader) -> StoredMessage:
        """Return a message to be kept; that of a named datatype follows the datatype when it moves."""
        if not message.flags & MessageFlag.SHARED:
            body = without_padding(message) if header.version == 1 else message.body
            return StoredMessage(message.type_id, (body,), message.flags)
        target = decode_shared_message(message.body, self._file.encoding)
        if isinstance(target, bytes):  # in the heap of shared messages, which stays
            return StoredMessage(message.type_id, (message.body,), message.flags)
        pointer = encode_shared_datatype(target)[:-SIZEOF_ADDRESS]
        return StoredMessage(message.type_id, (pointer, StoredReference(target)), message.flags)

    def _attribute(self, attribute: Attribute, owner: str) -> AttributeSpec:
        committed = attribute.committed_address
        return AttributeSpec(
            attribute.name,
            EncodedDatatype(attribute.datatype_body),
            attribute.dataspace.shape,
            stored_parts(attribute.data, attribute.datatype, self._heap, owner),
            read_value=partial(self._attribute_value, attribute),
            committed=None if committed is None else StoredReference(committed),
        )

    def _attribute_value(self, attribute: Attribute) -> Any:
        if attribute.dataspace.shape is None:
            return None
        heap = partial(self._heap.content, owner="")
        return stored_value(attribute.datatype, attribute.dataspace.shape, attribute.data, heap, self._refer)

    def _refer(self, address: int, selection: bytes) -> Any:
        node = self.nodes.get(address)
        if node is None:
            return StoredReference(address)
        return RegionReference(node.path, selection) if selection else Reference(node.path)

    def _dataset(self, place: ObjectPlace, header: ObjectHeader, content: DatasetMessages) -> DatasetNode:
        layout = next(one for one in header.messages if one.type_id == MessageType.DATA_LAYOUT)
        dtype, problem = _writable_dtype(content)
        shape, maxshape = content.dataspace.shape, content.dataspace.maxshape
        chunked = content.layout if isinstance(content.layout, ChunkedLayout) else None
        spec = DatasetSpec(
            place.path,
            shape,
            dtype,
            chunks=None if chunked is None else chunked.chunks,
            filters=content.filters,
            track_order=header.attribute_order,
            maxshape=None if maxshape == shape and chunked is not None else maxshape,
            libver=self._libver
            if chunked is None
            else "v108"
            if chunked.version == 3 and not self._is_paged
            else "v110",
            datatype=EncodedDatatype(content.datatype_body),
        )
        stored = StoredData(
            self._kept(layout, header),
            partial(self._table, place.path, content, spec),
            partial(self._elements, place.path, content, spec),
            problem=problem,
            is_virtual=isinstance(content.layout, VirtualDatasetLayout),
        )
        if has_references(content.datatype):
            if chunked is None:
                stored = replace(stored, read_references=partial(self._references, place.path, content))
            else:
                _check_chunk_references(place.path, content)
                read = partial(self._chunk_references, place.path, content)
                stored = replace(stored, read_chunk_references=read)
        is_stored = (
            isinstance(content.layout, ContiguousLayout) and content.layout.address != UNDEFINED_ADDRESS
        )
        return DatasetNode(
            self._with_fill(spec, content),
            n_rows=(shape or (0,))[0],
            stored=stored,
            data_nbytes=content.nbytes if is_stored else 0,
        )

    def _with_fill(self, spec: DatasetSpec, content: DatasetMessages) -> DatasetSpec:
        """Return a spec with the fill value of a dataset."""
        value = None if content.fill_value is None else content.fill_value.value
        if not value or spec.is_kept:
            return spec
        if not needs_global_heap(content.datatype):
            return replace(spec, fillvalue=np.frombuffer(value, spec.stored_dtype).reshape(()))
        # each new element gets objects of its own in the global heap
        parts = stored_parts(value, content.datatype, self._heap, spec.path, has_objects=True)
        fill = np.empty(1, spec.dtype)
        if isinstance(content.datatype, VariableLengthString):
            objects = [part for part in parts if isinstance(part, HeapObject)]
            fill[0] = b"".join(text for one in objects for text in one.parts if isinstance(text, bytes))
        elif spec.is_encoded:
            heap = partial(self._heap.content, owner=spec.path)
            fill[0] = stored_value(content.datatype, (), value, heap, _by_address)
        else:  # numpy has no such type
            fill = np.frombuffer(value, spec.dtype)
        return replace(spec, fillvalue=fill.reshape(()), fill_parts=parts)

    def _table(self, path: str, content: DatasetMessages, spec: DatasetSpec) -> tuple[ChunkTable, int]:
        """Read the chunk index of a dataset; return the table, and the size of the index."""
        frame = content.frame(path)
        table = ChunkTable(
            (spec.grid.n_numbers or 0) if spec.chunks is not None else 0,
            spec.chunk_nbytes,
            filtered=bool(spec.filters),
        )
        file_map = FileMap(self._file.nbytes)
        if frame is not None:
            chunks = read_chunk_map(self._file, file_map, frame)
            chunks = chunks.take(chunks.is_present())
            records = np.zeros(len(chunks), RECORD)
            records["number"], records["address"] = chunks.numbers, chunks.addresses
            records["stored_nbytes"], records["filter_mask"] = chunks.stored_nbytes, chunks.filter_masks
            table.record(records)
        return table, file_map.claimed_nbytes

    def _elements(self, path: str, content: DatasetMessages, spec: DatasetSpec) -> np.ndarray[Any, Any]:
        """Read all elements of a dataset without chunks, as `DatasetNode.value` has them."""
        shape = content.dataspace.shape or ()
        elements = read_elements(self._file, FileMap(self._file.nbytes), path, content)
        if not spec.has_parts:
            return elements.copy().reshape(-1).view(spec.stored_dtype).reshape(shape)
        heap = partial(self._heap.content, owner=path)
        # references by address: another object may have the path of a deleted one when the elements are written again
        found = stored_value(content.datatype, shape, elements.tobytes(), heap, _by_address)
        value = np.empty(shape, spec.dtype)
        value[...] = found
        return value

    def _references(self, path: str, content: DatasetMessages) -> Parts:
        """Read all elements of a dataset as parts."""
        match content.layout:
            case CompactLayout() | ContiguousLayout():
                elements = read_elements(self._file, FileMap(self._file.nbytes), path, content)
                return stored_parts(elements.tobytes(), content.datatype, self._heap, path)
            case _:
                return ()

    def _chunk_references(self, path: str, content: DatasetMessages, chunks: ChunkMap) -> dict[int, Parts]:
        """Read the elements of chunks as parts, by the addresses of the chunks."""
        frame = content.frame(path)
        if frame is None:
            return {}
        addresses = dict(zip(map(tuple, chunks.coords().tolist()), chunks.addresses.tolist(), strict=True))
        return {
            addresses[coords]: stored_parts(bytes(decoder.decode(data)), content.datatype, self._heap, path)
            for coords, decoder, data in StoredChunks(frame, chunks).read_each(self._file)
        }


def _check_chunk_references(path: str, content: DatasetMessages) -> None:
    """Refuse chunks with references that could not be written again if these refer to something that moves."""
    frame = content.frame(path)
    if frame is None:
        return
    nbytes = frame.grid.present.n_chunks or 0
    nbytes *= frame.chunk_nbytes
    if nbytes > MAX_REFERENCE_NBYTES:
        raise ForeignStructureError(
            f"its chunks have {nbytes:,} bytes with references, which would be read and written again; the maximum "
            f"is {MAX_REFERENCE_NBYTES:,}"
        )
    unknown = chunk_decoder(frame.filters, 0, frame.chunk_nbytes).unknown_filters
    if unknown:
        raise ForeignStructureError(
            f"its chunks have references, encoded by filters {unknown}, which streamh5 does not have"
        )


def _by_address(address: int, selection: bytes) -> StoredReference | StoredRegionReference:
    return StoredRegionReference(address, selection) if selection else StoredReference(address)


def _dtype(datatype: DatatypeClass) -> np.dtype[Any]:
    try:
        return numpy_dtype(datatype)
    except ForeignStructureError:
        return np.dtype((np.void, datatype.nbytes))


def _writable_dtype(content: DatasetMessages) -> tuple[np.dtype[Any], str | None]:
    """Return the dtype of the elements of a dataset, and why blocks of it cannot be written."""
    opaque = np.dtype((np.void, content.datatype.nbytes))
    if content.external_files:
        return _dtype(content.datatype), "its data is in external files"
    if not isinstance(content.layout, (CompactLayout, ContiguousLayout, ChunkedLayout)):
        return _dtype(content.datatype), "it is a virtual dataset, whose data is in other datasets"
    try:
        dtype = numpy_dtype(content.datatype)
    except ForeignStructureError:
        return opaque, None
    if needs_global_heap(content.datatype) or has_references(content.datatype):
        try:
            same = datatype_class(EncodedDatatype(encode_datatype(dtype))).nbytes == content.datatype.nbytes
        except StreamH5Error:
            same = False
        if not same:
            return dtype, "its elements have another form than streamh5 gives them"
        if has_references(content.datatype) and isinstance(content.layout, ChunkedLayout):
            return dtype, "its chunks hold references"
    return dtype, None
