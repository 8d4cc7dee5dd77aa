"""What streamh5 writes, judged by every reader: datatypes, layouts, chunk indexes, r+, h5repack, h5diff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from tests.readers import Reader, readers_for
from tests.readers.hdf5_tools import (
    differs,
    h5debug,
    h5ls,
    h5stat,
    header_address,
    index_address,
    index_type,
    repacks,
)
from tests.readers.judgements import assert_chunk_map, assert_survives_change
from tests.readers.protocol import assert_reads
from tests.written import DTYPES, GZIP, assert_every_reader, columns, values, write

EDGE: dict[str, Any] = {"chunks": (4, 3)}
SHAPE = (10, 7)

LAYOUTS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "fixed": (SHAPE, {**EDGE, **GZIP}),
    "raw": (SHAPE, EDGE),
    "shuffled": (SHAPE, {**EDGE, "shuffle": True}),
    "summed": (SHAPE, {**EDGE, **GZIP, "fletcher32": True}),
    "only_summed": (SHAPE, {**EDGE, "fletcher32": True}),
    "best": (SHAPE, {**EDGE, "compression": "gzip", "compression_opts": 9}),
    "single": (SHAPE, {"chunks": SHAPE, **GZIP}),
    "single_raw": (SHAPE, {"chunks": SHAPE}),
    "one": ((1,), {"chunks": (1,)}),
    "cube": ((3, 4, 5), {"chunks": (2, 3, 4), **GZIP}),
    "scalar": ((), {}),
    "empty": ((0,), {"chunks": (4,), **GZIP}),
    "flat": ((5, 0, 3), {"chunks": (5, 1, 3)}),
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """One file for each dtype with a dataset of each layout, and the values of each."""
    files = {}
    for dtype in DTYPES:
        path = tmp_path_factory.mktemp("zoo") / "a.h5"
        data = {name: values(dtype, shape) for name, (shape, _) in LAYOUTS.items()}
        with streamh5.File(path) as file:
            for name, (_, keywords) in LAYOUTS.items():
                file.create_dataset(name, data=data[name], **keywords)
        files[dtype] = (path, data)
    return files


@pytest.mark.parametrize("dtype", DTYPES)
def test_dataset_of_each_dtype_and_layout_reads_equal(
    dtype: str, reader: Reader, zoo: dict[str, tuple[Path, dict[str, Any]]]
) -> None:
    path, data = zoo[dtype]
    reason = reader.refuses(np.dtype(dtype))
    if reason:
        pytest.skip(reason)
    for name, expected in data.items():
        assert_reads(reader, path, f"/{name}", expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_is_the_one_that_h5py_writes(dtype: str, tmp_path: Path) -> None:
    write(tmp_path / "a.h5", values(dtype, SHAPE), **EDGE)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = values(dtype, SHAPE)
    with h5py.File(tmp_path / "a.h5") as ours, h5py.File(tmp_path / "b.h5") as theirs:
        assert ours["x"].dtype == theirs["x"].dtype == np.dtype(dtype)
        assert ours["x"].id.get_type() == theirs["x"].id.get_type()


@pytest.mark.usefixtures("hdf5_tools")
@pytest.mark.parametrize("dtype", DTYPES)
def test_h5repack_and_h5diff_find_no_difference_to_the_array_of_h5py(
    dtype: str, zoo: dict[str, tuple[Path, dict[str, Any]]], tmp_path: Path
) -> None:
    path, data = zoo[dtype]
    theirs = tmp_path / "theirs.h5"
    with h5py.File(theirs, "w") as file:
        for name, array in data.items():
            file.create_dataset(name, data=array)
    assert differs(path, theirs) is None  # it takes two NaN for equal
    repacks(path)


@pytest.mark.parametrize("dtype", ["?", "<i2", ">f8", "<c8"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_file_survives_changes_by_h5py(
    dtype: str, layout: str, zoo: dict[str, tuple[Path, dict[str, Any]]], tmp_path: Path
) -> None:
    changed, expected = assert_survives_change(zoo[dtype][0], f"/{layout}", tmp_path)
    for reader in readers_for(dtype):
        assert_reads(reader, changed, f"/{layout}", np.asarray(expected, dtype))


@pytest.mark.usefixtures("hdf5_tools")
def test_tools_accept_every_object(zoo: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    path, data = zoo["<f4"]
    said = h5ls(path)
    for name in data:
        assert f"/{name}" in said
    assert f"# of unique datasets: {len(data)}" in h5stat(path)


N_CHUNKS = [2, 3, 1023, 1024, 1025, 2047, 2048, 2049, 5000]


@pytest.mark.usefixtures("hdf5_tools")
@pytest.mark.parametrize("keywords", [{}, GZIP, {"fletcher32": True}], ids=["raw", "gzip", "fletcher32"])
@pytest.mark.parametrize("n_chunks", N_CHUNKS)
def test_fixed_array_at_each_page_limit_is_read(
    n_chunks: int, keywords: dict[str, Any], tmp_path: Path
) -> None:
    data = values("<i4", (n_chunks * 2 - 1,), seed=n_chunks)
    path = tmp_path / "a.h5"
    tracked = write(path, data, chunks=(2,), **keywords)
    assert_every_reader(path, "/x", data)
    assert_chunk_map(path, "/x", tracked)
    assert index_type(path, "/x") == "Fixed Array"
    said = h5debug(path, index_address(path, "/x"), header_address(path, "/x"))
    assert "Fixed Array Header" in said
    assert str(n_chunks) in said


@pytest.mark.usefixtures("hdf5_tools")
@pytest.mark.parametrize("keywords", [{}, GZIP, {"fletcher32": True}], ids=["raw", "gzip", "fletcher32"])
def test_single_chunk_is_read(keywords: dict[str, Any], tmp_path: Path) -> None:
    data = values(">u2", (6, 5))
    path = tmp_path / "a.h5"
    tracked = write(path, data, chunks=(6, 5), **keywords)
    assert_every_reader(path, "/x", data)
    assert_chunk_map(path, "/x", tracked)
    assert index_type(path, "/x") == "Single Chunk"
    assert_survives_change(path, "/x", tmp_path)


@pytest.mark.usefixtures("hdf5_tools")
@pytest.mark.parametrize("keywords", [{}, GZIP], ids=["raw", "gzip"])
@pytest.mark.parametrize("written", [(), (0,), (1500,), (0, 1023), (1024,), (2999,)])
def test_pages_never_written_read_as_fill_value(
    written: tuple[int, ...], keywords: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    expected = np.full(3000, -7, "<i2")
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (3000,), "<i2", chunks=(1,), fillvalue=-7, **keywords)
        for number in written:
            dataset[number] = number
            expected[number] = number
    assert_every_reader(path, "/x", expected)
    assert_chunk_map(path, "/x", columns(file, "/x"))
    repacks(path)
    assert_survives_change(path, "/x", tmp_path)


@pytest.mark.parametrize("fillvalue", [None, 5, -1])
@pytest.mark.parametrize("keywords", [{}, {"compression": "gzip", "shuffle": True}, {"fletcher32": True}])
def test_edge_chunk_is_stored_whole_and_padded_with_the_fill_value(
    fillvalue: int | None, keywords: dict[str, Any], tmp_path: Path
) -> None:
    data = np.arange(1, 71, dtype="<i4").reshape(10, 7)
    path = tmp_path / "a.h5"
    write(path, data, chunks=(4, 3), fillvalue=fillvalue, **keywords)
    padded = np.full((12, 9), 0 if fillvalue is None else fillvalue, "<i4")
    padded[:10, :7] = data
    with h5py.File(path) as file:
        dataset = file["x"]
        for i in range(0, 12, 4):
            for j in range(0, 9, 3):
                assert _raw_chunk(dataset, (i, j)).tobytes() == padded[i : i + 4, j : j + 3].tobytes()
    # what lies behind the edge shows itself when a reader enlarges its view of the same chunks
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][()], data)


def _raw_chunk(dataset: h5py.Dataset, origin: tuple[int, ...]) -> Any:
    """Bytes of a chunk before its filters, undone by numpy and zlib."""
    import zlib

    mask, stored = dataset.id.read_direct_chunk(origin)
    if dataset.fletcher32:
        stored = stored[:-4]
    if dataset.compression == "gzip" and not mask & 2:
        stored = zlib.decompress(stored)
    if dataset.shuffle and not mask & 1:
        planes = np.frombuffer(stored, np.uint8).reshape(dataset.dtype.itemsize, -1)
        stored = planes.T.tobytes()
    return np.frombuffer(stored, dataset.dtype).reshape(dataset.chunks)


def test_chunk_map_of_rewritten_direct_and_masked_chunks_is_what_was_tracked(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    noise = np.frombuffer(np.random.default_rng(1).bytes(4000), "<i4").reshape(10, 100)
    with streamh5.File(path) as file:
        dataset = file.create_dataset("x", (10, 100), "<i4", chunks=(2, 50), **GZIP)
        dataset[...] = noise
        dataset[2:4, 50:100] = 3
        dataset.write_direct_chunk((8, 50), noise[8:10, 50:].tobytes(), filter_mask=3)
        dataset.write_direct_chunk((6, 0), noise[6:8, :50].tobytes(), filter_mask=3)
    expected = noise.copy()
    expected[2:4, 50:] = 3
    assert_every_reader(path, "/x", expected)
    assert_chunk_map(path, "/x", columns(file, "/x"))
    assert file.summary is not None
    assert file.summary.datasets[0].n_rewritten == 3


def test_incompressible_chunk_stays_deflated(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    noise = np.frombuffer(np.random.default_rng(1).bytes(8000), "u1")
    data = np.concatenate([noise[:1000], np.zeros(1000, "u1"), noise[1000:2000]])
    tracked = write(path, data, chunks=(1000,), compression="gzip")
    assert tracked.filter_masks is None
    assert_chunk_map(path, "/x", tracked)
    assert_every_reader(path, "/x", data)


def test_null_dataset_is_empty_to_h5py_and_the_tools(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        file.create_dataset("x", dtype=">f8").attrs["units"] = "K"
    with h5py.File(path) as read:
        assert read["x"].shape is None
        assert read["x"].dtype == ">f8"
        assert read["x"][()] == h5py.Empty(">f8")
        assert dict(read["x"].attrs) == {"units": "K"}
    repacks(path)
    with h5py.File(path, "r+") as changed:
        changed["x"].attrs["added"] = 1
        changed.create_group("g")["y"] = changed["x"]
    with h5py.File(path) as read:
        assert dict(read["g/y"].attrs) == {"units": "K", "added": 1}


@pytest.mark.parametrize("keywords", [{}, GZIP], ids=["raw", "gzip"])
@pytest.mark.parametrize("shape", [(0,), (0, 7), (7, 0), (3, 0, 2)])
def test_dataset_without_elements_is_read_and_repacked(
    shape: tuple[int, ...], keywords: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    data = np.zeros(shape, "<f4")
    write(path, data, chunks=(2,) * len(shape), **keywords)
    assert_every_reader(path, "/x", data)
    repacks(path)
    with h5py.File(path) as file:
        assert file["x"].chunks == (2,) * len(shape)
        assert file["x"].id.get_num_chunks() == 0


@pytest.mark.parametrize("rank", [1, 2, 5, 31, 32])
def test_dataset_of_many_dimensions_is_read(rank: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    shape = (3, 2, *(1,) * (rank - 2))[:rank]
    data = values("<i2", shape)
    write(path, data, chunks=(2, *(1,) * (rank - 1)), **GZIP)
    for one in readers_for("<i2"):
        if (one.name, rank) != ("h5dump", 32):  # it divides by zero, also in h5py's own file
            assert_reads(one, path, "/x", data)


@pytest.mark.parametrize("extent", [255, 256, 65535, 65536])
def test_chunk_extent_at_each_encoded_length_is_read(extent: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = values("u1", (extent * 2,))
    write(path, data, chunks=(extent,), compression="gzip")
    assert_every_reader(path, "/x", data)
