"""The registered filters, decoded by hdf5plugin and h5py, and described as they describe them."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamh5.errors import FilterError, MissingCodecError
from streamh5.filters import FilterOptions, available
from streamh5.filters.base import FilterRow, RawChunk
from streamh5.filters.registry import FILTERS, codec_package, set_up_filter

Check = Callable[..., Any]

relaxed = settings(max_examples=40)

BLOSC = {
    f"blosc {name} {level} {shuffle}": hdf5plugin.Blosc(cname=name, clevel=level, shuffle=shuffle)
    for name in ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
    for level, shuffle in ((5, 0), (1, 1), (9, 2), (0, 1))
}
BLOSC2 = {
    f"blosc2 {name} {level} {shuffle}": hdf5plugin.Blosc2(cname=name, clevel=level, filters=shuffle)
    for name in ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
    for level, shuffle in ((5, 0), (1, 1), (9, 2), (0, 1))
}
BITSHUFFLE = {
    "bitshuffle none": hdf5plugin.Bitshuffle(cname="none"),
    "bitshuffle lz4": hdf5plugin.Bitshuffle(),
    "bitshuffle lz4 64": hdf5plugin.Bitshuffle(nelems=64),
    "bitshuffle zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "bitshuffle zstd 9": hdf5plugin.Bitshuffle(cname="zstd", clevel=9),
}
BYTES_FILTERS: dict[str, Any] = {
    "zstd": hdf5plugin.Zstd(),
    "zstd 22": hdf5plugin.Zstd(clevel=22),
    "zstd -5": {"compression": 32015, "compression_opts": (2**32 - 5,)},  # as h5py takes it
    "zstd 0": {"compression": 32015, "compression_opts": (0,)},
    "lz4": hdf5plugin.LZ4(),
    "lz4 blocks": hdf5plugin.LZ4(nbytes=1000),
    "bzip2": hdf5plugin.BZip2(),
    "bzip2 1": hdf5plugin.BZip2(blocksize=1),
    "lzf": {"compression": "lzf"},
    **BLOSC,
    **BLOSC2,
    **BITSHUFFLE,
}
SZIP = {
    "szip": {"compression": "szip"},
    "szip ec": {"compression": "szip", "compression_opts": ("ec", 16)},
    "szip nn 32": {"compression": "szip", "compression_opts": ("nn", 32)},
}
bytes_filters = pytest.mark.parametrize("filter_object", BYTES_FILTERS.values(), ids=BYTES_FILTERS)


def half_noise(dtype: str, n_chunks: int, n_elements: int) -> np.ndarray[Any, Any]:
    """Rows whose first half repeats and whose second half is noise."""
    dt = np.dtype(dtype)
    raw = np.random.default_rng(0).integers(1, 256, (n_chunks, n_elements * dt.itemsize), np.uint8)
    raw[:, : raw.shape[1] // 2] = 7
    return raw.view(dt)


@bytes_filters
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">f4", "<f8", "<c16", "S5", "S300"])
@pytest.mark.parametrize("n_elements", [1, 7, 8, 1001])
def test_chunk_of_every_dtype_is_read_by_the_plugin(
    check: Check, filter_object: Any, dtype: str, n_elements: int
) -> None:
    check(half_noise(dtype, 3, n_elements), **filter_object)


@bytes_filters
def test_chunk_of_one_mebibyte_is_read_by_the_plugin(check: Check, filter_object: Any) -> None:
    check(half_noise("<f4", 1, (1 << 18) + 3), **filter_object)


@bytes_filters
@pytest.mark.parametrize("n_elements", [1, 9, 5000, 300_000])
def test_chunk_of_noise_keeps_its_filter_and_is_read_by_the_plugin(
    check: Check, filter_object: Any, n_elements: int
) -> None:
    rows = np.random.default_rng(1).integers(0, 1 << 32, (2, n_elements), "<u4")
    judged = check(rows, **filter_object)
    assert judged.encoded.filter_masks is None
    assert max(map(len, judged.encoded.buffers)) <= rows[0].nbytes * 1.05 + 210


@bytes_filters
def test_compressible_chunk_is_compressed(check: Check, filter_object: Any) -> None:
    judged = check(np.zeros((2, 20_000), "<u4"), **filter_object)
    if judged.chain.records[0].client_values[4:5] != (0,):
        assert judged.encoded.filter_masks is None
        assert max(map(len, judged.encoded.buffers)) < 8_000


@relaxed
@given(
    rows=hnp.arrays(
        st.sampled_from(["u1", "<u2", "<f4", ">f8", "<c8"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=60),
    ),
    name=st.sampled_from(sorted(BYTES_FILTERS)),
    shuffle=st.booleans(),
    fletcher32=st.booleans(),
)
def test_any_rows_are_read_by_the_plugin(
    check: Check, rows: np.ndarray[Any, Any], name: str, shuffle: bool, fletcher32: bool
) -> None:
    check(rows, **BYTES_FILTERS[name], shuffle=shuffle, fletcher32=fletcher32)


@pytest.mark.parametrize(
    "filter_object", [*BYTES_FILTERS.values(), *SZIP.values()], ids=[*BYTES_FILTERS, *SZIP]
)
@pytest.mark.parametrize("shape", [(40,), (5, 8), (2, 3, 32), (2, 2, 2, 2, 5)])
def test_chunk_of_many_dimensions_is_described_and_read(
    check: Check, filter_object: Any, shape: tuple[int, ...]
) -> None:
    check(half_noise("<f4", 2, int(np.prod(shape))).reshape(2, *shape), **filter_object)


@pytest.mark.parametrize("filter_object", SZIP.values(), ids=SZIP)
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<f4", ">f4", "<f8", "i8", ">u8"])
@pytest.mark.parametrize("n_elements", [32, 33, 1001, 5000])
def test_szip_of_every_dtype_is_read_by_h5py(
    check: Check, filter_object: Any, dtype: str, n_elements: int
) -> None:
    values = (np.arange(3 * n_elements) % 117).astype(dtype).reshape(3, n_elements)
    judged = check(values, **filter_object)
    if n_elements > 1000:
        assert judged.encoded.filter_masks is None
    check(half_noise(dtype, 3, n_elements), **filter_object)


def test_szip_of_fewer_elements_than_a_block_is_refused_as_by_h5py(check: Check) -> None:
    with pytest.raises(FilterError, match="elements for one block"):
        check(np.zeros((1, 15), "f4"), compression="szip", compression_opts=("nn", 16))
    with h5py.File(io.BytesIO(), "w") as file, pytest.raises(ValueError, match="pixels per block"):
        file.create_dataset("x", (15,), "f4", chunks=(15,), compression="szip", compression_opts=("nn", 16))


@pytest.mark.parametrize(
    ("filter_object", "dtype"),
    [
        ({"compression": {"compression": 1, "compression_opts": (4, 4)}}, "f4"),
        ({"compression": 32015, "compression_opts": (23,)}, "f4"),
        ({"compression": 32015, "compression_opts": (1, 2)}, "f4"),
        ({"compression": 32015, "compression_opts": (-131073,)}, "f4"),
        ({"compression": 32001, "compression_opts": (0, 0, 0, 0, -1)}, "f4"),
        ({"compression": 32015, "compression_opts": "abc"}, "f4"),
        ({"compression": 32004, "compression_opts": (0x7E000001,)}, "f4"),
        ({"compression": 307, "compression_opts": (10,)}, "f4"),
        ({"compression": 32000, "compression_opts": (1,)}, "f4"),
        ({"compression": "lzf", "compression_opts": 1}, "f4"),
        ({"compression": 32001, "compression_opts": (0, 0, 0, 0, 10)}, "f4"),
        ({"compression": 32001, "compression_opts": (0, 0, 0, 0, 5, 3)}, "f4"),
        ({"compression": 32001, "compression_opts": (0, 0, 0, 0, 5, 1, 6)}, "f4"),
        ({"compression": 32001, "compression_opts": (0, 0, 0, 0, 5, 1, 3)}, "f4"),  # snappy
        ({"compression": 32026, "compression_opts": (0, 0, 0, 0, 5, 3, 1)}, "f4"),  # delta
        ({"compression": 32026, "compression_opts": (0, 0, 0, 0, 5, 4, 1)}, "f4"),  # loses digits
        ({"compression": 32026, "compression_opts": (0, 0, 0, 0, 5, 1, 3)}, "f4"),
        ({"compression": 32026, "compression_opts": (5,)}, "f4"),
        ({"compression": 32008, "compression_opts": (12, 2)}, "f4"),
        ({"compression": 32008, "compression_opts": (0, 1)}, "f4"),
        ({"compression": 32008, "compression_opts": (0, 3, 23)}, "f4"),
        ({"compression": "szip", "compression_opts": ("nn", 7)}, "f4"),
        ({"compression": "szip", "compression_opts": ("nn", 34)}, "f4"),
        ({"compression": "szip", "compression_opts": ("xx", 8)}, "f4"),
        ({"compression": "szip", "compression_opts": 8}, "f4"),
        ({"compression": "szip"}, "S3"),
        (hdf5plugin.Zfp(reversible=True), "i2"),
        (hdf5plugin.Zfp(reversible=True), ">f4"),
        ({"compression": 32013, "compression_opts": (9, 0, 0, 0)}, "f4"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(filter_object: Any, dtype: str) -> None:
    with pytest.raises(FilterError):
        FilterOptions(**filter_object).chain(np.dtype(dtype), 240)


@pytest.mark.parametrize(("keyword", "limit"), [("blosc", 2**31 - 17), ("blosc2", 2**31 - 33)])
def test_blosc_chunk_above_its_limit_is_refused(keyword: str, limit: int) -> None:
    dtype = np.dtype("u1")
    assert FilterOptions(compression=keyword).chain(dtype, limit).filters
    with pytest.raises(FilterError, match="smaller chunks"):
        FilterOptions(compression=keyword).chain(dtype, limit + 1)


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    codec_package.cache_clear()
    needing = {"lzf", "szip", "bitshuffle", "zfp", "blosc2"}
    try:
        for one in available():
            assert one.is_writable == (one.keyword not in needing)
        for keyword in needing:
            with pytest.raises(MissingCodecError, match=r"streamh5\[codecs\]") as caught:
                FilterOptions(compression=keyword).chain(np.dtype("f4"), 400)
            assert caught.value.facts["package"] == "imagecodecs"
    finally:
        codec_package.cache_clear()


@pytest.mark.parametrize("row", FILTERS, ids=lambda row: row.keyword)
def test_filter_in_another_process_is_the_same_filter(row: FilterRow) -> None:
    one = set_up_filter(row.filter_id, row.example, RawChunk(np.dtype("f4"), (8, 8), 256))
    again = pickle.loads(pickle.dumps(one))
    assert again == one
    chunk = np.arange(64, dtype="f4").tobytes()
    assert bytes(again.encode(chunk)) == bytes(one.encode(chunk))


def test_available_lists_each_filter_once_and_measures() -> None:
    measured = available(measure=True)
    assert [one.filter_id for one in measured] == sorted({one.filter_id for one in measured})
    assert all(one.mb_per_s and one.ratio for one in measured if one.is_writable and one.keyword != "nbit")
