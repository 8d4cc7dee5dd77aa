"""Objects of an HDF5 file as our own reader finds them: no byte goes through libhdf5."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.data_layout import CompactLayout, ContiguousLayout, VirtualLayout
from streamh5.format.datatype_class import (
    FixedLengthString,
    ObjectReference,
    StringPadding,
    VariableLengthSequence,
)
from streamh5.format.dtype import numpy_dtype
from streamh5.format.element_values import decode_values, heap_contents
from streamh5.format.elements import has_references
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.file_map import FileMap
from streamh5.reader.global_heap import GlobalHeap
from streamh5.reader.object_content import DatasetMessages, GroupMessages
from streamh5.reader.object_walk import ObjectWalk
from streamh5.reader.shared_message import SharedMessages
from streamh5.reader.stored_elements import read_elements
from streamh5.reader.superblock import read_superblock
from streamh5.reader.superblock_extension import read_superblock_extension
from streamh5.references.attributes import HIDDEN, NEEDED
from streamh5.references.stored_data import chunked_data, compact_data, whole_data
from streamh5.references.stored_file import StoredArray, StoredFile
from streamh5.references.texts import encode_texts, is_text, too_many_texts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamh5.format.attribute import Attribute
    from streamh5.format.datatype_class import DatatypeClass
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.object_walk import Place

__all__ = ["Found", "read_objects"]

_EXTRA_NBYTES = 16 << 20
"""Heap objects that are read in all may have this many bytes more than the file: each belongs to one element."""


@dataclass(slots=True)
class Found:
    """What our reader knows of a file.

    Attributes
    ----------
    file
        Its groups and arrays.
    foreign
        Objects that the reader does not know, whose links were not followed either.
    seen
        Addresses of all that was reached.
    """

    file: StoredFile
    foreign: list[Place] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)


def read_objects(raw: FileBytes, path: str) -> Found:
    """Walk over the groups of a file.

    Raises
    ------
    FormatError
        An object is damaged; the message names it.
    ForeignStructureError
        A superblock that is not known.
    """
    superblock = read_superblock(raw)
    raw.limit(superblock.span)
    file_map = FileMap(raw.nbytes)
    shared = SharedMessages(raw, file_map)
    read_superblock_extension(raw, file_map, superblock, shared)
    return _Visitor(raw, path, file_map, ObjectWalk(raw, file_map, shared)).run(superblock.root_address)


class _Visitor:
    """Describes every object of one file."""

    def __init__(self, raw: FileBytes, path: str, file_map: FileMap, walk: ObjectWalk) -> None:
        self._raw = raw
        self._map = file_map
        self._walk = walk
        self._heap = GlobalHeap(raw, file_map)
        self._n_heap_nbytes = 0
        self._found = Found(StoredFile(path))
        self._scales: dict[str, list[int]] = {}

    def run(self, root_address: int) -> Found:
        for place in self._walk.over(root_address):
            try:
                self._visit(place)
            except ForeignStructureError:
                self._found.foreign.append(place)
            except FormatError as error:
                raise FormatError(f"{place.shown}: {error}", path=place.shown) from error
        self._found.seen = set(self._walk.places)
        self._name_scales()
        return self._found

    def _visit(self, place: Place) -> None:
        header = self._walk.header(place)
        messages = self._walk.messages(place, header)
        if messages.common.unchecked:
            raise ForeignStructureError(messages.common.unchecked[0])
        attributes = messages.common.attributes
        if not header.attribute_order:  # as readers list them
            attributes = tuple(sorted(attributes, key=attrgetter("name")))
        if isinstance(messages, GroupMessages):
            self._found.file.groups[place.shown] = self._attributes(place, attributes)
            self._walk.follow(place, sorted(messages.links, key=attrgetter("name")))
        if isinstance(messages, DatasetMessages):
            self._found.file.arrays.append(self._array(place, messages, attributes))

    def _content(self, address: int, index: int) -> bytes:
        content = self._heap.content(address, index, "")
        self._n_heap_nbytes += len(content)
        if self._n_heap_nbytes > self._raw.nbytes + _EXTRA_NBYTES:
            raise FormatError("global heap: many elements share objects of it, which have one element each")
        return content

    def _attributes(self, place: Place, stored: Iterable[Attribute]) -> dict[str, Any]:
        """Attributes that references show or need; those that refer to objects are left out."""
        found: dict[str, Any] = {}
        for one in stored:
            name = one.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            if name == "DIMENSION_LIST":
                self._scales[place.shown] = self._targets(one)
            if has_references(one.datatype) or (name in HIDDEN and name not in NEEDED):
                continue
            shape = one.dataspace.shape
            found[name] = "" if shape is None else decode_values(one.datatype, shape, one.data, self._content)
        return found

    def _targets(self, stored: Attribute) -> list[int]:
        """Address of the last scale of each dimension, 0 for none."""
        if _is_not_of_scales(stored.datatype):
            return []
        elements = np.frombuffer(stored.data, np.uint8).reshape(-1, stored.datatype.nbytes)
        contents = heap_contents(elements, 8, self._content)
        return [int.from_bytes(content[-8:], "little") for content in contents]

    def _name_scales(self) -> None:
        arrays = self._found.file.arrays
        for i, array in enumerate(arrays):
            if array.path in self._scales:
                places = map(self._walk.places.get, self._scales[array.path])
                scales = tuple(None if place is None else place.shown for place in places)
                arrays[i] = replace(array, scales=scales)

    def _array(self, place: Place, messages: DatasetMessages, attributes: Iterable[Attribute]) -> StoredArray:
        dtype, problem = _dtype(messages.datatype)
        shape = messages.dataspace.shape
        if isinstance(messages.layout, VirtualLayout):
            problem = "a virtual dataset, whose data is in other datasets; make references to those"
        elif messages.external_files:
            problem = "its data is in external files"
        chunk_map, content = None, None
        if problem is None and shape is not None:
            if is_text(dtype):
                content, problem = self._texts(place, messages, shape)
            elif dtype.hasobject:
                pass  # zarr has no such type
            else:
                chunk_map, content, problem = self._data(place, messages, shape)
        frame = messages.frame(place.shown)
        value = None if messages.fill_value is None else messages.fill_value.value
        fillvalue = None
        if value and problem is None and not dtype.hasobject:
            fillvalue = np.frombuffer(value, dtype, 1).reshape(()) if dtype.subdtype is None else None
        return StoredArray(
            path=place.shown,
            shape=shape,
            dtype=dtype,
            chunks=None if frame is None else frame.chunks,
            filters=messages.filters,
            fillvalue=fillvalue,
            attributes=self._attributes(place, attributes),
            scales=(),
            chunk_map=chunk_map,
            content=content,
            problem=problem,
        )

    def _data(
        self, place: Place, messages: DatasetMessages, shape: tuple[int, ...]
    ) -> tuple[ChunkMap | None, bytes | None, str | None]:
        """Where elements lie; or the elements, or why they cannot be referred to."""
        match messages.layout:
            case CompactLayout(data):
                return *compact_data(self._raw, place.address, shape, data), None
            case ContiguousLayout(address, nbytes):
                if address == UNDEFINED_ADDRESS or not nbytes:
                    return None, None, None
                if address + nbytes > self._raw.nbytes:
                    return None, None, f"its {nbytes:,} bytes at {address:,} lie outside the file"
                return whole_data(shape, self._raw.base_address + address, nbytes), None, None
        try:
            chunk_map, problem = chunked_data(self._raw, self._map, place.shown, messages)
        except ForeignStructureError:
            raise
        except FormatError as error:
            return None, None, str(error)
        return chunk_map, None, problem

    def _texts(
        self, place: Place, messages: DatasetMessages, shape: tuple[int, ...]
    ) -> tuple[bytes | None, str | None]:
        problem = too_many_texts(shape)
        if problem is not None:
            return None, problem
        try:
            elements = read_elements(self._raw, self._map, place.shown, messages)
            texts = [
                content.partition(b"\0")[0].decode() for content in heap_contents(elements, 1, self._content)
            ]
        except ForeignStructureError:
            raise
        except (FormatError, UnicodeDecodeError) as error:
            return None, f"its strings cannot be read: {error}"
        return encode_texts(texts), None


def _is_not_of_scales(datatype: DatatypeClass) -> bool:
    """Whether a DIMENSION_LIST is none: other than sequences of object references."""
    return not (isinstance(datatype, VariableLengthSequence) and isinstance(datatype.base, ObjectReference))


def _dtype(datatype: DatatypeClass) -> tuple[np.dtype[Any], str | None]:
    """Type with the bytes of the elements, or why there is none."""
    if isinstance(datatype, FixedLengthString) and datatype.padding == StringPadding.SPACE_PAD:
        return np.dtype(f"S{datatype.nbytes}"), "its strings are padded with spaces, which zarr would show"
    try:
        return numpy_dtype(datatype), None
    except ForeignStructureError:
        problem = f"its elements, {type(datatype).__name__}, are not stored the way numpy has any"
        return np.dtype(f"V{datatype.nbytes}"), problem
