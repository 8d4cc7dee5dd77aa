"""Filters that are not installed: chunks that a camera has compressed. h5py tells what it finds."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import FilterError

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
        with pytest.raises(FilterError, match="filter number 32768"):
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
