"""`verify`: intact files are good, and all damage that the format can reveal is reported."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

import streamh5
from streamh5.check.verify import Verification
from streamh5.cli.main import main
from streamh5.errors import FormatError, SpecError, UnreadableError
from streamh5.format.checksum import lookup3
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_content import read_file_content
from streamh5.reader.file_map import Kind

RNG = np.random.default_rng(4)


def protected_file(path: Path, **options: Any) -> Path:
    """Write a small file in which checksums cover all data."""
    rows = np.arange(6 * 100, dtype="u2").reshape(6, 100)
    with streamh5.File(path, "w", **options) as file:
        file.attrs["run"] = 7
        file.create_dataset(
            "a/gzip", shape=(6, 100), dtype="u2", chunks=(2, 50), compression="gzip", shuffle=True
        )[:, :] = rows
        file.create_dataset(
            "sum", shape=(6, 10), dtype="u2", chunks=(3, 5), compression=None, fletcher32=True
        )[:, :] = rows[:, :10]
        one = file.create_dataset("one", shape=(40,), dtype="i4", chunks=(40,), compression="gzip")
        one[:] = np.arange(40, dtype="i4")
        one.attrs["scale"] = np.array([1.5, 2.5])
        file.create_dataset("scalar", data=3.5)
    return path


def everything(path: Path) -> dict[str, Any]:
    """Read all values and attributes with h5py."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:

        def visit(name: str, node: Any) -> None:
            for key, value in node.attrs.items():
                found[f"{name}@{key}"] = np.asarray(value).tolist()
            if isinstance(node, h5py.Dataset):
                found[name] = node[()].tolist()

        visit("/", file)
        file.visititems(visit)
    return found


def is_reported(content: bytes) -> bool:
    try:
        report = Verification(FileBytes(content)).run(with_h5py=False)
    except FormatError:
        return True
    return not report.ok


def seal(content: bytearray, blocks: list[tuple[int, int]]) -> bytes:
    """Correct the checksums at the ends of blocks."""
    for address, nbytes in blocks:
        checksum = lookup3(content[address : address + nbytes - 4])
        content[address + nbytes - 4 : address + nbytes] = checksum.to_bytes(4, "little")
    return bytes(content)


def metadata_blocks(content: bytes) -> list[tuple[int, int]]:
    found = read_file_content(FileBytes(content))
    kinds = (Kind.SUPERBLOCK, Kind.HEADER, Kind.INDEX)
    return [(one.address, one.nbytes) for one in found.file_map.structures() if one.kind in kinds]


def test_verify_of_a_good_file_is_ok_and_counts_what_is_there(tmp_path: Path) -> None:
    report = streamh5.verify(protected_file(tmp_path / "good.h5"))
    assert report.ok
    assert (report.n_groups, report.n_datasets, report.n_attributes) == (2, 4, 2)
    assert (report.n_chunks, report.n_decoded_chunks) == (6 + 4 + 1, 6 + 4 + 1)
    assert report.unprotected_nbytes == 0
    assert "good" in repr(report)
    assert report.compared_with is not None


CAMPAIGN = pytest.param(range(8), marks=pytest.mark.campaign, id="all-bits")


def used_part(content: bytes, address: int, rank: int) -> tuple[int, int, int]:
    """Return the size of a key, the size of an entry, and the position of the last key of a version 1 B-tree node."""
    sizeof_key = 8 + 8 * (rank + 1)
    n_used = int.from_bytes(content[address + 6 : address + 8], "little")
    return sizeof_key, sizeof_key + 8, 24 + n_used * (sizeof_key + 8)


def unread_positions(content: bytes) -> set[int]:
    """Return the positions of bytes that no reader uses: unused ones, and the last bits of deflate streams.

    In version 1 B-trees, these are also the key after the last chunk and unused entries.
    """
    found = read_file_content(FileBytes(content))
    unread = set(np.flatnonzero(found.file_map.coverage(len(content))[Kind.UNUSED]).tolist())
    for dataset in found.datasets:
        if dataset.chunks is not None and any(one.filter_id == 1 for one in dataset.messages.filters):
            chunks = dataset.chunks.chunk_map
            unread |= set((chunks.addresses + chunks.stored_nbytes - 5).tolist())
        for one in found.file_map.structures():
            if one.owner == dataset.path and content[one.address : one.address + 4] == b"TREE":
                used = used_part(content, one.address, len(dataset.messages.dataspace.shape or ()))[2]
                unread |= set(range(one.address + used, one.address + one.nbytes))
    return unread


