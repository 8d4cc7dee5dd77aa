"""Stored chunks of HDF5 files are copied in large pieces; h5py and h5diff compare what arrives."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.conversion.hdf5 import chunk_reader
from streamh5.errors import FileMissingError, JournalError, SourceError
from tests.faults.systems import Calls, Crash, crashing, installed

N_CHUNKS = 3000
CHUNK = 512
"""Elements of a chunk."""

PREADV, PWRITEV = os.preadv, os.pwritev


def stored_chunks(order: Sequence[int]) -> list[bytes]:
    random = np.random.default_rng(7)
    return [random.bytes(1000 + number % 50) for number in order]


def write_source(path: Path, order: Sequence[int] = range(N_CHUNKS)) -> None:
    """Write chunks that nobody can decode, in `order`, one after the other."""
    with h5py.File(path, "w", libver="latest") as file:
        x = file.create_dataset("x", (len(order) * CHUNK,), "f4", chunks=(CHUNK,), compression="gzip")
        for number, data in zip(order, stored_chunks(order), strict=True):
            x.id.write_direct_chunk((number * CHUNK,), data, filter_mask=number % 3 == 0)


def chunks_of(path: Path) -> list[tuple[int, bytes]]:
    """Filter masks and stored bytes, by h5py."""
    with h5py.File(path) as file:
        x = file["x"]
        return [x.id.read_direct_chunk((i * CHUNK,)) for i in range(x.shape[0] // CHUNK)]


def addresses(path: Path) -> list[int]:
    with h5py.File(path) as file:
        x = file["x"]
        return [x.id.get_chunk_info_by_coord((i * CHUNK,)).byte_offset for i in range(x.shape[0] // CHUNK)]


def convert(folder: Path, **options: Any) -> streamh5.Conversion:
    return streamh5.convert(
        folder / "in.h5", folder / "out.h5", copy=True, overwrite=True, scheduler="synchronous", **options
    )


def counting(monkeypatch: pytest.MonkeyPatch, name: str, real: Callable[..., int]) -> list[int]:
    """Bytes of each call of `name` from now on."""
    counted: list[int] = []

    def call(fd: int, buffers: Sequence[Any], address: int) -> int:
        counted.append(sum(map(len, buffers)))
        return real(fd, buffers, address)

    monkeypatch.setattr(os, name, call)
    return counted


def test_adjacent_chunks_are_read_and_written_in_large_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_source(tmp_path / "in.h5")
    nbytes = sum(map(len, stored_chunks(range(N_CHUNKS))))
    piece = 1 << 18
    monkeypatch.setattr(chunk_reader, "PIECE_READ_NBYTES", piece)
    reads, writes = counting(monkeypatch, "preadv", PREADV), counting(monkeypatch, "pwritev", PWRITEV)
    done = convert(tmp_path)
    most = nbytes // (piece - 1100) + 2  # a piece ends with a whole chunk
    assert sum(reads) == nbytes
    # h5py puts two chunks in front of its index
    assert nbytes // piece <= len(reads) <= most + 1
    assert len(writes) <= 2 * most + 10  # an entry of the journal for each, index and headers
    assert sum(n for n in writes if n > piece - 1100) >= nbytes - 2 * piece
    assert done.arrays[0].n_copied == N_CHUNKS
    assert chunks_of(tmp_path / "out.h5") == chunks_of(tmp_path / "in.h5")


def test_chunks_in_any_order_are_read_from_the_beginning_of_the_file_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = np.random.default_rng(0).permutation(N_CHUNKS).tolist()
    write_source(tmp_path / "in.h5", order)
    reads = counting(monkeypatch, "preadv", PREADV)
    convert(tmp_path)
    assert len(reads) <= 5
    found = addresses(tmp_path / "out.h5")
    assert np.argsort(found).tolist() == np.argsort(addresses(tmp_path / "in.h5")).tolist()
    assert chunks_of(tmp_path / "out.h5") == chunks_of(tmp_path / "in.h5")


def test_bytes_between_chunks_are_left_out(tmp_path: Path) -> None:
    write_source(tmp_path / "in.h5", range(20))
    with h5py.File(tmp_path / "in.h5", "a", libver="latest") as file:
        for number in range(0, 20, 2):  # larger than before: it gets another place, and leaves a hole
            file["x"].id.write_direct_chunk((number * CHUNK,), bytes(1500))
    convert(tmp_path)
    copied = chunks_of(tmp_path / "out.h5")
    assert copied == chunks_of(tmp_path / "in.h5")
    found = addresses(tmp_path / "out.h5")
    assert max(found) + 1500 - min(found) == sum(len(data) for _, data in copied)


def test_calls_that_read_little_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_source(tmp_path / "in.h5", range(50))
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: PREADV(fd, [buffers[0][:700]], at))
    convert(tmp_path)
    monkeypatch.undo()
    assert chunks_of(tmp_path / "out.h5") == chunks_of(tmp_path / "in.h5")


def test_chunk_that_is_larger_than_a_piece_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_source(tmp_path / "in.h5", range(50))
    monkeypatch.setattr(chunk_reader, "PIECE_READ_NBYTES", 10)
    convert(tmp_path)
    assert chunks_of(tmp_path / "out.h5") == chunks_of(tmp_path / "in.h5")


@pytest.mark.parametrize("number", [0, 17, 49])
def test_chunk_on_a_bad_sector_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    write_source(tmp_path / "in.h5", range(50))
    bad = addresses(tmp_path / "in.h5")[number] + 5

    def preadv(fd: int, buffers: Sequence[Any], address: int) -> int:
        if address <= bad < address + len(buffers[0]):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return PREADV(fd, buffers, address)

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(
        SourceError, match=rf"/x: the chunk \({number},\) cannot be read: .*Input/output error"
    ):
        convert(tmp_path)
    assert not (tmp_path / "out.h5").exists()


def test_chunk_that_is_cut_off_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_source(tmp_path / "in.h5", range(50))
    end = addresses(tmp_path / "in.h5")[17] + 5

    def preadv(fd: int, buffers: Sequence[Any], address: int) -> int:
        return PREADV(fd, [buffers[0][: max(0, end - address)]], address)

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(SourceError, match=r"/x: the chunk \(17,\) cannot be read: .*truncated"):
        convert(tmp_path)


def test_chunk_beyond_the_end_of_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        x = file.create_dataset("x", (3 * CHUNK,), "u1", chunks=(CHUNK,), compression="gzip")
        for number in range(3):
            x.id.write_direct_chunk((number * CHUNK,), bytes(100 + number))
        address = x.id.get_chunk_info_by_coord((CHUNK,)).byte_offset
    content = path.read_bytes()
    assert content.count(address.to_bytes(8, "little")) == 1  # in the B-tree
    far = (len(content) - 100).to_bytes(8, "little")
    path.write_bytes(content.replace(address.to_bytes(8, "little"), far))
    with pytest.raises(SourceError, match=r"/x: the chunk \(1,\) extends beyond the end of the file"):
        convert(tmp_path)


def test_h5diff_finds_no_difference(tmp_path: Path, hdf5_tools: None) -> None:
    values = np.random.default_rng(0).normal(size=(300, 200)).cumsum(axis=1).astype("f4")
    with h5py.File(tmp_path / "in.h5", "w") as file:
        options: dict[str, Any] = {"compression": "gzip", "shuffle": True, "fletcher32": True}
        for i in range(3):
            file.create_dataset(f"x{i}", data=values + i, chunks=(7, 30), **options)
    convert(tmp_path)
    subprocess.run(["h5diff", tmp_path / "in.h5", tmp_path / "out.h5"], check=True)


@pytest.mark.parametrize("how", ["before", "torn", "after"])
@pytest.mark.parametrize("is_power_cut", [False, True])
def test_killed_copy_is_salvaged_with_the_chunks_that_were_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, is_power_cut: bool
) -> None:
    """After a power cut every claim is compared with its checksum, those of copied chunks, too."""
    monkeypatch.setattr(chunk_reader, "PIECE_READ_NBYTES", 1 << 16)
    write_source(tmp_path / "in.h5", range(500))
    expected = chunks_of(tmp_path / "in.h5")
    undisturbed = Calls()
    with installed(undisturbed):
        convert(tmp_path)
    found: list[int] = []
    for at in range(0, undisturbed.n - 8, 3):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        (folder / "in.h5").symlink_to(tmp_path / "in.h5")
        calls = crashing(at, how)
        with installed(calls), pytest.raises(Crash):
            convert(folder)
        calls.bury()
        if is_power_cut:
            monkeypatch.setattr("streamh5.recovery.resume.boot_id", lambda: "another")
        try:
            streamh5.salvage(folder / "out.h5", output=folder / "salvaged.h5")
        except (FileMissingError, JournalError):  # nothing was claimed yet
            assert not found
            continue
        with h5py.File(folder / "salvaged.h5") as file:
            n = file["x"].id.get_num_chunks()
            for i in range(n):
                info = file["x"].id.get_chunk_info(i)
                mask_and_data = file["x"].id.read_direct_chunk(info.chunk_offset)
                assert mask_and_data == expected[info.chunk_offset[0] // CHUNK]
        found.append(n)
    assert found == sorted(found)
    assert 0 < found[-1] <= 500
