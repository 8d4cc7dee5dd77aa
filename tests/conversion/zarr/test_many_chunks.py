"""Stores of many small chunks: files are read in batches, ahead where the store is slow, and shards in runs."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import h5py
import numcodecs
import numpy as np
import pytest
from zarr.storage import LocalStore

import streamh5
from streamh5.conversion.zarr import stored_values as values_module
from streamh5.conversion.zarr.stored_values import stored_values
from streamh5.errors import SourceError
from tests.conversion.zarr.stores import field, make, read_h5

N_CHUNKS = 300
CHUNK = 64
N_EACH = 20
"""Chunks of a batch."""

OPEN, PREAD = os.open, os.pread


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of `N_EACH` chunks."""
    monkeypatch.setattr(values_module, "BATCH_READ_NBYTES", N_EACH * CHUNK * 4)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every store is one that takes time."""
    monkeypatch.setattr(values_module, "SLOW_FILE_SECONDS", 0.0)
    monkeypatch.setattr(values_module, "SLOW_BYTE_SECONDS", 0.0)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No store is one that takes time."""
    monkeypatch.setattr(values_module, "SLOW_FILE_SECONDS", float("inf"))


def store(folder: Path, **keywords: Any) -> Any:
    return make(folder / "x.zarr", field((N_CHUNKS * CHUNK,)), (CHUNK,), compressors=None, **keywords)


def convert(folder: Path, **keywords: Any) -> streamh5.Conversion:
    return streamh5.from_zarr(folder / "x.zarr", folder / "x.h5", copy=True, progress=False, **keywords)


def keys(array: Any) -> list[str]:
    return [array.metadata.encode_chunk_key((i,)) for i in range(N_CHUNKS)]


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads that open a chunk from now on."""
    found: list[str] = []

    def call(path: Any, *arguments: Any) -> int:
        if "x.zarr/c/" in str(path):
            found.append(threading.current_thread().name)
        return OPEN(path, *arguments)

    monkeypatch.setattr(os, "open", call)
    return found


def test_slow_files_are_read_by_threads_at_most_a_batch_ahead(
    tmp_path: Path, small: None, slow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = store(tmp_path)
    names = opened(monkeypatch)
    n_given = 0
    for part, values in stored_values(array).whole(keys(array), CHUNK * 4):
        assert part.start == n_given
        assert len(values) == part.stop - part.start <= N_EACH
        assert len(names) <= part.stop + N_EACH  # no more than the next batch
        n_given = part.stop
    assert n_given == len(names) == N_CHUNKS
    assert sum(name.startswith("streamh5_reader") for name in names) == N_CHUNKS - values_module.N_TRIED


def test_fast_files_are_read_by_the_thread_that_stores_them(
    tmp_path: Path, small: None, fast: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = store(tmp_path)
    names = opened(monkeypatch)
    for part, _ in stored_values(array).whole(keys(array), CHUNK * 4):
        assert len(names) == part.stop
    assert set(names) == {threading.current_thread().name}


def test_reading_ahead_ends_with_the_reader(tmp_path: Path, small: None, slow: None) -> None:
    array = store(tmp_path)
    batches = stored_values(array).whole(keys(array), CHUNK * 4)
    next(batches)
    next(batches)
    assert any(one.name.startswith("streamh5_reader") for one in threading.enumerate())
    batches.close()  # type: ignore[attr-defined]
    assert not any(one.name.startswith("streamh5_reader") for one in threading.enumerate())


@pytest.mark.parametrize("speed", ["slow", "fast"])
def test_file_has_the_same_bytes_however_fast_the_store_is(
    speed: str, tmp_path: Path, small: None, request: pytest.FixtureRequest
) -> None:
    store(tmp_path)
    streamh5.from_zarr(tmp_path / "x.zarr", tmp_path / "first.h5", copy=True, scheduler="sync")
    request.getfixturevalue(speed)
    convert(tmp_path, scheduler="sync")
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "first.h5").read_bytes()


@pytest.mark.parametrize("speed", ["slow", "fast"])
def test_missing_files_stay_missing_in_every_batch(
    speed: str, tmp_path: Path, small: None, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(speed)
    data = field((N_CHUNKS * CHUNK,))
    store(tmp_path)
    for i in range(0, N_CHUNKS, 7):
        (tmp_path / f"x.zarr/c/{i}").unlink()
        data[i * CHUNK : (i + 1) * CHUNK] = 0
    (tmp_path / "x.zarr/c/7").mkdir()
    done = convert(tmp_path)
    assert done.arrays[0].n_copied == N_CHUNKS - len(range(0, N_CHUNKS, 7))
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["data"].id.get_num_chunks() == done.arrays[0].n_copied


@pytest.mark.parametrize("speed", ["slow", "fast"])
@pytest.mark.parametrize("number", [0, 17, N_CHUNKS - 1])
def test_file_that_cannot_be_read_is_named(
    speed: str, number: int, tmp_path: Path, small: None, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    request.getfixturevalue(speed)
    store(tmp_path)

    def refuse(path: Any, *arguments: Any) -> int:
        if str(path).endswith(f"x.zarr/c/{number}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return OPEN(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceError, match=rf"x\.zarr: the chunk c/{number} cannot be read: .*Input/output"):
        convert(tmp_path)
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize("speed", ["slow", "fast"])
def test_file_that_is_cut_short_is_named(
    speed: str, tmp_path: Path, small: None, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(speed)
    store(tmp_path)
    os.truncate(tmp_path / "x.zarr/c/99", 100)
    with pytest.raises(SourceError, match=r"/data: chunk \(99,\) of the zarr array cannot be decoded"):
        convert(tmp_path)
    assert not (tmp_path / "x.h5").exists()


def test_calls_that_read_little_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path)
    read = os.read
    monkeypatch.setattr(os, "read", lambda file, nbytes: read(file, min(nbytes, 100)))
    convert(tmp_path)
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), field((N_CHUNKS * CHUNK,)))


def counted_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each read of a part of a shard from now on."""
    found: list[int] = []

    def call(file: int, nbytes: int, offset: int) -> bytes:
        if "x.zarr" in os.readlink(f"/proc/self/fd/{file}"):
            found.append(nbytes)
        return PREAD(file, nbytes, offset)

    monkeypatch.setattr(os, "pread", call)
    return found