def mask_positions(content: bytes) -> set[int]:
    """Return the positions of filter masks in version 1 B-trees, which have no checksum: any mask may be meant."""
    found = read_file_content(FileBytes(content))
    masks = set()
    for dataset in found.datasets:
        for one in found.file_map.structures():
            if one.owner == dataset.path and content[one.address : one.address + 4] == b"TREE":
                rank = len(dataset.messages.dataspace.shape or ())
                _, sizeof_entry, used = used_part(content, one.address, rank)
                masks |= {one.address + entry + 4 for entry in range(24, used, sizeof_entry)}
    return masks


@pytest.mark.parametrize("libver", ["v110", "v108"])
@pytest.mark.parametrize("bits", [pytest.param((None,), id="one-bit-a-byte"), CAMPAIGN])
def test_verify_of_every_flipped_byte_reports_it_or_reads_the_same(
    tmp_path: Path, bits: Any, libver: str
) -> None:
    path = protected_file(tmp_path / "good.h5", libver=libver)
    good = path.read_bytes()
    values = everything(path)
    unread = unread_positions(good)
    unprotected = mask_positions(good)
    assert (streamh5.verify(path).unprotected_nbytes > 0) == bool(unprotected)
    for position in range(len(good)):
        if libver == "v108" and position in unread and position % 16:
            continue  # thousands of bytes of unused entries, all alike
        for bit in bits:
            flipped = bytearray(good)
            flipped[position] ^= 1 << (position % 8 if bit is None else bit)
            if not is_reported(bytes(flipped)):
                assert position in unread | unprotected, position
                path.write_bytes(flipped)
                assert everything(path) == values or position in unprotected, position


def test_verify_of_a_file_cut_at_every_length_reports_it(tmp_path: Path) -> None:
    good = protected_file(tmp_path / "good.h5").read_bytes()
    assert not is_reported(good)
    assert [nbytes for nbytes in range(len(good)) if not is_reported(good[:nbytes])] == []


@pytest.mark.parametrize(
    "changes",
    [(None,), pytest.param((0x00, 0x01, 0x7F, 0xFF), marks=pytest.mark.campaign)],
    ids=["one-value", "four-values"],
)
def test_verify_of_bytes_changed_under_right_checksums_ends_in_a_report(tmp_path: Path, changes: Any) -> None:
    """An attacker can compute checksums: the result must be an error of streamh5 or a report."""
    good = protected_file(tmp_path / "good.h5").read_bytes()
    blocks = metadata_blocks(good)
    for address, nbytes in blocks:
        for position in range(address, address + nbytes - 4):
            for value in changes:
                changed = bytearray(good)
                changed[position] = position * 37 % 256 if value is None else value
                is_reported(seal(changed, [(address, nbytes)]))


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_verify_follows_variable_length_elements_into_the_heap(
    tmp_path: Path, compression: str | None
) -> None:
    path = tmp_path / "strings.h5"
    words = np.array([f"word {i}" for i in range(100)], object)
    with streamh5.File(path, "w") as file:
        file.create_dataset(
            "words", shape=(100,), dtype=h5py.string_dtype(), chunks=(30,), compression=compression
        )[:] = words
    with h5py.File(path, "r+", libver=("v110", "v114")) as file:
        file.create_dataset("lists", (3,), h5py.vlen_dtype("i4"), chunks=(2,), shuffle=True)[:] = [
            [1],
            [],
            [2, 3],
        ]
    report = streamh5.verify(path)
    assert report.ok, report
    content = bytearray(path.read_bytes())
    text = content.index(b"word 77")
    content[text - 8] = 6  # the size of the object, one less than its element says
    path.write_bytes(content)
    report = streamh5.verify(path)
    assert [one.path for one in report.damaged_structures] == ["/words"]
    assert "chunk (2,): heap object" in report.damaged_structures[0].problem


