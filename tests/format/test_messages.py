"""Header messages against the bytes that libhdf5 writes for the same object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from streamh5.errors import (
    AttributeValueError,
    ChunkShapeError,
    FormatError,
    LimitError,
    PathError,
    ShapeError,
)
from streamh5.format.annotation import decode_old_modification_time
from streamh5.format.attribute import Attribute
from streamh5.format.character_set import CharacterSet
from streamh5.format.data_layout import (
    ChunkedLayout,
    CompactLayout,
    ContiguousLayout,
    DataLayout,
    ExtensibleArrayIndex,
    FixedArrayIndex,
    ImplicitIndex,
    SingleChunkIndex,
    V1BTreeIndex,
    V2BTreeIndex,
    encode_data_layout,
)
from streamh5.format.dataspace import Dataspace, encode_dataspace
from streamh5.format.datatype import datatype_class, encode_datatype
from streamh5.format.datatype_class import FixedLengthString, VariableLengthString
from streamh5.format.fill_value import AllocationTime, FillValue, WriteTime, encode_fill_value
from streamh5.format.filter_pipeline import FilterRecord, encode_filter_pipeline
from streamh5.format.group_info import encode_group_info
from streamh5.format.link import ExternalLink, HardLink, Link, SoftLink, encode_link
from streamh5.format.object_header import Message, MessageType, pack_messages
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.reference_count import encode_reference_count
from streamh5.format.storage_info import StorageInfo, encode_attribute_info, encode_link_info
from tests.format.conftest import attribute_body

LibraryMessages = Callable[..., dict[int, list[tuple[int, bytes]]]]


def _only(messages: dict[int, list[tuple[int, bytes]]], type_id: MessageType) -> tuple[int, bytes]:
    (message,) = messages[type_id]
    return message


@pytest.mark.parametrize(
    ("shape", "maxshape"),
    [
        ((), None),
        (None, None),
        ((3,), (3,)),
        ((2, 3), (None, 5)),
        ((0, 7), (None, None)),
        ((1,) * 32, (1,) * 32),
    ],
)
def test_dataspace_equals_libhdf5(library_messages: LibraryMessages, shape: Any, maxshape: Any) -> None:
    def write(file: h5py.File) -> None:
        if shape is None:
            space = h5py.h5s.create(h5py.h5s.NULL)
        elif maxshape is None:
            space = h5py.h5s.create(h5py.h5s.SCALAR)
        else:
            unlimited = tuple(h5py.h5s.UNLIMITED if n is None else n for n in maxshape)
            space = h5py.h5s.create_simple(shape, unlimited)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if shape:
            plist.set_chunk((1,) * len(shape))
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT8, space, plist)

    ours = encode_dataspace(Dataspace(shape, maxshape))
    assert (ours.flags, ours.body) == _only(library_messages(write), MessageType.DATASPACE)


@pytest.mark.parametrize(
    ("shape", "maxshape"), [((-1,), None), ((3,), (2,)), ((3, 4), (3,)), (None, (3,)), ((), (1,))]
)
def test_dataspace_contradiction_shape_error(shape: Any, maxshape: Any) -> None:
    with pytest.raises(ShapeError):
        Dataspace(shape, maxshape)


def test_dataspace_33_dimensions_limit_error() -> None:
    with pytest.raises(LimitError, match="33"):
        Dataspace((1,) * 33)


@pytest.mark.parametrize("value", [None, 7])
def test_fill_value_equals_libhdf5(library_messages: LibraryMessages, value: int | None) -> None:
    def write(file: h5py.File) -> None:
        file.create_dataset("x", (10,), "<i4", chunks=(5,), fillvalue=value)

    encoded = None if value is None else np.int32(value).tobytes()
    ours = encode_fill_value(FillValue(AllocationTime.INCREMENTAL, encoded))
    assert (ours.flags, ours.body) == _only(library_messages(write), MessageType.FILL_VALUE)


def test_fill_value_write_time_equals_libhdf5(library_messages: LibraryMessages) -> None:
    def write(file: h5py.File) -> None:
        file.create_dataset("x", (10,), "<i4", fill_time="alloc")

    ours = encode_fill_value(FillValue(AllocationTime.LATE, write_time=WriteTime.ON_ALLOCATION))
    assert ours.body == _only(library_messages(write), MessageType.FILL_VALUE)[1]


@pytest.mark.parametrize(
    ("options", "filters"),
    [
        ({"shuffle": True}, [FilterRecord(2, "shuffle", 1, (4,))]),
        (
            {"compression": "gzip", "shuffle": True, "fletcher32": True},
            [FilterRecord(2, "", 1, (4,)), FilterRecord(1, "deflate", 1, (4,)), FilterRecord(3)],
        ),
        ({"compression": "lzf"}, [FilterRecord(32000, "lzf", 1, (4, 261, 20))]),
        (
            dict(hdf5plugin.Zstd(clevel=7)),
            [FilterRecord(32015, "name of the plugin", 1, (7,))],
        ),
    ],
)
def test_filter_pipeline_equals_libhdf5(
    library_messages: LibraryMessages, options: dict[str, Any], filters: list[FilterRecord]
) -> None:
    names: list[str] = []

    def write(file: h5py.File) -> None:
        plist = file.create_dataset("x", (10,), "<i4", chunks=(5,), **options).id.get_create_plist()
        names.extend(plist.get_filter(i)[3].decode() for i in range(plist.get_nfilters()))

    theirs = _only(library_messages(write), MessageType.FILTER_PIPELINE)
    ours = encode_filter_pipeline([replace(f, name=name) for f, name in zip(filters, names, strict=True)])
    assert (ours.flags, ours.body) == theirs


def test_filter_pipeline_33_filters_limit_error() -> None:
    encode_filter_pipeline([FilterRecord(2)] * 32)
    with pytest.raises(LimitError, match="33"):
        encode_filter_pipeline([FilterRecord(2)] * 33)


_WIDTHS = [(5,), (255,), (256,), (65_535,), (65_536,), (3, 256)]


@pytest.mark.parametrize(
    ("chunks", "element"),
    [*((chunks, element) for chunks in _WIDTHS for element in ("u1", "<u2", "S300")), ((16_777_216,), "u1")],
)
def test_chunked_layout_dimension_width_equals_libhdf5(
    library_messages: LibraryMessages, chunks: tuple[int, ...], element: str
) -> None:
    shape = tuple(2 * n for n in chunks)

    def write(file: h5py.File) -> None:
        file.create_dataset("x", shape, element, chunks=chunks)

    theirs = _only(library_messages(write), MessageType.DATA_LAYOUT)[1]
    index = FixedArrayIndex(10, int.from_bytes(theirs[-8:], "little"))
    ours = encode_data_layout(ChunkedLayout(chunks, np.dtype(element).itemsize, index))
    assert ours.body == theirs


@pytest.mark.parametrize(
    ("shape", "maxshape", "options", "index"),
    [
        ((4, 4), (4, 4), {}, SingleChunkIndex()),
        ((4, 4), (4, 4), {"compression": "gzip"}, SingleChunkIndex(stored_nbytes=0)),
        ((8, 4), (None, 4), {}, ExtensibleArrayIndex()),
        ((8, 4), (None, None), {}, V2BTreeIndex(2048)),
        ((8, 4), (8, 4), {}, FixedArrayIndex(10)),
    ],
)
def test_chunked_layout_without_data_equals_libhdf5(
    library_messages: LibraryMessages, shape: Any, maxshape: Any, options: Any, index: Any
) -> None:
    def write(file: h5py.File) -> None:
        file.create_dataset("x", shape, "<f4", chunks=(4, 4), maxshape=maxshape, **options)

    ours = encode_data_layout(ChunkedLayout((4, 4), 4, index))
    theirs = _only(library_messages(write), MessageType.DATA_LAYOUT)[1]
    assert ours.body == theirs


def test_implicit_layout_equals_libhdf5(library_messages: LibraryMessages) -> None:
    def write(file: h5py.File) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4,))
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I32LE, h5py.h5s.create_simple((8,)), plist)

    theirs = _only(library_messages(write), MessageType.DATA_LAYOUT)[1]
    index = ImplicitIndex(int.from_bytes(theirs[-8:], "little"))
    assert encode_data_layout(ChunkedLayout((4,), 4, index)).body == theirs


def test_layout_version_3_equals_libhdf5(library_messages: LibraryMessages) -> None:
    def write(file: h5py.File) -> None:
        file.create_dataset("x", (8, 4), "<f4", chunks=(4, 4))

    theirs = _only(library_messages(write, libver=("v108", "v108")), MessageType.DATA_LAYOUT)[1]
    assert encode_data_layout(ChunkedLayout((4, 4), 4, V1BTreeIndex(), 3)).body == theirs


def test_contiguous_and_compact_layout_equal_libhdf5(library_messages: LibraryMessages) -> None:
    data = np.arange(8, dtype="<f4")

    def write_contiguous(file: h5py.File) -> None:
        file.create_dataset("x", (8,), "<f4")

    def write_compact(file: h5py.File) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((8,))
        x = h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, plist)
        x.write(h5py.h5s.ALL, h5py.h5s.ALL, data)

    cases: list[tuple[Callable[[h5py.File], None], DataLayout]] = [
        (write_contiguous, ContiguousLayout(UNDEFINED_ADDRESS, 32)),
        (write_compact, CompactLayout(data.tobytes())),
    ]
    for write, layout in cases:
        theirs = _only(library_messages(write, libver=("v108", "v108")), MessageType.DATA_LAYOUT)[1]
        assert encode_data_layout(layout).body == theirs


def test_compact_layout_at_limit_read_above_limit_error(builder: Any) -> None:
    data = np.arange(65_531).astype(np.uint8)
    builder.add_dataset("x", CompactLayout(data.tobytes()), dtype=data.dtype, space=Dataspace(data.shape))
    with h5py.File(builder.write()) as file:
        np.testing.assert_array_equal(file["x"][()], data)
    with pytest.raises(LimitError, match="65532 bytes"):
        encode_data_layout(CompactLayout(bytes(65_532)))


def test_chunked_layout_4_gib_chunk_limit_error() -> None:
    encode_data_layout(ChunkedLayout((2**32 - 1,), 1, SingleChunkIndex()))
    with pytest.raises(LimitError, match="4294967296 bytes"):
        encode_data_layout(ChunkedLayout((2**31,), 2, SingleChunkIndex()))
    assert encode_data_layout(ChunkedLayout((2**31,), 2, SingleChunkIndex(), version=5)).body[0] == 5


@pytest.mark.parametrize("chunks", [(0,), (4, -1), ()])
def test_chunked_layout_empty_chunk_chunk_shape_error(chunks: tuple[int, ...]) -> None:
    with pytest.raises(ChunkShapeError):
        encode_data_layout(ChunkedLayout(chunks, 1, SingleChunkIndex()))


@pytest.mark.parametrize("name", ["units", "größe", "n" * 300])
def test_attribute_equals_libhdf5(library_messages: LibraryMessages, name: str) -> None:
    value = np.arange(6, dtype=">i2").reshape(2, 3)

    def write(file: h5py.File) -> None:
        file.create_dataset("x", (3,), "<i4").attrs.create(name, value)

    ours = attribute_body(
        Attribute(name, datatype_class(value.dtype), Dataspace(value.shape, value.shape), value.tobytes())
    )
    theirs = bytearray(_only(library_messages(write), MessageType.ATTRIBUTE)[1])
    theirs[8] = CharacterSet.ASCII if name.isascii() else CharacterSet.UTF8  # h5py always says UTF-8
    assert ours == bytes(theirs)


def test_attribute_values_of_many_kinds_read_by_h5py(one_value_dataset: Any) -> None:
    scalar = Dataspace(())
    values = {
        "int": Attribute("int", datatype_class(np.dtype("<i8")), scalar, np.int64(-3).tobytes()),
        "empty": Attribute("empty", datatype_class(np.dtype("<f4")), Dataspace(None), b""),
        "text": Attribute("text", FixedLengthString(3, CharacterSet.UTF8), scalar, "è1".encode()),
        "bools": Attribute("bools", datatype_class(np.dtype(bool)), Dataspace((2,)), b"\x01\x00"),
    }
    path = one_value_dataset(
        "x", [Message(MessageType.ATTRIBUTE, attribute_body(a)) for a in values.values()]
    ).write()
    with h5py.File(path) as file:
        attrs = file["x"].attrs
        assert len(attrs) == 4
        assert attrs["int"] == -3
        assert attrs["empty"] == h5py.Empty("<f4")
        assert attrs["text"].decode() == "è1"
        assert attrs["bools"].tolist() == [True, False]


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_attribute_impossible_name_attribute_value_error(name: str) -> None:
    with pytest.raises(AttributeValueError):
        attribute_body(Attribute(name, datatype_class(np.dtype("u1")), Dataspace(()), b"\0"))


def test_attribute_info_equals_libhdf5(library_messages: LibraryMessages) -> None:
    def write(file: h5py.File) -> None:
        x = file.create_dataset("x", (3,), "<i4", track_order=True)
        x.attrs["a"] = x.attrs["b"] = 1

    ours = encode_attribute_info(StorageInfo(2))
    assert (ours.flags, ours.body) == _only(library_messages(write), MessageType.ATTRIBUTE_INFO)

    def write_unordered(file: h5py.File) -> None:
        file.create_dataset("x", (3,), "<i4").attrs["a"] = 1

    ours = encode_attribute_info(StorageInfo())
    assert (ours.flags, ours.body) == _only(library_messages(write_unordered), MessageType.ATTRIBUTE_INFO)


@pytest.mark.parametrize("ordered", [False, True])
def test_group_messages_equal_libhdf5(library_messages: LibraryMessages, ordered: bool) -> None:
    addresses: list[int] = []

    def write(file: h5py.File) -> None:
        group = file.create_group("x", track_order=ordered)
        hard = group.create_group("hard")
        addresses.append(h5py.h5o.get_info(hard.id).addr)
        group["soft"] = h5py.SoftLink("/a/b")
        group["löse"] = h5py.ExternalLink("other.h5", "/c")

    theirs = library_messages(write)
    links = [
        Link("hard", HardLink(addresses[0])),
        Link("soft", SoftLink("/a/b")),
        Link("löse", ExternalLink("other.h5", "/c")),
    ]
    if ordered:
        links = [Link(link.name, link.target, i) for i, link in enumerate(links)]
    ours = [encode_link(link) for link in links]
    assert sorted((m.flags, m.body) for m in ours) == sorted(theirs[MessageType.LINK])
    info = encode_link_info(StorageInfo(3 if ordered else None))
    assert (info.flags, info.body) == _only(theirs, MessageType.LINK_INFO)
    group_info = encode_group_info()
    assert (group_info.flags, group_info.body) == _only(theirs, MessageType.GROUP_INFO)


@pytest.mark.parametrize("name", ["", ".", "a/b", "a\0"])
def test_link_impossible_name_path_error(name: str) -> None:
    with pytest.raises(PathError):
        encode_link(Link(name, HardLink(48)))


@pytest.mark.parametrize("target", [SoftLink(""), ExternalLink("", "/x"), ExternalLink("a.h5", "x\0")])
def test_link_impossible_target_path_error(target: Any) -> None:
    with pytest.raises(PathError):
        encode_link(Link("a", target))


def test_link_name_above_message_limit_limit_error() -> None:
    with pytest.raises(LimitError):
        encode_link(Link("a" * 65_530, HardLink(48)))


def test_links_of_every_kind_resolved_by_h5py(one_value_dataset: Any) -> None:
    builder = one_value_dataset("übung")
    for length in (255, 256, 65_000):
        builder.add_link("n" * length, SoftLink("/übung"))
    builder.add_link("external", ExternalLink("elsewhere.h5", "/y"))
    with h5py.File(builder.write()) as file:
        for length in (255, 256, 65_000):
            assert file["n" * length][()] == 7
        external = file.get("external", getlink=True)
        assert (external.filename, external.path) == ("elsewhere.h5", "/y")


def test_reference_count_two_names_survive_unlink(one_value_dataset: Any) -> None:
    builder = one_value_dataset("a", [encode_reference_count(2)])
    builder.add_link("b", 48)
    path = builder.write()
    with h5py.File(path, "r+") as file:
        assert h5py.h5o.get_info(file["a"].id).rc == 2
        del file["a"]
    with h5py.File(path) as file:
        assert file["b"][()] == 7


def test_root_group_of_handmade_sample_known_checksum() -> None:
    messages = [
        encode_link_info(StorageInfo()),
        Message(MessageType.GROUP_INFO, encode_group_info().body),
        encode_link(Link("x", HardLink(0x1A4))),
    ]
    assert pack_messages(messages).encode()[-4:] == bytes.fromhex("a4965a49")


def test_variable_length_string_marked_in_body() -> None:
    assert encode_datatype(VariableLengthString()).hex() == "1901010010000000100000000100000000000800"


def test_old_modification_time_keeps_the_bytes_that_libhdf5_reads() -> None:
    body = b"19990101123456\0\0"
    assert decode_old_modification_time(body) == "19990101123456"
    with pytest.raises(FormatError, match="reserved"):
        decode_old_modification_time(body[:14])
