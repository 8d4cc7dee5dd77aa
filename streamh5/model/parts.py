"""Convert arrays to `Parts`: bytes, mixed with references and heap objects that have no address yet.

For values that are kept in memory until the file is closed: attributes, and datasets of references.
"""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import DatatypeError
from streamh5.format.character_set import CharacterSet
from streamh5.format.datatype import datatype_class
from streamh5.format.datatype_class import (
    Compound,
    ObjectReferenceClass,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.datatype_class import RegionReferenceClass as RegionReferenceClass
from streamh5.format.dtype import field_path, innermost, refusal
from streamh5.format.elements import (
    as_sequence,
    encode_elements,
    encode_string,
    has_references,
    needs_global_heap,
)
from streamh5.format.global_heap import SIZEOF_VARIABLE_LENGTH_ELEMENT, encode_variable_length_elements
from streamh5.model.reference import (
    HeapObject,
    Part,
    Parts,
    Reference,
    RegionReference,
    StoredReference,
    StoredRegionReference,
    sizeof_part,
    sizeof_parts,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamh5.format.elements import ObjectPlacer
    from streamh5.model.reference import AnyReference

    Kinds = tuple[type[Reference | RegionReference], type[StoredReference | StoredRegionReference]]


def encode_parts(values: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> Parts:
    """Return the elements of `values` in C order.

    Parameters
    ----------
    values
        See `encode_elements`; also `Reference` and `RegionReference` objects. None and other false values (an empty
        `h5py.Reference`) are null references.
    dtype
        Type of the elements.

    Raises
    ------
    DatatypeError
        A value does not match the dtype.
    """
    if not needs_global_heap(dtype) and not has_references(dtype):
        return (encode_elements(values, dtype),)
    return [part for element in _elements(values, dtype, "") for part in element]


def text_object(value: object, path: str = "", *, is_ascii: bool = False) -> HeapObject:
    """Return the heap object of a text; see `encode_string`."""
    encoded = encode_string(value, path, is_ascii=is_ascii)
    return HeapObject(len(encoded), (encoded,))


def stored_elements(parts: Parts, place: ObjectPlacer | None) -> bytes:
    """Store the heap objects of elements, and return the bytes of the elements.

    Parameters
    ----------
    parts
        Parts of elements without references.
    place
        Stores objects in the global heap of the new file; not needed if all parts are bytes.
    """
    objects = [part for part in parts if isinstance(part, HeapObject)]
    if not objects or place is None:
        return b"".join(part for part in parts if isinstance(part, bytes))
    content = stored_elements([inner for one in objects for inner in one.parts], place)
    contents, start = [], 0
    for one in objects:
        nbytes = sizeof_parts(one.parts)
        contents.append(content[start : start + nbytes])
        start += nbytes
    addresses, indices = place(contents)
    lengths = np.array([one.n for one in objects], np.uint32)
    pointers = io.BytesIO(encode_variable_length_elements(lengths, addresses, indices))
    return b"".join(
        part if isinstance(part, bytes) else pointers.read(SIZEOF_VARIABLE_LENGTH_ELEMENT) for part in parts
    )


def _elements(values: np.ndarray[Any, Any], dtype: np.dtype[Any], path: str) -> list[Parts]:
    """Return the parts of each element."""
    base, _ = innermost(dtype)
    flat = np.ascontiguousarray(values).reshape(-1)
    record = datatype_class(base)
    if not needs_global_heap(base) and not has_references(base):
        data = encode_elements(flat, base)
        return [(data[i : i + record.nbytes],) for i in range(0, len(data), record.nbytes)]
    match record:
        case VariableLengthString():
            is_ascii = record.charset == CharacterSet.ASCII
            return [(text_object(value or "", path, is_ascii=is_ascii),) for value in flat.tolist()]
        case VariableLengthSequence():
            metadata: Mapping[str, Any] = base.metadata or {}
            inner: np.dtype[Any] = np.dtype(metadata["vlen"])
            return [(_sequence(value, inner, path),) for value in flat]
        case ObjectReferenceClass():
            kinds: Kinds = (Reference, StoredReference)
            return [(_reference(value, kinds, record.nbytes, path),) for value in flat.tolist()]
        case RegionReferenceClass():
            kinds = (RegionReference, StoredRegionReference)
            return [(_reference(value, kinds, record.nbytes, path),) for value in flat.tolist()]
        case Compound():
            return _compounds(flat, base, record, path)
        case _:
            raise DatatypeError(f"dtype {dtype} cannot be stored as parts")


def _reference(value: Any, kinds: Kinds, nbytes: int, path: str) -> bytes | AnyReference:
    if isinstance(value, kinds):
        # each region has its own object in the heap
        return replace(value) if isinstance(value, (RegionReference, StoredRegionReference)) else value
    if isinstance(value, (Reference, RegionReference)) or value:
        raise refusal(f"{value!r:.80} instead of a streamh5.{kinds[0].__name__}", path)
    return bytes(nbytes)


def _sequence(value: Any, dtype: np.dtype[Any], path: str) -> HeapObject:
    if value is None or (isinstance(value, int) and value == 0):  # an element that was never set
        value = []
    items = as_sequence(value, dtype, path)
    return HeapObject(len(items), [p for e in _elements(items, dtype, f"{path}[...]") for p in e])


def _compounds(
    values: np.ndarray[Any, Any], dtype: np.dtype[Any], record: Compound, path: str
) -> list[Parts]:
    """Join the members of each element in the order of their offsets, with zeros between them."""
    rows: list[list[Part]] = [[] for _ in values]
    position = 0
    for member in sorted(record.members, key=lambda member: member.position):
        column = _elements(values[member.name], dtype[member.name], field_path(path, member.name))
        n = len(column) // len(values) if len(values) else 0
        for i, row in enumerate(rows):
            row.append(bytes(member.position - position))
            row.extend(part for element in column[i * n : (i + 1) * n] for part in element)
        position = member.position + member.datatype.nbytes
    for row in rows:
        row.append(bytes(record.nbytes - position))
    return [merged(row) for row in rows]


def merged(parts: Iterable[Part]) -> Parts:
    """Join adjacent bytes, and omit empty parts."""
    joined: list[Part] = []
    for is_bytes, run in groupby(parts, lambda part: isinstance(part, bytes)):
        if is_bytes:
            joined.append(b"".join(part for part in run if isinstance(part, bytes)))
        else:
            joined.extend(run)
    return [part for part in joined if sizeof_part(part)]