def test_verify_of_version_1_btrees_that_grew_and_shrank_is_ok(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    values = RNG.integers(0, 9, (300, 60)).astype("i2")
    with streamh5.File(path, "w", libver="v108") as file:
        file.create_dataset("x", shape=(300, 60), maxshape=(None, None), dtype="i2", chunks=(2, 3))[:, :] = (
            values
        )
        file.create_dataset("y", shape=(300, 60), maxshape=(None, None), dtype="i2", chunks=(2, 3))
    with h5py.File(path, "r+", libver=("v108", "v110")) as file:
        for origin in RNG.permutation(3000).tolist():
            row, column = 2 * (origin // 20), 3 * (origin % 20)
            file["y"][row : row + 2, column : column + 3] = 1
        file["x"].resize((500, 70))
        file["x"][450:, 65:] = 5
        file["y"].resize((200, 30))
        file["y"].resize((400, 80))
        file["y"][300:, 40:] = 7
    report = streamh5.verify(path)
    assert report.ok, report


def test_verify_of_a_string_in_the_heap_says_that_nothing_protects_it(tmp_path: Path) -> None:
    path = tmp_path / "heap.h5"
    with streamh5.File(path, "w") as file:
        file.attrs["note"] = "hello world"
    good = path.read_bytes()
    assert streamh5.verify(path).unprotected_nbytes == 4096
    start = good.index(b"GCOL")
    text = good.index(b"hello world")
    seen = [
        is_reported(good[:at] + bytes([good[at] ^ 0x80]) + good[at + 1 :]) for at in range(start, text + 11)
    ]
    # Any bytes are a valid string, and only writers use the reference count of the object.
    unprotected = [16 + 2, 16 + 3, *range(text - start, text + 11 - start)]
    assert [at for at, is_seen in enumerate(seen) if not is_seen] == unprotected


@pytest.mark.parametrize("libver", [("v110", "v110"), ("v110", "v114"), "latest"])
def test_verify_of_files_that_h5py_wrote_is_ok(tmp_path: Path, libver: Any) -> None:
    path = tmp_path / "h5py.h5"
    values = RNG.integers(0, 9, (1500, 40)).astype("i2")
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["text"] = "hello"
        file.create_dataset("paged", data=values, chunks=(3, 4), compression="gzip", fletcher32=True)
        file.create_dataset("raw", data=values, chunks=(1, 20))
        file.create_dataset("one", data=values, chunks=values.shape, compression=4, shuffle=True)
        file.create_dataset("rows", data=values, chunks=(2, 8), maxshape=(None, 40), compression=1)
        file.create_dataset("columns", data=values, chunks=(50, 1), maxshape=(1500, None))
        sparse = file.create_dataset("sparse", shape=(30000,), chunks=(10,), dtype="f4", compression="gzip")
        sparse[15000:15100] = 1
        file.create_dataset("both", data=values, chunks=(9, 8), maxshape=(None, None), compression="gzip")
        file.create_dataset("both raw", data=values, chunks=(9, 8), maxshape=(None, None))
        for i in range(3000):
            file[f"many/{i}"] = h5py.SoftLink("/one")
            if i < 300:
                file["one"].attrs[f"number {i}"] = "x" * i
        file.create_dataset("empty", shape=(10, 10), chunks=(2, 2), dtype="f8")
        file["contiguous"] = values
        file["names"] = np.array([b"a", b"bc"])
        file["alias"] = file["one"]
        file["soft"] = h5py.SoftLink("/one")
        file["loop/back"] = file["/"]
        file.attrs["where"] = file["one"].ref
        n_chunks = sum(
            node.id.get_num_chunks()
            for name, node in file.items()
            if isinstance(node, h5py.Dataset) and node.chunks and name not in ("alias", "soft")
        )
    report = streamh5.verify(path)
    assert report.ok, report
    assert report.n_chunks == report.n_decoded_chunks == n_chunks


@pytest.mark.parametrize("libver", ["v108", "v110"])
def test_verify_of_every_index_that_streamh5_writes_is_ok(tmp_path: Path, libver: str) -> None:
    path = tmp_path / "every.h5"
    values = RNG.integers(0, 9, (1500, 40)).astype("i2")
    shapes = {"fixed": None, "rows": (None, 40), "columns": (1500, None), "both": (None, None)}
    with streamh5.File(path, "w", libver=libver) as file:
        for name, maxshape in shapes.items():
            for compression in ("gzip", None):
                options: dict[str, Any] = {"maxshape": maxshape, "compression": compression}
                file.create_dataset(
                    f"{name}/{compression}", shape=values.shape, dtype="i2", chunks=(3, 8), **options
                )[:, :] = values
        file.create_dataset("some", shape=(9000,), dtype="f4", chunks=(2,), compression="gzip")[4000:4100] = 1
        file.create_dataset("none", shape=(9000,), dtype="f4", chunks=(2,))
        file["fixed"].attrs["text"] = ["one", "two", ""]
    report = streamh5.verify(path)
    assert report.ok, report
    with h5py.File(path) as seen:
        stored = [seen[f"{name}/{compression}"] for name in shapes for compression in ("gzip", None)]
        assert report.n_chunks == sum(one.id.get_num_chunks() for one in stored) + 50
    assert report.n_missing_chunks == 4500 - 50 + 4500


def change(path: Path, **options: Any) -> None:
    with h5py.File(path, "r+", **options) as file:
        file["sum"][0:3, 0:5] = 1
        file["a"].attrs["later"] = np.arange(5)
        file["b/c"] = np.arange(20)
        for i in range(20):
            file["one"].attrs[f"number {i}"] = i
        del file["scalar"]


def test_verify_of_a_file_changed_by_h5py_is_ok(tmp_path: Path) -> None:
    path = protected_file(tmp_path / "good.h5")
    change(path, libver=("v110", "v114"))
    report = streamh5.verify(path)
    assert report.ok, report
    assert report.n_attributes == 1 + 1 + 1 + 20


def test_verify_of_a_file_changed_in_the_old_format_is_ok(tmp_path: Path) -> None:
    path = protected_file(tmp_path / "good.h5")
    change(path)
    report = streamh5.verify(path)
    assert report.ok, report


def test_verify_of_a_filter_unknown_here_asks_h5py_or_is_not_ok(tmp_path: Path) -> None:
    path = tmp_path / "lzf.h5"
    with h5py.File(path, "w", libver=("v110", "v114")) as file:
        file.create_dataset("x", data=np.arange(100), chunks=(30,), compression="lzf")
    report = streamh5.verify(path)
    assert (report.ok, report.n_decoded_chunks) == (True, 4)
    report = streamh5.verify(path, with_h5py=False)
    assert (report.ok, report.damaged, report.n_decoded_chunks, report.n_undecoded_chunks) == (
        False,
        False,
        0,
        4,
    )
    assert "4 NOT decoded" in repr(report)
    assert "streamh5 does not have filter lzf, and h5py was not asked" in repr(report)


@pytest.mark.parametrize(
    "options",
    [
        hdf5plugin.Zstd(),
        hdf5plugin.LZ4(),
        hdf5plugin.LZ4(nbytes=64),
        hdf5plugin.Blosc(),
        hdf5plugin.BZip2(),
    ],
    ids=["zstd", "lz4", "lz4-blocks", "blosc", "bzip2"],
)
def test_verify_of_plugin_filters_decodes_what_hdf5plugin_wrote(tmp_path: Path, options: Any) -> None:
    path = tmp_path / "plugin.h5"
    values = RNG.integers(0, 9, (100, 20))
    with h5py.File(path, "w", libver=("v110", "v114")) as file:
        file.create_dataset("x", data=values, chunks=(7, 20), **options)
    report = streamh5.verify(path, with_h5py=False)
    assert (report.ok, report.n_decoded_chunks) == (True, 15)
    with h5py.File(path) as file:
        info = file["x"].id.get_chunk_info(3)
    content = bytearray(path.read_bytes())
    content[info.byte_offset : info.byte_offset + info.size] = bytes(info.size)
    path.write_bytes(content)
    report = streamh5.verify(path, with_h5py=False)
    assert [(chunk.coords, chunk.address) for chunk in report.damaged_chunks] == [((3, 0), info.byte_offset)]


def test_verify_of_damaged_chunks_names_each_with_coordinates_and_address(tmp_path: Path) -> None:
    path = tmp_path / "damaged.h5"
    with streamh5.File(path, "w") as file:
        data = file.create_dataset("x", shape=(50, 60), dtype="f4", chunks=(10, 20), compression="gzip")
        data[:, :] = RNG.integers(0, 9, (50, 60)).astype("f4")
    with h5py.File(path) as file:
        infos = [file["x"].id.get_chunk_info_by_coord(origin) for origin in ((10, 20), (40, 0))]
    content = bytearray(path.read_bytes())
    for info in infos:
        content[info.byte_offset + info.size // 2] ^= 0x10
    path.write_bytes(content)
    report = streamh5.verify(path)
    assert not report.ok
    assert report.n_damaged_chunks == 2
    found = sorted(
        (one.path, one.coords, one.origin, one.address, one.stored_nbytes) for one in report.damaged_chunks
    )
    assert found == [
        ("/x", coords, info.chunk_offset, info.byte_offset, info.size)
        for coords, info in zip([(1, 1), (4, 0)], infos, strict=True)
    ]
    assert "/x chunk (1, 1)" in repr(report)


@pytest.mark.parametrize("n_raw", [79, 81, 10**7])
def test_verify_of_a_chunk_that_decodes_to_another_size_reports_it(tmp_path: Path, n_raw: int) -> None:
    path = tmp_path / "bomb.h5"
    with streamh5.File(path, "w") as file:
        data = file.create_dataset(
            "x", shape=(20,), dtype="f4", chunks=(20,), compression="gzip", shuffle=False
        )
        data.write_direct_chunk((0,), zlib.compress(bytes(n_raw), 9))
    report = streamh5.verify(path)
    assert report.n_damaged_chunks == 1
    assert "decodes to" in report.damaged_chunks[0].problem


def test_verify_without_data_decodes_nothing(tmp_path: Path) -> None:
    report = streamh5.verify(protected_file(tmp_path / "good.h5"), data=False)
    assert (report.ok, report.checked_data, report.n_decoded_chunks) == (True, False, 0)


def test_verify_progress_counts_all_stored_bytes(tmp_path: Path) -> None:
    path = protected_file(tmp_path / "good.h5")
    seen: list[tuple[int, int]] = []
    streamh5.verify(path, progress=lambda done, total: seen.append((done, total)))
    with h5py.File(path) as file:
        stored = sum(file[name].id.get_storage_size() for name in ("a/gzip", "sum", "one"))
    assert seen[-1] == (stored, stored)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"no", bytes(5000)])
def test_verify_of_what_is_no_hdf5_file_raises_format_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "no.h5").write_bytes(content)
    with pytest.raises(FormatError):
        streamh5.verify(tmp_path / "no.h5")


