"""Datasets, links and attributes as JSON, for the journal, and back."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.format.datatype import encode_datatype
from streamh5.format.datatype_class import EncodedDatatype
from streamh5.format.filter_pipeline import FilterRecord
from streamh5.format.link import ExternalLink, SoftLink
from streamh5.plan.attribute_spec import AttributeSpec, attribute_spec
from streamh5.plan.dataset_spec import DatasetSpec
from streamh5.plan.dtype_facts import dtype_facts, dtype_from_facts
from streamh5.plan.reference import Reference, RegionReference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamh5.plan.tree import LinkedTarget

__all__ = [
    "EmptyValue",
    "attribute_facts",
    "attribute_from_facts",
    "link_facts",
    "spec_facts",
    "spec_from_facts",
    "value_facts",
    "value_from_facts",
]


def spec_facts(spec: DatasetSpec) -> dict[str, Any]:
    """Everything of a dataset's plan that shapes its bytes, as JSON."""
    return {
        "path": spec.path,
        "shape": None if spec.shape is None else list(spec.shape),
        "dtype": dtype_facts(spec.dtype),
        "chunks": None if spec.chunks is None else list(spec.chunks),
        "filters": [[f.filter_id, f.name, f.flags, list(f.client_values)] for f in spec.filters],
        "fillvalue": None if spec.fillvalue is None else spec.fillvalue.tobytes().hex(),
        "track_order": spec.track_order,
        "maxshape": None if spec.maxshape is None else list(spec.maxshape),
        "early": spec.is_early,
        "libver": spec.libver,
        "datatype": None if spec.datatype is None else spec.datatype.message.hex(),
    }


def spec_from_facts(facts: dict[str, Any]) -> DatasetSpec:
    """Plan of a dataset from its D entry."""
    dtype = dtype_from_facts(facts["dtype"])
    fill, datatype = facts["fillvalue"], facts.get("datatype")
    spec = DatasetSpec(
        path=facts["path"],
        shape=None if facts["shape"] is None else tuple(facts["shape"]),
        dtype=dtype,
        chunks=None if facts["chunks"] is None else tuple(facts["chunks"]),
        filters=tuple(
            FilterRecord(i, name, flags, tuple(values)) for i, name, flags, values in facts["filters"]
        ),
        track_order=facts["track_order"],
        maxshape=None if facts["maxshape"] is None else tuple(facts["maxshape"]),
        is_early=facts["early"],
        libver=facts["libver"],
        datatype=None if datatype is None else EncodedDatatype(bytes.fromhex(datatype)),
    )
    if fill is None:
        return spec
    return replace(spec, fillvalue=np.frombuffer(bytes.fromhex(fill), spec.stored_dtype, count=1).reshape(()))


def attribute_facts(path: str, attribute: AttributeSpec) -> dict[str, Any]:
    """Describe an attribute of the object at `path` as JSON."""
    datatype = encode_datatype(attribute.datatype).hex()
    return {
        "path": path,
        "name": attribute.name,
        "value": value_facts(attribute.value),
        "datatype": datatype,
    }


def attribute_from_facts(facts: dict[str, Any]) -> AttributeSpec:
    """Plan of an attribute from its A entry.

    Raises
    ------
    AttributeValueError, DatatypeError
        It is not one that can be written.
    """
    datatype = facts.get("datatype")
    return attribute_spec(
        facts["name"],
        value_from_facts(facts["value"]),
        path=facts["path"],
        datatype=None if datatype is None else EncodedDatatype(bytes.fromhex(datatype)),
    )


def link_facts(target: LinkedTarget) -> dict[str, Any]:
    """Target of a link as JSON."""
    if isinstance(target, SoftLink):
        return {"soft": target.path}
    if isinstance(target, ExternalLink):
        return {"external": [target.filename, target.path]}
    return {"hard": target.path}


