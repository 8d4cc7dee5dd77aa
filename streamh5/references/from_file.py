"""Any HDF5 file as `StoredFile`, read by streamh5's own reader, and by h5py for objects that it does not support.

::

    open_walk ──▶ place ──▶ _Visitor.visit ──▶ StoredFile ◀── h5py: these objects, and those that they link to
                    ▲              │ ForeignStructureError ──▶ set aside ──▲
                    └─ hard links ─┘
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import ForeignStructureError, FormatError, UnreadableError
from streamh5.format.character_set import printable_text
from streamh5.format.data_layout import VirtualDatasetLayout
from streamh5.format.datatype_class import ObjectReferenceClass, VariableLengthSequence
from streamh5.format.element_values import decode_values, heap_contents
from streamh5.format.elements import has_references
from streamh5.processes.child_process import call_in_child
from streamh5.reader.elements import read_elements
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.global_heap import GlobalHeap
from streamh5.reader.object_content import DatasetMessages, GroupMessages
from streamh5.reader.object_walk import ObjectPlace, ObjectWalk, open_walk
from streamh5.references.from_h5py import read_with_h5py
from streamh5.references.stored_data import EXTERNAL, VIRTUAL, find_data, stored_dtype, with_data
from streamh5.references.stored_file import StoredArray, StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamh5.format.attribute import Attribute
    from streamh5.stores.base import ReadableObject

_EXTRA_NBYTES = 16 << 20
"""Heap objects that are read may be larger than the file by this many bytes in total. In a valid file each belongs to
one element; a hostile file could refer to one large object from many elements."""


def read_file(source: str | ReadableObject, *, safe: bool = False) -> StoredFile:
    """Describe a file; of its data, only strings of variable length are read.

    Parameters
    ----------
    source
        Path of the file, or an object in a store.
    safe
        Let h5py read in a child process.

    Raises
    ------
    UnreadableError
        The file does not exist, is not an HDF5 file, or is damaged: the message names the object. Or h5py cannot read
        what streamh5's own reader does not support, or crashed the child process.
    """
    with FileBytes(source) as raw:
        name, version = raw.name, raw.version
        file = StoredFile(name)
        try:
            seen, foreign = _read_objects(raw, file)
        except ForeignStructureError:  # from the superblock or its extension: no object was read
            seen, foreign = set(), [ObjectPlace("/", 0)]
        except FormatError as error:
            where = "" if name in str(error) else f"{name}: "
            raise UnreadableError(f"{where}{error}", path=name) from error
    if foreign:
        asked = (
            source,
            [place.path for place in foreign],
            seen - {place.address for place in foreign},
            version,
        )
        rest = call_in_child(read_with_h5py, *asked, died=_died(name)) if safe else read_with_h5py(*asked)
        file.groups.update(rest.groups)
        file.arrays.extend(rest.arrays)
    return file


def _died(path: str) -> Any:
    return lambda how: UnreadableError(
        f"{path}: the HDF5 library ended by {how} while it read the file, which is damaged or malicious",
        path=path,
        signal=how,
    )


def _read_objects(raw: FileBytes, file: StoredFile) -> tuple[set[int], list[ObjectPlace]]:
    """Describe the objects of a file; return the addresses of all objects, and the places of unsupported ones.

    The links of unsupported objects are not followed.

    Raises
    ------
    FormatError
        An object is damaged; the message names it.
    ForeignStructureError
        The superblock or its extension is not supported.
    """
    superblock, walk = open_walk(raw)
    visitor = _Visitor(raw, file, walk)
    foreign: list[ObjectPlace] = []
    for place in walk.over(superblock.root_address):
        try:
            visitor.visit(place)
        except ForeignStructureError:
            foreign.append(place)
        except FormatError as error:
            raise FormatError(f"{place.shown}: {error}", path=place.shown) from error
    visitor.name_scales()
    return set(walk.places), foreign


class _Visitor:
    """Adds descriptions of the objects of one file to a `StoredFile`."""

    def __init__(self, raw: FileBytes, file: StoredFile, walk: ObjectWalk) -> None:
        self._raw = raw
        self._file = file
        self._walk = walk
        self._heap = GlobalHeap(raw, walk.file_map)
        self._n_heap_nbytes = 0
        self._scales: dict[str, list[int]] = {}

    def visit(self, place: ObjectPlace) -> None:
        """Describe an object, and follow its links."""
        header = self._walk.header(place)
        messages = self._walk.messages(place, header)
        if messages.common.unchecked:
            raise ForeignStructureError(messages.common.unchecked[0])
        attributes = messages.common.attributes
        # readers list attributes by name, unless their creation order is tracked
        if not header.attribute_order:
            attributes = tuple(sorted(attributes, key=attrgetter("name")))
        if isinstance(messages, GroupMessages):
            self._file.groups[place.shown] = self._attributes(place, attributes)
            self._walk.follow(place, sorted(messages.links, key=attrgetter("name")))
        if isinstance(messages, DatasetMessages):
            self._file.arrays.append(self._array(place, messages, attributes))

    def name_scales(self) -> None:
        """Replace the addresses of dimension scales by paths, which are known once every object was visited."""
        for i, array in enumerate(self._file.arrays):
            if array.path in self._scales:
                places = map(self._walk.places.get, self._scales[array.path])
                scales = tuple(None if place is None else place.shown for place in places)
                self._file.arrays[i] = replace(array, scales=scales)

    def _content(self, address: int, index: int) -> bytes:
        content = self._heap.content(address, index, "")
        self._n_heap_nbytes += len(content)
        if self._n_heap_nbytes > self._raw.nbytes + _EXTRA_NBYTES:
            raise FormatError(
                "global heap: its objects are shared by many elements; each belongs to one element"
            )
        return content

    def _attributes(self, place: ObjectPlace, stored: Iterable[Attribute]) -> dict[str, Any]:
        """Return the values of attributes, except those that refer to objects."""
        found: dict[str, Any] = {}
        for one in stored:
            name = printable_text(one.name)
            if name == "DIMENSION_LIST":
                self._scales[place.shown] = self._targets(one)
            if not has_references(one.datatype):
                shape = one.dataspace.shape
                found[name] = (
                    "" if shape is None else decode_values(one.datatype, shape, one.data, self._content)
                )
        return found

    def _targets(self, stored: Attribute) -> list[int]:
        """Return the address of the last scale of each dimension, as netCDF-C and h5netcdf use it; 0 for none."""
        match stored.datatype:
            case VariableLengthSequence(ObjectReferenceClass()):
                elements = np.frombuffer(stored.data, np.uint8).reshape(-1, stored.datatype.nbytes)
                contents = heap_contents(elements, 8, self._content)
                return [int.from_bytes(content[-8:], "little") for content in contents]
        return []

    def _array(
        self, place: ObjectPlace, messages: DatasetMessages, attributes: Iterable[Attribute]
    ) -> StoredArray:
        frame = messages.frame(place.shown)
        is_virtual = isinstance(messages.layout, VirtualDatasetLayout)
        dtype, problem = stored_dtype(messages.datatype)
        array = StoredArray(
            place.shown,
            messages.dataspace.shape,
            dtype,
            chunks=None if frame is None else frame.chunks,
            filters=messages.filters,
            fill=None if messages.fill_value is None else messages.fill_value.value,
            attributes=self._attributes(place, attributes),
            problem=VIRTUAL if is_virtual else EXTERNAL if messages.external_files else problem,
        )
        return with_data(
            array,
            lambda: self._texts(place, messages),
            lambda: find_data(self._raw, self._walk.file_map, place, messages),
        )

    def _texts(self, place: ObjectPlace, messages: DatasetMessages) -> list[str]:
        elements = read_elements(self._raw, self._walk.file_map, place.shown, messages)
        return [content.partition(b"\0")[0].decode() for content in heap_contents(elements, 1, self._content)]
