"""ZFP, scaleoffset and nbit: their chunks are byte for byte those that h5py writes."""

from __future__ import annotations

import io
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamh5.errors import BlockError, FilterError
from streamh5.filters import FilterOptions

Array = np.ndarray[Any, Any]

ZFP = {
    "default": hdf5plugin.Zfp(),
    "rate 8": hdf5plugin.Zfp(rate=8),
    "rate 5.5": hdf5plugin.Zfp(rate=5.5),
    "precision": hdf5plugin.Zfp(precision=12),
    "accuracy": hdf5plugin.Zfp(accuracy=0.01),
    "accuracy 2": hdf5plugin.Zfp(accuracy=2),
    "reversible": hdf5plugin.Zfp(reversible=True),
    "expert": hdf5plugin.Zfp(minbits=1, maxbits=1000, maxprec=20, minexp=-100),
}
SHAPES = [(16,), (5,), (8, 8), (7, 30), (1, 9, 1, 6), (3, 5, 7), (4, 3, 5, 6), (1, 2, 1, 3, 4, 5)]


def written_by_h5py(values: Array, **keywords: Any) -> tuple[bytes, int, list[Any], Array]:
    """Return what h5py stores of one chunk, its mask, the pipeline, and what it reads back."""
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = file.create_dataset("x", values.shape, values.dtype, chunks=values.shape, **keywords)
        dataset[...] = values
        file.flush()
        mask, stored = dataset.id.read_direct_chunk((0,) * values.ndim)
        plist = dataset.id.get_create_plist()
        pipeline = [plist.get_filter(i) for i in range(plist.get_nfilters())]
        dataset.id.refresh()
        return stored, mask, pipeline, dataset[...]


def written_by_us(values: Array, fillvalue: Any = None, **keywords: Any) -> tuple[bytes, int, list[Any]]:
    options = FilterOptions(**keywords)
    chain = options.chain(values.dtype, values.nbytes, chunks=values.shape, fillvalue=fillvalue)
    encoded = chain.encode_rows(np.frombuffer(values.tobytes(), np.uint8)[np.newaxis])
    mask = 0 if encoded.filter_masks is None else int(encoded.filter_masks[0])
    pipeline = [(r.filter_id, int(r.flags), r.client_values, r.name.encode()) for r in chain.records]
    return bytes(encoded.buffers[0]), mask, pipeline


def read_by_h5py(stored: bytes, mask: int, values: Array, **keywords: Any) -> Array:
    """Give one chunk to h5py and read it."""
    file_bytes = io.BytesIO()
    with h5py.File(file_bytes, "w") as file:
        dataset = file.create_dataset("x", values.shape, values.dtype, chunks=values.shape, **keywords)
        dataset.id.write_direct_chunk((0,) * values.ndim, stored, mask)
    with h5py.File(file_bytes, "r") as file:
        result: Array = file["x"][...]
        return result


def check_like_h5py(values: Array, **keywords: Any) -> None:
    """Assert the same pipeline and the same values; the same bytes up to padding."""
    stored, mask, pipeline = written_by_us(values, **keywords)
    h5py_stored, h5py_mask, h5py_pipeline, h5py_values = written_by_h5py(values, **keywords)
    assert pipeline == h5py_pipeline
    if mask == h5py_mask:
        length = min(len(stored), len(h5py_stored))
        assert stored[:length] == h5py_stored[:length]
        assert not any(stored[length:] + h5py_stored[length:])
    back = read_by_h5py(stored, mask, values, **keywords)
    if mask:
        assert back.tobytes() == values.tobytes()
    else:
        assert back.tobytes() == h5py_values.tobytes()


def smooth(shape: tuple[int, ...], dtype: str) -> Array:
    """Rounded waves with some noise."""
    n = int(np.prod(shape))
    wave = 1000 * np.sin(np.arange(n) / 7) + np.random.default_rng(n).normal(0, 1, n)
    return wave.reshape(shape).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (name, dtype)
        for name in ZFP
        for dtype in ("<f4", "<f8", "<i4", "<i8")
        if dtype[1] == "f" or not name.startswith("accuracy")
    ],
)
def test_zfp_is_written_like_h5z_zfp(shape: tuple[int, ...], name: str, dtype: str) -> None:
    check_like_h5py(smooth(shape, dtype), **ZFP[name])


