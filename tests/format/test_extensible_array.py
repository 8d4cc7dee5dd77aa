from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamh5.errors import LimitError
from streamh5.format import data_layout
from streamh5.format.chunk_index.element import ChunkColumns, ClientId, chunk_element, client_id
from streamh5.format.chunk_index.extensible_array import (
    SIZEOF_EXTENSIBLE_ARRAY_HEADER,
    encode_extensible_array_blocks,
    encode_extensible_array_header,
)
from streamh5.format.chunk_index.extensible_array_sizes import ExtensibleArray
from streamh5.format.dataspace import Dataspace
from streamh5.format.filter_pipeline import FilterRecord

if TYPE_CHECKING:
    from tests.format.conftest import FileBuilder

# (index block elements, min data block elements, min pointers, page bits): the library's, and small ones
# that reach super blocks and pages with few chunks.
_LIBRARY = (4, 16, 4, 10)
_SMALL = (1, 2, 2, 2)


def _array(
    n: int, chunk_nbytes: int, filtered: bool, parameters: tuple[int, int, int, int]
) -> ExtensibleArray:
    index_block, data_block, pointers, page_bits = parameters
    return ExtensibleArray(
        n,
        chunk_element(chunk_nbytes, filtered=filtered),
        data_layout.ExtensibleArrayIndex(
            n_index_block_elements=index_block,
            min_n_data_block_elements=data_block,
            min_n_data_block_pointers=pointers,
            page_bits=page_bits,
        ),
    )


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("n", [1, 4, 5, 20, 21, 100, 244, 245, 5000])
def test_extensible_array_header_equals_libhdf5(tmp_path: Path, n: int, filtered: bool) -> None:
    path = tmp_path / "a.h5"
    options = {"compression": "gzip"} if filtered else {}
    with h5py.File(path, "w", libver=("v110", "v114")) as file:
        file.create_dataset("x", (n,), "u1", chunks=(1,), maxshape=(None,), **options)[:] = 1
    content = path.read_bytes()
    at = content.index(b"EAHD")
    theirs = content[at : at + SIZEOF_EXTENSIBLE_ARRAY_HEADER]
    index_block = int.from_bytes(theirs[60:68], "little")
    ours = encode_extensible_array_header(_array(n, 1, filtered, _LIBRARY), index_block)
    assert ours == theirs


def test_extensible_array_version_5_header_equals_libhdf5(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=("v200", "v200")) as file:
        file.create_dataset("x", (100,), "u1", chunks=(1,), maxshape=(None,), compression="gzip")[:] = 1
    content = path.read_bytes()
    at = content.index(b"EAHD")
    theirs = content[at : at + SIZEOF_EXTENSIBLE_ARRAY_HEADER]
    index_block = int.from_bytes(theirs[60:68], "little")
    array = ExtensibleArray(100, chunk_element(1, filtered=True, layout_version=5))
    assert encode_extensible_array_header(array, index_block) == theirs


def _build(builder: FileBuilder, array: ExtensibleArray, missing: np.ndarray, rows: int) -> Path:
    """Store uint16 chunk i as i everywhere; 2-d with chunks of (2, 3) and `rows` chunks along dimension 1."""
    n, is_filtered = array.n_elements, client_id(array.element) == ClientId.FILTERED_CHUNKS
    raw = np.repeat(np.arange(n, dtype="<u2"), 6)
    start = builder.add(raw.tobytes())
    addresses = start + np.arange(n, dtype=np.uint64) * np.uint64(12)
    addresses[missing] = 0
    header = builder.reserve(SIZEOF_EXTENSIBLE_ARRAY_HEADER)
    index_block = builder.reserve(0)
    for piece in encode_extensible_array_blocks(
        array,
        header,
        index_block,
        ChunkColumns(
            addresses,
            np.full(n, 12, np.uint32) if is_filtered else None,
            np.ones(n, np.uint32) if is_filtered else None,
        ),
    ):
        builder.add(piece)
    assert builder.reserve(0) - index_block == array.sizeof_blocks
    builder.put(header, encode_extensible_array_header(array, index_block))
    index = replace(array.parameters, address=header)
    builder.add_dataset(
        "x",
        data_layout.ChunkedLayout((2, 3), 2, index),
        dtype=np.dtype("<u2"),
        space=Dataspace((n // rows * 2, rows * 3), (None, rows * 3)),
        filters=[FilterRecord(2, "", 1, (2,))] if is_filtered else [],
        fill=b"\xff\xff",
    )
    return builder.write()


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize(
    ("n_rows", "parameters"),
    [(n, _SMALL) for n in (1, 2, 3, 5, 12, 30, 62, 126, 500)] + [(n, _LIBRARY) for n in (1, 2, 7, 130, 9000)],
)
def test_extensible_array_built_read_by_readers(
    builder: FileBuilder, n_rows: int, parameters: tuple[int, int, int, int], filtered: bool
) -> None:
    rows = 2
    n = n_rows * rows
    array = _array(n, 12, filtered, parameters)
    missing = np.random.default_rng(n).random(n) < 0.2
    missing[n // 3 : n // 3 + 9] = True
    missing[-1] = False
    path = _build(builder, array, missing, rows)
    values = np.where(missing, 0xFFFF, np.arange(n)).astype("u2").reshape(n_rows, rows)
    expected = np.kron(values, np.ones((2, 3), "u2"))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][:], expected)
        assert file["x"].id.get_num_chunks() == n - missing.sum()
        header = h5py.h5o.get_info(file["x"].id).addr
    at = path.read_bytes().index(b"EAHD")
    debug = subprocess.run(
        ["h5debug", str(path), str(at), str(header)], capture_output=True, text=True, check=True
    )
    assert "Extensible Array Header" in debug.stdout
    dumped = path.with_suffix(".bin")
    subprocess.run(
        ["h5dump", "-d", "x", "-b", "LE", "-o", str(dumped), str(path)], capture_output=True, check=True
    )
    np.testing.assert_array_equal(np.fromfile(dumped, "<u2"), expected.ravel())
    with h5py.File(path, "r+") as file:
        file["x"].resize(n_rows * 2 + 200, axis=0)
        file["x"][n_rows * 2 :] = 5
        if not filtered:  # HDF5 2.0 ruins a chunk with a filter mask when it writes the same size again
            expected += 1
            file["x"][: n_rows * 2] = expected
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][: n_rows * 2], expected)
        assert (file["x"][n_rows * 2 :] == 5).all()


@settings(max_examples=40)
@given(st.integers(1, 3000), st.booleans(), st.sampled_from([1, 300, 2**32 - 1]))
def test_extensible_array_any_size_equals_sizeof(n: int, filtered: bool, chunk_nbytes: int) -> None:
    array = _array(n, chunk_nbytes, filtered, _SMALL)
    sizes = np.ones(n, np.uint32) if filtered else None
    addresses = np.arange(1, n + 1, dtype=np.uint64)
    pieces = encode_extensible_array_blocks(array, 48, 120, ChunkColumns(addresses, sizes))
    assert sum(map(len, pieces)) == array.sizeof_blocks


def test_extensible_array_stored_size_above_field_limit_limit_error() -> None:
    array = ExtensibleArray(100, chunk_element(24, filtered=True))
    sizes = np.full(100, 10, np.uint32)
    sizes[70] = 65_536
    with pytest.raises(LimitError, match="below 65536"):
        list(encode_extensible_array_blocks(array, 48, 120, ChunkColumns(np.ones(100, np.uint64), sizes)))
