"""Shuffle, deflate and fletcher32, decoded by h5py."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from isal import igzip_lib

import streamh5.filters.deflate as deflate_module
from streamh5.errors import BlockError, FilterError
from streamh5.filters import FilterChain, FilterOptions, SlowCodecWarning, deflate_engine
from streamh5.filters.base import RawChunk
from streamh5.filters.deflate_stretches import MIN_SAMPLED_NBYTES
from streamh5.filters.registry import Filter, set_up_filter

DTYPES = ["u1", "<u2", ">i2", "<f4", "<f8", "<c16", "S3", "S5", "S12", "V7", "V24"]

Check = Callable[..., Any]

U1 = RawChunk(np.dtype("u1"), (1,), 1)


def shuffle(element_nbytes: int) -> Filter:
    return set_up_filter(2, (element_nbytes,), U1)


def gzip(level: int) -> Filter:
    return set_up_filter(1, (level,), U1)


relaxed = settings(max_examples=60)


def filled(dtype: str, n_chunks: int, n_elements: int, *, seed: int = 0) -> np.ndarray[Any, Any]:
    """Rows of bytes that are half repetition, half noise."""
    dt = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (n_chunks, n_elements * dt.itemsize), np.uint8)
    raw[:, : raw.shape[1] // 2] = 7
    if dt.kind == "S":
        raw |= 1
    return raw.view(dt)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "keywords",
    [
        {"shuffle": True},
        {"compression": "gzip"},
        {"fletcher32": True},
        {"shuffle": True, "compression": "gzip"},
        {"shuffle": True, "fletcher32": True},
        {"shuffle": True, "compression": "gzip", "compression_opts": 9, "fletcher32": True},
    ],
    ids="+".join,
)
@pytest.mark.parametrize("n_elements", [1, 2, 3, 1000])
def test_chain_of_every_dtype_is_read_by_h5py(
    check: Check, dtype: str, keywords: dict[str, Any], n_elements: int
) -> None:
    check(filled(dtype, 3, n_elements), **keywords)


@pytest.mark.parametrize("dtype", ["<u2", "<f4", "<f8", "<c16", "V6"])
@pytest.mark.parametrize("n_elements", [15, 16, 17, 2048, 2049, 4096, 4097, 8191, 8192, 8193, 65537])
def test_shuffle_around_its_pieces_is_read_by_h5py(check: Check, dtype: str, n_elements: int) -> None:
    check(filled(dtype, 2, n_elements), shuffle=True)
    assert np.getbufsize() == 8192, "numpy's buffer keeps its size"


def test_shuffle_in_several_groups_of_rows_is_read_by_h5py(check: Check) -> None:
    check(filled("<f4", 700, 1000), shuffle=True, compression="gzip")


@pytest.mark.parametrize("chunk_nbytes", [1, 3, 4, 5, 7, 8, 1023])
def test_shuffle_with_leftover_bytes_keeps_them_at_the_end(chunk_nbytes: int) -> None:
    chunk = np.arange(chunk_nbytes, dtype=np.uint8)
    whole = chunk_nbytes // 4 * 4
    expected = chunk[:whole].reshape(-1, 4).T.tobytes() + chunk[whole:].tobytes()
    assert bytes(shuffle(4).encode(chunk.tobytes())) == expected
    rows = np.stack([chunk, chunk])
    encoded = FilterChain((shuffle(4),), chunk_nbytes).encode_rows(rows)
    assert [bytes(buffer) for buffer in encoded.buffers] == [expected, expected]


@relaxed
@given(
    rows=hnp.arrays(
        st.sampled_from(["u1", "<u2", "<i4", "<f4", ">f8", "<c8"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
    ),
    level=st.integers(0, 9),
    shuffle=st.booleans(),
    fletcher32=st.booleans(),
)
def test_any_rows_are_read_by_h5py(
    check: Check, rows: np.ndarray[Any, Any], level: int, shuffle: bool, fletcher32: bool
) -> None:
    check(rows, compression="gzip", compression_opts=level, shuffle=shuffle, fletcher32=fletcher32)


@pytest.mark.parametrize("fill", [0, 1, 0x80, 0xFF])
@pytest.mark.parametrize("chunk_nbytes", [1, 2, 3, 359, 720, 721, 722, 65536, 131071, 1 << 20])
def test_fletcher32_of_constant_bytes_is_accepted_by_h5py(check: Check, fill: int, chunk_nbytes: int) -> None:
    check(np.full((1, chunk_nbytes), fill, np.uint8), fletcher32=True)


@relaxed
@given(data=st.binary(min_size=1, max_size=3000))
def test_fletcher32_of_any_bytes_is_accepted_by_h5py(check: Check, data: bytes) -> None:
    check(np.frombuffer(data, np.uint8)[np.newaxis], fletcher32=True)


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("n_elements", [1, 3, 1024, 300_000])
def test_deflate_of_noise_is_never_skipped_and_grows_by_stored_blocks(
    check: Check, level: int, n_elements: int
) -> None:
    rows = np.random.default_rng(1).integers(0, 1 << 32, (3, n_elements), "<u4")
    judged = check(rows, compression="gzip", compression_opts=level, shuffle=True)
    assert judged.encoded.filter_masks is None
    for row, stored in zip(rows, judged.encoded.buffers, strict=True):
        assert zlib.decompress(bytes(stored)) == bytes(shuffle(4).encode(row.view(np.uint8)))
        assert len(stored) <= row.nbytes * 1.0002 + 16


@pytest.mark.parametrize("nbytes", [10, 11, 12])
def test_deflate_around_its_break_even_size_is_read_by_h5py(check: Check, nbytes: int) -> None:
    assert check(np.zeros((1, nbytes), np.uint8), compression="gzip").encoded.filter_masks is None


def test_chunk_that_outgrows_what_hdf5_records_skips_the_filter(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamh5.filters.chain.MAX_CHUNK_NBYTES", 4096)
    rows = np.random.default_rng(1).integers(0, 256, (3, 4096), np.uint8)
    rows[1] = 7
    masks = check(rows, compression="gzip", shuffle=True).encoded.filter_masks
    assert masks is not None
    assert masks.tolist() == [2, 0, 2]


@pytest.mark.parametrize("level", range(10))
def test_deflate_at_every_level_is_a_zlib_stream(level: int) -> None:
    data = filled("<f4", 1, 50_000).tobytes()
    stream = bytes(gzip(level).encode(data))
    assert zlib.decompress(stream) == data


def test_deflate_in_another_process_is_the_same_filter() -> None:
    chain = FilterOptions(compression=7, shuffle=True).chain(np.dtype("f4"), 64)
    assert pickle.loads(pickle.dumps(chain)) == chain


def stretches(*kinds: str, nbytes: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """One chunk of equal stretches: noise, something to compress, or rows of noise that are all alike."""
    rng = np.random.default_rng(seed)
    edges = [nbytes * i // len(kinds) for i in range(len(kinds) + 1)]
    make = {
        "noise": lambda n: rng.integers(0, 256, n, np.uint8),
        "text": lambda n: rng.integers(0, 9, n, np.uint8),
        "rows": lambda n: np.resize(rng.integers(0, 256, 5000, np.uint8), n),
    }
    parts = [make[kind](stop - start) for kind, (start, stop) in zip(kinds, pairwise(edges), strict=True)]
    return np.concatenate(parts)[np.newaxis]


KINDS_OF_STRETCHES = [
    ("noise", "text"),
    ("text", "noise"),
    ("noise", "text", "noise", "text"),
    ("text", "noise", "text", "noise", "text", "text", "noise", "text"),
    ("text", "noise", "rows", "noise"),
]


@pytest.mark.parametrize("nbytes", [MIN_SAMPLED_NBYTES, MIN_SAMPLED_NBYTES + 1, 3_000_017])
@pytest.mark.parametrize("kinds", KINDS_OF_STRETCHES, ids="-".join)
@pytest.mark.parametrize("level", [1, 2, 4])
def test_noise_in_large_chunks_is_stored_and_read_by_h5py(
    check: Check, kinds: tuple[str, ...], nbytes: int, level: int
) -> None:
    rows = stretches(*kinds, nbytes=nbytes)
    encoded = check(rows, compression="gzip", compression_opts=level).encoded
    assert encoded.filter_masks is None
    stored = bytes(encoded.buffers[0])
    edges = [nbytes * i // len(kinds) for i in range(len(kinds) + 1)]
    for kind, start in zip(kinds, edges, strict=False):
        # 1,000 bytes from the middle of a stretch stand in the file as they are where nothing compresses them
        place = start + nbytes // len(kinds) // 2
        middle = rows[0, place : place + 1000].tobytes()
        whole_blocks = any(middle[i : i + 200] in stored for i in range(0, 1000, 200))
        assert whole_blocks == (kind == "noise"), kind


def test_rows_of_noise_that_are_alike_are_compressed(check: Check) -> None:
    rows = stretches("rows", nbytes=1 << 21)
    assert len(check(rows, compression="gzip").encoded.buffers[0]) < rows.size // 2


@pytest.mark.parametrize("side", [2048, 4096, 4320])
def test_image_with_noise_at_its_edges_only_is_compressed_as_well(side: int) -> None:
    image = (1000 + np.random.default_rng(1).standard_normal((side, side))).astype("f4")
    image[:, side // 5 : -side // 5] = 0
    shuffled = bytes(shuffle(4).encode(image.reshape(-1).view(np.uint8)))
    alone = len(igzip_lib.compress(shuffled, 2, igzip_lib.COMP_ZLIB, igzip_lib.MEM_LEVEL_SMALL))
    assert len(gzip(4).encode(shuffled)) < 1.01 * alone


def images() -> dict[str, np.ndarray[Any, Any]]:
    """Data that looks like noise in all samples together, or in places of one distance, and is none."""
    y, x = np.mgrid[0:1024, 0:1024]
    ramp = x / 4 + np.random.default_rng(0).normal(0, 2, x.shape)
    return {
        "diagonal": (280 + 10 * np.sin(y / 200 + x / 150)).astype("f4"),
        "waves": (np.sin(x / 50) * np.cos(y / 70)).astype("f4"),
        "ramp": (ramp % 256).astype("u1"),
    }


@pytest.mark.parametrize("name", ["diagonal", "waves", "ramp"])
def test_values_that_drift_or_repeat_are_not_stored_as_noise(name: str) -> None:
    image = images()[name]
    planes = np.ascontiguousarray(image.view("u1").reshape(-1, image.itemsize).T).tobytes()
    whole = igzip_lib.compress(planes, 2, igzip_lib.COMP_ZLIB, igzip_lib.MEM_LEVEL_SMALL)
    assert len(gzip(4).encode(planes)) <= 1.01 * len(whole)


def test_storing_noise_costs_no_size() -> None:
    t = np.linspace(0, 60, 1 << 19)
    values = 280 + 10 * np.sin(3 * t) + np.random.default_rng(0).normal(0, 0.02, t.size)
    shuffled = bytes(shuffle(8).encode(values.view(np.uint8)))
    alone = len(igzip_lib.compress(shuffled, 2, igzip_lib.COMP_ZLIB, igzip_lib.MEM_LEVEL_SMALL))
    assert len(gzip(4).encode(shuffled)) < 1.001 * alone


def test_stream_that_cannot_be_decoded_is_not_an_empty_one() -> None:
    decode = deflate_module.ROW.decode
    assert decode is not None
    with pytest.raises(zlib.error, match="invalid block type"):
        decode(b"x\x9c\xff\xff" + zlib.adler32(b"").to_bytes(4, "big"), 100, ())


@pytest.mark.parametrize("missing", [{"igzip_lib"}, {"libdeflate"}, {"igzip_lib", "libdeflate"}])
@pytest.mark.parametrize("level", [1, 4, 5, 9])
def test_deflate_without_a_fast_package_says_so_and_is_read(
    monkeypatch: pytest.MonkeyPatch, missing: set[str], level: int
) -> None:
    for name in missing:
        monkeypatch.setattr(deflate_module, name, None)
    data = filled("<f4", 1, 5000).tobytes()
    needed = "igzip_lib" if level <= 4 else "libdeflate"
    if needed in missing:
        with pytest.warns(SlowCodecWarning, match=f"gzip level {level}"):
            deflate = gzip(level)
    else:
        deflate = gzip(level)
    assert zlib.decompress(bytes(deflate.encode(data))) == data
    assert deflate_engine(level)
    assert ("isal" in deflate_engine(level)) <= ("igzip_lib" not in missing)
    assert ("libdeflate" in deflate_engine(level)) <= ("libdeflate" not in missing)


def test_empty_chain_passes_rows_without_a_copy() -> None:
    rows = np.arange(64, dtype=np.uint8).reshape(4, 16)
    encoded = FilterOptions().chain(np.dtype("u1"), 16).encode_rows(rows)
    assert all(np.shares_memory(buffer, rows) for buffer in encoded.buffers)
    assert b"".join(map(bytes, encoded.buffers)) == rows.tobytes()
    assert encoded.filter_masks is None


def test_filtered_rows_own_their_memory() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (4, 1024), np.uint8)
    chain = FilterOptions(compression="gzip", shuffle=True).chain(np.dtype("u2"), 1024)
    encoded = chain.encode_rows(rows)
    before = [bytes(buffer) for buffer in encoded.buffers]
    chain.encode_rows(np.zeros_like(rows))
    rows[:] = 0
    assert [bytes(buffer) for buffer in encoded.buffers] == before


@pytest.mark.parametrize(
    "rows",
    [np.zeros((2, 15), "u1"), np.zeros((2, 17), "u1"), np.zeros(16, "u1"), np.zeros((16, 2), "u1").T],
    ids=["short", "long", "flat", "transposed"],
)
def test_rows_of_the_wrong_shape_are_refused(rows: np.ndarray[Any, Any]) -> None:
    chain = FilterChain((), 16)
    with pytest.raises(BlockError, match="16"):
        chain.encode_rows(rows)


@pytest.mark.parametrize("level", [-1, 10, 4.5, "4", (4,)])
def test_gzip_level_out_of_range_is_refused(level: int) -> None:
    with pytest.raises(FilterError, match="0 to 9"):
        FilterOptions(compression="gzip", compression_opts=level).chain(np.dtype("u1"), 8)
