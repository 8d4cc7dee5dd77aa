"""Attributes of an HDF5 file, as they are written again: datatype, dataspace and elements as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.conversion.hdf5.datatype import stored_type
from streamh5.conversion.hdf5.elements import read_attribute, to_parts
from streamh5.conversion.hdf5.errors import reading
from streamh5.errors import SourceError
from streamh5.format.datatype_class import EncodedDatatype
from streamh5.model.attribute_spec import AttributeSpec
from streamh5.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.conversion.hdf5.elements import Referents

__all__ = ["read_attributes", "tracks_attributes"]


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
        What references lead to.
    problem
        Is given what is wrong with an attribute that cannot be written.
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
