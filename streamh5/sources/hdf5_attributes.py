"""Attributes and references of an HDF5 file, read with h5py, as they are written again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import SourceError
from streamh5.format.character_set import CharacterSet
from streamh5.format.datatype_class import FixedLengthString, StringPadding, VariableLengthString
from streamh5.plan.attribute_spec import AttributeSpec, attribute_spec
from streamh5.plan.reference import Reference, RegionReference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import h5py

__all__ = ["attribute_specs", "with_paths"]

_PADDINGS = tuple(StringPadding)


def attribute_specs(
    obj: Any, path: str, paths: Mapping[int, str]
) -> Iterator[tuple[str, AttributeSpec | SourceError]]:
    """Yield the attributes of an object in their order; an error for one that cannot be written.

    Parameters
    ----------
    obj
        A group or dataset of h5py.
    path
        Path that it gets.
    paths
        Paths of all objects by their addresses, for references.
    """
    from h5py import h5, h5a

    is_ordered = _tracks_attributes(obj)
    order = h5.INDEX_CRT_ORDER if is_ordered else h5.INDEX_NAME
    for i in range(h5a.get_num_attrs(obj.id)):
        attribute = h5a.open(obj.id, index=i, index_type=order)
        name = attribute.name.decode("utf-8", "surrogateescape")
        try:
            yield name, _spec(name, attribute, obj, path, paths)
        except (TypeError, ValueError, OverflowError, OSError) as error:
            yield (
                name,
                SourceError(f"attribute {name!r} of {path} cannot be carried over: {error}", path=path),
            )


def _tracks_attributes(obj: Any) -> bool:
    from h5py import h5p

    return bool(obj.id.get_create_plist().get_attr_creation_order() & h5p.CRT_ORDER_TRACKED)


def _spec(name: str, attribute: Any, obj: Any, path: str, paths: Mapping[int, str]) -> AttributeSpec:
    from h5py import h5s, h5t

    kind = attribute.get_type()
    space = attribute.get_space().get_simple_extent_type()
    if isinstance(kind, h5t.TypeStringID) and not kind.is_variable_str() and space != h5s.NULL:
        nbytes = kind.get_size()
        raw = np.empty(attribute.shape, f"S{nbytes}")
        attribute.read(raw, mtype=kind)
        record = FixedLengthString(nbytes, CharacterSet(kind.get_cset()), _PADDINGS[kind.get_strpad()])
        return AttributeSpec(name, record, attribute.shape, (raw.tobytes(),), value=raw[()])
    if space == h5s.NULL:
        return AttributeSpec(name, attribute.dtype, None, value=obj.attrs[name])
    values = np.zeros(attribute.shape, attribute.dtype)
    attribute.read(values)
    spec = attribute_spec(name, with_paths(values, obj.file, paths), path=path)
    if isinstance(kind, h5t.TypeStringID):
        spec = replace(spec, datatype=VariableLengthString(CharacterSet(kind.get_cset())))
    return spec


def with_paths(values: Any, file: h5py.File, paths: Mapping[int, str]) -> Any:
    """Return values whose references name paths of the new file, in place of addresses of the old one.

    A reference to something that is not carried over, or to nothing, becomes one to nothing.
    """
    dtype = values.dtype
    metadata = dtype.metadata or {}
    if dtype.names is not None:
        if not dtype.hasobject:
            return values
        new = values.copy()
        for field in dtype.names:
            new[field] = with_paths(values[field], file, paths)
        return new
    if dtype.kind != "O":
        return values
    if "ref" in metadata:
        return _each(values, lambda reference: _reference(reference, file, paths))
    inner = metadata.get("vlen")
    if inner in (str, bytes) or inner is None or not np.dtype(inner).hasobject:
        return values
    return _each(
        values, lambda items: with_paths(np.asarray(items, inner), file, paths) if len(items) else items
    )


def _each(values: Any, change: Any) -> Any:
    new = np.empty(values.shape, values.dtype)
    for index in np.ndindex(*values.shape):
        new[index] = change(values[index])
    return new


def _reference(reference: Any, file: h5py.File, paths: Mapping[int, str]) -> Any:
    from h5py import h5o, h5r

    if not reference:
        return None
    try:
        target = h5r.dereference(reference, file.id)
        path = paths.get(h5o.get_info(target).addr)
    except (ValueError, RuntimeError, OSError):  # the object was deleted
        return None
    if path is None:
        return None
    if not isinstance(reference, h5r.RegionReference):
        return Reference(path)
    return RegionReference(path, _boxes(h5r.get_region(reference, target)))


def _boxes(space: Any) -> list[tuple[slice, ...]]:
    """Return a selection as boxes."""
    from h5py import h5s

    if space.get_select_type() == h5s.SEL_POINTS:
        points = space.get_select_elem_pointlist().tolist()
        return [tuple(slice(n, n + 1) for n in point) for point in points]
    if space.get_select_type() == h5s.SEL_HYPERSLABS:
        blocks = space.get_select_hyper_blocklist().tolist()
        return [tuple(slice(a, b + 1) for a, b in zip(*block, strict=True)) for block in blocks]
    return [tuple(slice(0, n) for n in space.shape)]
