"""Filters that are not installed: chunks that a camera has compressed. h5py tells what it finds."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import FilterError, SourceError
from streamh5.filters import missing
from streamh5.filters.missing import missing_filters
from streamh5.format.filter_pipeline import FilterRecord
from tests.deadlock import DEADLOCK_SECONDS

CHUNK = b"\xff\x01" * 20


@pytest.mark.parametrize(
    "keywords",
    [
        {"compression": 32768},
        {"compression": 32768, "compression_opts": (1, 2, 4_000_000_000), "allow_unknown_filter": True},
        {"compression": {"compression": 40_000, "compression_opts": (7,)}},
        {"compression": 65_535, "compression_opts": 5, "shuffle": True, "fletcher32": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("way", ["file", "resume"])
def test_direct_chunks_of_an_unknown_filter_are_those_of_h5py(
    keywords: dict[str, Any], way: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    for i in range(2 if way == "resume" else 1):
        with streamh5.File(path, "w", resume=way == "resume") as file:
            dataset = file.create_dataset("x", (8, 4), "i8", chunks=(4, 4), **keywords)
            dataset.write_direct_chunk((4, 0), CHUNK)
            if way == "resume" and not i:
                file.checkpoint()
                names = [tmp_path / f"a.h5{end}" for end in (".partial", ".partial.journal")]
                kept = [(name, name.read_bytes()) for name in names]
                file.abort()
        if way == "resume" and not i:
            for name, data in kept:
                name.write_bytes(data)
    with h5py.File(tmp_path / "theirs.h5", "w") as other:
        given: dict[str, Any] = {"allow_unknown_filter": True, **keywords}
        if isinstance(given["compression"], dict):  # h5py takes a filter object through ** only
            given |= given["compression"]
        if isinstance(given.get("compression_opts"), int):
            given["compression_opts"] = (given["compression_opts"],)
        theirs = other.create_dataset("x", (8, 4), "i8", chunks=(4, 4), **given)
        theirs.id.write_direct_chunk((4, 0), CHUNK)
        with h5py.File(path) as found:
            assert found["x"].id.read_direct_chunk((4, 0)) == theirs.id.read_direct_chunk((4, 0))
            pipelines = [
                [plist.get_filter(i) for i in range(plist.get_nfilters())]
                for plist in (found["x"].id.get_create_plist(), theirs.id.get_create_plist())
            ]
    assert pipelines[0] == pipelines[1]


def test_data_for_an_unknown_filter_is_refused_and_the_dataset_goes_on(tmp_path: Path) -> None:
    data = np.ones((4, 4), "i8")
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(FilterError, match=r"filter number 32768.*without data, then write_direct_chunk"):
            file.create_dataset("y", data=data, chunks=(4, 4), compression=32768)
        with pytest.raises(FilterError, match="filter number 32768"):
            file.create_dataset("y", (4, 4), chunks=(4, 4), compression=32768, allow_unknown_filter=False)
        dataset = file.create_dataset("x", (None, 4), "i8", chunks=(4, 4), compression=32768)
        with pytest.raises(FilterError, match="write_direct_chunk"):
            dataset.append(data)
        with pytest.raises(FilterError, match="write_direct_chunk"):
            dataset[:4] = data
        dataset.write_direct_chunk((0, 0), zlib.compress(data.tobytes()))
    with h5py.File(tmp_path / "a.h5") as found:
        assert list(found) == ["x"]
        assert zlib.decompress(found["x"].id.read_direct_chunk((0, 0))[1]) == data.tobytes()


@pytest.mark.parametrize("number", [65_536, 2**40, -1])
def test_number_that_no_filter_can_have_is_refused_with_the_range(number: int, tmp_path: Path) -> None:
    with (
        streamh5.File(tmp_path / "a.h5") as file,
        pytest.raises(FilterError, match=f"compression={number}: .* below 65,536"),
    ):
        file.create_dataset("x", (8,), "i8", chunks=(4,), compression=number)


def test_refusal_lists_no_number_that_is_a_level_of_gzip(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(FilterError, match=r"'szip', 'nbit'.* and the filter numbers 307, 32000"):
            file.create_dataset("x", (8,), "i8", chunks=(4,), compression="unknown")
        for number in (4, 5):
            file.create_dataset(f"x{number}", (8,), "i8", chunks=(4,), compression=number)
    with h5py.File(tmp_path / "a.h5") as found:
        assert [(found[name].compression, found[name].compression_opts) for name in found] == [
            ("gzip", 4),
            ("gzip", 5),
        ]


def test_chunks_of_a_plugin_decode_with_its_client_values_only_as_hdf5_stores_them(tmp_path: Path) -> None:
    hdf5plugin = pytest.importorskip("hdf5plugin")
    hdf5plugin.register(("sperr",))  # not done by the import where HDF5_PLUGIN_PATH is set
    x = np.linspace(0, 1, 4000, dtype="f4").reshape(40, 100)
    options = dict(hdf5plugin.Sperr(absolute=0.01))
    with h5py.File("in-memory", "w", driver="core", backing_store=False) as memory:
        encoder = memory.create_dataset("x", data=x, chunks=x.shape, **options)
        number, _, values, _ = encoder.id.get_create_plist().get_filter(0)
        mask, stored = encoder.id.read_direct_chunk((0, 0))
    assert (number, values != options["compression_opts"]) == (options["compression"], True)
    with streamh5.File(tmp_path / "a.h5") as file:
        for name, given in {"stored": values, "given": options["compression_opts"]}.items():
            dataset = file.create_dataset(
                name, x.shape, x.dtype, chunks=x.shape, compression=number, compression_opts=given
            )
            dataset.write_direct_chunk((0, 0), stored, mask)
    with h5py.File(tmp_path / "a.h5") as found:
        assert 0 < abs(found["stored"][...] - x).max() <= 0.01
        with pytest.raises(OSError, match="filter"):
            found["given"][...]


PARTS = """
import sys
import dask.array as da, h5py, numpy as np, streamh5
assert not h5py.h5z.filter_avail(32026)
path = sys.argv[1]
with streamh5.File(path, "w") as file:
    file.create_dataset("x", data=np.arange(10), chunks=(4,), maxshape=(None,), compression="blosc2")
