"""Where the variable-length elements of attributes lie: global heap collections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.format.global_heap import (
    SIZEOF_VARIABLE_LENGTH_ELEMENT,
    GlobalHeapCollection,
    encode_global_heap_collection,
    encode_variable_length_elements,
    sizeof_global_heap_collection,
    split_into_collections,
)
from streamh5.plan.reference import join_parts, sizeof_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamh5.plan.attribute_spec import AttributeSpec
    from streamh5.plan.reference import HeapObject, Resolve

__all__ = ["MAX_COLLECTION_NBYTES", "AttributeHeap", "blank_elements"]

MAX_COLLECTION_NBYTES = 64 << 10
"""A reader keeps the whole collection of an element in memory, so collections stay small."""


def blank_elements(attribute: AttributeSpec) -> bytes:
    """Elements of an attribute that has no place yet: the right size, all zero."""
    return bytes(SIZEOF_VARIABLE_LENGTH_ELEMENT * len(attribute.elements or ()))


class AttributeHeap:
    """Collections for the variable-length elements of `attributes`, one object for each.

    Equal values are not shared: a reader that deletes one attribute frees its object.
    """

    def __init__(self, attributes: Iterable[AttributeSpec]) -> None:
        self._objects: list[HeapObject] = []
        self._first: dict[int, int] = {}
        for attribute in attributes:
            if attribute.elements is not None:
                self._first[id(attribute)] = len(self._objects)
                self._objects += attribute.elements
        sizes = [sizeof_parts(element.parts) for element in self._objects]
        self._slices = split_into_collections(sizes, MAX_COLLECTION_NBYTES)
        self._sizes = [sizeof_global_heap_collection(sizes[part]) for part in self._slices]
        self._addresses = np.zeros(len(self._objects), np.uint64)
        self._indices = np.zeros(len(self._objects), np.uint32)
        self._address = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all collections; 0 without elements."""
        return sum(self._sizes)

    def place(self, address: int) -> None:
        """Put the collections one after the other from `address` on."""
        self._address = address
        for part, nbytes in zip(self._slices, self._sizes, strict=True):
            self._addresses[part] = address
            self._indices[part] = np.arange(1, part.stop - part.start + 1)
            address += nbytes

    def elements(self, attribute: AttributeSpec) -> bytes:
        """Elements of an attribute: 16 bytes that refer to each of its heap objects."""
        objects = attribute.elements or ()
        part = slice(self._first[id(attribute)], self._first[id(attribute)] + len(objects))
        lengths = np.array([element.n for element in objects], np.uint32)
        return encode_variable_length_elements(lengths, self._addresses[part], self._indices[part])

    def encode(self, resolve: Resolve) -> Iterator[tuple[int, bytes]]:
        """Address and content of each collection."""
        address = self._address
        for part, nbytes in zip(self._slices, self._sizes, strict=True):
            objects = tuple(join_parts(element.parts, resolve) for element in self._objects[part])
            yield address, encode_global_heap_collection(GlobalHeapCollection(objects))
            address += nbytes
