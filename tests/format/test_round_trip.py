"""What the encoders write, the decoders give back; what they give back encodes to the same bytes."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamh5.errors import FormatError
from streamh5.format.attribute import Attribute, decode_attribute
from streamh5.format.data_layout import (
    ChunkedLayout,
    CompactLayout,
    ContiguousLayout,
    ExtensibleArrayIndex,
    FixedArrayIndex,
    ImplicitIndex,
    SingleChunkIndex,
    V1BTreeIndex,
    V2BTreeIndex,
    decode_data_layout,
    encode_data_layout,
)
from streamh5.format.dataspace import Dataspace, decode_dataspace, encode_dataspace
from streamh5.format.datatype import datatype_class, decode_datatype, decode_datatype_message, encode_datatype
from streamh5.format.datatype_class import Complex, FloatingPoint, Opaque
from streamh5.format.fill_value import (
    AllocationTime,
    FillValue,
    WriteTime,
    decode_fill_value,
    encode_fill_value,
)
from streamh5.format.filter_pipeline import FilterRecord, decode_filter_pipeline, encode_filter_pipeline
from streamh5.format.global_heap import (
    decode_global_heap_collection,
    encode_global_heap_collection,
)
from streamh5.format.group_info import decode_group_info, encode_group_info
from streamh5.format.link import ExternalLink, HardLink, Link, SoftLink, decode_link, encode_link
from streamh5.format.object_header import Message, MessageType
from streamh5.format.storage_info import (
    StorageInfo,
    decode_attribute_info,
    decode_link_info,
    encode_attribute_info,
    encode_link_info,
)
from streamh5.format.superblock import Superblock, decode_superblock, encode_superblock
from tests.format.conftest import attribute_body

ADDRESSES = st.integers(0, 2**64 - 1)
NAMES = st.text(min_size=1, max_size=40).filter(
    lambda name: "/" not in name and "\0" not in name and name != "." and name.isprintable()
)
SHAPES = st.lists(st.integers(0, 2**64 - 2), max_size=32).map(tuple)

DTYPES = [
    *("u1", "<i2", ">i4", "<u8", "<f2", "<f4", ">f8", "g", "?", "<c8", ">c16", "S5", "V7", "M8[ns]", "m8[D]"),
    [("a", "<i4"), ("b", "<f8", (2, 3)), ("c", [("d", "S3")])],
    np.dtype({"names": ["x", "y"], "formats": ["<i2", ">u4"], "offsets": [3, 9], "itemsize": 20}),
    h5py.string_dtype(),
    h5py.string_dtype("ascii", 9),
    h5py.string_dtype("utf-8", 9),
    h5py.vlen_dtype(np.dtype("<i4")),
    h5py.enum_dtype({"RED": -1, "GREEN": 7}, basetype="i2"),
    h5py.ref_dtype,
    h5py.regionref_dtype,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_datatype_of_every_kind_comes_back(dtype: Any) -> None:
    record = datatype_class(np.dtype(dtype))
    body = encode_datatype(record)
    assert decode_datatype(body) == record
    with pytest.raises(FormatError):
        decode_datatype(body + b"\0")
    for nbytes in range(len(body)):
        with pytest.raises(FormatError):
            decode_datatype(body[:nbytes])


def test_datatype_that_only_a_record_can_say_comes_back() -> None:
    float32 = FloatingPoint(4, 32, 31, 23, 8, 0, 23, 127)
    for record in (Complex(float32), Opaque(3, "a tag")):
        assert decode_datatype(encode_datatype(record)) == record


def test_datatype_nested_without_end_is_refused_before_the_stack_is_full() -> None:
    sequence = bytes([0x19, 0, 0, 0, 16, 0, 0, 0])
    with pytest.raises(FormatError, match="nested"):
        decode_datatype(sequence * 8000)


@given(shape=st.none() | SHAPES, grow=st.integers(0, 3), unlimited=st.booleans())
def test_dataspace_comes_back(shape: tuple[int, ...] | None, grow: int, unlimited: bool) -> None:
    maxshape = tuple(None if unlimited else min(n + grow, 2**64 - 2) for n in shape or ()) if shape else None
    dataspace = Dataspace(shape, maxshape)
    assert decode_dataspace(encode_dataspace(dataspace).body) == dataspace


@given(st.sampled_from(AllocationTime), st.none() | st.binary(max_size=40), st.sampled_from(WriteTime))
def test_fill_value_comes_back(time: AllocationTime, value: bytes | None, write_time: WriteTime) -> None:
    fill_value = FillValue(time, value, write_time)
    assert decode_fill_value(encode_fill_value(fill_value).body) == fill_value


@given(
    st.lists(
        st.builds(
            FilterRecord,
            filter_id=st.integers(256, 65535),
            name=st.text("abc; 1", max_size=20),
            flags=st.integers(0, 65535),
            client_values=st.lists(st.integers(0, 2**32 - 1), max_size=30).map(tuple),
        )
        | st.builds(FilterRecord, filter_id=st.integers(0, 255), client_values=st.just((1, 2))),
        max_size=32,
    ).map(tuple)
)
def test_filter_pipeline_comes_back(filters: tuple[FilterRecord, ...]) -> None:
    assert decode_filter_pipeline(encode_filter_pipeline(filters).body) == filters


@given(
    name=NAMES,
    target=st.builds(HardLink, ADDRESSES)
    | st.builds(SoftLink, NAMES)
    | st.builds(ExternalLink, NAMES, NAMES),
    order=st.none() | ADDRESSES,
)
def test_link_comes_back(name: str, target: Any, order: int | None) -> None:
    link = Link(name, target, order)
    assert decode_link(encode_link(link).body) == link


@pytest.mark.parametrize("nbytes", [1, 255, 256, 65_000])
def test_link_with_a_name_of_any_length_comes_back(nbytes: int) -> None:
    link = Link("x" * nbytes, HardLink(9))
    assert decode_link(encode_link(link).body) == link


@given(st.none() | st.integers(0, 65535), ADDRESSES, ADDRESSES, ADDRESSES)
def test_link_and_attribute_info_come_back(count: int | None, heap: int, names: int, orders: int) -> None:
    rest = () if count is None else (orders,)
    link_info = StorageInfo(count, heap, names, *rest)
    assert decode_link_info(encode_link_info(link_info).body) == link_info
    attribute_info = StorageInfo(count, heap, names, *rest)
    assert decode_attribute_info(encode_attribute_info(attribute_info).body) == attribute_info


@given(
    NAMES,
    st.sampled_from(["<i4", "S3", "<c16"]),
    st.none() | st.lists(st.integers(0, 4), max_size=3).map(tuple),
)
def test_attribute_comes_back(name: str, dtype: str, shape: tuple[int, ...] | None) -> None:
    n_elements = 0 if shape is None else int(np.prod(shape))
    record = datatype_class(np.dtype(dtype))
    attribute = Attribute(name, record, Dataspace(shape), bytes(range(200))[:16] * n_elements)
    attribute = Attribute(name, record, Dataspace(shape), attribute.data[: n_elements * record.nbytes])
    found = decode_attribute(attribute_body(attribute))
    assert (found.name, found.datatype, found.dataspace) == (name, record, attribute.dataspace)
    assert (found.data, found.datatype_body) == (attribute.data, encode_datatype(record))


INDEXES = (
    st.builds(SingleChunkIndex, ADDRESSES, st.none() | ADDRESSES).map(
        lambda one: SingleChunkIndex(one.address, one.stored_nbytes, 0 if one.stored_nbytes is None else 5)
    )
    | st.builds(ImplicitIndex, ADDRESSES)
    | st.builds(FixedArrayIndex, st.integers(0, 255), ADDRESSES)
    | st.builds(ExtensibleArrayIndex, ADDRESSES, *[st.integers(0, 255)] * 5)
    | st.builds(V2BTreeIndex, st.integers(0, 2**32 - 1), ADDRESSES, st.integers(0, 255), st.integers(0, 255))
)
CHUNKS = st.lists(st.integers(1, 300), min_size=1, max_size=3).map(tuple)


@given(
    st.builds(CompactLayout, st.binary(max_size=50))
    | st.builds(ContiguousLayout, ADDRESSES, ADDRESSES)
    | st.builds(
        ChunkedLayout, CHUNKS, st.integers(1, 70000), INDEXES, st.integers(4, 5), st.booleans()
    ).filter(
        lambda layout: layout.version == 5 or int(np.prod(layout.chunks)) * layout.element_nbytes < 2**32
    )
    | st.builds(ChunkedLayout, CHUNKS, st.integers(1, 100), st.builds(V1BTreeIndex, ADDRESSES), st.just(3))
)
def test_data_layout_comes_back(layout: Any) -> None:
    body = encode_data_layout(layout).body
    assert decode_data_layout(body) == layout
    with pytest.raises(FormatError):
        decode_data_layout(body + b"\0")


@given(ADDRESSES, ADDRESSES, ADDRESSES, st.integers(2, 3))
def test_superblock_comes_back(end: int, root: int, extension: int, version: int) -> None:
    superblock = Superblock(end, root, 0, extension, version)
    assert decode_superblock(encode_superblock(superblock)) == superblock


@given(st.lists(st.binary(max_size=600), max_size=20).map(tuple))
def test_global_heap_collection_comes_back(objects: tuple[bytes, ...]) -> None:
    block = encode_global_heap_collection(objects)
    assert decode_global_heap_collection(block) == dict(enumerate(objects, start=1))


@pytest.mark.parametrize(
    ("decode", "message", "known"),
    [
        (decode_attribute_info, encode_attribute_info(StorageInfo()), 0x03),
        (decode_data_layout, encode_data_layout(ChunkedLayout((3,), 4, ImplicitIndex(64))), 0x03),
        (decode_dataspace, encode_dataspace(Dataspace((3,))), 0x01),
        (decode_fill_value, encode_fill_value(FillValue(AllocationTime.LATE)), 0x3F),
        (decode_group_info, encode_group_info(), 0x03),
        (decode_link, encode_link(Link("a", HardLink(96))), 0x1F),
        (decode_link_info, encode_link_info(StorageInfo()), 0x03),
    ],
)
def test_flags_without_a_meaning_are_refused(decode: Any, message: Message, known: int) -> None:
    position = 2 if message.type_id in (MessageType.DATASPACE, MessageType.DATA_LAYOUT) else 1
    decode(message.body)
    for bit in (1 << i for i in range(8) if not known >> i & 1):
        body = bytearray(message.body)
        body[position] |= bit
        with pytest.raises(FormatError, match="flags"):
            decode(bytes(body))


@given(st.binary(max_size=80))
def test_decoders_of_any_bytes_end_in_format_errors_only(body: bytes) -> None:
    decoders: list[Any] = [
        decode_attribute,
        decode_attribute_info,
        decode_data_layout,
        decode_dataspace,
        decode_datatype,
        decode_fill_value,
        decode_filter_pipeline,
        decode_global_heap_collection,
        decode_link,
        decode_link_info,
        decode_superblock,
    ]
    for decode in decoders:
        try:
            decode(body)
        except FormatError:
            continue


def test_datatype_message_may_have_padding() -> None:
    body = encode_datatype(datatype_class(np.dtype([("a", "i4"), ("b", "f8")])))
    assert decode_datatype_message(body + bytes(20)) == (decode_datatype(body), body)
