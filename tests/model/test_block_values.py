"""Blocks of another dtype than the dataset's: stored when no value changes, refused otherwise."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors

POINT = np.dtype([("x", "i1"), ("y", [("z", "f4", (2,))])])
WIDE_POINT = np.dtype([("x", "i8"), ("y", [("z", "f8", (2,))])])


def wide_points(x: int, z: float = 0.5) -> Any:
    values = np.zeros(4, WIDE_POINT)
    values["x"] = x
    values["y"]["z"] = z
    return values


@pytest.mark.parametrize(
    ("dtype", "block"),
    [
        ("i4", np.array([1, 2**31, 3, 4])),
        ("i4", np.array([-(2**31) - 1, 0, 0, 0])),
        ("u1", np.array([0, 256, 0, 0], "u2")),
        ("u8", np.array([0, -1, 0, 0])),
        ("i8", np.array([2**63, 0, 0, 0], "u8")),
        (">i2", np.array([0, 32_768, 0, 0], ">i4")),
        ("i4", [1, 2**31, 3, 4]),
        ("i4", [1, 2.5, 3, 4]),
        ("f4", np.array([1, 1e39, 3, 4])),
        ("f2", np.array([1, 65_536, 3, 4])),
        ("c8", np.array([1, 1e39j, 3, 4])),
        ("S3", np.array([b"abc", b"abcd", b"", b""])),
        ("S3", [b"abc", b"abcd", b"", b""]),
        ("V3", np.zeros(4, "V4")),
        ("M8[s]", np.array(["2000-01-01T00:00:00.5"] * 4, "M8[ms]")),
        ("M8[ns]", np.array(["9999-01-01"] * 4, "M8[D]")),
        ("m8[h]", np.array([30, 60, 60, 60], "m8[m]")),
        (POINT, wide_points(128)),
        (POINT, wide_points(1, 1e39)),
        (POINT, np.zeros(4, [("y", "i1"), ("x", "f4")])),
        (POINT, np.zeros(4, [("x", "i1"), ("y", [("z", "f4", (3,))])])),
        (h5py.vlen_dtype("i2"), [[1], [40_000], [], []]),
    ],
    ids=str,
)
def test_value_that_the_dtype_cannot_hold_is_refused(dtype: Any, block: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        chunked = file.create_dataset("chunked", (4,), dtype, chunks=(2,))
        whole = file.create_dataset("whole", (4,), dtype)
        rows = file.create_dataset("rows", (None,), dtype, chunks=(2,))
        for write in (
            lambda: chunked.__setitem__(..., block),
            lambda: whole.__setitem__(..., block),
            lambda: rows.append(block),
            lambda: file.create_dataset("data", data=block, dtype=dtype),
        ):
            with pytest.raises((errors.BlockError, errors.DatatypeError)):
                write()
        if dtype != h5py.vlen_dtype("i2"):  # sequences are looked at when they are stored
            assert "data" not in file
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["chunked"].id.get_num_chunks() == 0
        assert found["rows"].shape == (0,)


@pytest.mark.parametrize(
    ("dtype", "block"),
    [
        ("i4", np.array([-(2**31), 2**31 - 1, 0, 1])),
        ("u8", np.array([0, 2**63 - 1, 1, 2])),
        ("i8", np.array([0, 2**63 - 1, 1, 2], "u8")),
        (">u2", np.array([0, 65_535, 1, 2])),
        ("i4", [1.0, 2.0, 3.0, -4.0]),
        ("f4", np.array([0.1, np.inf, np.nan, -1e38])),
        ("S3", np.array([b"abc", b"ab", b"", b"c"], "S8")),
        ("M8[s]", np.array(["2000-01-01", "NaT", "1970-01-01", "1000-01-01"], "M8[ms]")),
        (POINT, wide_points(-128, 0.25)),
        (POINT, [(1, ([0.5, 2.0],)), (2, ([1.0, 1.0],)), (3, ([0, 0],)), (-4, ([9, 9],))]),
    ],
    ids=str,
)
def test_value_that_the_dtype_holds_is_read_back(dtype: Any, block: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("chunked", (4,), dtype, chunks=(2,), compression="gzip")[...] = block
        file.create_dataset("rows", (None,), dtype, chunks=(2,)).append(block)
        if not isinstance(block, list):
            file.create_dataset("data", data=block, dtype=dtype)
    expected = np.array(block, dtype)
    with h5py.File(tmp_path / "a.h5") as found:
        for name in found:
            values = found[name].astype(dtype)[...] if expected.dtype.kind == "M" else found[name][...]
            np.testing.assert_array_equal(values, expected)


def test_blocks_of_a_dask_array_that_are_wider_than_it_says(tmp_path: Path) -> None:
    def widened(values: Any) -> Any:
        return values.astype("i8") + 2**31

    x = da.zeros((8,), chunks=(4,), dtype="i4")
    lie = x.map_blocks(widened, dtype="i4", meta=np.empty(0, "i4"))
    with pytest.raises(errors.BlockError, match="values reach from 2147483648"):
        streamh5.to_fixed_h5(tmp_path / "a.h5", "/x", lie)
    assert not list(tmp_path.iterdir())


def test_sequences_are_given_as_h5py_takes_them(tmp_path: Path) -> None:
    kind = h5py.vlen_dtype("i4")

    def fill(file: Any, append: bool) -> None:
        x = file.create_dataset("x", (5,), kind, chunks=(1,))
        x[0] = [1, 2, 3]
        x[1] = np.array([4, 5])
        x[2:4] = [[6], [7, 8]]
        file.create_dataset("same", (2,), kind, chunks=(2,))[...] = np.arange(6, dtype="i4").reshape(2, 3)
        if append:
            rows = file.create_dataset("rows", (None,), kind, chunks=(2,))
            rows.append([1, 2])
            rows.append([[3], [4, 5]])

    with streamh5.File(tmp_path / "a.h5") as file:
        fill(file, append=True)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        fill(file, append=False)
    with h5py.File(tmp_path / "a.h5") as ours, h5py.File(tmp_path / "b.h5") as theirs:
        for name in ("x", "same"):
            assert [part.tolist() for part in ours[name]] == [part.tolist() for part in theirs[name]]
        assert [part.tolist() for part in ours["rows"]] == [[1, 2], [3], [4, 5]]


def test_masked_records_become_the_fill_value_field_by_field(tmp_path: Path) -> None:
    kind = np.dtype([("a", "i4"), ("b", "f8")])
    data = np.ma.array(
        np.ones(4, kind), mask=np.array([(0, 1), (0, 0), (1, 1), (0, 0)], [("a", "?"), ("b", "?")])
    )
    with streamh5.File(tmp_path / "a.h5") as file:
        bare = file.create_dataset("bare", (4,), kind, chunks=(2,))
        with pytest.raises(errors.BlockError, match="2 masked elements"):
            bare[...] = data
        bare[...] = np.ma.array(np.ones(4, kind))
        file.create_dataset("x", (4,), kind, chunks=(2,), fillvalue=(7, 8.5))[...] = data
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"][...].tolist() == [(1, 8.5), (1, 1.0), (7, 8.5), (1, 1.0)]
        assert found["x"].fillvalue.tolist() == (7, 8.5)
        assert found["bare"][...].tolist() == [(1, 1.0)] * 4


def test_masked_values_of_another_dtype_become_the_fill_value(tmp_path: Path) -> None:
    data = np.ma.array([1, 2**40, 3], mask=[False, True, False])  # what is masked need not fit
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", (3,), "u1", chunks=(2,), fillvalue=255)[...] = data
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"][...].tolist() == [1, 255, 3]


def test_ragged_data_is_refused(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        for dtype in (None, "i4"):
            with pytest.raises(errors.BlockError, match="not a regular array"):
                file.create_dataset("x", data=[[1], [2, 3]], dtype=dtype)


def test_empty_of_h5py_makes_a_null_dataspace(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", data=h5py.Empty("f4"))
        file["y"] = h5py.Empty("S7")
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"][()] == h5py.Empty("f4")
        assert found["y"][()] == h5py.Empty("S7")


def test_chunks_false_stores_data_in_one_piece(tmp_path: Path) -> None:
    data = np.arange(50_000, dtype="i4")
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", data=data, chunks=False)
        with pytest.raises(errors.ChunkShapeError, match="chunks=False stores data in one piece"):
            file.create_dataset("y", (10,), "i4", chunks=False, compression="gzip")
        with pytest.raises(errors.ChunkShapeError, match="chunks=False stores data in one piece"):
            file.create_dataset("y", (None,), "i4", chunks=False)
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"].chunks is None
        assert found["x"].id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        np.testing.assert_array_equal(found["x"][...], data)


PADDED = np.dtype([("a", "i1"), ("b", "f8"), ("c", [("d", "i2"), ("e", "i4")], (2,))], align=True)


def with_dirty_padding(values: Any) -> Any:
    """Return an array of the same values with 0xAB between the fields."""
    dirty = np.frombuffer(bytearray(b"\xab" * values.nbytes), values.dtype).reshape(values.shape)
    for name in values.dtype.names:
        if values.dtype[name].base.names is None:
            dirty[name] = values[name]
        else:
            for inner in values.dtype[name].base.names:
                dirty[name][inner] = values[name][inner]
    return dirty


@pytest.mark.parametrize("filters", [{}, {"compression": "gzip"}], ids=["raw", "gzip"])
def test_bytes_between_fields_do_not_reach_the_file(filters: Any, tmp_path: Path) -> None:
    values = np.zeros((101, 7), PADDED)
    values["a"], values["b"], values["c"]["e"] = 1, 2.5, 3
    dirty = with_dirty_padding(values)
    assert b"\xab" in dirty.tobytes()

    def write(path: Path, data: Any) -> bytes:
        with streamh5.File(path, threads=1) as file:
            file.create_dataset("edges", data=data, chunks=(10, 3), fillvalue=data[0, 0], **filters)
            file.session.wait()  # chunks are stored in the order in which threads have filtered them
            file.create_dataset("rows", (None, 7), PADDED, chunks=(10, 7), **filters).append(data)
            file.session.wait()
            file.create_dataset("whole", data=data, chunks=False)
            file.create_dataset("small", data=data[0])
            part = file.create_dataset("part", (9,), PADDED, fillvalue=data[0, 0])
            part[2:4] = data[0, :2]
            file.create_dataset("early", (9,), PADDED, chunks=(2,), fillvalue=data[0, 0], alloc_time="early")
            file.attrs["a"] = data[0]
        return path.read_bytes()

    clean = write(tmp_path / "a.h5", values)
    assert write(tmp_path / "b.h5", dirty) == clean
    with h5py.File(tmp_path / "b.h5") as found:
        for name in ("edges", "rows", "whole"):
            np.testing.assert_array_equal(found[name][...], values)
        for name in ("part", "early"):
            np.testing.assert_array_equal(found[name][...], np.full(9, values[0, 0]))


def test_chunks_of_padded_records_that_are_empty_are_left_out(tmp_path: Path) -> None:
    fill = np.zeros((), PADDED)
    fill["b"] = 1.5
    data = with_dirty_padding(np.full(20, fill, PADDED))
    data["a"][3] = 1
    with streamh5.File(tmp_path / "a.h5") as file:
        x = file.create_dataset("x", (20,), PADDED, chunks=(5,), fillvalue=fill, write_empty_chunks=False)
        x[...] = data
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"].id.get_num_chunks() == 1
        np.testing.assert_array_equal(found["x"][...], data)


@pytest.mark.parametrize(
    ("dtype", "fillvalue"),
    [
        (PADDED, (1, 2)),
        (np.dtype([("a", "i1")]), np.array((300,), [("a", "i4")])),
        (np.dtype([("a", "i1")]), np.array((3,), [("b", "i1")])),
        ("M8[s]", np.datetime64("2000-01-01T00:00:00.5")),
    ],
    ids=str,
)
def test_fill_value_that_records_or_times_cannot_hold_is_refused(
    dtype: Any, fillvalue: Any, tmp_path: Path
) -> None:
    with (
        streamh5.File(tmp_path / "a.h5") as file,
        pytest.raises(errors.FillValueError, match="/x: fill value"),
    ):
        file.create_dataset("x", (4,), dtype, fillvalue=fillvalue)


@pytest.mark.parametrize(
    "block",
    [
        ["a", "ü"],
        np.array(["a", "ü"]),
        np.array(["a", "ü"], object),
        np.array(["a", "ü"], np.dtypes.StringDType()),
    ],
    ids=lambda block: str(getattr(block, "dtype", "list")),
)
def test_text_is_encoded_for_strings_of_fixed_length(block: Any, tmp_path: Path) -> None:
    kind = h5py.string_dtype("utf-8", 3)
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", (4,), kind, chunks=(2,), fillvalue="ß")[:2] = block
        file.create_dataset("y", (2,), kind)[...] = block
        file.create_dataset("z", (None,), kind, chunks=(2,)).append(block)
        ascii_only = file.create_dataset("ascii", (2,), "S3", chunks=(2,))
        with pytest.raises(errors.BlockError, match="beyond ASCII"):
            ascii_only[...] = block
        with pytest.raises(errors.BlockError, match="text of 4 bytes does not fit"):
            ascii_only[...] = ["abcd", ""]
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"].asstr()[...].tolist() == ["a", "ü", "ß", "ß"]
        assert found["y"].asstr()[...].tolist() == found["z"].asstr()[...].tolist() == ["a", "ü"]
        assert h5py.check_string_dtype(found["x"].dtype) == ("utf-8", 3)


def test_empty_masked_block_is_a_block(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        x = file.create_dataset("x", (None, 3), "f8", chunks=(1, 3))
        x.append(np.ma.zeros((0, 3)))
        x.append(np.ma.zeros((1, 3)))
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"].shape == (1, 3)


@pytest.mark.parametrize("value", [np.array([123456]), np.array([True]), np.array([0.25])], ids=str)
def test_numbers_are_no_text(value: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        x = file.create_dataset("x", (1,), "S2", chunks=(1,))
        with pytest.raises(errors.BlockError, match="without loss"):
            x[...] = value


def test_bytes_between_the_fields_of_array_elements_are_zero(tmp_path: Path) -> None:
    record = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    data = np.frombuffer(b"\xaa" * (6 * record.itemsize), record).reshape(2, 3)
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", (2,), np.dtype((record, (3,))), chunks=(2,))[...] = data
    with h5py.File(tmp_path / "a.h5") as found:
        _, stored = found["x"].id.read_direct_chunk((0,))
    assert stored == (b"\xaa" + bytes(7) + b"\xaa" * 8) * 6


@pytest.mark.parametrize(
    ("fillvalue", "dtype", "stored"),
    [
        (b"abc", "V3", b"abc"),
        (np.void(b"abc"), "V3", b"abc"),
        ("NaT", "M8[ns]", np.datetime64("NaT", "ns").tobytes()),
        ("2020-01-02", "M8[s]", np.datetime64("2020-01-02", "s").tobytes()),
        (datetime.datetime(2020, 1, 2, 3), "M8[us]", np.datetime64("2020-01-02T03", "us").tobytes()),
    ],
)
def test_fill_value_of_opaque_bytes_or_time_is_read_by_h5py(
    fillvalue: Any, dtype: str, stored: bytes, tmp_path: Path
) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", (4,), dtype, chunks=(2,), fillvalue=fillvalue)
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"][...].tobytes() == 4 * stored


@pytest.mark.parametrize(
    ("fillvalue", "dtype", "reason"),
    [
        (b"ab", "V3", r"would become np.void\(b'.x61.x62.x00'\)"),
        (5, "M8[s]", "would become"),
        ("a", "i4", "invalid literal"),
    ],
)
def test_fill_value_of_another_kind_is_refused_with_its_reason(
    fillvalue: Any, dtype: str, reason: str, tmp_path: Path
) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, pytest.raises(errors.FillValueError, match=reason):
        file.create_dataset("x", (4,), dtype, chunks=(2,), fillvalue=fillvalue)
