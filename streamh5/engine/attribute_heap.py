"""``AttributeHeap``: the global heap collections of attributes, fill values and datasets of references."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from streamh5.format.global_heap import (
    encode_global_heap_collection,
    encode_global_heap_id,
    encode_variable_length_elements,
    sizeof_global_heap_collection,
    split_into_collections,
)
from streamh5.format.region_reference import encode_region_reference_object
from streamh5.model.reference import (
    SIZEOF_REFERENCE,
    AnyReference,
    HeapObject,
    Reference,
    RegionReference,
    StoredReference,
    StoredRegionReference,
    join_parts,
    sizeof_part,
    sizeof_parts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from streamh5.model.reference import Parts, Resolve

    AddressOf = Callable[[AnyReference], int]

_Owner: TypeAlias = "HeapObject | RegionReference | StoredRegionReference"
_OWNERS = (HeapObject, RegionReference, StoredRegionReference)

MAX_COLLECTION_NBYTES = 64 << 10
"""Readers load the whole collection of an element into memory, so collections stay small."""


class AttributeHeap:
    """Global heap collections for the heap objects of `values`.

    Equal values are not shared, because a program that deletes one attribute frees its object.

    Parameters
    ----------
    values
        Parts of attributes and datasets.
    """

    def __init__(self, values: Iterable[Parts]) -> None:
        self._objects: list[_Owner] = []
        self._numbers: dict[int, int] = {}
        for parts in values:
            self._collect(parts)
        sizes = [_nbytes(one) for one in self._objects]
        self._slices = split_into_collections(sizes, MAX_COLLECTION_NBYTES)
        self._sizes = [sizeof_global_heap_collection(sizes[part]) for part in self._slices]
        self._addresses = np.zeros(len(self._objects), np.uint64)
        self._indices = np.zeros(len(self._objects), np.uint32)
        self._address = 0

    @property
    def nbytes(self) -> int:
        """Total size in bytes of all collections; 0 without objects."""
        return sum(self._sizes)

    def place(self, address: int) -> None:
        """Assign consecutive addresses to the collections, from `address` on."""
        self._address = address
        for part, nbytes in zip(self._slices, self._sizes, strict=True):
            self._addresses[part] = address
            self._indices[part] = np.arange(1, part.stop - part.start + 1)
            address += nbytes

    def resolver(self, address_of: AddressOf) -> Resolve:
        """Return the function that encodes a part, once everything has an address.

        Parameters
        ----------
        address_of
            Returns the address of the object header that a reference refers to.
        """

        def resolve(part: AnyReference | HeapObject) -> bytes:
            if isinstance(part, (Reference, StoredReference)):
                return address_of(part).to_bytes(SIZEOF_REFERENCE, "little")
            if not _is_object(part) or (not isinstance(part, HeapObject) and not address_of(part)):
                return bytes(sizeof_part(part))
            number = self._numbers[id(part)]
            if not isinstance(part, HeapObject):
                return encode_global_heap_id(int(self._addresses[number]), int(self._indices[number]))
            at = slice(number, number + 1)
            lengths = np.array([part.n], np.uint32)
            return encode_variable_length_elements(lengths, self._addresses[at], self._indices[at])

        return resolve

    def encode(self, address_of: AddressOf) -> Iterator[tuple[int, bytes]]:
        """Yield address and contents of each collection."""
        resolve = self.resolver(address_of)
        address = self._address
        for part, nbytes in zip(self._slices, self._sizes, strict=True):
            objects = tuple(
                join_parts(one.parts, resolve)
                if isinstance(one, HeapObject)
                else _encode_region(one, address_of(one))
                for one in self._objects[part]
            )
            yield address, encode_global_heap_collection(objects)
            address += nbytes

    def _collect(self, parts: Parts) -> None:
        for part in parts:
            if isinstance(part, _OWNERS) and _is_object(part):
                self._numbers[id(part)] = len(self._objects)
                self._objects.append(part)
            if isinstance(part, HeapObject):
                self._collect(part.parts)


def _is_object(part: _Owner) -> bool:
    """Return whether a part has a heap object: an empty sequence has none, an empty text has one."""
    return not isinstance(part, HeapObject) or bool(part.parts)


def _nbytes(one: _Owner) -> int:
    if isinstance(one, HeapObject):
        return sizeof_parts(one.parts)
    return len(_encode_region(one, 0))


def _encode_region(one: RegionReference | StoredRegionReference, address: int) -> bytes:
    if isinstance(one, StoredRegionReference):
        return address.to_bytes(SIZEOF_REFERENCE, "little") + one.selection
    if isinstance(one.region, bytes):
        return address.to_bytes(SIZEOF_REFERENCE, "little") + one.region
    return encode_region_reference_object(address, one.boxes)
