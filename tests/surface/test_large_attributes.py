"""Attributes above the 16 MiB of a heap block, and many that are larger together: huge objects of the heap."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5


def _values(kind: str) -> dict[str, Any]:
    if kind == "one":
        return {"m": np.arange(3e6), "small": 5}
    if kind == "around the limit":  # of the direct block
        return {f"m{i}": np.full((1 << 21) - 20 + i, i, "f8") for i in (0, 18, 19, 21)}
    if kind == "text":
        return {"t": "ü" * 10_000_000, "list": ["a" * 9_000_000, ""]}
    return {f"m{i}": np.full(100_000 + i, i, "f8") for i in range(30)} | {f"s{i}": i for i in range(50)}


def _check(path: Path, name: str, values: dict[str, Any]) -> None:
    with h5py.File(path) as found:
        assert len(found[name].attrs) == len(values)
        assert set(found[name].attrs) == set(values)
        for key, value in values.items():
            np.testing.assert_array_equal(found[name].attrs[key], value)


@pytest.mark.parametrize("kind", ["one", "around the limit", "text", "together"])
@pytest.mark.parametrize("track_order", [False, True])
def test_large_attributes_are_read_and_changed_by_h5py(kind: str, track_order: bool, tmp_path: Path) -> None:
    path, values = tmp_path / "a.h5", _values(kind)
    with streamh5.File(path, track_order=track_order) as file:
        group = file.create_group("g")
        for name, value in values.items():
            group.attrs[name] = value
    _check(path, "g", values)
    assert streamh5.verify(path).ok
    with h5py.File(path, "r+") as changed:
        attributes = changed["g"].attrs
        first, *rest = values
        del attributes[first]
        attributes["new"] = values["new"] = np.arange(2_500_000)
        attributes[rest[0]] = values[rest[0]] = 7
        del values[first]
    _check(path, "g", values)


@pytest.mark.usefixtures("hdf5_tools")
def test_large_attribute_is_read_by_h5dump(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file.attrs["m"] = np.arange(2_200_000)
    found = subprocess.run(
        ["h5dump", "-w", "0", "-y", "-a", "m", str(tmp_path / "a.h5")],
        capture_output=True,
        text=True,
        check=True,
    )
    data = found.stdout.split("DATA {", 1)[1].split("}", 1)[0]
    assert np.array_equal(np.fromstring(data.replace("\n", ""), np.int64, sep=","), np.arange(2_200_000))


def test_large_attributes_are_salvaged_and_converted(tmp_path: Path) -> None:
    path, values = tmp_path / "a.h5", _values("one")
    file = streamh5.File(path)
    file.create_dataset("x", data=np.arange(8), chunks=(4,))
    for name, value in values.items():
        file["x"].attrs[name] = value
    file.checkpoint()
    copy = tmp_path / "copy.h5"
    for end in (".partial", ".partial.journal"):
        copy.with_name(copy.name + end).write_bytes(path.with_name(path.name + end).read_bytes())
    file.close()
    streamh5.salvage(copy.with_name("copy.h5.partial"), output=copy)
    with h5py.File(copy) as found:
        for name, value in values.items():
            np.testing.assert_array_equal(found["x"].attrs[name], value)
    streamh5.convert(path, tmp_path / "b.h5")
    _check(tmp_path / "b.h5", "x", values)
