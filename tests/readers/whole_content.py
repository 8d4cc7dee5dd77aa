"""Everything that h5py reads from a file, as values: to compare two files, or one before and after a change."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Facts = dict[str, Any]
"""The facts of one object, by names; what h5py cannot read is the kind of its error."""

MAX_NBYTES = 1 << 28
"""Larger data is compared by its stored chunks."""

_UNREADABLE = (OSError, RuntimeError, TypeError, ValueError, KeyError)


def whole_content(path: Path) -> dict[str, Facts]:
    """Return the facts of each object to which hard links lead, by the first of its paths."""
    with h5py.File(path) as file:
        return _Content(file).facts()


class _Content:
    """The objects of one file that is open in h5py."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._labels: dict[int, str] = {}

    def facts(self) -> dict[str, Facts]:
        objects = dict(self._objects())
        return {label: self._object(one) for label, one in objects.items()}

    def _objects(self) -> Iterator[tuple[str, Any]]:
        """Yield each object with its label, groups before their members."""
        waiting: deque[tuple[str, Any]] = deque([("/", h5py.h5o.open(self._file.id, b"/"))])
        while waiting:
            label, one = waiting.popleft()
            address = h5py.h5o.get_info(one).addr
            if address in self._labels:
                continue
            self._labels[address] = label
            yield label, one
            if isinstance(one, h5py.h5g.GroupID):
                for name in sorted(one):
                    if one.links.get_info(name).type == h5py.h5l.TYPE_HARD:
                        text = name.decode(errors="surrogateescape")
                        waiting.append((f"{label.rstrip('/')}/{text}", h5py.h5o.open(one, name)))

    def _object(self, one: Any) -> Facts:
        facts: Facts = {"kind": type(one).__name__.removeprefix("Type") or "type"}
        if isinstance(one, h5py.h5g.GroupID):
            facts["links"] = {name: self._link(one, name) for name in one}
            if one.get_create_plist().get_link_creation_order():
                facts["order of links"] = _ordered_links(one)
        elif isinstance(one, h5py.h5d.DatasetID):
            facts |= self._dataset(one)
        else:
            facts["type"] = one.encode()
        facts["attributes"] = {}
        for i in range(h5py.h5a.get_num_attrs(one)):
            attribute = h5py.h5a.open(one, index=i, index_type=h5py.h5.INDEX_NAME)
            facts["attributes"][attribute.name] = self._attribute(one, attribute)
        facts["names"] = h5py.h5o.get_info(one).rc
        return facts

    def _link(self, group: Any, name: bytes) -> Any:
        info = group.links.get_info(name)
        if info.type == h5py.h5l.TYPE_HARD:
            return self._labels[h5py.h5o.get_info(group, name).addr]
        try:
            return info.type, group.links.get_val(name)
        except _UNREADABLE:  # of a user-defined class
            return info.type

    def _dataset(self, one: Any) -> Facts:
        plist, space = one.get_create_plist(), one.get_space()
        layout = plist.get_layout()
        facts: Facts = {
            "type": one.get_type().encode(),
            "is committed": one.get_type().committed(),
            "space": space.get_simple_extent_type(),
            "shape": one.shape,
            "maxshape": space.get_simple_extent_dims(maxdims=True),
            "chunks": plist.get_chunk() if layout == h5py.h5d.CHUNKED else None,
            "filters": [plist.get_filter(i)[0] for i in range(plist.get_nfilters())],
            "fill": plist.fill_value_defined(),
            "external": [plist.get_external(i) for i in range(plist.get_external_count())],
        }
        if space.get_simple_extent_type() == h5py.h5s.NULL:
            return facts
        try:
            if math.prod(one.shape) * one.get_type().get_size() > MAX_NBYTES:
                raise MemoryError
            facts["data"] = self._elements(one, one.get_type(), one.shape)
        except (*_UNREADABLE, MemoryError) as error:
            facts["data"] = type(error).__name__
            if layout == h5py.h5d.CHUNKED:
                facts["stored chunks"] = _stored_chunks(one)
        return facts

    def _attribute(self, owner: Any, attribute: Any) -> Any:
        space = attribute.get_space()
        shape = None if space.get_simple_extent_type() == h5py.h5s.NULL else attribute.shape
        facts: Facts = {"type": attribute.get_type().encode(), "shape": shape}
        facts["is committed"] = attribute.get_type().committed()
        if shape is not None:
            try:
                facts["data"] = self._elements(attribute, attribute.get_type(), shape)
            except _UNREADABLE as error:
                facts["data"] = type(error).__name__
        return facts

    def _elements(self, one: Any, datatype: Any, shape: tuple[int, ...]) -> Any:
        """Return elements as stored; those that have pointers into the file as values."""
        is_attribute = isinstance(one, h5py.h5a.AttrID)
        if not any(map(datatype.detect_class, (h5py.h5t.VLEN, h5py.h5t.REFERENCE, h5py.h5t.STRING))):
            found = np.zeros(shape, np.dtype((np.void, datatype.get_size())))
        else:
            found = np.zeros(shape, datatype.dtype)
        is_raw = found.dtype.kind == "V" and found.dtype.names is None
        memory = datatype if is_raw else None
        if is_attribute:
            one.read(found, memory) if is_raw else one.read(found)
        else:
            one.read(h5py.h5s.ALL, h5py.h5s.ALL, found, memory)
        if not found.dtype.hasobject:
            return hashlib.sha256(found.tobytes()).hexdigest()
        return self._value(found)

    def _value(self, value: Any) -> Any:
        if isinstance(value, h5py.RegionReference):
            if not value:
                return None
            space = h5py.h5r.get_region(value, self._file.id)
            return self._target(value), _selection(space)
        if isinstance(value, h5py.Reference):
            return self._target(value) if value else None
        if isinstance(value, np.ndarray):
            return [self._value(item) for item in value.reshape(-1).tolist()]
        if isinstance(value, (tuple, list)):
            return [self._value(item) for item in value]
        return repr(value)

    def _target(self, reference: Any) -> Any:
        """Return the label of the object to which a reference leads."""
        try:
            one = h5py.h5r.dereference(reference, self._file.id)
        except _UNREADABLE:
            return None
        return self._labels.get(h5py.h5o.get_info(one).addr, "an object without a name") if one else None