def test_verify_of_what_cannot_be_read_raises_unreadable_error(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="No such file"):
        streamh5.verify(tmp_path / "missing.h5")
    with pytest.raises(UnreadableError, match="not a regular file"):
        streamh5.verify(tmp_path)
    with pytest.raises(UnreadableError):
        streamh5.verify("a\0b")


def test_verify_with_no_jobs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="at least 1"):
        streamh5.verify(tmp_path, jobs=0)


def test_cli_verify_ends_with_0_for_good_1_for_damaged_2_for_unreadable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = protected_file(tmp_path / "good.h5")
    assert main(["verify", str(path), "--jobs", "2"]) == 0
    capsys.readouterr()
    assert main(["verify", str(path), "--json", "--no-data"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    cut = tmp_path / "cut.h5"
    cut.write_bytes(path.read_bytes()[:-20])
    assert main(["verify", str(cut), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["damaged"]) == (False, True)
    assert main(["verify", str(tmp_path / "none.h5")]) == 2
    assert "No such file" in capsys.readouterr().err
    lzf = tmp_path / "lzf.h5"
    with h5py.File(lzf, "w", libver=("v110", "v114")) as file:
        file.create_dataset("x", data=np.arange(100), chunks=(30,), compression="lzf")
    assert main(["verify", str(lzf)]) == 0
    assert main(["verify", str(lzf), "--no-h5py"]) == 2


def test_long_links_with_a_creation_order_are_intact(tmp_path: Path) -> None:
    """Names of more than 4 KiB are huge objects of the heap, to which both indexes refer."""
    path = tmp_path / "h5py.h5"
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("g", track_order=True)
        for i in range(20):
            group.create_group(f"{i}" + "x" * 5000)
    report = streamh5.verify(path)
    assert report.ok, report
    assert report.n_groups == 22