before = open(path, "rb").read()
with streamh5.File(path, "a") as file:
    for call in (lambda: file["x"].append([1]), lambda: file["x"].__setitem__(3, 1)):
        try:
            call()
        except streamh5.errors.FilterError as error:
            print(error)
    file["x"][4:8] = 7  # a whole chunk
    file.abort()
for options in ({"append_dim": 0}, {"region": slice(1, 3)}):
    try:
        streamh5.to_fixed_h5(path, "/x", da.zeros(2, dtype="i8"), mode="a", **options)
    except streamh5.errors.FilterError as error:
        print(error)
assert open(path, "rb").read() == before
"""


def test_part_of_a_chunk_that_nobody_can_decode_is_refused_at_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARTS, str(tmp_path / "a.h5")],
        env={**os.environ, "HDF5_PLUGIN_PATH": str(tmp_path)},  # hdf5plugin sets it for child processes
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=DEADLOCK_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert all(
        "must be read back" in one and "no decoder here for filter blosc2: import hdf5plugin" in one
        for one in lines
    )


@pytest.mark.parametrize(("number", "where"), [(511, "HDF5_PLUGIN_PATH"), (32_016, "docs/filters.md")])
def test_filter_that_nobody_has_is_named_with_what_helps(number: int, where: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        for name in ("x", "y"):
            dataset = file.create_dataset(name, (8, 4), "i8", chunks=(4, 4), compression=number)
            dataset.write_direct_chunk((4, 0), CHUNK)
    report = streamh5.verify(path)
    assert (report.damaged, report.complete) == (False, False)
    told = f"no decoder here for filter filter ({number}): install a plugin of that number"
    assert [one.count(told) for one in report.why_undecoded] == [1]
    assert where in repr(report)
    assert where in report._repr_html_()
    with pytest.raises(
        SourceError, match=rf"/[xy]: .*no decoder here for .*\({number}\): .*Add a filter"
    ) as caught:
        streamh5.convert(path, tmp_path / "b.h5", chunks=(8, 4), compression="gzip")
    assert "hdf5plugin" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "is_installed", "is_imported", "advice"),
    [
        (32_028, False, False, ": pip install hdf5plugin"),
        (32_028, True, False, ": import hdf5plugin"),
        (32_028, True, True, ": install a plugin of that number"),
        (32_016, False, False, ": install a plugin of that number"),
    ],
)
def test_hdf5plugin_is_advised_only_where_it_helps(
    number: int, is_installed: bool, is_imported: bool, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "find_spec", lambda name: object() if is_installed else None)
    if is_imported:
        monkeypatch.setitem(sys.modules, "hdf5plugin", missing)
    else:
        monkeypatch.delitem(sys.modules, "hdf5plugin", raising=False)
    assert advice in missing_filters([FilterRecord(number, "name", 0, ())])


def test_filters_that_hdf5plugin_is_said_to_bring_are_its_own() -> None:
    plugin = pytest.importorskip("hdf5plugin")
    assert set(plugin.FILTERS.values()) == missing._IN_HDF5PLUGIN