def _ordered_links(group: Any) -> list[bytes]:
    names: list[bytes] = []
    group.links.iterate(names.append, idx_type=h5py.h5.INDEX_CRT_ORDER)
    return names


def _selection(space: Any) -> Any:
    """Return the boxes or points of a selection, whatever its encoding."""
    if space is None:
        return None
    kind = space.get_select_type()
    if kind == h5py.h5s.SEL_HYPERSLABS:
        return sorted(space.get_select_hyper_blocklist().tolist())
    return space.get_select_elem_pointlist().tolist() if kind == h5py.h5s.SEL_POINTS else kind


def _stored_chunks(one: Any) -> Any:
    found = {}
    try:
        for i in range(one.get_num_chunks()):
            origin = one.get_chunk_info(i).chunk_offset
            mask, data = one.read_direct_chunk(origin)
            found[origin] = mask, hashlib.sha256(data).hexdigest()
    except _UNREADABLE as error:
        return type(error).__name__
    return found


def difference(ours: dict[str, Facts], theirs: dict[str, Facts]) -> str | None:
    """Return the first difference between two contents; None if there is none."""
    for label in [*theirs, *ours]:
        if "order of links" not in theirs.get(label, {}):
            ours.get(label, {}).pop("order of links", None)  # streamh5 tracks it with that of attributes
        if label not in ours or label not in theirs:
            return f"{label} is only in {'theirs' if label not in ours else 'ours'}"
        found = _difference(ours[label], theirs[label], label)
        if found is not None:
            return found
    return None


def _difference(ours: Any, theirs: Any, where: str) -> str | None:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in [*theirs, *ours]:
            if name not in ours or name not in theirs:
                return f"{where}: {name!r} is only in {'theirs' if name not in ours else 'ours'}"
            is_type = name == "type" and isinstance(ours[name], bytes)
            found = (_types if is_type else _difference)(ours[name], theirs[name], f"{where}: {name!r}")
            if found is not None:
                return found
        return None
    return None if ours == theirs else f"{where}: {ours!r:.200} is not {theirs!r:.200}"


def _types(ours: bytes, theirs: bytes, where: str) -> str | None:
    if ours == theirs or h5py.h5t.decode(ours) == h5py.h5t.decode(theirs):
        return None
    return f"{where}: {h5py.h5t.decode(ours).dtype} is not {h5py.h5t.decode(theirs).dtype}"
