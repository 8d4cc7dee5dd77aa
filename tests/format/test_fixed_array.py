from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamh5.errors import LimitError
from streamh5.format import data_layout
from streamh5.format.chunk_index import fixed_array
from streamh5.format.chunk_index.element import ChunkColumns, ClientId, chunk_element, client_id
from streamh5.format.chunk_index.fixed_array import (
    SIZEOF_FIXED_ARRAY_HEADER,
    FixedArray,
    encode_fixed_array_data_block,
    encode_fixed_array_header,
)
from streamh5.format.dataspace import Dataspace
from streamh5.format.filter_pipeline import FilterRecord
from streamh5.format.primitives import UNDEFINED_ADDRESS

if TYPE_CHECKING:
    from tests.format.conftest import FileBuilder


def _written_by_h5py(path: Path, n: int, written: np.ndarray, **options: Any) -> tuple[bytes, Any]:
    """Let libhdf5 write chunks of one int64; return the file and the columns of its chunks."""
    libver = options.pop("libver", ("v110", "v114"))
    columns = np.zeros(n, [("address", "u8"), ("size", "u4"), ("mask", "u4")])
    with h5py.File(path, "w", libver=libver) as file:
        x = file.create_dataset("x", (n,), "<i8", chunks=(1,), **options)
        for i in np.flatnonzero(written):
            x[i : i + 1] = i
        x.id.chunk_iter(
            lambda info: columns.__setitem__(
                info.chunk_offset[0], (info.byte_offset, info.size, info.filter_mask)
            )
        )
    return path.read_bytes(), columns


@pytest.mark.parametrize("layout_version", [4, 5])
@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("n", [2, 1023, 1024, 1025, 2048, 2049])
def test_fixed_array_all_written_equals_libhdf5(
    tmp_path: Path, n: int, filtered: bool, layout_version: int
) -> None:
    options = {"compression": "gzip"} if filtered else {}
    libver = ("v110", "v114") if layout_version == 4 else ("v200", "v200")
    content, columns = _written_by_h5py(tmp_path / "a.h5", n, np.ones(n, bool), libver=libver, **options)
    index = FixedArray(n, chunk_element(8, filtered=filtered, layout_version=layout_version))
    header = content.index(b"FAHD")
    block = content.index(b"FADB")
    assert encode_fixed_array_header(index, block) == content[header : header + SIZEOF_FIXED_ARRAY_HEADER]
    ours = b"".join(
        encode_fixed_array_data_block(
            index,
            header,
            ChunkColumns(columns["address"], columns["size"] if filtered else None, columns["mask"]),
        )
    )
    assert len(ours) == index.sizeof_data_block
    assert ours == content[block : block + len(ours)]


@pytest.mark.parametrize("filtered", [False, True])
def test_fixed_array_chunks_missing_equals_libhdf5(tmp_path: Path, filtered: bool) -> None:
    n = 4000
    written = np.zeros(n, bool)
    written[[0, 5, 1023, 2048, 3999]] = True  # nothing in page 1
    options = {"compression": "gzip"} if filtered else {}
    content, columns = _written_by_h5py(tmp_path / "a.h5", n, written, **options)
    index = FixedArray(n, chunk_element(8, filtered=filtered))
    header, block = content.index(b"FAHD"), content.index(b"FADB")
    ours = b"".join(
        encode_fixed_array_data_block(
            index, header, ChunkColumns(columns["address"], columns["size"] if filtered else None)
        )
    )
    theirs = bytearray(content[block : block + len(ours)])
    page = 1024 * index.element.itemsize + 4
    skipped = slice(19 + page, 19 + 2 * page)
    assert ours[14] == 0b1011_0000
    assert not any(ours[skipped])
    theirs[skipped] = bytes(page)
    assert ours == bytes(theirs)


def test_fixed_array_of_handmade_sample_known_checksums() -> None:
    index = FixedArray(9, chunk_element(24, filtered=True))
    assert index.element.itemsize == 14
    assert encode_fixed_array_header(index, 276)[-4:] == bytes.fromhex("84d66659")


