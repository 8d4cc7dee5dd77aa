"""zstd: kept compressors give the bytes of single calls, and no two threads use one."""

from __future__ import annotations

import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from numcodecs import zstd as numcodecs_zstd

from streamh5.errors import MissingCodecError
from streamh5.filters import FilterOptions, available
from streamh5.filters import zstd as module
from streamh5.filters.base import Encode
from streamh5.filters.zstd import zstd_encoder
from tests.deadlock import DEADLOCK_SECONDS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVELS = (-(1 << 17), *range(-5, 23))
# Below, at and above the sizes at which Zstandard changes its tables (16 KiB, 128 KiB, 256 KiB) and splits blocks.
SIZES = (0, 1, 7, 100, 255, 256, 4096, *((n << 10) + d for n in (16, 128, 256) for d in (-1, 0, 1)))
LARGE_SIZES = ((1 << 20) + 1, 5 << 20)


def encoder(level: int, nbytes: int = 1 << 20) -> Encode:
    return zstd_encoder((level % (1 << 32),), nbytes)[1]


@cache
def content(kind: str, n: int) -> bytes:
    rng = np.random.default_rng(n)
    match kind:
        case "zeros":
            return bytes(n)
        case "noise":
            return rng.bytes(n)
        case "counts":
            return rng.poisson(3, n).astype("u1").tobytes()
    return (280 + np.cumsum(rng.normal(0, 0.1, n // 4 + 1))).astype("<f4").tobytes()[:n]


KINDS = ("zeros", "noise", "counts", "floats")


@pytest.mark.parametrize("level", LEVELS)
def test_kept_compressor_gives_the_bytes_of_a_single_call(level: int) -> None:
    encode = encoder(level)
    work = [(kind, n) for kind in KINDS for n in SIZES[: 7 if level > 7 else None]] * 2
    if level <= 7:
        work += [("counts", n) for n in LARGE_SIZES]
    random.Random(level).shuffle(work)
    for kind, n in work:
        data = content(kind, n)
        frame = bytes(encode(data))
        assert frame == zstd.compress(data, level), (kind, n)
        assert zstd.get_frame_info(frame).decompressed_size == n


@pytest.mark.parametrize("level", [-5, 1, 3, 4])
def test_size_of_the_chunks_and_level_choose_the_codec(level: int) -> None:
    for nbytes in (1 << 20, (1 << 20) + 1):
        data = content("counts", nbytes)
        frame = bytes(encoder(level, nbytes)(data))
        is_by_numcodecs = nbytes > 1 << 20 and level <= 3
        encode = numcodecs_zstd.compress if is_by_numcodecs else zstd.compress
        assert frame == bytes(encode(data, level))
        assert zstd.get_frame_info(frame).decompressed_size == nbytes


def test_levels_in_turn_give_the_bytes_of_single_calls() -> None:
    data = content("floats", 70_000)
    encoders = {level: encoder(level) for level in (3, -5, 3, 22, 1)}
    for level in (3, -5, 3, 22, 1, 3, 0, 3):
        encode = encoders.get(level) or encoder(level)
        assert bytes(encode(data)) == zstd.compress(data, level)


def test_frames_are_read_by_the_plugin_and_by_numcodecs(tmp_path: Any) -> None:
    for level in LEVELS:
        rows = np.frombuffer(content("floats", 3 * 40_000), "<f4").reshape(3, -1)
        options: dict[str, Any] = {
            "compression": 32015,
            "compression_opts": (level % (1 << 32),),
            "shuffle": True,
        }
        chain = FilterOptions(**options).chain(rows.dtype, rows[0].nbytes)
        frames = chain.encode_rows(rows.view("u1")).buffers
        with h5py.File(tmp_path / "x.h5", "w") as file:
            x = file.create_dataset("x", rows.shape, rows.dtype, chunks=(1, rows.shape[1]), **options)
            for i, frame in enumerate(frames):
                x.id.write_direct_chunk((i, 0), bytes(frame))
        with h5py.File(tmp_path / "x.h5") as file:
            assert file["x"][()].tobytes() == rows.tobytes()
        for i, frame in enumerate(frames):
            shuffled = np.frombuffer(numcodecs_zstd.decompress(frame), "u1")
            assert shuffled.reshape(4, -1).T.tobytes() == rows[i].tobytes()


class Recorder:
    """Python's module, which remembers its compressors and which threads use each of them."""

    def __init__(self) -> None:
        self.users: list[set[int]] = []
        self.n_single_calls = 0

    def ZstdCompressor(self, level: int) -> Any:  # noqa: N802 - the name in the module
        compressor = zstd.ZstdCompressor(level)
        users: set[int] = set()
        self.users.append(users)

        class Watched:
            FLUSH_FRAME = compressor.FLUSH_FRAME

            def compress(self, data: Any, mode: Any) -> bytes:
                users.add(threading.get_ident())
                return compressor.compress(data, mode)

        return Watched()

    def compress(self, data: Any, level: int) -> bytes:
        self.n_single_calls += 1
        return zstd.compress(data, level)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(module, "_codec", lambda: made)
    monkeypatch.setattr(module, "_per_thread", type(module._per_thread)())
    return made


def test_each_thread_has_one_compressor_of_its_own(recorder: Recorder) -> None:
    n_threads = 4
    encode = encoder(3)
    barrier = threading.Barrier(n_threads, timeout=DEADLOCK_SECONDS)
    data = [content("floats", 5000 + i) for i in range(20)]

    def work(_: int) -> list[bytes]:
        barrier.wait()
        return [bytes(encode(one)) for one in data]

    with ThreadPoolExecutor(n_threads) as pool:
        results = list(pool.map(work, range(n_threads)))
    assert results == [[zstd.compress(one, 3) for one in data]] * n_threads
    assert len(recorder.users) == n_threads
    assert len(set().union(*recorder.users)) == n_threads
    assert all(len(users) == 1 for users in recorder.users)


def test_compressors_that_hold_much_memory_are_not_kept(recorder: Recorder) -> None:
    data = content("floats", 5000)
    for level in (7, 8, 22, 7):
        encode = encoder(level)
        encode(data)
        encode(data)
    assert len(recorder.users) == 1
    assert recorder.n_single_calls == 4


def test_missing_zstd_is_an_error_that_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not another codec instead, whose bytes would be other ones."""
    monkeypatch.setitem(sys.modules, zstd.__name__, None)
    monkeypatch.delattr(zstd.__name__)
    for name in ("zstd", 32015):
        with pytest.raises(MissingCodecError, match=r"compression\.zstd.*'backports\.zstd'"):
            FilterOptions(compression=name).chain(np.dtype("f4"), 400)
    assert [one.keyword for one in available() if not one.is_writable] == ["zstd"]


def test_bitshuffle_with_zstd_is_read_by_the_plugin_at_every_level(check: Any) -> None:
    rows = np.frombuffer(content("floats", 2 * 80_000), "<f4").reshape(2, -1)
    for level in (-5, 1, 3, 9, 22):
        check(rows, compression=32008, compression_opts=(0, 3, level % (1 << 32)))
    check(rows, **hdf5plugin.Bitshuffle(cname="zstd"))
