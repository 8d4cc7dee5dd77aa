"""Elements of datasets and attributes of an HDF5 file as stored, without a conversion.

The library reads them with the datatype of the file as that of memory, so that it converts nothing: byte order,
padding, tags and unused bits stay. What remains are the pointers of variable-length data, which are followed
here, and references, which name objects of the new file afterwards.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.hdf5.datatype import sizeof_in_memory, stored_type
from streamh5.conversion.hdf5.problems import reading
from streamh5.errors import FormatError, SourceError
from streamh5.format.character_set import decode_text
from streamh5.format.datatype_class import (
    Array,
    Compound,
    EncodedDatatype,
    ObjectReferenceClass,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.datatype_class import RegionReferenceClass as RegionReferenceClass
from streamh5.format.primitives import SIZEOF_ADDRESS, UNDEFINED_ADDRESS
from streamh5.model.attribute_spec import AttributeSpec
from streamh5.model.parts import merged
from streamh5.model.reference import HeapObject, Part, Reference, RegionReference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamh5.conversion.hdf5.source_bytes import SourceBytes
    from streamh5.format.datatype_class import DatatypeClass
    from streamh5.model.reference import Parts

# The library allocates text and sequences with `malloc`. h5py exposes neither H5Treclaim for opaque memory, nor
# H5free_memory, so they are freed by the C library of the process.
_free = ctypes.CDLL(None).free
_free.argtypes = [ctypes.c_void_p]
_free.restype = None


@dataclass(slots=True)
class Referents:
    """The targets of references in the source.

    Parameters
    ----------
    paths
        Paths of all objects that are carried over, by their addresses.
    stored
        The bytes of the source, with its global heap; None where it is not one file on disk.
    n_dangling
        References to missing objects: deleted, or left out.
    nameless_types
        Addresses of named datatypes in use that have no link, or that are left out.
    """

    paths: Mapping[int, str]
    stored: SourceBytes | None = None
    n_dangling: int = field(default=0)
    nameless_types: set[int] = field(default_factory=set)

    def type_path(self, address: int | None) -> str | None:
        """Return the path of a named datatype; None for an unnamed one, or one that is not carried over."""
        if address is None:
            return None
        if address not in self.paths:
            self.nameless_types.add(address)
        return self.paths.get(address)

    def object(self, stored: bytes) -> Part:
        """Return an object reference of the new file; a null reference if its object is missing."""
        return self._path(int.from_bytes(stored, "little"), Reference) or bytes(len(stored))

    def region(self, stored: bytes) -> Part:
        """Return a region reference of the new file, with the selection as it is stored."""
        address = int.from_bytes(stored[:SIZEOF_ADDRESS], "little")
        if address in (0, UNDEFINED_ADDRESS):
            return bytes(len(stored))
        index = int.from_bytes(stored[SIZEOF_ADDRESS:], "little")
        if self.stored is None:
            raise SourceError(
                f"object {index} of the heap at {address:,} is not read: the file is not one file on disk"
            )
        try:
            content = self.stored.heap_object(address, index)
        except FormatError:
            self.n_dangling += 1
            return bytes(len(stored))
        owner, selection = int.from_bytes(content[:SIZEOF_ADDRESS], "little"), content[SIZEOF_ADDRESS:]
        return self._path(owner, lambda path: RegionReference(path, selection)) or bytes(len(stored))

    def _path(self, address: int, make: Callable[[str], Part]) -> Part | None:
        if address in (0, UNDEFINED_ADDRESS):
            return None
        path = self.paths.get(address)
        if path is None:
            self.n_dangling += 1
            return None
        return make(path)


def read_attribute(attribute: Any, datatype: DatatypeClass) -> bytes:
    """Return the elements of an attribute as they are in memory; the caller has to follow their pointers.

    Parameters
    ----------
    attribute
        A `h5py.h5a.AttrID` that has no null dataspace.
    datatype
        The `elements` of its `StoredType`.
    """
    values = np.zeros(attribute.shape, np.dtype((np.void, sizeof_in_memory(datatype))))
    if values.size:  # the type of the file as that of memory: nothing is converted
        attribute.read(values, mtype=attribute.get_type())
    return values.tobytes()


def read_region(dataset: Any, region: tuple[slice, ...], datatype: DatatypeClass) -> np.ndarray[Any, Any]:
    """Return elements of a dataset as they are in memory, of dtype ``V``.

    Parameters
    ----------
    dataset
        A `h5py.h5d.DatasetID`.
    region
        Slices with start and stop, one for each dimension.
    datatype
        The `elements` of its `StoredType`.
    """
    from h5py import h5s

    shape = tuple(part.stop - part.start for part in region)
    values = np.zeros(shape, np.dtype((np.void, sizeof_in_memory(datatype))))
    if not values.size:
        return values
    if not shape:
        dataset.read(h5s.ALL, h5s.ALL, values, dataset.get_type())
        return values
    space = dataset.get_space()
    space.select_hyperslab(tuple(part.start for part in region), shape)
    dataset.read(h5s.create_simple(shape), space, values, dataset.get_type())
    return values


def to_parts(memory: bytes, datatype: DatatypeClass, referents: Referents) -> Parts:
    """Return elements as stored in a file, with heap objects and references in between.

    What pointers point to is copied and freed. NULL stays a null pointer: it is not an empty string.

    Parameters
    ----------
    memory
        Elements as the library has read them.
    datatype
        Where they contain pointers, see `StoredType`.
    referents
        The targets of references.
    """
    if isinstance(datatype, EncodedDatatype):
        return (memory,)
    parts: list[Part] = []
    elements = BytesIO(memory)
    for _ in range(len(memory) // sizeof_in_memory(datatype)):
        _take_element(elements, datatype, referents, parts)
    return merged(parts)


def _take_element(memory: BytesIO, datatype: DatatypeClass, referents: Referents, parts: list[Part]) -> None:
    """Read the next element and append its parts."""
    match datatype:
        case VariableLengthString():
            pointer = _take_integer(memory)
            parts.append(_text(pointer) if pointer else bytes(datatype.nbytes))
        case VariableLengthSequence(base):
            n, pointer = _take_integer(memory), _take_integer(memory)
            if not n or not pointer:
                parts.append(bytes(datatype.nbytes))
                return
            items = ctypes.string_at(pointer, n * sizeof_in_memory(base))
            _free(pointer)
            parts.append(HeapObject(n, to_parts(items, base, referents)))
        case ObjectReferenceClass():
            parts.append(referents.object(memory.read(datatype.nbytes)))
        case RegionReferenceClass():
            parts.append(referents.region(memory.read(datatype.nbytes)))
        case Array(base, shape):
            for _ in range(math.prod(shape)):
                _take_element(memory, base, referents, parts)
        case Compound(nbytes, members):
            end = 0
            for member in members:
                parts.append(memory.read(member.position - end))
                _take_element(memory, member.datatype, referents, parts)
                end = member.position + member.datatype.nbytes
            parts.append(memory.read(nbytes - end))
        case _:
            parts.append(memory.read(datatype.nbytes))


def _take_integer(memory: BytesIO) -> int:
    return int.from_bytes(memory.read(8), "little")


def _text(pointer: int) -> HeapObject:
    text = ctypes.string_at(pointer)
    _free(pointer)
    return HeapObject(len(text), (text,))


def tracks_attributes(plist: Any) -> bool:
    """Whether the creation order of attributes is tracked, from a creation property list."""
    from h5py import h5p

    return bool(plist.get_attr_creation_order() & h5p.CRT_ORDER_TRACKED)


def read_attributes(
    obj: Any, path: str, referents: Referents, problem: Callable[[SourceError], None]
) -> list[AttributeSpec]:
    """Return the attributes of an object in their order.

    Parameters
    ----------
    obj
        Identifier of a group, dataset or named datatype of h5py.
    path
        The object, for messages.
    referents
        The targets of references.
    problem
        Called with the error of each attribute that cannot be written.
    """
    from h5py import h5, h5a

    specs: list[AttributeSpec] = []
    try:
        with reading(f"the attributes of {path}", path):
            is_ordered = tracks_attributes(obj.get_create_plist())
            order = h5.INDEX_CRT_ORDER if is_ordered else h5.INDEX_NAME
            n_attributes = h5a.get_num_attrs(obj)
    except SourceError as error:
        problem(error)
        return specs
    for i in range(n_attributes):
        what = f"attribute {i} of {path}"
        try:
            with reading(what, path):
                attribute = h5a.open(obj, index=i, index_type=order)
                name = decode_text(attribute.name)
                what = f"attribute {name!r} of {path}"
            with reading(what, path):
                specs.append(_spec(name, attribute, referents))
        except SourceError as error:
            problem(error if what in str(error) else SourceError(f"{what} has {error}", path=path))
    return specs


def _spec(name: str, attribute: Any, referents: Referents) -> AttributeSpec:
    from h5py import h5s

    kind = stored_type(attribute.get_type())
    type_path = referents.type_path(kind.address)
    committed = None if type_path is None else Reference(type_path)
    if attribute.get_space().get_simple_extent_type() == h5s.NULL:
        return AttributeSpec(name, kind.datatype, None, committed=committed)
    memory = read_attribute(attribute, kind.elements)
    parts = to_parts(memory, kind.elements, referents)
    return AttributeSpec(name, kind.datatype, attribute.shape, parts, committed=committed)
