"""hypothesis draws arrays, chunks, filters, blocks and orders of arrival; other programs read the result."""

from __future__ import annotations

import tempfile
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import streamh5
from tests.readers.judgements import assert_chunk_map
from tests.written import DTYPES, assert_every_reader, columns, values

MAX_ELEMENTS = 20_000


@st.composite
def shapes(draw: st.DrawFn, smallest: int = 1) -> tuple[int, ...]:
    """One to five extents of 1 to 300, bounded in all."""
    left, shape = MAX_ELEMENTS, []
    for _ in range(draw(st.integers(1, 5))):
        extent = draw(st.integers(smallest, max(smallest, min(300, left))))
        left //= max(extent, 1)
        shape.append(extent)
    return tuple(draw(st.permutations(shape)))


def chunk_shapes(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*(st.integers(1, max(1, extent)) for extent in shape)).filter(
        lambda chunks: np.prod([-(-n // c) for n, c in zip(shape, chunks, strict=True)]) <= 4000
    )


FILTERS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "compression": st.sampled_from(["gzip", None]),
        "shuffle": st.booleans(),
        "fletcher32": st.booleans(),
    },
)


@st.composite
def cuts(draw: st.DrawFn, extent: int) -> tuple[int, ...]:
    """Extents of blocks that add up to `extent`."""
    bounds = sorted(draw(st.sets(st.integers(0, extent), max_size=4)) | {0, extent})
    return tuple(b - a for a, b in pairwise(bounds))


@settings(max_examples=120)
@given(st.data())
def test_dask_array_of_any_blocks_and_chunks_reads_equal(data: st.DataObject) -> None:
    shape = data.draw(shapes())
    dtype = data.draw(st.sampled_from(DTYPES))
    array = values(dtype, shape)
    x = da.from_array(array, chunks=tuple(data.draw(cuts(extent)) for extent in shape))
    chunks = data.draw(st.one_of(st.none(), st.just("auto"), chunk_shapes(shape)))
    keywords = data.draw(FILTERS)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", streamh5.RealignWarning)
        path = Path(folder, "a.h5")
        summary = streamh5.to_fixed_h5(path, "/x", x, chunks=chunks, **keywords)
        assert isinstance(summary, streamh5.WriteSummary)
        assert (summary.n_missing, summary.datasets[0].n_rewritten) == (0, 0)
        with h5py.File(path) as file:
            assert file["x"].dtype == array.dtype
            assert file["x"][()].tobytes() == array.tobytes()


@settings(max_examples=25)
@given(st.data())
def test_regions_in_any_order_read_equal_to_every_reader(data: st.DataObject) -> None:
    shape = data.draw(shapes())
    dtype = data.draw(st.sampled_from(DTYPES))
    chunks = data.draw(chunk_shapes(shape))
    fillvalue = data.draw(st.sampled_from([None, 1]))
    counts = [-(-n // c) for n, c in zip(shape, chunks, strict=True)]
    expected = np.full(shape, 0 if fillvalue is None else fillvalue, dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.h5")
        with streamh5.File(path) as file:
            dataset = file.create_dataset(
                "g/x", shape, dtype, chunks=chunks, fillvalue=fillvalue, **data.draw(FILTERS)
            )
            for seed in range(data.draw(st.integers(0, 6))):
                region = []
                for n, c in zip(counts, chunks, strict=True):
                    first = data.draw(st.integers(0, n - 1))
                    last = data.draw(st.integers(first + 1, n))
                    region.append(slice(first * c, last * c if last < n else None))
                block = values(dtype, expected[tuple(region)].shape, seed)
                dataset[tuple(region)] = block
                expected[tuple(region)] = block
        assert_every_reader(path, "/g/x", expected)
        assert_chunk_map(path, "/g/x", columns(file, "/g/x"))


@settings(max_examples=60)
@given(st.data())
def test_appended_blocks_of_any_length_read_equal(data: st.DataObject) -> None:
    shape = data.draw(shapes(smallest=1))
    dtype = data.draw(st.sampled_from(DTYPES))
    array = values(dtype, shape)
    rows = data.draw(cuts(shape[0]))
    is_open = data.draw(st.booleans())
    chunks = data.draw(chunk_shapes(shape))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.h5")
        with streamh5.File(path, threads=data.draw(st.integers(1, 4)), max_memory=10_000) as file:
            dataset = file.create_dataset(
                "x", (None if is_open else shape[0], *shape[1:]), dtype, chunks=chunks, **data.draw(FILTERS)
            )
            start = 0
            for n in rows:
                dataset.append(array[start : start + n])
                start += n
        with h5py.File(path) as found:
            assert found["x"].shape == shape
            assert found["x"][()].tobytes() == array.tobytes()
        assert_chunk_map(path, "/x", columns(file, "/x"))
