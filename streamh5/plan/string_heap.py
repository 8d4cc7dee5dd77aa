"""Where the strings of attributes lie: global heap collections."""

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

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamh5.plan.attribute_spec import AttributeSpec

__all__ = ["StringHeap", "blank_elements"]

MAX_COLLECTION_NBYTES = 64 << 10
"""A reader keeps the whole collection of a string in memory, so collections stay small."""


def blank_elements(attribute: AttributeSpec) -> bytes:
    """Elements of an attribute that has no place yet: the right size, all zero."""
    return bytes(SIZEOF_VARIABLE_LENGTH_ELEMENT * len(attribute.strings or ()))


class StringHeap:
    """Collections for the strings of `attributes`, one object for each string.

    Equal strings are not shared: a reader that deletes one attribute frees its object.
    """

    def __init__(self, attributes: Iterable[AttributeSpec]) -> None:
        self._strings: list[bytes] = []
        self._first: dict[int, int] = {}
        for attribute in attributes:
            if attribute.strings is not None:
                self._first[id(attribute)] = len(self._strings)
                self._strings += attribute.strings
        sizes = [len(string) for string in self._strings]
        self._slices = split_into_collections(sizes, MAX_COLLECTION_NBYTES)
        self._sizes = [sizeof_global_heap_collection(sizes[part]) for part in self._slices]
        self._addresses = np.zeros(len(self._strings), np.uint64)
        self._indices = np.zeros(len(self._strings), np.uint32)
        self._address = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all collections; 0 without strings."""
        return sum(self._sizes)

    def place(self, address: int) -> None:
        """Put the collections one after the other from `address` on."""
        self._address = address
        for part, nbytes in zip(self._slices, self._sizes, strict=True):
            self._addresses[part] = address
            self._indices[part] = np.arange(1, part.stop - part.start + 1)
            address += nbytes

    def elements(self, attribute: AttributeSpec) -> bytes:
        """Elements of an attribute: 16 bytes that refer to each of its strings."""
        strings = attribute.strings or ()
        part = slice(self._first[id(attribute)], self._first[id(attribute)] + len(strings))
        lengths = np.array([len(string) for string in strings], np.uint32)
        return encode_variable_length_elements(lengths, self._addresses[part], self._indices[part])

    def encode(self) -> Iterator[tuple[int, bytes]]:
        """Address and content of each collection."""
        address = self._address
        for part, nbytes in zip(self._slices, self._sizes, strict=True):
            yield address, encode_global_heap_collection(GlobalHeapCollection(tuple(self._strings[part])))
            address += nbytes
