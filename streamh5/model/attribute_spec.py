"""Convert the Python value of an attribute to a datatype, a dataspace and bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ma

from streamh5.errors import AttributeValueError, DatatypeError, over_limit, shown
from streamh5.format.attribute import encode_attribute_head
from streamh5.format.character_set import CharacterSet, encode_text
from streamh5.format.dataspace import Dataspace
from streamh5.format.datatype import encode_datatype, sizeof_element
from streamh5.format.datatype_class import (
    FixedLengthString,
    ObjectReferenceClass,
    StringPadding,
    VariableLengthSequence,
    VariableLengthString,
)
from streamh5.format.datatype_class import RegionReferenceClass as RegionReferenceClass
from streamh5.format.dense_storage import MAX_DENSE_ATTRIBUTE_NBYTES
from streamh5.format.dtype import innermost
from streamh5.model.block_value import check_one_kind
from streamh5.model.not_an_array import UNREADABLE, check_is_array, check_objects, is_empty
from streamh5.model.parts import encode_parts, text_object
from streamh5.model.reference import (
    AnyReference,
    HeapObject,
    Parts,
    Reference,
    RegionReference,
    StoredReference,
    join_parts,
    sizeof_part,
    sizeof_parts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.format.datatype import AnyDatatype
    from streamh5.format.datatype_class import EncodedDatatype
    from streamh5.model.reference import Resolve

    Elements = tuple[AnyDatatype, tuple[int, ...] | None, Parts]
    """Type of the elements, their shape, and their bytes."""


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """An attribute before it has addresses.

    Parameters
    ----------
    name
        Attribute name.
    datatype
        Type of the elements in the file.
    shape
        ``()`` for a scalar, None for a null dataspace.
    data
        Bytes of the elements, mixed with references and heap objects.
    value
        The value as given; None if the existing file has it.
    read_value
        Returns the value of an attribute of the existing file.
    committed
        Reference to the committed datatype that the attribute uses; None if the attribute has its own datatype.
    """

    name: str
    datatype: AnyDatatype
    shape: tuple[int, ...] | None
    data: Parts = ()
    value: Any = None
    read_value: Callable[[], Any] | None = None
    committed: Reference | StoredReference | None = None

    @property
    def content(self) -> Any:
        """The value as given, or as the existing file has it."""
        return self.value if self.read_value is None else self.read_value()

    def body(self, resolve: Resolve) -> bytes:
        """Return the body of its message; `resolve` returns the bytes of references and heap objects."""
        address = None
        if self.committed is not None:
            address = int.from_bytes(join_parts((self.committed,), resolve), "little")
        return self._head(address) + join_parts(self.data, resolve)

    @property
    def body_nbytes(self) -> int:
        """Size of its message body in bytes."""
        return len(self._head(None if self.committed is None else 0)) + sizeof_parts(self.data)

    def _head(self, address: int | None) -> bytes:
        return encode_attribute_head(
            self.name, encode_datatype(self.datatype), Dataspace(self.shape), address
        )


def blank(part: AnyReference | HeapObject) -> bytes:
    """Return zeros in place of a part that has no address yet."""
    return bytes(sizeof_part(part))


def attribute_spec(
    name: str,
    value: Any,
    *,
    path: str,
    dtype: np.dtype[Any] | None = None,
    datatype: EncodedDatatype | None = None,
    type_path: str | None = None,
) -> AttributeSpec:
    """Plan an attribute the way h5py stores the same value.

    A str, or an array of str, becomes variable-length UTF-8; bytes a fixed-length string; numbers,
    bools, structured values and dates keep their numpy dtype; a list becomes an array.

    Parameters
    ----------
    name
        Attribute name.
    value
        Scalar or array-like of numbers, str, bytes or dates; an array of any dtype that is valid for a
        dataset; `Reference` or `RegionReference`, or lists of them (lists of lists of references become
        variable-length sequences); an `h5py.Empty`-like object (with a ``dtype`` and the shape None).
    path
        Path of the object with the attribute, for messages.
    dtype
        Array dtype, such as ``np.dtype(("f4", (3,)))``; the last dimensions of the value are its elements.
    datatype
        Datatype message to write unchanged instead of that of the value, with elements of the same size. Values of
        dtype ``V`` are valid for any type without pointers into the global heap.
    type_path
        Path of the named datatype that the attribute uses.

    Raises
    ------
    AttributeValueError
        The name or the value cannot be written.
    LimitError
        The attribute is larger than 4 GiB - 1 bytes.
    """
    check_attribute_name(name, path=path)
    committed = None if type_path is None else Reference(type_path)
    try:
        known = _in_memory(name, value, path)
        element, shape, data = _elements(known) if dtype is None else _arrays(np.asarray(known), dtype)
        encode_datatype(element)
        spec = AttributeSpec(name, element, shape, data, value, committed=committed)
        if datatype is not None:
            nbytes = sizeof_element(element)
            if datatype.nbytes != nbytes:
                raise DatatypeError(
                    f"its elements take {nbytes:,} bytes, the datatype message says {datatype.nbytes:,}; give values "
                    "of that size"
                )
            spec = replace(spec, datatype=datatype)
    except UnicodeEncodeError as error:
        raise AttributeValueError(
            f"attribute {shown(name)} of {path} cannot be encoded as UTF-8: {error.reason}", path=path
        ) from error
    except DatatypeError as error:
        raise AttributeValueError(
            f"attribute {shown(name)} of {path}: {error}", path=path, name=name
        ) from error
    nbytes = spec.body_nbytes
    if nbytes > MAX_DENSE_ATTRIBUTE_NBYTES:
        subject = f"attribute {shown(name)} of {path} needs {nbytes:,} bytes"
        facts = {"path": path, "name": name, "nbytes": nbytes}
        raise over_limit(subject, MAX_DENSE_ATTRIBUTE_NBYTES, ": store it as a dataset", **facts)
    return spec


def text_attribute(name: str, text: bytes) -> AttributeSpec:
    """Plan an attribute of characters: a scalar string of the length of `text`, at least one byte."""
    stored = text or b"\0"
    datatype = FixedLengthString(len(stored), CharacterSet.ASCII, StringPadding.NULL_TERMINATE)
    return AttributeSpec(name, datatype, (), (stored,), value=np.bytes_(text))


def check_attribute_name(name: Any, *, path: str) -> None:
    """Refuse a name that HDF5 cannot store.

    Raises
    ------
    AttributeValueError
        The name is not a str, is empty or longer than 65,534 bytes, contains a NUL character, or has no UTF-8
        encoding.
    """
    try:
        is_good = isinstance(name, str) and "\0" not in name and 0 < len(encode_text(name)) < 65_535
    except UnicodeEncodeError:
        is_good = False
    if not is_good:
        raise AttributeValueError(
            f"{path}: an attribute name must be a str of 1 to 65,534 UTF-8 bytes without NUL, not {name!r:.80}",
            path=path,
            name=name,
        )


def _in_memory(name: str, value: Any, path: str) -> Any:
    """Read an array-like of another library; return other values unchanged."""
    if isinstance(value, (int, np.ndarray, np.generic, list, tuple, str, bytes, Reference, RegionReference)):
        return value
    try:
        if is_empty(value):
            return value
        check_is_array(value)
        return np.asarray(value)
    except DatatypeError:
        raise
    except UNREADABLE as error:
        raise AttributeValueError(
            f"attribute {shown(name)} of {path}: a value of type {type(value).__name__} cannot be read: {error}",
            path=path,
            name=name,
        ) from error


def _elements(value: Any) -> Elements:
    references = _references(value)
    if references is not None:
        return references
    n_masked = value.size - int(value.count()) if isinstance(value, ma.MaskedArray) else 0
    if n_masked:
        raise DatatypeError(
            f"{n_masked} of its values are masked, and HDF5 cannot mark them so; fill them first"
        )
    if isinstance(value, str):
        value = np.asarray(value, dtype=object)
    elif isinstance(value, bytes):
        value = np.bytes_(value or b"\0")  # HDF5 has no strings of size 0
    if is_empty(value):
        return np.dtype(value.dtype), None, ()
    try:
        array = np.asarray(value)
    except UNREADABLE as error:
        raise DatatypeError(f"{value!r:.80} is not a scalar or a regular array") from error
    check_one_kind(value, array)
    if array.dtype.kind in "UT" or (array.dtype == object and not array.dtype.metadata):
        items = array.astype(object).ravel().tolist()
        check_objects(items)
        return VariableLengthString(), array.shape, [text_object(item) for item in items]
    encode_datatype(array.dtype)  # refuse types that HDF5 does not have before looking at values
    return array.dtype, array.shape, encode_parts(array, array.dtype)


def _arrays(values: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> Elements:
    base, shape = innermost(dtype)
    n_outer = values.ndim - len(shape)
    if n_outer < 0 or values.shape[n_outer:] != shape or values.dtype != base:
        raise DatatypeError(f"{values.dtype} of shape {values.shape} are not elements of dtype {dtype}")
    return dtype, values.shape[:n_outer], encode_parts(values, dtype)


def _references(value: Any) -> Elements | None:
    """Plan a reference, a list of them, or a list of lists; None for other values."""
    is_list = isinstance(value, (list, tuple)) and len(value) > 0
    items, shape = (value, (len(value),)) if is_list else ((value,), ())
    if not isinstance(items[0], (Reference, RegionReference, list, tuple)):
        return None
    for kind, record in ((Reference, ObjectReferenceClass()), (RegionReference, RegionReferenceClass())):
        if all(isinstance(item, kind) for item in items):
            # copies: each region is an object of its own in the heap, even if it is given twice
            return record, shape, [replace(item) for item in items]
    if is_list and all(
        isinstance(item, (list, tuple)) and all(isinstance(one, Reference) for one in item) for item in value
    ):
        elements = [HeapObject(len(item), item) for item in value]
        return VariableLengthSequence(ObjectReferenceClass()), shape, elements
    return None
