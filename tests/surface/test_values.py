"""Values that once went wrong between the handle and the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from tests.written import assert_every_reader

SEQUENCES = h5py.vlen_dtype("i4")
RECORD = np.dtype([("n", "i4"), ("text", h5py.string_dtype()), ("parts", SEQUENCES)])


def sequences(*parts: Any) -> Any:
    values = np.empty(len(parts), SEQUENCES)
    for i, part in enumerate(parts):
        values[i] = np.array(part, "i4")
    return values


def records(*rows: tuple[int, str, list[int]]) -> Any:
    values = np.zeros(len(rows), RECORD)
    for i, (n, text, parts) in enumerate(rows):
        values[i] = (n, text, np.array(parts, "i4"))
    return values


def test_attributes_with_objects_inside_are_read_by_h5py(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        file.attrs["sequences"] = sequences([1, 2], [], [3])
        file.attrs["records"] = records((1, "ä", [1]), (2, "", []))
        file.attrs["record"] = records((7, "seven", [7] * 7))[0]
        file.attrs["texts"] = np.array([["a", ""]], h5py.string_dtype())
        file.attrs["ascii"] = np.array([b"a", b"bc"], h5py.string_dtype("ascii"))
    with h5py.File(path) as found:
        attrs = found.attrs
        assert [part.tolist() for part in attrs["sequences"]] == [[1, 2], [], [3]]
        assert attrs["records"]["n"].tolist() == [1, 2]
        assert attrs["records"]["text"].tolist() == ["ä".encode(), b""]
        assert [part.tolist() for part in attrs["records"]["parts"]] == [[1], []]
        assert attrs["record"]["parts"].tolist() == [7] * 7
        assert attrs["texts"].tolist() == [["a", ""]]
        assert h5py.check_string_dtype(attrs.get_id("ascii").dtype).encoding == "ascii"
    with h5py.File(path, "r+") as changed:
        del changed.attrs["sequences"]
        changed.attrs["records"] = records((3, "new", [3, 3]))
    with h5py.File(path) as found:
        assert found.attrs["record"]["text"] == b"seven"
        assert found.attrs["records"]["text"].tolist() == [b"new"]


@pytest.mark.parametrize("value", ["a\0b", ["a", "b\0c"], np.array(["\0a"], object)], ids=repr)
def test_text_attribute_with_nul_is_refused(value: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, pytest.raises(errors.AttributeValueError, match="NUL"):
        file.attrs["a"] = value


def test_attribute_of_ascii_strings_refuses_other_text(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, pytest.raises(errors.AttributeValueError, match="ASCII"):
        file.attrs["a"] = np.array(["ü"], h5py.string_dtype("ascii"))


@pytest.mark.parametrize(
    "data", [sequences([1], [2, 3], []), records((1, "a", [1, 2]))], ids=["vlen", "compound"]
)
def test_append_of_encoded_rows_that_end_inside_a_chunk_pads_with_nothing(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (8,), data.dtype, chunks=(4,))
        dataset.append(data)
        whole = file.create_dataset("whole", (8,), data.dtype)
        whole[: len(data)] = data
        file.create_dataset("empty", data=np.zeros((0, 3), data.dtype))
    with h5py.File(path) as found:
        for name in ("x", "whole"):
            values = found[name][()]
            for given, read in zip(data, values, strict=False):
                if data.dtype == RECORD:
                    assert (given["n"], given["text"].encode()) == (read["n"], read["text"])
                    assert given["parts"].tolist() == read["parts"].tolist()
                else:
                    assert given.tolist() == read.tolist()
            rest = values[len(data) :]
            assert all(len(one["parts"] if data.dtype == RECORD else one) == 0 for one in rest)
        assert found["empty"].shape == (0, 3)


def test_dataset_of_arrays_is_what_h5py_writes(tmp_path: Path) -> None:
    path, theirs = tmp_path / "a.h5", tmp_path / "theirs.h5"
    dtype = np.dtype((">i2", (2, 3)))
    data = np.arange(60, dtype=">i2").reshape(10, 2, 3)
    with streamh5.File(path) as file:
        file.create_dataset("whole", data=data, dtype=dtype)
        chunked = file.create_dataset("chunked", (10,), dtype, chunks=(4,), compression="gzip", shuffle=True)
        chunked[:8] = data[:8]
        chunked[8:] = data[8:]
        rows = file.create_dataset("rows", (None,), dtype, chunks=(4,))
        for row in data:
            rows.append(row)
        file.create_dataset("one", (), dtype)[()] = data[3]
        with pytest.raises(errors.BlockError, match=r"\(2, 3\)"):
            chunked[0:4] = np.zeros((4, 3, 2), ">i2")
        with pytest.raises(errors.FillValueError):
            file.create_dataset("filled", (4,), dtype, fillvalue=3)
    with h5py.File(theirs, "w") as file:
        file.create_dataset("x", (10,), dtype)[...] = data
        for_h5py = file["x"]
        with h5py.File(path) as found:
            for name in ("whole", "chunked", "rows"):
                assert found[name].id.get_type() == for_h5py.id.get_type()
                assert found[name].shape == (10,)
                np.testing.assert_array_equal(found[name][()], data)
            np.testing.assert_array_equal(found["one"][()], data[3])


@pytest.mark.parametrize("chunk", [0, 1])
def test_direct_chunk_of_an_early_dataset_lands_in_its_place(chunk: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (8,), "<i4", chunks=(4,), alloc_time="early", fillvalue=-1)
        dataset.write_direct_chunk((4 * chunk,), np.arange(4, dtype="<i4").tobytes())
    expected = np.full(8, -1, "<i4")
    expected[4 * chunk : 4 * chunk + 4] = np.arange(4)
    assert_every_reader(path, "/x", expected)


def test_rows_past_maxshape_are_refused_by_the_call(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (None,), "<i4", chunks=(4,), maxshape=(10,))
        dataset.append(np.arange(9, dtype="<i4"))
        for call in (
            lambda: dataset.append([1, 2]),
            lambda: dataset.__setitem__(slice(8, 12), 1),
            lambda: dataset.write_direct_chunk((12,), bytes(16)),
        ):
            with pytest.raises(errors.BlockError, match=r"/x.*\(10,\)"):
                call()
        dataset.append(9)
        other = file.create_dataset("y", (None,), "<i4", chunks=(4,), maxshape=(10,))
        other.write_direct_chunk((8,), np.arange(4, dtype="<i4").tobytes())
    with h5py.File(path) as found:
        assert found["x"][()].tolist() == list(range(10))
        assert found["y"][()].tolist() == [0] * 8 + [0, 1]


def test_fill_value_that_would_be_cut_off_is_refused(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, pytest.raises(errors.FillValueError, match="abcdef"):
        file.create_dataset("x", (3,), "S3", fillvalue=b"abcdef")


def test_fill_value_of_bfloat16_is_read(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", (3,), ml_dtypes.bfloat16, chunks=(2,), fillvalue=1.5)
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"][()].tolist() == [1.5] * 3


def test_empty_chunks_are_counted_once_and_not_when_written_later(tmp_path: Path) -> None:
    file = streamh5.File(tmp_path / "a.h5")
    dataset = file.create_dataset("x", (12,), "i4", chunks=(2,), write_empty_chunks=False)
    for _ in range(3):
        dataset[:] = 0
    dataset[4:6] = 1
    summary = file.close()
    assert (summary.datasets[0].n_missing, summary.datasets[0].n_empty) == (5, 5)


def test_small_data_stands_in_the_header_only(tmp_path: Path) -> None:
    marker = bytes(range(200, 240)) * 20
    with streamh5.File(tmp_path / "a.h5") as file:
        file["x"] = np.frombuffer(marker, "u1")
    assert (tmp_path / "a.h5").read_bytes().count(marker) == 1


def test_masked_data_is_refused_or_filled_but_not_unmasked(tmp_path: Path) -> None:
    data = np.ma.masked_array([1, 2, 3], [False, True, False])
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(errors.BlockError, match="masked"):
            file.create_dataset("x", data=data)
        file.create_dataset("filled", data=data, fillvalue=-1)
        file.create_dataset("plain", data=np.ma.masked_array([1, 2]))
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["filled"][()].tolist() == [1, -1, 3]
        assert found["plain"][()].tolist() == [1, 2]
