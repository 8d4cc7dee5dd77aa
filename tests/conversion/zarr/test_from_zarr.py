"""zarr arrays and groups become HDF5: what h5py reads is what zarr reads."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import h5py
import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr import codecs
from zarr.dtype import VariableLengthBytes
from zarr.storage import MemoryStore, ZipStore

import streamh5
from streamh5.errors import (
    DestinationExistsError,
    FilterError,
    MissingCodecError,
    SourceError,
    SpecError,
)
from tests.conversion.zarr.stores import V2, V3, field, make, read_h5
from tests.written import assert_every_reader, filter_ids, traces

pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs", "ignore:The data type")

HDF5_IDS = {"zlib": 1, "gzip": 1, "shuffle": 2, "fletcher32": 3, "bz2": 307, "blosc": 32001, "lz4": 32004,
            "zstd": 32015}  # fmt: skip


def convert(source: Any, path: Path, name: str | None = None, **keywords: Any) -> streamh5.Conversion:
    return streamh5.from_zarr(source, path, name, progress=False, **keywords)


@pytest.mark.parametrize("codec", V2)
def test_v2_codec_of_hdf5_is_copied_and_read_equal(codec: str, tmp_path: Path) -> None:
    data = field((21, 34))
    make(tmp_path / "x.zarr", data, (8, 9), zarr_format=2, fill_value=7, **V2[codec])
    done = convert(tmp_path / "x.zarr", tmp_path / "x.h5", copy=True, verify=True)
    assert (done.arrays[0].is_copied, done.arrays[0].n_copied, done.arrays[0].n_encoded) == (True, 12, 0)
    assert_every_reader(tmp_path / "x.h5", "/data", data)


@pytest.mark.parametrize("shards", [None, (16, 18)], ids=["chunks", "shards"])
@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("codec", V3)
def test_v3_codec_of_hdf5_is_copied_and_read_equal(
    codec: str, endian: Any, shards: tuple[int, ...] | None, tmp_path: Path
) -> None:
    data = field((21, 34))
    serializer = codecs.BytesCodec(endian=endian)
    make(tmp_path / "x.zarr", data, (8, 9), shards=shards, serializer=serializer, compressors=V3[codec])
    done = convert(tmp_path / "x.zarr", tmp_path / "x.h5", copy=True, verify=True)
    assert (done.arrays[0].is_copied, done.arrays[0].n_encoded) == (True, 0)
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)


def test_store_without_chunks_has_no_ratio(tmp_path: Path) -> None:
    source = zarr.create_array(tmp_path / "x.zarr", shape=(8, 8), chunks=(4, 4), dtype="f4", fill_value=3)
    done = convert(source, tmp_path / "x.h5", copy=True)
    assert "256 B stored as 0 B, a file" in str(done)
    assert "nan" not in str(done) + done._repr_html_()
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), np.full((8, 8), 3, "f4"))


def test_copied_chunks_have_the_filters_of_the_store(tmp_path: Path) -> None:
    array = make(tmp_path / "x.zarr", field((16, 9)), (8, 9), zarr_format=2, **V2["shuffle, zlib"])
    convert(array, tmp_path / "x.h5")
    assert filter_ids(tmp_path / "x.h5", "data") == {1, 2}


SAME_BYTES = slice(None), slice(None)
IN_ANOTHER_FRAME = {
    "gzip": (slice(10, -8), slice(2, -4)),
    "lz4": (slice(4, None), slice(16, None)),
    "crc32c": (slice(0, -4), slice(None)),
    "zstd, crc32c": (slice(0, -4), slice(None)),
}
"""Which bytes of a chunk in the store are which in the file, where not all are the same."""

CODECS = (numcodecs.Blosc, numcodecs.BZ2, numcodecs.Fletcher32, numcodecs.GZip, numcodecs.LZ4, numcodecs.Shuffle,
          numcodecs.Zlib, numcodecs.Zstd)  # fmt: skip


@pytest.mark.parametrize(
    ("codec", "keywords", "shards"),
    [(codec, {"zarr_format": 2, **V2[codec]}, None) for codec in V2]
    + [(codec, {"compressors": V3[codec]}, shards) for codec in V3 for shards in (None, (16, 18))],
)
def test_copied_chunks_are_the_bytes_of_the_store_and_nothing_is_decoded(
    codec: str, keywords: Any, shards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = field((21, 34))
    plain = make(tmp_path / "plain.zarr", data, (8, 9), **keywords)
    # codecs give the same bytes each time, so what lies in a shard lies in a file of the store without shards
    source = plain if shards is None else make(tmp_path / "x.zarr", data, (8, 9), shards=shards, **keywords)
    calls = []
    for one in CODECS:
        for name in ("decode", "encode"):
            monkeypatch.setattr(one, name, lambda *_, what=(one, name): calls.append(what))
    convert(source, tmp_path / "x.h5", copy=True)
    assert calls == []
    from_store, from_file = IN_ANOTHER_FRAME.get(codec, SAME_BYTES)
    with h5py.File(tmp_path / "x.h5") as file:
        chunks = file["data"].id
        assert chunks.get_num_chunks() == 12
        for i in range(12):
            origin = chunks.get_chunk_info(i).chunk_offset
            key = plain.metadata.encode_chunk_key((origin[0] // 8, origin[1] // 9))
            expected = (tmp_path / "plain.zarr" / key).read_bytes()[from_store]
            assert chunks.read_direct_chunk(origin)[1][from_file] == expected
            assert expected


@pytest.mark.parametrize("kind", ["memory", "zip", "path of a zip", "str"])
def test_store_of_any_kind_is_a_source(kind: str, tmp_path: Path) -> None:
    data = field((21, 34))
    if kind == "memory":
        source: Any = MemoryStore()
    elif kind.endswith("zip"):
        source = ZipStore(tmp_path / "x.zip", mode="w")
    else:
        source = str(tmp_path / "x.zarr")
    make(source, data, (4, 3), shards=(8, 9))
    if kind.endswith("zip"):
        source.close()
        source = tmp_path / "x.zip" if kind == "path of a zip" else ZipStore(tmp_path / "x.zip", mode="r")
    done = convert(source, tmp_path / "x.h5", copy=True)
    assert done.arrays[0].n_copied == 72
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"zarr_format": 2, "order": "F"}, "Fortran"),
        ({"filters": [codecs.TransposeCodec(order=(1, 0))]}, "transposed"),
        ({"zarr_format": 2, "compressors": numcodecs.LZMA()}, "no filter for the codec 'lzma'"),
        ({"zarr_format": 2, "filters": [numcodecs.Delta("<f4")]}, "no filter for the codec 'delta'"),
        (
            {"zarr_format": 2, "filters": [numcodecs.Fletcher32()], "compressors": numcodecs.Blosc()},
            "changes the size",
        ),
        (
            {"zarr_format": 2, "filters": [numcodecs.GZip(1)], "compressors": numcodecs.Zlib(1)},
            "'gzip' has another frame",
        ),
    ],
)  # fmt: skip
def test_array_that_cannot_be_copied_is_decoded_or_refused(
    keywords: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    data = field((21, 34))
    make(tmp_path / "x.zarr", data, (8, 9), **keywords)
    done = convert(tmp_path / "x.zarr", tmp_path / "x.h5")
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)
    assert not done.arrays[0].is_copied
    assert reason in done.explain()
    with pytest.raises(FilterError, match=f"/data: .*{reason}"):
        convert(tmp_path / "x.zarr", tmp_path / "y.h5", copy=True)
    assert not (tmp_path / "y.h5").exists()


def test_order_f_of_one_dimension_is_copied(tmp_path: Path) -> None:
    data = field((21,))
    make(tmp_path / "x.zarr", data, (8,), zarr_format=2, order="F")
    assert convert(tmp_path / "x.zarr", tmp_path / "x.h5", copy=True).arrays[0].is_copied
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)


@pytest.mark.parametrize("keywords", [{"zarr_format": 2}, {}, {"shards": (8, 9)}], ids=["v2", "v3", "shards"])
@pytest.mark.parametrize("copy", [True, False], ids=["copied", "encoded"])
def test_missing_chunks_stay_missing(keywords: dict[str, Any], copy: bool | None, tmp_path: Path) -> None:
    array = zarr.create_array(
        tmp_path / "x.zarr", shape=(16, 18), chunks=(4, 3), dtype="f8", fill_value=np.nan, **keywords
    )
    array[:4, :3] = 1.0
    array[12:, 15:] = 2.0
    done = convert(array, tmp_path / "x.h5", copy=copy)
    assert done.summary.n_missing == 22
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), array[...])
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["data"].id.get_num_chunks() == 2
        assert np.isnan(file["data"].fillvalue)


@pytest.mark.parametrize(
    "dtype", ["?", "<i8", ">u2", "<f2", ">c16", "S5", "<M8[ms]", "V3", [("a", "<i4"), ("b", "<f8")]], ids=str
)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_dtype_is_kept_with_every_value(dtype: Any, zarr_format: Any, tmp_path: Path) -> None:
    data = np.frombuffer(bytes(i % 2 for i in range(7 * np.dtype(dtype).itemsize)), dtype)
    make(tmp_path / "x.zarr", data, (3,), zarr_format=zarr_format)
    assert convert(tmp_path / "x.zarr", tmp_path / "x.h5", copy=True).arrays[0].is_copied
    found = read_h5(tmp_path / "x.h5")
    assert found.dtype.newbyteorder("<") == data.dtype.newbyteorder("<")
    np.testing.assert_array_equal(found, data)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", [str, "U7"])
def test_text_becomes_utf8_of_variable_length(dtype: Any, zarr_format: Any, tmp_path: Path) -> None:
    array = zarr.create_array(
        tmp_path / "x.zarr", shape=(4,), chunks=(3,), dtype=dtype, zarr_format=zarr_format
    )
    array[:] = np.array(["a", "", "zürich", "b"])
    convert(array, tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as file:
        assert h5py.check_string_dtype(file["data"].dtype) == ("utf-8", None)
        assert file["data"].asstr()[...].tolist() == ["a", "", "zürich", "b"]


@pytest.mark.parametrize("shape", [(), (0,), (5,)])
def test_shape_without_whole_chunks_is_kept(shape: tuple[int, ...], tmp_path: Path) -> None:
    data = np.ones(shape, "i4")
    make(tmp_path / "x.zarr", data, tuple(10 for _ in shape))
    convert(tmp_path / "x.zarr", tmp_path / "x.h5")
    found = read_h5(tmp_path / "x.h5")
    assert found.shape == shape
    np.testing.assert_array_equal(found, data)


def test_chunk_larger_than_the_array_can_be_copied_and_repacked(tmp_path: Path, hdf5_tools: None) -> None:
    import subprocess

    data = field((5, 30), "<i4")
    make(tmp_path / "x.zarr", data, (10, 8), zarr_format=2, **V2["zlib"])
    assert convert(tmp_path / "x.zarr", tmp_path / "x.h5", copy=True).arrays[0].n_copied == 4
    assert_every_reader(tmp_path / "x.h5", "/data", data)
    subprocess.run(["h5repack", tmp_path / "x.h5", tmp_path / "y.h5"], check=True, capture_output=True)
    np.testing.assert_array_equal(read_h5(tmp_path / "y.h5"), data)


def test_group_comes_over_with_attributes_and_names_of_dimensions(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "g.zarr", attributes={"title": "é", "n": 3})
    root.create_group("a/b", attributes={"list": [1, 2]})
    x = root.create_array("a/b/x", shape=(4, 3), dtype="i4", dimension_names=("time", None))
    x[...] = 5
    x.attrs.update({"units": "K", "nothing": None, "nested": {"k": [1]}, "mixed": [1, "a"], "flag": True})
    root.create_array("y", shape=(2,), dtype="f4")
    done = convert(root, tmp_path / "x.h5", netcdf=False)
    assert (done.format, done.notes) == ("HDF5", ())
    with h5py.File(tmp_path / "x.h5") as file:
        assert dict(file.attrs) == {"title": "é", "n": 3}
        assert file["a/b"].attrs["list"].tolist() == [1, 2]
        attributes = dict(file["a/b/x"].attrs)
        assert (attributes["units"], attributes["nothing"], attributes["flag"]) == ("K", "null", True)
        assert json.loads(attributes["nested"]) == {"k": [1]}
        assert json.loads(attributes["mixed"]) == [1, "a"]
        assert [dim.label for dim in file["a/b/x"].dims] == ["time", ""]
        assert (file["a/b/x"][...] == 5).all()


def test_name_is_where_the_array_or_group_goes(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "g.zarr")
    root.create_array("x", shape=(2,), dtype="f4")[...] = 1
    convert(root, tmp_path / "group.h5", "/run/1")
    convert(root["x"], tmp_path / "array.h5", "deep/x")
    assert read_h5(tmp_path / "group.h5", "/run/1/x").tolist() == [1, 1]
    assert read_h5(tmp_path / "array.h5", "/deep/x").tolist() == [1, 1]


@pytest.mark.parametrize("n_rows", [2048, 2049])
def test_small_array_does_not_need_a_plugin_in_readers(n_rows: int, tmp_path: Path) -> None:
    data = np.zeros((n_rows, 4), "f8")
    zlib_zstd = {"filters": [numcodecs.Zlib(1)], "compressors": numcodecs.Zstd(1)}
    make(tmp_path / "x.zarr", data, (64, 4), zarr_format=2, **zlib_zstd)
    (done,) = convert(tmp_path / "x.zarr", tmp_path / "x.h5").arrays
    assert done.is_copied is (n_rows > 2048)
    assert done.reason == (
        "zlib, zstd" if n_rows > 2048 else "a small array, and readers need a plugin for zstd"
    )
    assert filter_ids(tmp_path / "x.h5", "data") == ({1, 32015} if n_rows > 2048 else {1, 2})


@pytest.mark.parametrize("chunks", [(5, 30), "auto", {"/data": (5, 30)}], ids=str)
def test_other_chunks_are_encoded(chunks: Any, tmp_path: Path) -> None:
    data = field((21, 34))
    make(tmp_path / "x.zarr", data, (8, 9), zarr_format=2, **V2["zlib"])
    done = convert(tmp_path / "x.zarr", tmp_path / "x.h5", chunks=chunks)
    assert "were requested" in done.arrays[0].reason
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["data"].chunks == ((21, 34) if chunks == "auto" else (5, 30))
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)


def test_same_chunks_are_copied(tmp_path: Path) -> None:
    make(tmp_path / "x.zarr", field((21, 34)), (8, 9))
    assert convert(tmp_path / "x.zarr", tmp_path / "x.h5", chunks=(8, 9), copy=True).arrays[0].is_copied


@pytest.mark.parametrize(
    ("keywords", "ids"),
    [({"compression": "gzip", "compression_opts": 9}, {1, 2}), ({"compression": None}, set())],
)
def test_other_filters_are_encoded(keywords: dict[str, Any], ids: set[int], tmp_path: Path) -> None:
    data = field((21, 34))
    make(tmp_path / "x.zarr", data, (8, 9))
    done = convert(tmp_path / "x.zarr", tmp_path / "x.h5", **keywords)
    assert "compression=" in done.arrays[0].reason
    assert filter_ids(tmp_path / "x.h5", "data") == ids
    assert_every_reader(tmp_path / "x.h5", "/data", data)


def zstd_without_content_size(data: bytes) -> bytes:
    """One frame of raw blocks (RFC 8878) whose header leaves the content size out."""
    blocks = [data[i : i + 2**16] for i in range(0, len(data), 2**16)]
    frame = b"\x28\xb5\x2f\xfd" + bytes([0x00, 0x58])
    for i, block in enumerate(blocks):
        frame += struct.pack("<I", (i == len(blocks) - 1) | len(block) << 3)[:3] + block
    return frame


def test_zstd_frame_without_content_size_is_encoded_alone(tmp_path: Path) -> None:
    data = field((16, 9))
    make(tmp_path / "x.zarr", data, (8, 9), compressors=codecs.ZstdCodec())
    (tmp_path / "x.zarr/c/1/0").write_bytes(zstd_without_content_size(data[8:].tobytes()))
    done = convert(tmp_path / "x.zarr", tmp_path / "x.h5", copy=True)
    assert (done.arrays[0].n_copied, done.arrays[0].n_encoded) == (1, 1)
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)


def test_gzip_of_two_members_is_encoded_alone(tmp_path: Path) -> None:
    import gzip

    data = field((16, 9))
    make(tmp_path / "x.zarr", data, (8, 9), compressors=codecs.GzipCodec())
    raw = data[8:].tobytes()
    (tmp_path / "x.zarr/c/1/0").write_bytes(gzip.compress(raw[:100]) + gzip.compress(raw[100:]))
    done = convert(tmp_path / "x.zarr", tmp_path / "x.h5")
    assert (done.arrays[0].n_copied, done.arrays[0].n_encoded) == (1, 1)
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)


def test_lz4_block_that_is_not_smaller_is_encoded_alone(tmp_path: Path) -> None:
    data = np.frombuffer(np.random.default_rng(0).bytes(64), "u1")
    make(tmp_path / "x.zarr", data, (32,), zarr_format=2, **V2["lz4"])
    done = convert(tmp_path / "x.zarr", tmp_path / "x.h5", copy=True)
    assert done.arrays[0].n_encoded == 2
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)


@pytest.mark.parametrize(
    ("codec", "damage"),
    [("none", lambda b: b[:-1]), ("zlib", lambda b: b"\0" + b[1:]), ("blosc", lambda b: b[:-1]),
     ("zstd", lambda b: b[:5]), ("gzip", lambda b: b[:-5] + bytes(5)), ("bz2", lambda b: b"X" + b[1:])],
)  # fmt: skip
def test_damaged_chunk_is_an_error_that_names_the_array(codec: str, damage: Any, tmp_path: Path) -> None:
    make(tmp_path / "x.zarr", field((16, 9)), (8, 9), zarr_format=2, **V2[codec])
    chunk = tmp_path / "x.zarr/1.0"
    chunk.write_bytes(damage(chunk.read_bytes()))
    with pytest.raises(Exception, match=r".") as caught:  # zarr's own error, or its codec's
        convert(tmp_path / "x.zarr", tmp_path / "x.h5", copy=True)
    assert any("/data" in note for note in caught.value.__notes__)
    assert traces(tmp_path) == ["x.zarr"]


def test_verify_finds_damage_behind_a_good_header(tmp_path: Path) -> None:
    make(tmp_path / "x.zarr", field((16, 9)), (8, 9), zarr_format=2, **V2["zlib"])
    chunk = tmp_path / "x.zarr/1.0"
    chunk.write_bytes(chunk.read_bytes()[:-4] + b"\0\0\0\0")
    convert(tmp_path / "x.zarr", tmp_path / "trusting.h5")
    with pytest.raises(Exception, match=r"."):
        convert(tmp_path / "x.zarr", tmp_path / "x.h5", verify=True)
    assert not (tmp_path / "x.h5").exists()


def test_damaged_shard_index_is_an_error_that_names_the_shard(tmp_path: Path) -> None:
    make(tmp_path / "x.zarr", field((16, 9)), (4, 3), shards=(8, 9))
    shard = tmp_path / "x.zarr/c/1/0"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    with pytest.raises(SourceError, match=r"x\.zarr: the index of the shard c/1/0 is damaged"):
        convert(tmp_path / "x.zarr", tmp_path / "x.h5", copy=True)


def test_interrupted_copy_is_resumed_without_copying_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamh5.dask import stored_chunks

    monkeypatch.setattr(stored_chunks, "BLOCK_NBYTES", 1)
    data = field((64, 9))
    array = make(tmp_path / "x.zarr", data, (8, 9), compressors=codecs.ZstdCodec())
    lost = tmp_path / "x.zarr/c/5/0"
    good = lost.read_bytes()
    lost.write_bytes(b"")
    with pytest.raises(Exception, match=r"."):
        convert(array, tmp_path / "x.h5", copy=True, resume=True)
    lost.write_bytes(good)
    done = convert(array, tmp_path / "x.h5", copy=True, resume=True)
    assert done.arrays[0].n_copied < 8
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)


@settings(max_examples=40)
@given(data=st.data())
def test_any_shape_chunks_and_codec_reads_equal(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    rank = data.draw(st.integers(1, 3))
    shape = tuple(data.draw(st.integers(1, 9)) for _ in range(rank))
    chunks = tuple(data.draw(st.integers(1, n + 1)) for n in shape)
    values = field(shape)
    if data.draw(st.booleans()):
        keywords = {"zarr_format": 2, **V2[data.draw(st.sampled_from(sorted(V2)))]}
    else:
        keywords = {"compressors": V3[data.draw(st.sampled_from(sorted(V3)))]}
        if data.draw(st.booleans()):
            keywords["shards"] = tuple(c * data.draw(st.integers(1, 3)) for c in chunks)
    array = make(folder / "x.zarr", np.zeros(shape, "<f4"), chunks, **keywords)
    part = tuple(slice(0, data.draw(st.integers(1, n))) for n in shape)
    array[part] = values[part]
    convert(folder / "x.zarr", folder / "x.h5", copy=data.draw(st.booleans()))
    np.testing.assert_array_equal(read_h5(folder / "x.h5"), array[...])


def test_missing_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no\.zarr: there is no such file or directory"):
        convert(tmp_path / "no.zarr", tmp_path / "x.h5")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no zarr array or group"):
        convert(tmp_path / "empty", tmp_path / "x.h5")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(SourceError, match="neither a directory nor a zip file"):
        convert(tmp_path / "text", tmp_path / "x.h5")
    with pytest.raises(SourceError, match="no zarr array or group"):
        convert(3, tmp_path / "x.h5")


def test_package_of_a_protocol_that_is_missing_is_named(tmp_path: Path) -> None:
    import fsspec

    fsspec.register_implementation("far", "no_such_package.Far", errtxt="far:// needs no_such_package")
    with pytest.raises(MissingCodecError, match="far://x: far:// needs no_such_package"):
        convert("far://x", tmp_path / "x.h5")


def test_existing_destination_is_refused_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    make(tmp_path / "x.zarr", field((4,)), (2,))
    (tmp_path / "x.h5").write_bytes(b"old")
    with pytest.raises(DestinationExistsError):
        convert(tmp_path / "x.zarr", tmp_path / "x.h5")
    assert (tmp_path / "x.h5").read_bytes() == b"old"
    convert(tmp_path / "x.zarr", tmp_path / "x.h5", overwrite=True)
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), field((4,)))


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"shuffle": True}, FilterError),
        ({"compression": "gzip", "copy": True}, SpecError),
        ({"chunks": (0,)}, SpecError),
        ({"chunks": "small"}, SpecError),
        ({"chunks": {"/data": (1, 2)}}, SpecError),
        ({"netcdf": True}, SpecError),
    ],
)
def test_request_that_contradicts_itself_is_refused(
    keywords: dict[str, Any], error: type[Exception], tmp_path: Path
) -> None:
    make(tmp_path / "x.zarr", field((4,)), (2,))
    with pytest.raises(error):
        convert(tmp_path / "x.zarr", tmp_path / "x.h5", **keywords)
    assert traces(tmp_path) == ["x.zarr"]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_bytes_of_variable_length_become_sequences_of_bytes(zarr_format: Any, tmp_path: Path) -> None:
    values = np.array([b"a\0b", b"", b"\xff" * 300, b"\0", b"tail"], object)
    array = zarr.create_array(
        tmp_path / "x.zarr", shape=(7,), chunks=(2,), dtype=VariableLengthBytes(), zarr_format=zarr_format
    )
    array[:5] = values  # the last chunk is missing
    convert(array, tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as file:
        assert h5py.check_vlen_dtype(file["data"].dtype) == np.dtype("u1")
        assert [one.tobytes() for one in file["data"][...]] == [*values, b"", b""]


def test_zarr_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingCodecError, match=r"streamh5\[zarr\]"):
        convert(tmp_path, tmp_path / "x.h5")
