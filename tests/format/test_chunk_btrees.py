"""Version 1 and version 2 B-trees of chunks, in whole files that other programs read and extend."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from streamh5.errors import LimitError
from streamh5.format import data_layout
from streamh5.format.chunk_index.element import ChunkColumns, chunk_element
from streamh5.format.chunk_index.v1_btree import V1BTree, encode_v1_btree_nodes
from streamh5.format.chunk_index.v2_btree import chunk_btree, chunk_record, encode_chunk_btree_nodes
from streamh5.format.dataspace import Dataspace
from streamh5.format.filter_pipeline import FilterRecord
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.v2_btree import SIZEOF_V2_BTREE_HEADER, encode_v2_btree_header

if TYPE_CHECKING:
    from tests.format.conftest import FileBuilder

_CHUNKS = (2, 3)


def _columns(
    builder: FileBuilder, grid: tuple[int, int], filtered: bool
) -> tuple[np.ndarray, dict[str, Any]]:
    """Store uint16 chunk i as i everywhere, with gaps; return the numbers and columns of its chunks."""
    n = grid[0] * grid[1]
    written = np.random.default_rng(n).random(n) < 0.8
    written[-1] = True
    numbers = np.flatnonzero(written).astype(np.uint64)
    start = builder.add(np.repeat(numbers.astype("<u2"), 6).tobytes())
    addresses = start + np.arange(len(numbers), dtype=np.uint64) * np.uint64(12)
    sizes = np.full(len(numbers), 12, np.uint32) if filtered else None
    masks = np.ones(len(numbers), np.uint32) if filtered else None
    return numbers, {"addresses": addresses, "stored_nbytes": sizes, "filter_masks": masks}


def _finish(
    builder: FileBuilder, layout: data_layout.DataLayout, grid: tuple[int, int], filtered: bool, version: int
) -> Path:
    builder.add_dataset(
        "x",
        layout,
        dtype=np.dtype("<u2"),
        space=Dataspace((grid[0] * 2, grid[1] * 3), (None, None)),
        filters=[FilterRecord(2, "", 1, (2,))] if filtered else [],
        fill=b"\xff\xff",
    )
    return builder.write(version=version)


def _check(path: Path, grid: tuple[int, int], numbers: np.ndarray) -> int:
    """Compare what readers see; return the address of the object header."""
    values = np.full(grid[0] * grid[1], 0xFFFF, "u2")
    values[numbers.astype(int)] = numbers
    expected = np.kron(values.reshape(grid), np.ones(_CHUNKS, "u2"))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][:], expected)
        assert file["x"].id.get_num_chunks() == len(numbers)
        address = int(h5py.h5o.get_info(file["x"].id).addr)
    dumped = path.with_suffix(".bin")
    subprocess.run(
        ["h5dump", "-d", "x", "-b", "LE", "-o", str(dumped), str(path)], capture_output=True, check=True
    )
    np.testing.assert_array_equal(np.fromfile(dumped, "<u2"), expected.ravel())
    return address


def _check_extended(path: Path, grid: tuple[int, int], filtered: bool) -> None:
    shape = (grid[0] * 2, grid[1] * 3)
    with h5py.File(path, "r+") as file:
        before = file["x"][:]
        if filtered:  # HDF5 2.0 ruins a chunk with a filter mask when it writes the same size again
            before -= 1
        file["x"].resize((shape[0] + 20, shape[1] + 30))
        file["x"][:, shape[1] :] = 3
        file["x"][shape[0] :] = 3
        if not filtered:
            file["x"][: shape[0], : shape[1]] = before + 1
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][: shape[0], : shape[1]], before + 1)
        assert (file["x"][shape[0] :] == 3).all()
        assert (file["x"][:, shape[1] :] == 3).all()


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize(
    ("grid", "node_size", "depth"),
    [
        ((1, 1), 2048, 0),
        ((8, 9), 2048, 0),
        ((12, 11), 2048, 1),
        ((40, 50), 512, 2),
        ((80, 100), 2048, 2),
        ((40, 30), 256, 3),
        ((200, 250), 1_500_000, 0),
    ],
)
def test_v2_btree_built_read_by_readers(
    builder: FileBuilder, grid: tuple[int, int], node_size: int, depth: int, filtered: bool
) -> None:
    numbers, columns = _columns(builder, grid, filtered)
    tree = chunk_btree(
        len(numbers), chunk_record(2, chunk_element(12, filtered=filtered)), node_size=node_size
    )
    header = builder.reserve(SIZEOF_V2_BTREE_HEADER)
    nodes = builder.reserve(0)
    for piece in encode_chunk_btree_nodes(tree, nodes, numbers, grid, ChunkColumns(**columns)):
        builder.add(piece)
    assert builder.reserve(0) - nodes == tree.sizeof_nodes
    builder.put(header, encode_v2_btree_header(tree, nodes))
    layout = data_layout.ChunkedLayout(_CHUNKS, 2, data_layout.V2BTreeIndex(node_size, header))
    path = _finish(builder, layout, grid, filtered, 3)
    object_address = _check(path, grid, numbers)
    # h5debug 1.10 crashes on the tree itself, also on the library's own.
    command = ["h5debug", str(path), str(object_address)]
    debug = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Index Type: v2 B-tree" in " ".join(debug.split())
    assert tree.depth == depth
    _check_extended(path, grid, filtered)


def test_v2_btree_of_one_chunk_equals_libhdf5(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=("v110", "v114")) as file:
        x = file.create_dataset("x", (2, 2), "u1", chunks=(1, 1), maxshape=(None, None))
        x[0, 0] = 1
    content = path.read_bytes()
    header = content.index(b"BTHD")
    tree = chunk_btree(1, chunk_record(2, chunk_element(1, filtered=False)))
    root = struct.unpack_from("<Q", content, header + 16)[0]
    assert encode_v2_btree_header(tree, root) == content[header : header + SIZEOF_V2_BTREE_HEADER]
    (address,) = struct.unpack_from("<Q", content, root + 6)
    numbers = np.zeros(1, np.uint64)
    addresses = np.array([address], np.uint64)
    (ours,) = encode_chunk_btree_nodes(tree, root, numbers, (2, 2), ChunkColumns(addresses))
    used = 6 + tree.record_nbytes + 4
    assert ours[:used] == content[root : root + used]


def test_v2_btree_node_size_around_limits() -> None:
    largest = 10 + 24 * 65_535 + 23
    chunk_btree(1, chunk_record(2, chunk_element(1, filtered=False)), node_size=largest)
    with pytest.raises(LimitError, match="65535 records"):
        chunk_btree(1, chunk_record(2, chunk_element(1, filtered=False)), node_size=largest + 1)
    smallest = 10 + 24 + 2 * (24 + 24)
    chunk_btree(10_000, chunk_record(2, chunk_element(1, filtered=False)), node_size=smallest)
    with pytest.raises(LimitError, match="must hold 2"):
        chunk_btree(1, chunk_record(2, chunk_element(1, filtered=False)), node_size=smallest - 1)
    chunk_btree(1, chunk_record(32, chunk_element(2**32 - 1, filtered=True)))


@pytest.mark.parametrize("n", [1, 7, 100, 3000])
def test_v2_btree_smallest_nodes_read_by_h5py(builder: FileBuilder, n: int) -> None:
    start = builder.add(np.arange(n, dtype="<u2").tobytes())
    tree = chunk_btree(n, chunk_record(2, chunk_element(2, filtered=False)), node_size=130)
    header = builder.reserve(SIZEOF_V2_BTREE_HEADER)
    addresses = start + 2 * np.arange(n, dtype=np.uint64)
    nodes = builder.reserve(0)
    for piece in encode_chunk_btree_nodes(
        tree, nodes, np.arange(n, dtype="u4"), (1, n), ChunkColumns(addresses)
    ):
        builder.add(piece)
    builder.put(header, encode_v2_btree_header(tree, nodes))
    layout = data_layout.ChunkedLayout((1, 1), 2, data_layout.V2BTreeIndex(130, header))
    builder.add_dataset("x", layout, dtype=np.dtype("<u2"), space=Dataspace((1, n), (None, None)))
    with h5py.File(builder.write()) as file:
        np.testing.assert_array_equal(file["x"][0], np.arange(n))


def test_v2_btree_without_chunks_reads_fill_value(builder: FileBuilder) -> None:
    tree = chunk_btree(0, chunk_record(2, chunk_element(12, filtered=False)))
    assert tree.sizeof_nodes == 0
    assert (
        list(encode_chunk_btree_nodes(tree, 0, np.array([], "u8"), (2, 2), ChunkColumns(np.array([], "u8"))))
        == []
    )
    header = builder.add(encode_v2_btree_header(tree, UNDEFINED_ADDRESS))
    layout = data_layout.ChunkedLayout(_CHUNKS, 2, data_layout.V2BTreeIndex(2048, header))
    path = _finish(builder, layout, (2, 2), False, 3)
    with h5py.File(path) as file:
        assert (file["x"][:] == 0xFFFF).all()
    _check_extended(path, (2, 2), False)


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("grid", [(1, 1), (8, 9), (8, 11), (70, 60), (100, 90)])
def test_v1_btree_built_read_by_readers(builder: FileBuilder, grid: tuple[int, int], filtered: bool) -> None:
    numbers, columns = _columns(builder, grid, filtered)
    tree = V1BTree(len(numbers), _CHUNKS, 2)
    nodes = builder.reserve(0)
    for piece in encode_v1_btree_nodes(tree, nodes, numbers, grid, ChunkColumns(**columns)):
        builder.add(piece)
    assert builder.reserve(0) - nodes == tree.sizeof_nodes
    layout = data_layout.ChunkedLayout(_CHUNKS, 2, data_layout.V1BTreeIndex(nodes + tree.root_position), 3)
    path = _finish(builder, layout, grid, filtered, 2)
    _check(path, grid, numbers)
    _check_extended(path, grid, filtered)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 128, 4096, 4097])
def test_v1_btree_around_full_nodes_read_by_h5py(builder: FileBuilder, n: int) -> None:
    start = builder.add(np.arange(n, dtype="<i4").tobytes())
    addresses = start + 4 * np.arange(n, dtype=np.uint64)
    tree = V1BTree(n, (1,), 4)
    nodes = builder.reserve(0)
    for piece in encode_v1_btree_nodes(tree, nodes, np.arange(n, dtype="u4"), (n,), ChunkColumns(addresses)):
        builder.add(piece)
    layout = data_layout.ChunkedLayout((1,), 4, data_layout.V1BTreeIndex(nodes + tree.root_position), 3)
    builder.add_dataset("x", layout, dtype=np.dtype("<i4"), space=Dataspace((n,)))
    with h5py.File(builder.write(version=2)) as file:
        np.testing.assert_array_equal(file["x"][:], np.arange(n))
        assert [file["x"].id.get_chunk_info(i).byte_offset for i in (0, n - 1)] == [
            start,
            start + 4 * (n - 1),
        ]


@pytest.mark.parametrize("n", [1, 64])
def test_v1_btree_equals_libhdf5(tmp_path: Path, n: int) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=("v108", "v108")) as file:
        x = file.create_dataset("x", (n, 2), ">i4", chunks=(1, 2))
        for i in range(n):
            x[i] = i
        infos = [x.id.get_chunk_info(i) for i in range(n)]
    content = path.read_bytes()
    tree = V1BTree(n, (1, 2), 4)
    addresses = np.array([info.byte_offset for info in infos], np.uint64)
    (ours,) = encode_v1_btree_nodes(tree, 0, np.arange(n, dtype="u4"), (n, 1), ChunkColumns(addresses))
    at = content.index(b"TREE")
    used = 24 + n * (tree.node["last_key"].itemsize + 8)
    assert ours[:used] == content[at : at + used]


def test_v1_btree_stored_size_above_limit_limit_error() -> None:
    tree = V1BTree(1, (1,), 1)
    numbers = np.zeros(1, np.uint64)
    most = np.array([2**32 - 1], np.uint64)
    list(encode_v1_btree_nodes(tree, 0, numbers, (1,), ChunkColumns(numbers + 48, most)))
    with pytest.raises(LimitError, match="4294967296 bytes"):
        list(encode_v1_btree_nodes(tree, 0, numbers, (1,), ChunkColumns(numbers + 48, most + 1)))