@pytest.mark.parametrize("shards", [(32, 48), (64, 96)])
def test_shard_is_read_with_one_call_for_its_index_and_one_for_its_chunks(
    shards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = field((128, 96))
    make(
        tmp_path / "x.zarr", data, (8, 12), shards=shards, compressors=None
    )  # zarr stores them in Morton order
    reads = counted_reads(monkeypatch)
    done = convert(tmp_path)
    n_shards = data.size // (shards[0] * shards[1])
    assert len(reads) == 2 * n_shards
    assert done.arrays[0].n_copied == 16 * 8
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)


def test_chunks_keep_the_order_of_their_shard(tmp_path: Path) -> None:
    data = field((64, 96))
    make(tmp_path / "x.zarr", data, (8, 12), shards=(64, 96), compressors=None)
    convert(tmp_path)
    shard = (tmp_path / "x.zarr/c/0/0").read_bytes()
    starts = np.frombuffer(shard[-64 * 16 - 4 : -4], "<u8").reshape(8, 8, 2)[..., 0]
    with h5py.File(tmp_path / "x.h5") as file:
        chunks = file["data"].id
        found = [chunks.get_chunk_info(i) for i in range(64)]
    by_address = [one.chunk_offset for one in sorted(found, key=lambda one: one.byte_offset)]
    by_place = np.unravel_index(np.argsort(starts, axis=None), (8, 8))
    assert by_address == [(i * 8, j * 12) for i, j in zip(*by_place, strict=True)]


def test_runs_of_a_shard_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamh5.conversion.zarr import chunks as chunks_module

    data = field((N_CHUNKS * CHUNK,))
    make(tmp_path / "x.zarr", data, (CHUNK,), shards=data.shape, compressors=None)
    most = 10 * CHUNK * 4
    monkeypatch.setattr(chunks_module, "RUN_NBYTES", most)
    reads = counted_reads(monkeypatch)
    convert(tmp_path)
    assert len(reads) == 1 + N_CHUNKS // 10 + 1  # the index; the first run ends before the limit
    assert max(reads[1:]) <= most
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)


def test_chunks_between_holes_of_a_shard_are_read_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = field((16 * CHUNK,))
    array = make(tmp_path / "x.zarr", data, (CHUNK,), shards=data.shape, compressors=None)
    shard = tmp_path / "x.zarr" / array.metadata.encode_chunk_key((0,))
    content = bytearray(shard.read_bytes())
    index = np.frombuffer(content, "<u8", 32, len(content) - 4 - 16 * 16)
    index[6:8] = 2**64 - 1  # chunk 3 is missing
    content[-4:] = numcodecs.checksum32.CRC32C.checksum(index.tobytes()).to_bytes(4, "little")
    shard.write_bytes(content)
    data[3 * CHUNK : 4 * CHUNK] = 0
    reads = counted_reads(monkeypatch)
    assert convert(tmp_path).arrays[0].n_copied == 15
    assert sorted(reads[1:]) == [3 * CHUNK * 4, 12 * CHUNK * 4]
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)


@pytest.mark.parametrize("entry", [(2**63, 8), (100, 2**64 - 2), (2**64 - 8, 256)])
def test_entry_of_a_shard_that_leads_nowhere_is_an_error(entry: Any, tmp_path: Path) -> None:
    data = field((16 * CHUNK,))
    array = make(tmp_path / "x.zarr", data, (CHUNK,), shards=data.shape, compressors=None)
    shard = tmp_path / "x.zarr" / array.metadata.encode_chunk_key((0,))
    content = bytearray(shard.read_bytes())
    index = np.frombuffer(content, "<u8", 32, len(content) - 4 - 16 * 16)
    index[6:8] = entry
    content[-4:] = numcodecs.checksum32.CRC32C.checksum(index.tobytes()).to_bytes(4, "little")
    shard.write_bytes(content)
    with pytest.raises(SourceError, match="/data: chunk"):
        convert(tmp_path)
    assert not (tmp_path / "x.h5").exists()


def test_requests_of_a_store_that_is_not_a_directory_are_for_runs(tmp_path: Path) -> None:
    asked: list[Any] = []

    class Counted(LocalStore):
        async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
            if byte_range is not None:
                asked.append(byte_range)
            return await super().get(key, prototype, byte_range)

    data = field((64, 96))
    make(tmp_path / "x.zarr", data, (8, 12), shards=(32, 48), compressors=None)
    streamh5.from_zarr(
        Counted(tmp_path / "x.zarr", read_only=True), tmp_path / "x.h5", copy=True, progress=False
    )
    assert len(asked) == 2 * 4
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), data)


@pytest.mark.filterwarnings("ignore::streamh5.FewThreadsWarning")
def test_large_shards_need_no_more_memory_than_their_pieces(tmp_path: Path) -> None:
    values = np.full(1 << 24, 1.5, "f4")
    make(tmp_path / "x.zarr", values, (1 << 14,), shards=(1 << 24,))
    convert(tmp_path, max_memory="200 MB")
    np.testing.assert_array_equal(read_h5(tmp_path / "x.h5"), values)
