"""Datasets, links, attributes, values and the front region as JSON for the journal, each beside its decoder.

Attributes and values are parts (`streamh5.model.reference`): bytes with references and objects of variable length in
between.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.engine.metadata_plan import Front
from streamh5.format.datatype import encode_datatype
from streamh5.format.datatype_class import EncodedDatatype
from streamh5.format.fill_value import AllocationTime, WriteTime
from streamh5.format.filter_pipeline import FilterRecord
from streamh5.format.link import ExternalLink, SoftLink, UserDefinedLink
from streamh5.format.page_rule import MAX_PAGE_NBYTES, MIN_PAGE_NBYTES
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.superblock import SIZEOF_SUPERBLOCK
from streamh5.model.attribute_spec import AttributeSpec, check_attribute_name
from streamh5.model.chunk_shape import check_chunks, check_shape
from streamh5.model.dataset_spec import DatasetSpec, check_grid
from streamh5.model.dtype_facts import dtype_facts, dtype_from_facts
from streamh5.model.reference import (
    HeapObject,
    Reference,
    RegionReference,
    StoredReference,
    StoredRegionReference,
    sizeof_parts,
)
from streamh5.model.tree import DatatypeNode, ReservedRange

if TYPE_CHECKING:
    from streamh5.model.reference import Part, Parts
    from streamh5.model.tree import LinkedTarget, LinkValue, Node

MAX_ADDRESS = 1 << 62


def spec_facts(spec: DatasetSpec) -> dict[str, Any]:
    """Describe everything in the plan of a dataset that determines its bytes, as JSON."""
    return {
        "path": spec.path,
        "shape": None if spec.shape is None else list(spec.shape),
        "dtype": dtype_facts(spec.dtype),
        "chunks": None if spec.chunks is None else list(spec.chunks),
        "filters": [[f.filter_id, f.name, f.flags, list(f.client_values)] for f in spec.filters],
        "fillvalue": None if spec.fill_data is None else parts_facts(spec.fill_data),
        "track_order": spec.track_order,
        "maxshape": None if spec.maxshape is None else list(spec.maxshape),
        "early": spec.is_early,
        "libver": spec.libver,
        "datatype": _hex(spec.datatype),
        "type": spec.type_path,
        "times": [spec.allocation_time, spec.write_time],
        "virtual": None if spec.virtual is None else spec.virtual.hex(),
    }


def spec_from_facts(facts: dict[str, Any]) -> DatasetSpec:
    """Return the plan of a dataset from its D entry.

    Raises
    ------
    SpecError, LimitError, ValueError
        Such a dataset cannot be planned.
    """
    dtype = dtype_from_facts(facts["dtype"])
    fill = facts["fillvalue"]
    allocation_time, write_time = facts.get("times", (None, None))
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
        datatype=_encoded(facts),
        type_path=facts.get("type"),
        allocation_time=None if allocation_time is None else AllocationTime(allocation_time),
        write_time=None if write_time is None else WriteTime(write_time),
        virtual=bytes.fromhex(virtual) if (virtual := facts.get("virtual")) is not None else None,
    )
    if spec.shape is not None:
        check_shape(spec.shape, path=spec.path, unknown_length=True)
    if spec.chunks is not None:
        check_chunks(spec.chunks, spec.bounds, spec.element_nbytes, path=spec.path, libver=spec.libver)
        check_grid(spec)
    if fill is None:
        return spec
    parts = parts_from_facts(fill)
    if sizeof_parts(parts) != spec.element_nbytes:
        raise ValueError(f"the fill value of {spec.path} has {sizeof_parts(parts):,} bytes")
    data = b"".join(part for part in parts if isinstance(part, bytes))
    if spec.is_encoded or len(data) != spec.element_nbytes:  # elements in the global heap have no bytes here
        return replace(spec, fill_parts=parts)
    return replace(spec, fillvalue=np.frombuffer(data, spec.stored_dtype, count=1).reshape(()))


def datatype_facts(datatype: DatatypeNode) -> dict[str, Any]:
    """Describe a named datatype as JSON."""
    return {
        "path": datatype.path,
        "dtype": dtype_facts(datatype.dtype),
        "datatype": _hex(datatype.datatype),
        "track_order": datatype.track_order,
    }


def datatype_from_facts(facts: dict[str, Any]) -> DatatypeNode:
    """Return a named datatype from its T entry."""
    dtype = dtype_from_facts(facts["dtype"])
    return DatatypeNode(facts["path"], dtype, _encoded(facts), bool(facts["track_order"]))


def _hex(datatype: EncodedDatatype | None) -> str | None:
    return None if datatype is None else datatype.message.hex()


def _encoded(facts: dict[str, Any]) -> EncodedDatatype | None:
    message = facts.get("datatype")
    return None if message is None else EncodedDatatype(bytes.fromhex(message))


def attribute_facts(node: Node, attribute: AttributeSpec) -> dict[str, Any]:
    """Describe an attribute of an object as JSON."""
    return {
        "path": node.path,
        "name": attribute.name,
        "datatype": encode_datatype(attribute.datatype).hex(),
        "type": attribute.committed.path if isinstance(attribute.committed, Reference) else None,
        "shape": None if attribute.shape is None else list(attribute.shape),
        "parts": parts_facts(attribute.data),
    }


def attribute_from_facts(facts: dict[str, Any]) -> AttributeSpec:
    """Return the plan of an attribute from its A entry.

    Raises
    ------
    AttributeValueError, DatatypeError, LimitError
        It cannot be written.
    """
    check_attribute_name(facts["name"], path=facts["path"])
    shape = None if facts["shape"] is None else tuple(facts["shape"])
    datatype = EncodedDatatype(bytes.fromhex(facts["datatype"]))
    parts = parts_from_facts(facts["parts"])
    n = 0 if shape is None else math.prod(shape)
    if sizeof_parts(parts) != n * datatype.nbytes:
        raise ValueError(f"attribute {facts['name']!r} of {facts['path']} has {sizeof_parts(parts):,} bytes")
    type_path = facts.get("type")
    committed = None if type_path is None else Reference(type_path)
    return AttributeSpec(facts["name"], datatype, shape, parts, committed=committed)


def parts_facts(parts: Parts) -> list[Any]:
    """Describe the parts of elements as JSON.

    Bytes become a base64 string, a reference an object, and an object of variable length a list: its length and parts.
    """
    return [_part_facts(part) for part in parts]


def parts_from_facts(facts: list[Any]) -> list[Part]:
    """Return the parts that `parts_facts` described."""
    return [_part(one) for one in facts]


def _part_facts(part: Part) -> Any:
    match part:
        case Reference():
            return {"to": part.path}
        case RegionReference(path, bytes(selection)):
            return {"to": path, "selection": b64encode(selection).decode()}
        case RegionReference():
            return {"to": part.path, "boxes": [[[s.start, s.stop] for s in box] for box in part.boxes]}
        case StoredReference():
            return {"at": part.address}
        case StoredRegionReference():
            return {"at": part.address, "selection": b64encode(part.selection).decode()}
        case HeapObject():
            return [part.n, parts_facts(part.parts)]
        case _:
            return b64encode(part).decode()


def _part(facts: Any) -> Part:
    if isinstance(facts, str):
        return b64decode(facts, validate=True)
    if isinstance(facts, list):
        n, parts = facts
        if type(n) is not int or not 0 <= n < 2**32:
            raise ValueError(f"an object of {n!r} elements")
        return HeapObject(n, parts_from_facts(parts))
    if "at" in facts:
        return _stored_reference(facts)
    if "selection" in facts:
        return RegionReference(facts["to"], b64decode(facts["selection"], validate=True))
    if "boxes" in facts:
        return RegionReference(facts["to"], [tuple(slice(*one) for one in box) for box in facts["boxes"]])
    return Reference(facts["to"])


def _stored_reference(facts: dict[str, Any]) -> Part:
    address = facts["at"]
    if type(address) is not int or not 0 < address < 2**64:
        raise ValueError(f"a reference to address {address!r}")
    if "selection" in facts:
        return StoredRegionReference(address, b64decode(facts["selection"], validate=True))
    return StoredReference(address)


def link_facts(path: str, target: LinkedTarget) -> dict[str, Any]:
    """Describe the link at `path` as JSON."""
    match target:
        case UserDefinedLink():
            return {"path": path, "class": target.link_type, "value": target.value.hex()}
        case SoftLink():
            return {"path": path, "soft": target.path}
        case ExternalLink():
            return {"path": path, "external": [target.filename, target.path]}
        case _:
            return {"path": path, "hard": target.path}


def link_from_facts(facts: dict[str, Any]) -> LinkValue | None:
    """Return the target of a link from its L entry; None for a hard link, whose path is under ``hard``."""
    if "class" in facts:
        return UserDefinedLink(facts["class"], bytes.fromhex(facts["value"]))
    if "soft" in facts:
        return SoftLink(facts["soft"])
    return ExternalLink(*facts["external"]) if "external" in facts else None


def front_facts(front: Front) -> dict[str, Any]:
    """Describe the front region as JSON."""
    return {
        "headers": {path: [region.address, region.nbytes] for path, region in front.headers.items()},
        "indexes": {path: [region.address, region.nbytes] for path, region in front.indexes.items()},
        "heap": None if front.heap is None else [front.heap.address, front.heap.nbytes],
        "end": front.end,
        **({"page": front.page_nbytes, "extension": front.extension} if front.page_nbytes else {}),
    }


def front_from_facts(facts: dict[str, Any]) -> Front:
    """Return the front region of an F entry."""
    heap = facts["heap"]
    front = Front(
        {path: _region(place) for path, place in facts["headers"].items()},
        {path: _region(place) for path, place in facts["indexes"].items()},
        None if heap is None else _region(heap),
        address_of(facts["end"]),
        int(page_of(facts)),
        address_of(facts["extension"]) if "extension" in facts else UNDEFINED_ADDRESS,
    )
    regions = [*front.headers.values(), *front.indexes.values(), *([front.heap] if front.heap else [])]
    first = SIZEOF_SUPERBLOCK
    for region in sorted(regions, key=lambda region: (region.address, region.nbytes)):
        if region.address < first and region.nbytes:
            raise ValueError(f"two regions of the front at {region.address}")
        first = max(first, region.address + region.nbytes)
    if first > front.end:
        raise ValueError(f"a region at {first} in a front region that ends at {front.end}")
    return front


def page_of(facts: dict[str, Any]) -> bool | int:
    """Return the size of pages of an H or F entry; False for none, also in journals of older versions."""
    page = facts.get("page", False)
    if page is True or page is False:
        return page
    if address_of(page) > MAX_PAGE_NBYTES or page % MIN_PAGE_NBYTES:
        raise ValueError(f"pages of {page} bytes")
    return int(page)


def _region(place: Any) -> ReservedRange:
    address, nbytes = place
    return ReservedRange(address_of(address), address_of(nbytes))


def address_of(value: Any) -> int:
    """Return an address or a count from an entry, checked."""
    if type(value) is not int or not 0 <= value < MAX_ADDRESS:
        raise ValueError(f"address or count {value!r}")
    return value
