"""Filters from the keyword to another program's reader: h5py's words, hdf5plugin's objects, masks, refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.cli import main as cli
from streamh5.filters.registry import codec_package
from tests.readers import readers_for
from tests.readers.hdf5_tools import repacks
from tests.readers.judgements import assert_chunk_map, assert_survives_change
from tests.readers.protocol import assert_reads
from tests.written import assert_every_reader, columns, filter_ids, values

hdf5plugin = pytest.importorskip("hdf5plugin")

LOSSLESS: dict[str, Any] = {
    "zstd": hdf5plugin.Zstd(clevel=5),
    "lz4": hdf5plugin.LZ4(),
    "lz4 blocks": hdf5plugin.LZ4(nbytes=256),
    "bzip2": hdf5plugin.BZip2(blocksize=5),
    "bitshuffle": hdf5plugin.Bitshuffle(cname="none"),
    "bitshuffle lz4": hdf5plugin.Bitshuffle(cname="lz4"),
    "bitshuffle zstd": hdf5plugin.Bitshuffle(cname="zstd", clevel=4),
    **{
        f"blosc {codec} {shuffle}": hdf5plugin.Blosc(cname=codec, clevel=4, shuffle=shuffle)
        for codec in ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
        for shuffle in (0, 1, 2)
    },
    **{
        f"blosc2 {codec} {filters}": hdf5plugin.Blosc2(cname=codec, clevel=4, filters=filters)
        for codec in ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
        for filters in (0, 1, 2)
    },
    "gzip": {"compression": "gzip", "compression_opts": 9},
    "level": {"compression": 3},
    "lzf": {"compression": "lzf", "shuffle": True},
    "szip": {"compression": "szip", "compression_opts": ("nn", 8)},
    "shuffle": {"shuffle": True},
    "sum": {"fletcher32": True},
    "zstd, shuffle, sum": {**hdf5plugin.Zstd(), "shuffle": True, "fletcher32": True},
    "scaleoffset": {"scaleoffset": 0},
}


def sample(shape: tuple[int, ...] = (50, 40)) -> Any:
    """Integers that compress."""
    return (np.arange(np.prod(shape)).reshape(shape) // 7 % 1000).astype("<i4")


def records(path: Path, name: str = "x") -> list[tuple[Any, ...]]:
    """Filters of a dataset with flags and values, as the file has them; values of chunks' sizes included."""
    with h5py.File(path) as file:
        plist = file[name].id.get_create_plist()
        return [plist.get_filter(i)[:3] for i in range(plist.get_nfilters())]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_filter_of_hdf5plugin_is_written_as_h5py_writes_it(kind: str, tmp_path: Path) -> None:
    path, theirs = tmp_path / "a.h5", tmp_path / "theirs.h5"
    keywords = dict(LOSSLESS[kind])
    data = sample()
    with streamh5.File(path) as file:
        file.create_dataset("x", data=data, chunks=(16, 13), **keywords)
    with h5py.File(theirs, "w") as other:
        other.create_dataset("x", data=data, chunks=(16, 13), **keywords)
    ours, expected = records(path), records(theirs)
    assert [one[0] for one in ours] == [one[0] for one in expected]
    assert [one[2] for one in ours] == [one[2] for one in expected]
    assert_every_reader(path, "/x", data)
    assert_chunk_map(path, "/x", columns(file, "/x"))
    assert_survives_change(path, "/x", tmp_path)
    if kind != "lzf":
        repacks(path)
    lazy = da.from_array(data, chunks=(32, 26))
    if kind in ("shuffle", "sum"):
        keywords["compression"] = None
    elif kind == "scaleoffset":
        keywords |= {"compression": None}
    streamh5.to_fixed_h5(tmp_path / "lazy.h5", "/x", lazy, chunks=(16, 13), **{"shuffle": False, **keywords})
    assert filter_ids(tmp_path / "lazy.h5", "/x") == filter_ids(path, "/x")
    for reader in readers_for("<i4", filter_ids(path, "/x")):
        assert_reads(reader, tmp_path / "lazy.h5", "/x", data)