def value_facts(value: Any) -> dict[str, Any]:
    """Attribute value as JSON: text and references as they are, numbers as the bytes of an array."""
    references = _reference_paths(value)
    if references is not None:
        return {"references": references}
    if isinstance(value, RegionReference) or _is_list_of(value, RegionReference):
        value = np.array(value, np.dtype("O", metadata={"ref": RegionReference}))
    if getattr(value, "shape", ()) is None:
        return {"empty": dtype_facts(np.dtype(value.dtype))}
    array = np.asarray(value)
    if array.dtype.hasobject and not _is_text(array.dtype):
        return {"dtype": dtype_facts(array.dtype), "shape": list(array.shape), "items": _items(array.ravel())}
    if array.dtype.kind in "UTO":
        texts = [
            x.decode("utf-8") if isinstance(x, bytes) else x for x in array.astype(object).ravel().tolist()
        ]
        return {"strings": texts, "shape": list(array.shape)}
    data = b64encode(array.tobytes()).decode()
    return {"dtype": dtype_facts(array.dtype), "shape": list(array.shape), "data": data}


@dataclass(frozen=True, slots=True)
class EmptyValue:
    """The value of an attribute with a null dataspace."""

    dtype: np.dtype[Any]
    shape: None = None


def value_from_facts(facts: dict[str, Any]) -> Any:
    """Attribute value from its A entry; a null dataspace as `EmptyValue`."""
    if "references" in facts:
        return _references(facts["references"])
    if "empty" in facts:
        return EmptyValue(dtype_from_facts(facts["empty"]))
    shape = tuple(facts["shape"])
    if "items" in facts:
        return _from_items(facts["items"], dtype_from_facts(facts["dtype"])).reshape(shape)
    if "strings" in facts:
        strings = np.array(facts["strings"], object).reshape(shape)
        return strings if shape else strings[()]
    return np.frombuffer(b64decode(facts["data"]), dtype_from_facts(facts["dtype"])).reshape(shape)


def _is_text(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "T" or (
        dtype.kind == "O" and (dtype.metadata or {"vlen": str}).get("vlen") in (str, bytes)
    )


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(one, kind) for one in value)


def _items(values: Any) -> list[Any]:
    """Elements of arrays with objects as JSON; what a dtype holds without objects as hexadecimal bytes."""
    if isinstance(values, np.ndarray) and not values.dtype.hasobject:
        return [value.tobytes().hex() for value in values]
    return [_item(value) for value in values]


def _item(value: Any) -> Any:
    match value:
        case np.void():
            return [_item(value[name]) for name in value.dtype.names or ()]
        case np.generic():
            return value.tobytes().hex()
        case np.ndarray():
            return _items(value.ravel())
        case bytes():
            return {"bytes": value.hex()}
        case Reference():
            return {"reference": value.path}
        case RegionReference():
            boxes = [[[part.start, part.stop] for part in box] for box in value.boxes]
            return {"reference": value.path, "boxes": boxes}
        case _:
            return value if isinstance(value, str) else None


def _from_items(items: list[Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    values = np.zeros(len(items), dtype)
    for i, item in enumerate(items):
        values[i] = _from_item(item, dtype)
    return values


def _from_item(item: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.subdtype is not None:
        return _from_items(item, dtype.base).reshape(dtype.shape)
    if not dtype.hasobject:
        return np.frombuffer(bytes.fromhex(item), dtype)[0]
    if dtype.names is not None:
        return tuple(_from_item(one, dtype[name]) for one, name in zip(item, dtype.names, strict=True))
    if isinstance(item, list):
        marks: Mapping[str, Any] = dtype.metadata or {}
        return _from_items(item, np.dtype(marks["vlen"]))
    if isinstance(item, dict) and "bytes" in item:
        return bytes.fromhex(item["bytes"])
    if isinstance(item, dict) and "boxes" in item:
        boxes = [tuple(slice(*part) for part in box) for box in item["boxes"]]
        return RegionReference(item["reference"], boxes)
    return Reference(item["reference"]) if isinstance(item, dict) else item


def _reference_paths(value: Any) -> Any:
    """Paths of a reference, or of (nested) lists of them; None for other values."""
    if isinstance(value, Reference):
        return value.path
    if not isinstance(value, (list, tuple)) or not value:
        return None
    paths = [[] if isinstance(item, (list, tuple)) and not item else _reference_paths(item) for item in value]
    return None if any(path is None for path in paths) or not any(paths) else paths


def _references(paths: Any) -> Any:
    return Reference(paths) if isinstance(paths, str) else [_references(path) for path in paths]
