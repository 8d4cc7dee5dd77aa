"""Malicious files: `verify` and `inspect` end with a report or an error of streamh5, in bounded time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamh5
from streamh5.check.report import VerifyReport
from streamh5.check.verify import Verification
from streamh5.errors import FormatError
from streamh5.format.checksum import lookup3
from streamh5.format.data_layout import (
    ChunkedLayout,
    ChunkIndex,
    ContiguousLayout,
    ExtensibleArrayIndex,
    FixedArrayIndex,
    ImplicitIndex,
    SingleChunkIndex,
    V2BTreeIndex,
    encode_data_layout,
)
from streamh5.format.dataspace import Dataspace, encode_dataspace
from streamh5.format.datatype import encode_datatype_message
from streamh5.format.filter_pipeline import FilterRecord, encode_filter_pipeline
from streamh5.format.group_info import encode_group_info
from streamh5.format.link import HardLink, Link, encode_link
from streamh5.format.object_header import Message, pack_messages
from streamh5.format.storage_info import StorageInfo, encode_link_info
from streamh5.format.superblock import SIZEOF_SUPERBLOCK, Superblock, encode_superblock
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_content import read_file_content
from streamh5.reader.file_map import Kind
from tests.deadlock import DEADLOCK_SECONDS
from tests.foreign_files import BUILDERS

MAX_NBYTES = 16 << 20


@contextmanager
def bounded_memory(nbytes: int) -> Iterator[None]:
    """Fail if more than a few MiB of memory are used for these small files."""
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MAX_NBYTES + 20 * nbytes


def verified(content: bytes) -> VerifyReport | FormatError:
    """Verify `content` in bounded memory."""
    with bounded_memory(len(content)):
        try:
            return Verification(FileBytes(content)).run(with_h5py=False)
        except FormatError as error:
            return error


def group(*links: tuple[str, int], extra: tuple[Message, ...] = ()) -> bytes:
    messages = [encode_link(Link(name, HardLink(address))) for name, address in links]
    return pack_messages([encode_link_info(StorageInfo()), encode_group_info(), *messages, *extra]).encode()


def dataset(
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    index: ChunkIndex,
    *,
    maxshape: tuple[int | None, ...] | None = None,
    filters: tuple[FilterRecord, ...] = (),
) -> bytes:
    layout = ChunkedLayout(chunks, 1, index)
    messages = [
        encode_dataspace(Dataspace(shape, maxshape)),
        encode_datatype_message(np.dtype("u1")),
        encode_data_layout(layout),
        *([encode_filter_pipeline(filters)] if filters else []),
    ]
    return pack_messages(messages).encode()


def one_dataset(header: bytes, *blocks: bytes) -> bytes:
    """Build a file with a dataset whose header is at address 48, followed by blocks."""
    body = header + b"".join(blocks)
    root_address = SIZEOF_SUPERBLOCK + len(body)
    root = group(("x", SIZEOF_SUPERBLOCK))
    superblock = encode_superblock(Superblock(root_address + len(root), root_address))
    return superblock + body + root


def damaged(found: VerifyReport | FormatError) -> bool:
    return isinstance(found, FormatError) or found.damaged


def test_groups_that_contain_each_other_end() -> None:
    sizes = len(group(("a", 0), ("b", 0)))
    root, child = SIZEOF_SUPERBLOCK, SIZEOF_SUPERBLOCK + sizes
    body = group(("a", child), ("b", root)) + group(("a", root), ("b", child))
    found = verified(encode_superblock(Superblock(root + len(body), root)) + body)
    assert isinstance(found, VerifyReport)
    assert found.n_groups == 2


def test_groups_in_groups_without_end_of_names_are_bounded() -> None:
    name = "n" * 200
    address, body = SIZEOF_SUPERBLOCK, b""
    size = len(group((name, 0)))
    for depth in range(2000):
        body += group((name, address + (depth + 1) * size))
    body += group()
    found = verified(encode_superblock(Superblock(address + len(body), address)) + body)
    assert isinstance(found, VerifyReport)
    assert not found.ok
    assert "paths over" in found.unchecked[0].problem


def test_header_continuations_in_a_circle_end() -> None:
    def header(continuation: int) -> bytes:
        body = continuation.to_bytes(8, "little") + (4 + 20 + 4).to_bytes(8, "little")
        return group(extra=(Message(0x10, body),))

    address = SIZEOF_SUPERBLOCK + len(header(0))
    inside = b"OCHK" + bytes([0x10, 16, 0, 0]) + address.to_bytes(8, "little") + (28).to_bytes(8, "little")
    block = inside + lookup3(inside).to_bytes(4, "little")
    body = header(address) + block
    found = verified(encode_superblock(Superblock(48 + len(body), 48)) + body)
    assert isinstance(found, VerifyReport)
    assert "overlap" in found.damaged_structures[0].problem


@pytest.mark.parametrize(
    "index",
    [
        FixedArrayIndex(10, 48),
        FixedArrayIndex(63, 48),
        ImplicitIndex(48),
        ExtensibleArrayIndex(48),
        ExtensibleArrayIndex(48, 64, 255, 128, 128, 255),
        V2BTreeIndex(2048, 48),
        V2BTreeIndex(0, 48),
        SingleChunkIndex(48),
    ],
    ids=lambda index: type(index).__name__,
)
@pytest.mark.parametrize("size", [2**20, 2**40, 2**62, 2**64 - 2])
def test_indexes_of_huge_shapes_take_no_memory(index: ChunkIndex, size: int) -> None:
    for maxshape in (None, (None, size)):
        header = dataset((size, size), (1, 1), index, maxshape=maxshape)
        assert damaged(verified(one_dataset(header)))


def test_contiguous_data_larger_than_the_file_is_damage() -> None:
    messages = [
        encode_dataspace(Dataspace((2**50,))),
        encode_datatype_message(np.dtype("u1")),
        encode_data_layout(ContiguousLayout(48, 2**50)),
    ]
    assert damaged(verified(one_dataset(pack_messages(messages).encode())))


def test_decompression_bomb_is_stopped() -> None:
    bomb = zlib.compress(bytes(300 << 20), 9)
    gzip = (FilterRecord(1, client_values=(9,)),)
    for n_filters in (1, 2):
        header = dataset((10,), (10,), SingleChunkIndex(0, len(bomb)), filters=gzip * n_filters)
        address = SIZEOF_SUPERBLOCK + len(header)
        header = dataset((10,), (10,), SingleChunkIndex(address, len(bomb)), filters=gzip * n_filters)
        found = verified(one_dataset(header, bomb))
        assert isinstance(found, VerifyReport)
        assert found.n_damaged_chunks == 1
        assert "more than" in found.damaged_chunks[0].problem


BOMBS = {
    "zstd": (32015, b"\x28\xb5\x2f\xfd\xe0" + (2**32 - 4).to_bytes(8, "little") + b"\x01\0\0"),
    "lz4": (32004, (2**32 - 4).to_bytes(8, "big") + (2**31 - 1).to_bytes(4, "big") + b"\0\0\0\x05abcde"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_chunk_for_which_there_is_no_memory_is_our_error_and_not_damage(tmp_path: Path, name: str) -> None:
    filter_id, stored = BOMBS[name]
    filters = (FilterRecord(filter_id, name),)
    chunks = (4, 2**30 - 1)
    header = dataset(chunks, chunks, SingleChunkIndex(0, len(stored)), filters=filters)
    place = SingleChunkIndex(SIZEOF_SUPERBLOCK + len(header), len(stored))
    path = tmp_path / "bomb.h5"
    path.write_bytes(one_dataset(dataset(chunks, chunks, place, filters=filters), stored))
    limited = (
        "import resource, sys\nfrom streamh5.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\nsys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "verify", "--no-h5py", str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "decode to 4,294,967,292, for which there is not enough memory" in done.stderr


def test_shuffle_without_an_element_size_is_damage_as_for_hdf5() -> None:
    filters = (FilterRecord(2, client_values=(0,)),)
    header = dataset((10,), (10,), SingleChunkIndex(0, 10), filters=filters)
    header = dataset((10,), (10,), SingleChunkIndex(SIZEOF_SUPERBLOCK + len(header), 10), filters=filters)
    found = verified(one_dataset(header, bytes(10)))
    assert isinstance(found, VerifyReport)
    assert found.n_damaged_chunks == 1


def test_chunks_that_are_all_the_same_bytes_are_reported_and_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with streamh5.File(path, "w") as file:
        file.create_dataset("x", shape=(900, 100), dtype="u1", chunks=(1, 100), compression="gzip")[:, :] = 1
    content = bytearray(path.read_bytes())
    found = read_file_content(FileBytes(bytes(content)))
    block = max(
        (one for one in found.file_map.structures() if one.kind is Kind.INDEX), key=lambda one: one.nbytes
    )
    start, stop = block.address + 14, block.address + block.nbytes - 4
    element_nbytes = (stop - start) // 900
    content[start:stop] = content[start : start + element_nbytes] * 900
    checksum = lookup3(content[block.address : stop])
    content[stop : stop + 4] = checksum.to_bytes(4, "little")
    report = verified(bytes(content))
    assert isinstance(report, VerifyReport)
    assert (report.n_damaged_chunks, report.n_decoded_chunks) == (900, 0)
    assert "overlaps" in report.damaged_chunks[0].problem


@pytest.fixture(scope="module")
def rich_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a file with each chunk index, attributes with strings, and dense storage."""
    path = tmp_path_factory.mktemp("rich") / "rich.h5"
    values = (np.arange(3000) % 7).astype("i2").reshape(60, 50)
    with streamh5.File(path, "w") as file:
        file.attrs["text"] = ["one", "two"]
        for name, maxshape in (("f", None), ("e", (None, 50)), ("b", (None, None))):
            data = file.create_dataset(
                name, shape=(60, 50), dtype="i2", chunks=(6, 10), maxshape=maxshape, compression="gzip"
            )
            data[:, :] = values
            data.attrs["n"] = 1.5
        for i in range(40):
            file.create_group(f"many/{i}")
    return path.read_bytes()