def _build(
    builder: FileBuilder,
    index: FixedArray,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    missing: np.ndarray,
    **masks: Any,
) -> Path:
    """Store uint16 chunk i as i everywhere, raw, under a shuffle that the mask skips if filtered."""
    n = index.n_elements
    raw = np.repeat(np.arange(n, dtype="<u2"), int(np.prod(chunks)))
    chunk_nbytes, is_filtered = raw.nbytes // n, client_id(index.element) == ClientId.FILTERED_CHUNKS
    start = builder.add(raw.tobytes())
    addresses = start + np.arange(n, dtype=np.uint64) * np.uint64(chunk_nbytes)
    addresses[missing] = 0
    sizes = np.full(n, chunk_nbytes, np.uint32) if is_filtered else None
    skip = np.ones(n, np.uint32) if is_filtered else None
    header = builder.reserve(SIZEOF_FIXED_ARRAY_HEADER)
    block = builder.reserve(0)
    for piece in encode_fixed_array_data_block(index, header, ChunkColumns(addresses, sizes, skip)):
        builder.add(piece)
    assert builder.reserve(0) - block == index.sizeof_data_block
    builder.put(header, encode_fixed_array_header(index, block))
    layout = data_layout.ChunkedLayout(chunks, 2, data_layout.FixedArrayIndex(index.page_bits, header))
    filters = [FilterRecord(2, "", 1, (2,))] if is_filtered else []
    builder.add_dataset(
        "x", layout, dtype=np.dtype("<u2"), space=Dataspace(shape), filters=filters, fill=b"\xff\xff"
    )
    return builder.write()


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("page_bits", [1, 2, 5, 10, 20])
@pytest.mark.parametrize("grid", [(1, 2), (4, 8), (3, 11), (41, 25)])
def test_fixed_array_built_read_by_readers(
    builder: FileBuilder, grid: tuple[int, int], page_bits: int, filtered: bool
) -> None:
    chunks = (2, 3)
    n = grid[0] * grid[1]
    index = FixedArray(n, chunk_element(12, filtered=filtered), page_bits)
    missing = np.random.default_rng(n).random(n) < 0.2
    missing[n // 3 : n // 3 + 8] = True
    path = _build(builder, index, (grid[0] * 2 - 1, grid[1] * 3 - 2), chunks, missing)
    values = np.where(missing, 0xFFFF, np.arange(n)).astype("u2").reshape(grid)
    expected = np.kron(values, np.ones(chunks, "u2"))[:-1, :-2]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][:], expected)
        assert file["x"].id.get_num_chunks() == n - missing.sum()
        header = h5py.h5o.get_info(file["x"].id).addr
    address = path.read_bytes().index(b"FAHD")
    debug = subprocess.run(
        ["h5debug", str(path), str(address), str(header)], capture_output=True, text=True, check=True
    )
    assert "Fixed Array Header" in debug.stdout
    dumped = subprocess.run(
        ["h5dump", "-d", "x", "-b", "LE", "-o", str(path.with_suffix(".bin")), str(path)],
        capture_output=True,
        check=False,
    )
    assert dumped.returncode == 0
    np.testing.assert_array_equal(np.fromfile(path.with_suffix(".bin"), "<u2"), expected.ravel())


def test_fixed_array_built_rewritten_by_h5py(builder: FileBuilder) -> None:
    missing = np.zeros(5 * 500, bool)
    missing[1000:2200] = True
    path = _build(builder, FixedArray(2500, chunk_element(12, filtered=False)), (1000, 15), (2, 3), missing)
    values = np.arange(15_000, dtype="u2").reshape(1000, 15)
    with h5py.File(path, "r+") as file:
        file["x"][:] = values
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][:], values)