@pytest.mark.parametrize("kind", [kind for kind in LOSSLESS if kind not in ("scaleoffset", "szip")])
def test_noise_is_kept_by_filters_that_are_never_skipped(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = np.concatenate(
        [values("<i4", (64, 32), seed=5), sample((64, 32)), values("<i4", (64, 32), seed=6)]
    )
    with streamh5.File(path) as file:
        file.create_dataset("x", data=data, chunks=(64, 16), maxshape=(None, 32), **LOSSLESS[kind])
    assert_every_reader(path, "/x", data)
    assert_chunk_map(path, "/x", columns(file, "/x"))
    with h5py.File(path) as found:
        for i in range(found["x"].id.get_num_chunks()):
            info = found["x"].id.get_chunk_info(i)
            assert info.size <= 64 * 16 * 4 * 1.05 + 600
            assert info.filter_mask == 0


@pytest.mark.parametrize(
    "mode", [{"rate": 16}, {"precision": 20}, {"accuracy": 0.01}, {"reversible": True}], ids=str
)
def test_zfp_is_read_within_its_error(mode: dict[str, Any], tmp_path: Path) -> None:
    rows, columns_ = np.mgrid[:50, :40] / 9
    data = (np.sin(rows) * np.cos(columns_)).astype("<f4")
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", data=data, chunks=(16, 20), **hdf5plugin.Zfp(**mode))
    with h5py.File(tmp_path / "theirs.h5", "w") as other:
        other.create_dataset("x", data=data, chunks=(16, 20), **hdf5plugin.Zfp(**mode))
    with h5py.File(tmp_path / "a.h5") as found, h5py.File(tmp_path / "theirs.h5") as other:
        np.testing.assert_array_equal(found["x"][()], other["x"][()])
        np.testing.assert_allclose(found["x"][()], data, atol=0.02)


@pytest.mark.parametrize(
    ("dtype", "factor"), [("f4", 2), ("f8", 3), ("i2", 0), ("u4", 9), ("i4", True)], ids=str
)
def test_scaleoffset_is_read_as_h5pys_own(dtype: str, factor: Any, tmp_path: Path) -> None:
    data = (np.arange(2000).reshape(50, 40) % 300 / (8 if dtype[0] == "f" else 1)).astype(dtype)
    with streamh5.File(tmp_path / "a.h5") as file:
        file.create_dataset("x", data=data, chunks=(16, 13), scaleoffset=factor, fillvalue=3)
    with h5py.File(tmp_path / "theirs.h5", "w") as other:
        other.create_dataset("x", data=data, chunks=(16, 13), scaleoffset=factor, fillvalue=3)
    assert records(tmp_path / "a.h5") == records(tmp_path / "theirs.h5")
    with h5py.File(tmp_path / "a.h5") as found, h5py.File(tmp_path / "theirs.h5") as other:
        np.testing.assert_array_equal(found["x"][()], other["x"][()])


ORDER: list[dict[str, Any]] = [
    {"scaleoffset": 2, "fletcher32": True},
    {"scaleoffset": 2, "dtype": "c8"},
    {"compression": "gzip", "compression_opts": 11},
    {"compression": "szip", "compression_opts": ("nn", 7)},
    {"compression_opts": 4},
]


@pytest.mark.parametrize("keywords", ORDER, ids=str)
def test_filters_that_cannot_be_undone_are_refused(keywords: dict[str, Any], tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(errors.FilterError):
            file.create_dataset("x", (30, 30), **{"dtype": "f4", "chunks": (10, 10), **keywords})
        assert list(file) == []


def test_codec_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []

    def block(part: Any) -> Any:
        computed.append(1)
        return part

    lazy = da.zeros(4, chunks=2).map_blocks(block, dtype="f8", meta=np.empty(0))
    codec_package.cache_clear()
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    try:
        with pytest.raises(errors.MissingCodecError, match=r"imagecodecs.*streamh5\[codecs\]") as caught:
            streamh5.to_fixed_h5(tmp_path / "a.h5", "/x", lazy, **hdf5plugin.Bitshuffle())
        assert isinstance(caught.value, ImportError)
        assert cli.main(["filters", "--no-speed"]) == 0
    finally:
        monkeypatch.undo()
        codec_package.cache_clear()
    assert computed == []
    assert list(tmp_path.iterdir()) == []


def test_filters_command_lists_what_can_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["filters", "--json", "--no-speed"]) == 0
    found = {one["keyword"]: one for one in json.loads(capsys.readouterr().out)}
    assert found.keys() >= {
        "gzip",
        "shuffle",
        "fletcher32",
        "zstd",
        "lz4",
        "blosc",
        "blosc2",
        "bitshuffle",
        "szip",
    }
    assert all(one["mb_per_s"] is None for one in found.values())
    assert found["zstd"]["filter_id"] == 32015
    assert cli.main(["filters"]) == 0
    said = capsys.readouterr().out
    assert "MB/s" in said.splitlines()[0]
    for keyword in found:
        assert f" {keyword} " in said
    line = next(line for line in said.splitlines() if " gzip " in line).split()
    assert float(line[2].replace(",", "")) > 1
    assert 1 < float(line[3]) < 10


def test_filters_command_says_what_is_not_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec_package.cache_clear()
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    try:
        assert cli.main(["filters", "--no-speed"]) == 0
    finally:
        monkeypatch.undo()
        codec_package.cache_clear()
    line = next(line for line in capsys.readouterr().out.splitlines() if " bitshuffle " in line)
    assert "not here" in line
    assert "streamh5[codecs]" in line
