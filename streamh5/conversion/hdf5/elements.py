"""Elements of datasets and attributes of an HDF5 file as stored, without a conversion.

The library reads them with the datatype of the file as that of memory, so that it converts nothing: byte order,
padding, tags and unused bits stay. What remains are the pointers of variable-length data, which are followed
here, and references, which name objects of the new file afterwards.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.hdf5.datatype import (
    Fields,
    Items,
    ObjectAddress,
    Plain,
    RegionAddress,
    Sequence,
    Text,
    stored_type,
)
from streamh5.conversion.hdf5.problems import reading
from streamh5.errors import FormatError, SourceError
from streamh5.format.datatype_class import EncodedDatatype
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.model.attribute_spec import AttributeSpec
from streamh5.model.parts import merged
from streamh5.model.reference import HeapObject, Part, Reference, RegionReference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from streamh5.conversion.hdf5.datatype import Element
    from streamh5.conversion.hdf5.source_bytes import SourceBytes
    from streamh5.model.reference import Parts

_SIZEOF_ADDRESS = 8
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
        """Path of a named datatype; None for a type of its own, or of one that is not carried over."""
        if address is None:
            return None
        if address not in self.paths:
            self.nameless_types.add(address)
        return self.paths.get(address)

    def object(self, stored: bytes) -> Part:
        """Return an object reference of the new file; to nothing where its object is not there."""
        return self._path(int.from_bytes(stored, "little"), Reference) or bytes(len(stored))

    def region(self, stored: bytes) -> Part:
        """Return a region reference of the new file, with the selection as it is stored."""
        address = int.from_bytes(stored[:_SIZEOF_ADDRESS], "little")
        if address in (0, UNDEFINED_ADDRESS):
            return bytes(len(stored))
        index = int.from_bytes(stored[_SIZEOF_ADDRESS:], "little")
        if self.stored is None:
            raise SourceError(
                f"object {index} of the heap at {address:,} is not read: the file is not one file on disk"
            )
        try:
            content = self.stored.heap_object(address, index)
        except FormatError:
            self.n_dangling += 1
            return bytes(len(stored))
        owner, selection = int.from_bytes(content[:_SIZEOF_ADDRESS], "little"), content[_SIZEOF_ADDRESS:]
        return self._path(owner, lambda path: RegionReference(path, selection)) or bytes(len(stored))

    def _path(self, address: int, make: Callable[[str], Part]) -> Part | None:
        if address in (0, UNDEFINED_ADDRESS):
            return None
        path = self.paths.get(address)
        if path is None:
            self.n_dangling += 1
            return None
        return make(path)


def read_attribute(attribute: Any, element: Element) -> bytes:
    """Return the elements of an attribute as memory holds them; the caller has to follow its pointers.

    Parameters
    ----------
    attribute
        A `h5py.h5a.AttrID` that has no null dataspace.
    element
        Of its datatype.
    """
    values = np.zeros(attribute.shape, np.dtype((np.void, element.nbytes)))
    if values.size:
        attribute.read(values, mtype=attribute.get_type())
    return values.tobytes()


def read_region(dataset: Any, region: tuple[slice, ...], element: Element) -> np.ndarray[Any, Any]:
    """Return elements of a dataset as memory holds them, of dtype ``V``.

    Parameters
    ----------
    dataset
        A `h5py.h5d.DatasetID`.
    region
        Slices with start and stop, one for each dimension.
    element
        Of its datatype.
    """
    from h5py import h5s

    shape = tuple(part.stop - part.start for part in region)
    values = np.zeros(shape, np.dtype((np.void, element.nbytes)))
    if not values.size:
        return values
    if not shape:
        dataset.read(h5s.ALL, h5s.ALL, values, dataset.get_type())
        return values
    space = dataset.get_space()
    space.select_hyperslab(tuple(part.start for part in region), shape)
    dataset.read(h5s.create_simple(shape), space, values, dataset.get_type())
    return values


def to_parts(memory: bytes, element: Element, referents: Referents) -> Parts:
    """Return elements as stored in a file, with heap objects and references in between.

    The data behind pointers is copied, and freed. A pointer to nothing (NULL) stays one: it is not an empty string.

    Parameters
    ----------
    memory
        Elements as the library has read them.
    element
        Of their datatype.
    referents
        The targets of references.
    """
    if isinstance(element, Plain):
        return (memory,)
    parts: list[Part] = []
    for start in range(0, len(memory), element.nbytes):
        parts.extend(_parts(memory[start : start + element.nbytes], element, referents))
    return merged(parts)


def _parts(memory: bytes, element: Element, referents: Referents) -> Iterable[Part]:
    match element:
        case Text():
            pointer = int.from_bytes(memory, "little")
            yield _text(pointer) if pointer else bytes(element.nbytes_in_file)
        case Sequence(base):
            n, pointer = int.from_bytes(memory[:8], "little"), int.from_bytes(memory[8:], "little")
            if not n or not pointer:
                yield bytes(element.nbytes_in_file)
                return
            items = ctypes.string_at(pointer, n * base.nbytes)
            _free(pointer)
            yield HeapObject(n, to_parts(items, base, referents))
        case ObjectAddress():
            yield referents.object(memory)
        case RegionAddress():
            yield referents.region(memory)
        case Items(_, base):
            yield from to_parts(memory, base, referents)
        case Fields():
            yield from _fields(memory, element, referents)
        case Plain():
            yield memory


def _text(pointer: int) -> HeapObject:
    text = ctypes.string_at(pointer)
    _free(pointer)
    return HeapObject(len(text), (text,))


def _fields(memory: bytes, element: Fields, referents: Referents) -> Iterable[Part]:
    """Yield the fields in the order of their positions, and the bytes between them."""
    end = 0
    for position, _, inner in element.fields:
        yield memory[end:position]
        end = position + inner.nbytes
        yield from _parts(memory[position:end], inner, referents)
    yield memory[end:]


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
                name = attribute.name.decode("utf-8", "surrogateescape")
                what = f"attribute {name!r} of {path}"
            with reading(what, path):
                specs.append(_spec(name, attribute, referents))
        except SourceError as error:
            problem(error if what in str(error) else SourceError(f"{what} has {error}", path=path))
    return specs


def _spec(name: str, attribute: Any, referents: Referents) -> AttributeSpec:
    from h5py import h5s

    kind = stored_type(attribute.get_type())
    datatype = EncodedDatatype(kind.message)
    type_path = referents.type_path(kind.address)
    committed = None if type_path is None else Reference(type_path)
    if attribute.get_space().get_simple_extent_type() == h5s.NULL:
        return AttributeSpec(name, datatype, None, committed=committed)
    memory = read_attribute(attribute, kind.element)
    parts = to_parts(memory, kind.element, referents)
    return AttributeSpec(name, datatype, attribute.shape, parts, committed=committed)