@pytest.mark.parametrize("n", [0, 1, 3, 300])
def test_implicit_index_built_read_and_rewritten_by_h5py(builder: FileBuilder, n: int) -> None:
    address = builder.add(np.repeat(np.arange(n, dtype="<u2"), 6).tobytes())
    layout = data_layout.ChunkedLayout(
        (6,), 2, data_layout.ImplicitIndex(address if n else UNDEFINED_ADDRESS)
    )
    builder.add_dataset("x", layout, dtype=np.dtype("<u2"), space=Dataspace((6 * n,)))
    path = builder.write()
    with h5py.File(path, "r+") as file:
        np.testing.assert_array_equal(file["x"][:], np.repeat(np.arange(n), 6))
        assert file["x"].id.get_num_chunks() == n
        file["x"][:] = 7
    with h5py.File(path) as file:
        assert (file["x"][:] == 7).all()


@pytest.mark.parametrize("mask", [None, 0, 1])
def test_single_chunk_built_read_by_h5py(builder: FileBuilder, mask: int | None) -> None:
    values = np.arange(6, dtype="<u2").reshape(2, 3)
    shuffled = values.reshape(-1, 1).view(np.uint8).T.tobytes()
    stored = shuffled if mask == 0 else values.tobytes()
    index = data_layout.SingleChunkIndex(builder.add(stored), None if mask is None else 12, mask or 0)
    filters = [] if mask is None else [FilterRecord(2, "", 1, (2,))]
    layout = data_layout.ChunkedLayout((2, 3), 2, index)
    builder.add_dataset("x", layout, dtype=values.dtype, space=Dataspace((2, 3)), filters=filters)
    with h5py.File(builder.write()) as file:
        np.testing.assert_array_equal(file["x"][:], values)
        assert file["x"].id.get_chunk_info(0).filter_mask == (mask or 0)


@settings(max_examples=40)
@given(
    n=st.integers(1, 400),
    page_bits=st.integers(1, 9),
    filtered=st.booleans(),
    chunk_nbytes=st.sampled_from([1, 255, 256, 65_535, 65_536, 2**24, 2**32 - 1, 2**40, 2**63]),
    piece=st.sampled_from([1, 1000, 1 << 20]),
)
def test_fixed_array_any_size_equals_sizeof(
    n: int, page_bits: int, filtered: bool, chunk_nbytes: int, piece: int
) -> None:
    index = FixedArray(n, chunk_element(chunk_nbytes, filtered=filtered), page_bits)
    addresses = np.arange(1, n + 1, dtype=np.uint64)
    sizes = np.full(n, min(chunk_nbytes, 2**40), np.uint64) if filtered else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fixed_array, "_PIECE_NBYTES", piece)
        pieces = list(encode_fixed_array_data_block(index, 48, ChunkColumns(addresses, sizes)))
    block = b"".join(pieces)
    assert len(block) == index.sizeof_data_block
    assert block == b"".join(encode_fixed_array_data_block(index, 48, ChunkColumns(addresses, sizes)))


def test_fixed_array_pieces_stay_small() -> None:
    index = FixedArray(1_000_000, chunk_element(4 << 20, filtered=True))
    addresses = np.arange(1, 1_000_001, dtype=np.uint64)
    sizes = np.full(1_000_000, 7, np.uint32)
    assert max(map(len, encode_fixed_array_data_block(index, 48, ChunkColumns(addresses, sizes)))) <= 4 << 20


@pytest.mark.parametrize("chunk_nbytes", [24, 300, 70_000])
def test_fixed_array_stored_size_at_and_above_field_limit(chunk_nbytes: int) -> None:
    index = FixedArray(2, chunk_element(chunk_nbytes, filtered=True))
    limit = 256 ** (index.element.itemsize - 8 - 4)  # what is neither address nor filter mask
    addresses = np.array([48, 99], np.uint64)
    list(
        encode_fixed_array_data_block(index, 48, ChunkColumns(addresses, np.array([1, limit - 1], np.uint64)))
    )
    with pytest.raises(LimitError, match=f"below {limit}"):
        list(
            encode_fixed_array_data_block(index, 48, ChunkColumns(addresses, np.array([1, limit], np.uint64)))
        )


def test_fixed_array_filtered_without_sizes_limit_error() -> None:
    with pytest.raises(LimitError, match="stored sizes"):
        list(
            encode_fixed_array_data_block(
                FixedArray(1, chunk_element(8, filtered=True)), 48, ChunkColumns(np.ones(1, np.uint64))
            )
        )