@pytest.mark.parametrize("shape", [(1,), (1, 1), (2, 2, 2, 2, 2)], ids=str)
def test_zfp_of_a_shape_it_cannot_take_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(FilterError, match="dimensions longer than 1"):
        written_by_us(np.zeros(shape, "f4"), **hdf5plugin.Zfp(reversible=True))


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i2", "<u2", "<i4", ">u4", "<i8", "<u8", ">i8"])
@pytest.mark.parametrize("fillvalue", [None, 7, "min", "max"])
@pytest.mark.parametrize("scaleoffset", [True, 0, 3, "full"])
def test_scaleoffset_of_integers_is_written_like_h5py(dtype: str, fillvalue: Any, scaleoffset: Any) -> None:
    info = np.iinfo(dtype)
    if isinstance(fillvalue, str):
        fillvalue = getattr(info, fillvalue)
    if scaleoffset == "full":
        scaleoffset = info.bits
    rng = np.random.default_rng(info.bits)
    for low, high in [(0, 2), (1, 8), (20, 100), (info.min, info.max), (info.max - 9, info.max)]:
        if scaleoffset == 3 and high - low > 6:
            continue  # more than fits, which the library lets overflow
        values = rng.integers(low, high, 999, np.dtype(dtype).newbyteorder("="), endpoint=True).astype(dtype)
        values[::50] = 0 if fillvalue is None else fillvalue
        keywords = {} if fillvalue is None else {"fillvalue": fillvalue}
        check_like_h5py(values, scaleoffset=scaleoffset, **keywords)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("fillvalue", [None, 7.5, -9999.0])
@pytest.mark.parametrize("digits", [0, 2, 5])
def test_scaleoffset_of_floats_is_written_like_h5py(dtype: str, fillvalue: Any, digits: int) -> None:
    values = smooth((4000,), dtype)
    values[::50] = 0 if fillvalue is None else fillvalue
    keywords = {} if fillvalue is None else {"fillvalue": fillvalue}
    for scale in (0, 1e-3, 1, 1e8):
        check_like_h5py((values * scale + 0.0).astype(dtype), scaleoffset=digits, **keywords)


@settings(max_examples=60)
@given(
    values=hnp.arrays(
        st.sampled_from(["i1", "u1", "<i2", "<u2", ">i4", "<u8"]), st.integers(1, 40).map(lambda n: (n,))
    ),
    shuffle=st.booleans(),
    compression=st.sampled_from([None, "gzip"]),
)
def test_scaleoffset_of_any_integers_is_read_exactly(values: Array, shuffle: bool, compression: Any) -> None:
    keywords = {"scaleoffset": True, "shuffle": shuffle, "compression": compression}
    stored, mask, _ = written_by_us(values, **keywords)
    assert read_by_h5py(stored, mask, values, **keywords).tobytes() == values.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scaleoffset_of_what_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(BlockError, match="finite"):
        written_by_us(np.array([1, bad], "f4"), scaleoffset=2)
    with pytest.raises(FilterError, match="fill value"):
        written_by_us(np.array([1, 2], "f4"), scaleoffset=2, fillvalue=bad)


@pytest.mark.parametrize(
    ("dtype", "keywords"),
    [
        ("f4", {"scaleoffset": True}),
        ("f4", {"scaleoffset": -1}),
        ("S4", {"scaleoffset": 2}),
        ("c8", {"scaleoffset": 2}),
        ("i4", {"scaleoffset": 2, "fletcher32": True}),
    ],
    ids=str,
)
def test_scaleoffset_that_h5py_refuses_is_refused(dtype: str, keywords: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        written_by_h5py(np.zeros(8, dtype), **keywords)
    with pytest.raises(FilterError):
        written_by_us(np.zeros(8, dtype), **keywords)


def test_scaleoffset_of_more_bits_than_the_integer_has_is_refused() -> None:
    # h5py takes it, and the library then skips the filter for every chunk.
    with pytest.raises(FilterError, match="bits up to 32"):
        written_by_us(np.zeros(8, "i4"), scaleoffset=33)


@pytest.mark.parametrize("dtype", ["i1", "<u2", ">i4", "<f4", ">f8", "S5", "V3", "?"])
def test_nbit_of_full_precision_is_written_like_h5py(dtype: str) -> None:
    values = np.frombuffer(bytes(range(240)), "u1").copy()
    values = (values % 2).astype("?") if dtype == "?" else values.view(dtype)
    stored, mask, pipeline = written_by_us(values, compression={"compression": 5})
    file_bytes = io.BytesIO()
    with h5py.File(file_bytes, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(values.shape)
        plist.set_filter(5, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(values.shape)
        made = h5py.h5d.create(file.id, b"x", h5py.h5t.py_create(values.dtype, logical=True), space, plist)
        made.write_direct_chunk((0,), stored, mask)
        assert [made.get_create_plist().get_filter(0)] == pipeline
    with h5py.File(file_bytes, "r") as file:
        assert file["x"][...].tobytes() == values.tobytes()


def test_nbit_of_compound_is_refused() -> None:
    with pytest.raises(FilterError, match="compound"):
        written_by_us(np.zeros(8, "c8"), compression={"compression": 5})