def checksummed_blocks(content: bytes) -> list[tuple[int, int]]:
    extents = read_file_content(FileBytes(content)).file_map.structures()
    return [(one.address, one.nbytes) for one in extents if one.kind is not Kind.HEAP]


def changed_under_right_checksums(content: bytes, data: st.DataObject) -> bytes:
    """Change blocks of metadata and correct their checksums, so that the changed fields are read."""
    blocks = checksummed_blocks(content)
    changed = bytearray(content)
    for address, nbytes in data.draw(st.lists(st.sampled_from(blocks), min_size=1, max_size=3)):
        position = address + data.draw(st.integers(0, nbytes - 5))
        new = data.draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, bytes(8)]))
        changed[position : position + len(new)] = new[: address + nbytes - position]
        checksum = lookup3(changed[address : address + nbytes - 4])
        changed[address + nbytes - 4 : address + nbytes] = checksum.to_bytes(4, "little")
    return bytes(changed)


def changed_anywhere(content: bytes, data: st.DataObject) -> bytes:
    """Change some bytes, and cut off the end."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.binary(min_size=1, max_size=300))
        changed[position : position + len(new)] = new
    return bytes(changed[: data.draw(st.integers(0, len(changed)))])


CHANGES = pytest.mark.parametrize("change", [changed_under_right_checksums, changed_anywhere])
Change = Callable[[bytes, st.DataObject], bytes]


@CHANGES
@settings(max_examples=250)
@given(data=st.data())
def test_random_changes_end_in_our_errors(rich_file: bytes, change: Change, data: st.DataObject) -> None:
    verified(change(rich_file, data))


@CHANGES
@settings(max_examples=150)
@given(data=st.data())
def test_inspect_of_random_changes_ends_in_our_errors(
    rich_file: bytes, tmp_path_factory: pytest.TempPathFactory, change: Change, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "inspected.h5"
    path.write_bytes(change(rich_file, data))
    with bounded_memory(path.stat().st_size):
        try:
            found = streamh5.inspect(path)
        except FormatError:
            return
        repr(found)
        json.dumps(found.to_dict())


@CHANGES
@settings(max_examples=150)
@given(data=st.data())
def test_addition_to_random_changes_is_refused_with_nothing_changed_or_made_behind_them(
    rich_file: bytes, tmp_path_factory: pytest.TempPathFactory, change: Change, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "added-to.h5"
    content = change(rich_file, data)
    path.write_bytes(content)
    with bounded_memory(len(content)):
        try:
            with streamh5.File(path, "a") as file:
                file.create_dataset("an addition", data=np.arange(5))
        except streamh5.StreamH5Error:
            assert path.read_bytes() == content
        else:
            end_of_file = int.from_bytes(content[28:36], "little")
            assert path.read_bytes()[SIZEOF_SUPERBLOCK:end_of_file] == content[SIZEOF_SUPERBLOCK:end_of_file]
    assert [one.name for one in path.parent.glob("added-to*")] == [path.name]


@settings(max_examples=200)
@given(st.binary(max_size=400), st.booleans())
def test_random_bytes_end_in_our_errors(content: bytes, has_superblock: bool) -> None:
    if has_superblock:
        content = encode_superblock(Superblock(48 + len(content), 48)) + content
    assert damaged(verified(content)) or not content


OLD_FILES = ("libver_earliest", "many_names_earliest", "all_dtypes_earliest", "small_addresses", "elsewhere")


@pytest.mark.parametrize("name", [*OLD_FILES, "userblock_512", "shared_messages", "many_names_latest"])
@settings(max_examples=40)
@given(data=st.data())
def test_random_changes_of_foreign_files_end_in_our_errors(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    verified(changed_anywhere(foreign_file(tmp_path_factory.getbasetemp(), name), data))


@cache
def foreign_file(folder: Path, name: str) -> bytes:
    BUILDERS[name](folder / f"{name}.h5")
    return (folder / f"{name}.h5").read_bytes()


@pytest.mark.parametrize("call", [streamh5.inspect, streamh5.verify], ids=["inspect", "verify"])
@pytest.mark.parametrize("keep", [0, 7, 47, 48, 60, 500, 3000])
def test_cut_file_on_disk_ends_in_our_errors(
    tmp_path: Path, rich_file: bytes, call: Callable[[Path], object], keep: int
) -> None:
    (tmp_path / "cut.h5").write_bytes(rich_file[:keep])
    try:
        found = call(tmp_path / "cut.h5")
    except FormatError:
        assert keep < 48
    else:
        assert "DAMAGED" in repr(found) or "damaged" in repr(found)
