"""`convert` with other chunks: what is decoded, how often, and by whom; h5py reads the same elements."""

from __future__ import annotations

import subprocess
import sys
import threading
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamh5
from streamh5.conversion import encoded_blocks
from streamh5.conversion.array_plan import SourceArray
from streamh5.conversion.hdf5 import chunk_reader
from streamh5.conversion.hdf5 import elements as elements_of_hdf5
from streamh5.conversion.hdf5.partly_read import PartlyReadChunks
from streamh5.dask.stored_chunks import Regions
from streamh5.errors import SourceError
from streamh5.filters.chunk_decoder import ChunkDecoder

GZIP: dict[str, Any] = {"compression": "gzip", "shuffle": True}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """Count how often each stored chunk is decompressed."""
    counts: Counter[bytes] = Counter()
    lock, decompress = threading.Lock(), ChunkDecoder.decompress

    def counted(self: ChunkDecoder, stored: Any) -> Any:
        with lock:
            counts[bytes(stored)] += 1
        return decompress(self, stored)

    monkeypatch.setattr(ChunkDecoder, "decompress", counted)
    return counts


@pytest.fixture
def read_by_library(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the regions that are read with the HDF5 library."""
    regions: list[Any] = []
    read = elements_of_hdf5.read_region

    def noted(opened: Any, region: Any, datatype: Any) -> Any:
        regions.append(region)
        return read(opened, region, datatype)

    monkeypatch.setattr("streamh5.conversion.hdf5.dataset.read_region", noted)
    return regions


def elements(shape: tuple[int, ...], dtype: str = "f4") -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 1000, shape).astype(dtype)


def read_in_small_pieces(monkeypatch: pytest.MonkeyPatch, nbytes: int) -> None:
    """Make blocks of about this size, for each of which chunks are read into the same memory one after the other."""
    monkeypatch.setattr("streamh5.dask.stored_chunks.BLOCK_NBYTES", nbytes)
    monkeypatch.setattr(encoded_blocks, "MAX_BLOCK_NBYTES", 2 * nbytes)
    monkeypatch.setattr(chunk_reader, "PIECE_READ_NBYTES", nbytes)


def rechunked(folder: Path, values: np.ndarray[Any, Any], chunks: Any, target: Any, **options: Any) -> None:
    """Write a file, convert it to other chunks, and compare what h5py reads."""
    with h5py.File(folder / "in.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=chunks, **options)
    streamh5.convert(
        folder / "in.h5", folder / "out.h5", chunks={"/x": target}, overwrite=True, progress=False
    )
    with h5py.File(folder / "out.h5") as file:
        assert file["x"].chunks == target
        assert np.array_equal(file["x"][...], values)


@pytest.mark.parametrize(
    ("chunks", "target"),
    [((1, 50), (10, 50)), ((10, 50), (1, 50)), ((1, 50), (20, 5)), ((6, 8), (8, 6)), ((40, 50), (7, 11))],
    ids=["small to large", "large to small", "rows to columns", "not multiples", "one"],
)
@pytest.mark.parametrize("block_nbytes", [1 << 24, 512], ids=["one block", "many blocks"])
def test_each_chunk_is_decoded_once_and_not_by_the_library(
    tmp_path: Path,
    decoded: Counter[bytes],
    read_by_library: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    chunks: tuple[int, ...],
    target: tuple[int, ...],
    block_nbytes: int,
) -> None:
    read_in_small_pieces(monkeypatch, block_nbytes)
    values = elements((40, 50))
    rechunked(tmp_path, values, chunks, target, **GZIP)
    assert set(decoded.values()) == {1}
    assert len(decoded) == np.prod([-(-n // c) for n, c in zip(values.shape, chunks, strict=True)])
    assert not read_by_library


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "gzip"},
        {"shuffle": True},
        {**GZIP, "fletcher32": True},
        {"fletcher32": True},
        {"compression": 32015, "compression_opts": (3,), "shuffle": True},
    ],
    ids=["none", "gzip", "shuffle", "all", "fletcher32", "zstd"],
)
@pytest.mark.parametrize("dtype", ["u1", ">i2", "<f4", "<f8", "<c16", "V3", "i4,f8,S3"])
@pytest.mark.parametrize("nbytes", [1 << 24, 1], ids=["one block", "many blocks"])
def test_elements_of_any_size_and_filters_are_decoded(
    tmp_path: Path,
    read_by_library: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    dtype: str,
    nbytes: int,
) -> None:
    read_in_small_pieces(monkeypatch, nbytes)
    values = np.frombuffer(elements((24, 30), "i8").tobytes()[: 24 * 5 * np.dtype(dtype).itemsize], dtype)
    rechunked(tmp_path, values.reshape(24, 5), (5, 3), (7, 2), **options)
    assert not read_by_library


def test_chunks_that_skipped_their_compressor_are_kept_in_memory_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_small_pieces(monkeypatch, 512)
    values = elements((40, 50))
    with h5py.File(tmp_path / "in.h5", "w") as file:
        x = file.create_dataset("x", values.shape, values.dtype, chunks=(1, 50), **GZIP)
        for i, row in enumerate(values):
            x.id.write_direct_chunk((i, 0), row.tobytes(), 3)
    streamh5.convert(tmp_path / "in.h5", tmp_path / "out.h5", chunks={"/x": (40, 5)}, progress=False)
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.array_equal(file["x"][...], values)


def test_filters_that_only_the_library_decodes_are_read_by_it(
    tmp_path: Path, read_by_library: list[Any]
) -> None:
    rechunked(tmp_path, elements((40, 50)), (4, 50), (10, 10), compression="lzf")
    assert read_by_library


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_chunks_and_any_missing_ones_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(1, 3))
    sizes = st.lists(st.integers(1, 12), min_size=rank, max_size=rank).map(tuple)
    shape, chunks, target = data.draw(sizes), data.draw(sizes), data.draw(sizes)
    chunks, target = (tuple(map(min, one, shape)) for one in (chunks, target))
    folder = tmp_path_factory.mktemp("any")
    with h5py.File(folder / "in.h5", "w") as file:
        x = file.create_dataset(
            "x", shape, "i4", chunks=chunks, fillvalue=data.draw(st.sampled_from([None, 7])), **GZIP
        )  # fmt: skip
        for index in np.ndindex(*(-(-n // c) for n, c in zip(shape, chunks, strict=True))):
            what = data.draw(st.sampled_from(["missing", "filtered", "raw"]))
            origin = tuple(i * c for i, c in zip(index, chunks, strict=True))
            values = elements(chunks, "i4")
            if what == "filtered":
                x[tuple(slice(o, o + c) for o, c in zip(origin, chunks, strict=True))] = values[
                    tuple(slice(0, n - o) for o, n in zip(origin, shape, strict=True))
                ]
            elif what == "raw":
                x.id.write_direct_chunk(origin, values.tobytes(), 3)
    with h5py.File(
        folder / "in.h5"
    ) as file:  # opened again: HDF5 applies the masks of chunks that it wrote itself
        expected = file["x"][...]
    with pytest.MonkeyPatch.context() as patches:
        read_in_small_pieces(patches, data.draw(st.sampled_from([1, 200, 1 << 24])))
        streamh5.convert(folder / "in.h5", folder / "out.h5", chunks={"/x": target}, progress=False)
    with h5py.File(folder / "out.h5") as file:
        assert np.array_equal(file["x"][...], expected)


def test_virtual_dataset_is_read_once_in_whole_rows(
    tmp_path: Path, read_by_library: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_small_pieces(monkeypatch, 2048)
    values = elements((40, 50))
    with h5py.File(tmp_path / "in.h5", "w") as file:
        layout = h5py.VirtualLayout(values.shape, values.dtype)
        layout[:] = h5py.VirtualSource(file.create_dataset("x", data=values, chunks=(1, 50), **GZIP))
        file.create_virtual_dataset("virtual", layout)
    streamh5.convert(tmp_path / "in.h5", tmp_path / "out.h5", chunks={"/virtual": (40, 1)}, progress=False)
    assert {(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in read_by_library} == {
        (10, 50)
    }
    assert len(read_by_library) == 4
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.array_equal(file["virtual"][...], values)


@pytest.mark.parametrize(
    ("shape", "chunks", "are_read"),
    [
        ((1_000_000, 600), (1_000, 600), True),
        ((1_000_000, 600), (1_000_000, 1), False),
        ((1_000, 600), (1_000, 1), True),
        ((2_000, 2_000, 2_000), (1, 200, 200), True),
        ((2_000, 2_000, 2_000), (100, 100, 100), False),
        ((100, 100_000, 1_000), (1, 50_000, 10), False),
        ((100, 1_000, 1_000_000), (100, 1, 40_000), True),
    ],
)
def test_contiguous_source_is_read_in_blocks_unless_that_reads_it_many_times(
    shape: tuple[int, ...], chunks: tuple[int, ...], are_read: bool
) -> None:
    source = SourceArray("/x", shape, np.dtype("f4"), Regions(np.zeros), is_contiguous=True)
    assert (encoded_blocks.shared_blocks(source, chunks) is not None) == are_read
    assert encoded_blocks.shared_blocks(replace(source, is_contiguous=False), chunks) is None


def test_damaged_chunk_is_an_error_of_the_library(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        x = file.create_dataset("x", data=elements((40, 50)), chunks=(10, 50), **GZIP)
        stored = bytearray(x.id.read_direct_chunk((10, 0))[1])
        stored[-1] ^= 1
        x.id.write_direct_chunk((10, 0), bytes(stored))
    with pytest.raises(SourceError, match="/x: HDF5 cannot read it"):
        streamh5.convert(tmp_path / "in.h5", tmp_path / "out.h5", chunks=(40, 10), progress=False)


def with_bytes_behind(data: bytes) -> bytes:
    return zlib.compress(data) + b"more"


@pytest.mark.parametrize(
    ("options", "mask", "encode"),
    [
        ({}, 0, bytes),
        (GZIP, 3, bytes),
        ({"compression": "gzip"}, 0, zlib.compress),
        ({"compression": "gzip"}, 0, with_bytes_behind),
    ],
    ids=["no filters", "skipped", "gzip", "bytes behind gzip"],
)
@pytest.mark.parametrize("skips", [False, True])
def test_chunk_that_decodes_to_too_few_bytes_is_damaged_and_not_left_to_the_library(
    tmp_path: Path, read_by_library: list[Any], options: Any, mask: int, encode: Any, skips: bool
) -> None:
    values = elements((40, 50))
    with h5py.File(tmp_path / "in.h5", "w") as file:
        x = file.create_dataset("x", data=values, chunks=(10, 50), **options)
        x.id.write_direct_chunk((10, 0), encode(values[10:20].tobytes()[:1000]), mask)

    def convert() -> streamh5.Conversion:
        return streamh5.convert(
            tmp_path / "in.h5", tmp_path / "out.h5", chunks=(40, 10), skip_unsupported=skips, progress=False
        )

    if skips:
        assert "(1, 0) decodes to 1,000 bytes" in "".join(convert().notes)
    else:
        with pytest.raises(SourceError, match=r"/x: the chunk \(1, 0\) decodes to 1,000 bytes .* damaged"):
            convert()
    assert not read_by_library


def test_no_region_with_a_chunk_of_too_few_bytes_is_left_to_the_library(
    tmp_path: Path, read_by_library: list[Any]
) -> None:
    rows = elements((10, 50)).tobytes()
    with h5py.File(tmp_path / "in.h5", "w") as file:
        x = file.create_dataset("x", (20, 50), "f4", chunks=(10, 50), compression="gzip")
        x.id.write_direct_chunk((0, 0), with_bytes_behind(rows))  # on its own, left to the library
        x.id.write_direct_chunk((10, 0), zlib.compress(rows[:1000]))
    with pytest.raises(SourceError, match=r"\(1, 0\) decodes to 1,000 bytes"):
        streamh5.convert(tmp_path / "in.h5", tmp_path / "out.h5", chunks=(20, 10), progress=False)
    assert not read_by_library


@pytest.mark.parametrize(
    ("options", "mask", "encode"),
    [
        ({}, 0, bytes),
        ({"compression": "gzip"}, 0, zlib.compress),
        ({"compression": "gzip"}, 0, with_bytes_behind),
        (GZIP, 3, bytes),
        (GZIP, 1, zlib.compress),
        (GZIP, 2, bytes),
    ],
    ids=["no filters", "gzip", "bytes behind gzip", "skipped", "shuffle skipped", "shuffle"],
)
def test_chunk_at_the_edge_may_end_with_its_last_element_inside_unless_it_is_shuffled(
    tmp_path: Path, options: Any, mask: int, encode: Any
) -> None:
    values = elements((14, 45))
    edge = np.pad(values[10:], ((0, 0), (0, 5))).tobytes()[: (3 * 50 + 45) * 4]

    def convert(data: bytes) -> None:
        with h5py.File(tmp_path / "in.h5", "w") as file:
            x = file.create_dataset("x", (14, 45), "f4", maxshape=(20, 50), chunks=(10, 50), **options)
            x[:10] = values[:10]
            x.id.write_direct_chunk((10, 0), encode(data), mask)
        streamh5.convert(
            tmp_path / "in.h5", tmp_path / "out.h5", chunks=(14, 10), overwrite=True, progress=False
        )

    if "shuffle" in options and not mask & 1:
        with pytest.raises(SourceError, match=r"\(1, 0\) decodes to 780 bytes instead of 2,000"):
            convert(edge)
        return
    convert(edge)
    with h5py.File(tmp_path / "in.h5") as a, h5py.File(tmp_path / "out.h5") as b:
        np.testing.assert_array_equal(a["x"][...], values)
        np.testing.assert_array_equal(b["x"][...], values)
    with pytest.raises(SourceError, match=r"\(1, 0\) decodes to 779 bytes instead of 780"):
        convert(edge[:-1])


def test_bytes_behind_a_stream_are_ignored_as_hdf5_does(tmp_path: Path) -> None:
    values = elements((40, 50))
    with h5py.File(tmp_path / "in.h5", "w") as file:
        x = file.create_dataset("x", data=values, chunks=(10, 50), **GZIP)
        x.id.write_direct_chunk((10, 0), x.id.read_direct_chunk((10, 0))[1] + b"more")
    streamh5.convert(tmp_path / "in.h5", tmp_path / "out.h5", chunks=(40, 10), progress=False)
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.array_equal(file["x"][...], values)


def test_other_chunks_need_no_dask(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_dataset("x", data=elements((40, 50)), chunks=(1, 50), **GZIP)
    code = (
        "import sys, streamh5; streamh5.convert('in.h5', 'out.h5', chunks=(20, 5), progress=False);"
        "sys.exit('dask' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_kept_chunks_are_bounded_and_forgotten_when_all_regions_have_read_them() -> None:
    kept = PartlyReadChunks(250)
    assert kept.claim("/x", [1, 2]) == [1, 2]
    assert kept.claim("/x", [2, 3]) == [3]
    kept.keep("/x", 1, bytes(100), 10)
    kept.keep("/x", 2, bytes(100), 10)
    kept.keep("/x", 3, bytes(100), 10)
    assert kept.get("/x", 1, 5) is None
    assert kept.get("/x", 2, 5) is not None
    assert kept.get("/x", 2, 5) is not None
    assert kept.get("/x", 2, 5) is None
    assert kept.claim("/x", [1, 2, 3]) == [1, 2]


def test_chunks_of_a_dataset_make_room_for_those_of_the_next_one() -> None:
    kept = PartlyReadChunks(100)
    kept.keep("/x", 1, bytes(60), 5)
    kept.keep("/y", 1, bytes(60), 5)
    assert kept.get("/x", 1, 1) is None
    assert kept.get("/y", 1, 1) is not None


@pytest.mark.parametrize("fill_time", ["alloc", "ifset", "never"])
def test_missing_chunks_do_not_need_the_library_nor_leave_others_in_memory(
    tmp_path: Path, read_by_library: list[Any], monkeypatch: pytest.MonkeyPatch, fill_time: str
) -> None:
    kept: list[PartlyReadChunks] = []

    class Noted(PartlyReadChunks):
        def __init__(self) -> None:
            super().__init__()
            kept.append(self)

    monkeypatch.setattr("streamh5.conversion.hdf5.plan.PartlyReadChunks", Noted)
    read_in_small_pieces(monkeypatch, 512)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for name in ("x", "y"):
            x = file.create_dataset(
                name, (40, 50), ">f4", chunks=(1, 25), fillvalue=7, fill_time=fill_time, **GZIP
            )
            x[:, :25] = elements((40, 25))
        x[-1] = 1
    streamh5.convert(tmp_path / "in.h5", tmp_path / "out.h5", chunks=(20, 15), progress=False)
    assert not read_by_library
    assert [len(one._kept) for one in kept] == [0]
    with h5py.File(tmp_path / "in.h5") as a, h5py.File(tmp_path / "out.h5") as b:
        for name in ("x", "y"):
            np.testing.assert_array_equal(b[name][:, :25], a[name][:, :25])
            # of the last columns, chunks of the copy that hold no data are missing, too
            assert (b[name][20:39, 25:30] == (0 if fill_time == "never" else 7)).all()


def test_chunk_that_is_kept_again_is_counted_once() -> None:
    kept = PartlyReadChunks(100)
    kept.keep("/x", 1, bytes(40), 5)
    kept.keep("/x", 1, bytes(40), 5)
    kept.keep("/x", 2, bytes(50), 5)
    assert kept.claim("/x", [1, 2]) == []


def test_chunk_that_was_kept_is_not_given_up_for_the_thread_that_claims_it_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up: list[int] = []
    monkeypatch.setattr(PartlyReadChunks, "give_up", lambda _, path, rows: given_up.extend(rows))
    read_in_small_pieces(monkeypatch, 512)
    rechunked(tmp_path, elements((40, 50)), (1, 50), (20, 5), **GZIP)
    assert not given_up


def test_chunk_that_another_thread_gives_up_is_not_waited_for() -> None:
    kept = PartlyReadChunks()
    kept.claim("/x", [1])
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(kept.get("/x", 1, 1)))
    waiting.start()
    kept.give_up("/x", [1])
    waiting.join(60)
    assert found == [None]
