"""The oracles themselves, on files that h5py wrote: they must read them, and must be able to say no."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.readers import READERS, Reader, attribute_readers, readers_for
from tests.readers import h5wasm_reader as h5wasm_module
from tests.readers.hdf5_tools import differs, h5ls, h5stat, index_address, index_type, repacks
from tests.readers.judgements import assert_chunk_map, assert_survives_change
from tests.readers.protocol import ReaderError, assert_reads, assert_same_values

V110 = ("v110", "v110")
DTYPES = [
    *("?", "i1", "u1", "<i2", ">u2", "<i4", ">i4", "<u8", ">i8"),
    *("<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c8", "<c16", ">c16"),
]
GZIP = {"compression": "gzip", "shuffle": True, "fletcher32": True}


def sample(dtype: str, shape: tuple[int, ...] = (7, 10)) -> NDArray[Any]:
    rng = np.random.default_rng(7)
    if np.dtype(dtype).kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if np.dtype(dtype).kind in "iu":
        bounds = np.iinfo(dtype)
        return rng.integers(bounds.min, bounds.max, shape, np.dtype(dtype).newbyteorder("=")).astype(dtype)
    values = rng.standard_normal(shape) * 100
    values.flat[:3] = np.nan, -0.0, np.inf
    if np.dtype(dtype).kind == "c":
        return np.stack([values, values[::-1]], -1).view("c16")[..., 0].astype(dtype)
    return values.astype(dtype)


def h5py_file(path: Path, name: str, data: Any, **keywords: Any) -> Path:
    with h5py.File(path, "a", libver=V110) as file:
        file.create_dataset(name, data=data, **keywords)
    return path


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("filters", [{}, GZIP], ids=["plain", "gzip"])
def test_read_of_each_dtype_gives_the_values(
    reader: Reader, dtype: str, filters: dict[str, Any], tmp_path: Path
) -> None:
    expected = sample(dtype)
    path = h5py_file(tmp_path / "a.h5", "group/x", expected, chunks=(3, 4), **filters)
    assert reader.refuses(np.dtype(dtype), frozenset({1, 2, 3})) is None
    assert_reads(reader, path, "/group/x", expected)


@pytest.mark.parametrize("shape", [(), (1,), (0, 4), (5000,), (3, 1, 4, 1, 5)])
def test_read_of_each_shape_gives_the_values(reader: Reader, shape: tuple[int, ...], tmp_path: Path) -> None:
    expected = np.arange(np.prod(shape, dtype=int), dtype="f4").reshape(shape)
    assert_reads(reader, h5py_file(tmp_path / "a.h5", "x", expected), "x", expected)


def test_read_of_fixed_strings_gives_bytes(reader: Reader, tmp_path: Path) -> None:
    expected = np.array([b"ab", b"c", b"", b"xyz"])
    assert_reads(reader, h5py_file(tmp_path / "a.h5", "x", expected), "x", expected)


def test_read_of_a_null_dataspace_gives_an_empty_array(reader: Reader, tmp_path: Path) -> None:
    if reader.name == "PyTables":
        pytest.skip("PyTables shows a null dataspace as a scalar zero")
    found = reader.read(h5py_file(tmp_path / "a.h5", "x", h5py.Empty("f4")), "x")
    assert_same_values(found, np.empty(0, "f4"))


def test_read_of_chunks_never_written_gives_the_fill_value(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    expected = np.full((10, 10), 7, ">i4")
    expected[3:6, 3:6] = 1
    with h5py.File(path, "w", libver=V110) as file:
        file.create_dataset("x", (10, 10), ">i4", chunks=(3, 3), fillvalue=7)[3:6, 3:6] = 1
    assert_reads(reader, path, "x", expected)


def test_read_of_a_broken_chunk_is_refused(reader: Reader, tmp_path: Path) -> None:
    path = h5py_file(tmp_path / "a.h5", "x", sample("f4"), chunks=(7, 5), **GZIP)
    with h5py.File(path, "r") as file:
        address = file["x"].id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[address + 20] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ReaderError):
        reader.read(path, "x")


def test_read_of_a_broken_superblock_is_refused(reader: Reader, tmp_path: Path) -> None:
    path = h5py_file(tmp_path / "a.h5", "x", sample("f4"))
    content = bytearray(path.read_bytes())
    content[0] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ReaderError):
        reader.read(path, "x")


def test_read_of_a_missing_dataset_is_refused_and_the_next_read_works(reader: Reader, tmp_path: Path) -> None:
    path = h5py_file(tmp_path / "a.h5", "x", sample("f4"))
    with pytest.raises(ReaderError):
        reader.read(path, "y")
    with pytest.raises(ReaderError):
        reader.read(tmp_path / "none.h5", "x")
    assert_reads(reader, path, "x", sample("f4"))


def test_assert_reads_of_other_values_fails(reader: Reader, tmp_path: Path) -> None:
    path = h5py_file(tmp_path / "a.h5", "x", np.zeros(3))
    with pytest.raises(AssertionError, match="every bit"):
        assert_reads(reader, path, "x", -np.zeros(3))
    with pytest.raises(AssertionError, match="Mismatched"):
        assert_reads(reader, path, "x", np.array([0, 0, 1.0]))
    with pytest.raises(AssertionError, match="dtype"):
        assert_reads(reader, path, "x", np.zeros(3, "f4"))
    with pytest.raises(AssertionError, match="shape"):
        assert_reads(reader, path, "x", np.zeros((3, 1)))


def test_attributes_of_each_kind_are_shown(tmp_path: Path) -> None:
    path = h5py_file(tmp_path / "a.h5", "x", np.zeros(3))
    expected = {
        "text": "wörld",
        "u8": np.uint64(2**64 - 1),
        "f4": np.array([[1.5, np.nan]], "<f4"),
        "big": np.array([1.5, 2.5], ">f8"),
        "c8": np.complex64(1 - 2j),
        "flag": np.True_,
    }
    with h5py.File(path, "r+") as file:
        file["x"].attrs.update(expected)
        file["x"].attrs["texts"] = ["a", "bç"]
    for one in attribute_readers():
        found = one.attributes(path, "/x")
        if one.name == "PyTables":  # leaves out types that it lacks; does not swap the bytes of an attribute
            found.pop("big")
            assert found.keys() >= {"text", "u8", "f4"}
        else:
            assert list(found.pop("texts")) == ["a", "bç"]
            assert found.keys() == expected.keys()
        for name in expected.keys() & found.keys():
            assert_same_values(np.asarray(found[name]), np.asarray(expected[name]), f"{name}, {one.name}")
        with pytest.raises(ReaderError):
            one.attributes(path, "/nothing")


def test_readers_for_plugin_filters_read_what_they_promise(tmp_path: Path) -> None:
    hdf5plugin = pytest.importorskip("hdf5plugin")
    # compressible: a chunk that skips a filter tests nothing
    data = np.arange(400, dtype="f4").reshape(40, 10)
    filters = {
        32015: hdf5plugin.Zstd(),
        32001: hdf5plugin.Blosc(),
        32026: hdf5plugin.Blosc2(),
        32004: hdf5plugin.LZ4(),
        32008: hdf5plugin.Bitshuffle(),
        307: hdf5plugin.BZip2(),
        32000: {"compression": "lzf"},
        6: {"scaleoffset": 0},
        4: {"compression": "szip"},
    }
    for number, keywords in filters.items():
        values = data.astype("i4") if number == 6 else data
        path = h5py_file(tmp_path / f"{number}.h5", "x", values, chunks=(8, 10), **keywords)
        willing = readers_for("f4", frozenset({number}))
        assert willing, f"nobody reads filter {number}"
        for reader in READERS:
            if reader in willing:
                assert_reads(reader, path, "x", values)
            elif reader.missing() is None:
                with pytest.raises(ReaderError):
                    pytest.fail(f"{reader.name} undoes filter {number}: {reader.read(path, 'x')}")


def test_versions_name_a_number(reader: Reader) -> None:
    assert any(character.isdigit() for character in reader.version())


def test_h5wasm_that_does_not_answer_is_ended_and_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = h5wasm_module.H5wasmReader()
    if reader.missing():
        pytest.skip(f"reader missing: {reader.missing()}")
    path = h5py_file(tmp_path / "a.h5", "x", np.arange(3))
    os.mkfifo(tmp_path / "never.h5")
    with monkeypatch.context() as patch:
        patch.setattr(h5wasm_module, "TIMEOUT_SECONDS", 0.5)
        with pytest.raises(ReaderError, match="no answer"):
            reader.read(tmp_path / "never.h5", "x")
    assert_reads(reader, path, "x", np.arange(3))


@pytest.mark.usefixtures("hdf5_tools")
def test_repacks_of_a_right_file_passes_and_of_a_broken_one_fails(tmp_path: Path) -> None:
    path = h5py_file(tmp_path / "a.h5", "x", sample("f4"), chunks=(7, 5), **GZIP)
    h5py_file(path, "none", np.empty((0, 3)))
    h5py_file(path, "null", h5py.Empty("f4"))
    h5py_file(path, "scalar", np.float32(3))
    repacks(path)
    with h5py.File(path, "r") as file:
        address = file["x"].id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[address + 20] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ReaderError):
        repacks(path)


@pytest.mark.usefixtures("hdf5_tools")
def test_differs_finds_values_and_shapes_and_names(tmp_path: Path) -> None:
    data = np.arange(10.0)
    left = h5py_file(tmp_path / "left.h5", "x", data)
    assert differs(left, h5py_file(tmp_path / "same.h5", "x", data, chunks=(3,), **GZIP)) is None
    assert differs(left, h5py_file(tmp_path / "value.h5", "x", data + 1)) is not None
    assert differs(left, h5py_file(tmp_path / "shape.h5", "x", data[:9])) is not None
    assert differs(left, h5py_file(tmp_path / "name.h5", "y", data)) is not None
    assert differs(left, tmp_path / "name.h5", "/x", "/y") is None
    with pytest.raises(ReaderError):
        differs(left, tmp_path / "none.h5")


@dataclass(frozen=True)
class IndexCase:
    name: str
    shape: tuple[int, ...]
    maxshape: tuple[int | None, ...]
    filters: dict[str, Any]


INDEXES = [
    IndexCase("Fixed Array", (10, 10), (10, 10), GZIP),
    IndexCase("Fixed Array", (9000, 3), (9000, 3), {}),
    IndexCase("Single Chunk", (3, 3), (3, 3), {}),
    IndexCase("Extensible Array", (10, 10), (None, 10), {}),
    IndexCase("v2 B-tree", (10, 10), (None, None), {}),
]


@pytest.mark.usefixtures("hdf5_tools")
@pytest.mark.parametrize("case", INDEXES, ids=lambda case: f"{case.name}-{case.shape[0]}")
def test_index_type_names_what_h5py_wrote(case: IndexCase, tmp_path: Path) -> None:
    data = np.zeros(case.shape)
    path = h5py_file(tmp_path / "a.h5", "g/x", data, chunks=(3, 3), maxshape=case.maxshape, **case.filters)
    assert index_type(path, "/g/x") == case.name
    assert 0 < index_address(path, "/g/x") < path.stat().st_size


@pytest.mark.usefixtures("hdf5_tools")
def test_h5ls_and_h5stat_speak_of_the_dataset(tmp_path: Path) -> None:
    path = h5py_file(tmp_path / "a.h5", "x", sample("f4"), chunks=(7, 5), **GZIP)
    assert "Filter-1:  deflate" in h5ls(path)
    assert "{7, 5} 140 bytes" in h5ls(path, "/x")
    assert "# of unique datasets: 1" in h5stat(path)


@dataclass
class Columns:
    addresses: NDArray[np.uint64]
    stored_nbytes: NDArray[np.uint32] | None
    filter_masks: NDArray[np.uint32] | None


def test_assert_chunk_map_accepts_the_truth_and_no_other_column(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    columns = Columns(np.zeros(12, np.uint64), np.zeros(12, np.uint32), np.zeros(12, np.uint32))
    with h5py.File(path, "w", libver=V110) as file:
        node = file.create_dataset("x", (10, 9), "f4", chunks=(3, 3), compression="gzip", shuffle=True)
        node[:] = sample("f4", (10, 9))
        node.id.write_direct_chunk((3, 6), bytes(36), 3)
    with h5py.File(path, "r") as file:
        for index in range(12):
            info = file["x"].id.get_chunk_info(index)
            number = info.chunk_offset[0] // 3 * 3 + info.chunk_offset[1] // 3
            columns.addresses[number] = info.byte_offset
            columns.stored_nbytes[number] = info.size  # type: ignore[index]
            columns.filter_masks[number] = info.filter_mask  # type: ignore[index]
    assert_chunk_map(path, "x", columns)
    for column in (columns.addresses, columns.stored_nbytes, columns.filter_masks):
        column[5] += 1  # type: ignore[index]
        with pytest.raises(AssertionError):
            assert_chunk_map(path, "x", columns)
        column[5] -= 1  # type: ignore[index]
    columns.addresses[4] = 0
    with pytest.raises(AssertionError):
        assert_chunk_map(path, "x", columns)


def test_assert_chunk_map_of_unfiltered_chunks_needs_addresses_only(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=V110) as file:
        file.create_dataset("x", (9,), "f4", chunks=(3,))[3:6] = 1
        address = file["x"].id.get_chunk_info(0).byte_offset
    assert_chunk_map(path, "x", Columns(np.array([0, address, 0], np.uint64), None, None))


@pytest.mark.parametrize("dtype", ["f4", ">i8", "?", "c8"])
@pytest.mark.parametrize("shape", [(7, 10), (0, 10), ()])
def test_survives_change_of_h5pys_own_file(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    data = np.ones((), dtype) if shape == () else sample(dtype, (7, 10))[: shape[0]]
    keywords: dict[str, Any] = {"chunks": (3, 4), "maxshape": (None, 10), **GZIP} if shape else {}
    path = h5py_file(tmp_path / "a.h5", "g/x", data, **keywords)
    with h5py.File(path, "r+") as file:
        file["g/x"].attrs["units"] = "K"
    before = path.read_bytes()
    changed, expected = assert_survives_change(path, "/g/x", tmp_path)
    assert path.read_bytes() == before
    for reader in readers_for(dtype):
        assert_reads(reader, changed, "/g/x", expected)
