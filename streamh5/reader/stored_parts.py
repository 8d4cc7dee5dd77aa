"""Elements of an existing file as parts: bytes, with its references in between, so that these can follow what moves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.format.datatype_class import (
    Array,
    Compound,
    ObjectReferenceClass,
    RegionReferenceClass,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.element_values import decode_values
from streamh5.format.elements import has_references, needs_global_heap
from streamh5.format.primitives import SIZEOF_ADDRESS, UNDEFINED_ADDRESS
from streamh5.model.parts import merged
from streamh5.model.reference import HeapObject, StoredReference, StoredRegionReference

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.format.datatype_class import DatatypeClass
    from streamh5.model.reference import Part, Parts
    from streamh5.reader.global_heap import GlobalHeap

_NOWHERE = (0, UNDEFINED_ADDRESS)


def stored_parts(
    data: bytes, datatype: DatatypeClass, heap: GlobalHeap, owner: str, *, has_objects: bool = False
) -> Parts:
    """Return elements with their references as parts.

    Elements without references stay bytes, and their objects in the global heap stay where they are.

    Parameters
    ----------
    data
        Stored bytes of the elements.
    datatype
        Their datatype.
    heap, owner
        The global heap of the file, and the path of the object to which the elements belong.
    has_objects
        Return objects of the global heap as parts, too, for elements that get objects of their own.

    Raises
    ------
    FormatError
        A heap object is missing.
    """
    if not (has_references(datatype) or (has_objects and needs_global_heap(datatype))):
        return (data,)
    nbytes = datatype.nbytes
    parts: list[Part] = []
    for start in range(0, len(data), nbytes):
        parts += _element(data[start : start + nbytes], datatype, heap, owner, has_objects)
    return merged(parts)


def _element(data: bytes, datatype: DatatypeClass, heap: GlobalHeap, owner: str, has_objects: bool) -> Parts:
    match datatype:
        case ObjectReferenceClass():
            address = int.from_bytes(data, "little")
            return (data if address in _NOWHERE else StoredReference(address),)
        case RegionReferenceClass():
            collection, index = _heap_id(data)
            if collection in _NOWHERE:
                return (data,)
            content = heap.content(collection, index, owner)
            target = int.from_bytes(content[:SIZEOF_ADDRESS], "little")
            return (StoredRegionReference(target, content[SIZEOF_ADDRESS:]),)
        case VariableLengthString() if has_objects:
            n = int.from_bytes(data[:4], "little")
            collection, index = _heap_id(data[4:])
            if collection in _NOWHERE:
                return (data,)
            return (HeapObject(n, (heap.content(collection, index, owner),)),)
        case VariableLengthSequence(base) if has_objects or has_references(base):
            n = int.from_bytes(data[:4], "little")
            collection, index = _heap_id(data[4:])
            if not n or collection in _NOWHERE:
                return (data,)
            content = heap.content(collection, index, owner)
            return (HeapObject(n, stored_parts(content, base, heap, owner, has_objects=has_objects)),)
        case Array(base):
            return stored_parts(data, base, heap, owner, has_objects=has_objects)
        case Compound(nbytes, members):
            parts: list[Part] = []
            end = 0
            for member in sorted(members, key=lambda one: one.position):
                stop = member.position + member.datatype.nbytes
                parts.append(data[end : member.position])
                parts += _element(data[member.position : stop], member.datatype, heap, owner, has_objects)
                end = stop
            return [*parts, data[end:nbytes]]
        case _:
            return (data,)


def _heap_id(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:SIZEOF_ADDRESS], "little"), int.from_bytes(data[SIZEOF_ADDRESS:], "little")


def stored_value(
    datatype: DatatypeClass,
    shape: tuple[int, ...],
    data: bytes,
    heap: Callable[[int, int], bytes],
    refer: Callable[[int, bytes], Any],
) -> Any:
    """Return the value of an attribute, or of a dataset without chunks.

    Parameters
    ----------
    datatype, shape, data
        Datatype, shape and stored bytes of its elements.
    heap
        Returns objects of the global heap.
    refer
        Returns what a reference to the object at an address becomes; the selection of a region reference follows, and
        is empty for a reference to an object.

    Raises
    ------
    ForeignStructureError
        numpy has no such dtype.
    FormatError
        A heap object is missing.
    """
    if not has_references(datatype):
        return decode_values(datatype, shape, data, heap)
    found = np.empty(math.prod(shape), object)
    nbytes = datatype.nbytes
    for i in range(len(found)):
        found[i] = _value(data[i * nbytes : (i + 1) * nbytes], datatype, heap, refer)
    return found.reshape(shape)[()]


def _value(
    data: bytes,
    datatype: DatatypeClass,
    heap: Callable[[int, int], bytes],
    refer: Callable[[int, bytes], Any],
) -> Any:
    match datatype:
        case ObjectReferenceClass():
            address = int.from_bytes(data, "little")
            return None if address in _NOWHERE else refer(address, b"")
        case RegionReferenceClass():
            collection, index = _heap_id(data)
            if collection in _NOWHERE:
                return None
            content = heap(collection, index)
            return refer(int.from_bytes(content[:SIZEOF_ADDRESS], "little"), content[SIZEOF_ADDRESS:])
        case VariableLengthSequence(base):
            n = int.from_bytes(data[:4], "little")
            content = heap(*_heap_id(data[4:])) if n else b""
            return [
                _value(content[i * base.nbytes : (i + 1) * base.nbytes], base, heap, refer) for i in range(n)
            ]
        case Array(base, shape):
            return [
                _value(data[i * base.nbytes : (i + 1) * base.nbytes], base, heap, refer)
                for i in range(math.prod(shape))
            ]
        case Compound():
            return tuple(
                _value(data[one.position : one.position + one.datatype.nbytes], one.datatype, heap, refer)
                for one in datatype.members
            )
        case _:
            return decode_values(datatype, (), data, heap)
