"""Damaged zarr stores, zip and npy files: what they raise is ours, names the object and keeps the cause."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import streamh5
from streamh5.errors import SourceError, StreamH5Error

pytestmark = pytest.mark.filterwarnings(
    "ignore:Object at", "ignore:Duplicate name", "ignore:.*was never awaited", "ignore:The data type"
)

KINDS = ("v2", "v3", "sharded", "zip")


def store(folder: Path, kind: str) -> Path:
    """Write a group of two arrays; a zip file of it."""
    where = folder / "s.zarr"
    root = zarr.create_group(where, zarr_format=2 if kind == "v2" else 3, attributes={"title": "x"})
    shards: dict[str, Any] = {"shards": (20, 20)} if kind == "sharded" else {}
    for name in ("a", "deep/b"):
        array = root.create_array(name, shape=(40, 30), chunks=(10, 10), dtype="f4", **shards)
        array[...] = np.arange(1200, dtype="f4").reshape(40, 30)
        array.attrs["units"] = "K"
    if kind != "zip":
        return where
    shutil.make_archive(str(folder / "z"), "zip", where)
    return folder / "z.zip"


def files_of(source: Path) -> list[Path]:
    return sorted(one for one in source.rglob("*") if one.is_file()) if source.is_dir() else [source]


def convert(source: Path, **keywords: Any) -> None:
    streamh5.convert(source, source.parent / "out.h5", overwrite=True, progress=False, **keywords)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copy", [None, False], ids=["copied", "encoded"])
def test_damaged_chunk_is_named_with_its_array(kind: str, copy: bool | None, tmp_path: Path) -> None:
    source = store(tmp_path, kind)
    if kind == "zip":
        with zipfile.ZipFile(source) as file:
            entry = file.getinfo("deep/b/c/1/1")
        data = bytearray(source.read_bytes())
        for i in range(entry.header_offset + 60, entry.header_offset + 70):
            data[i] ^= 0xFF
        source.write_bytes(data)
    else:
        chunk = source / "deep/b" / {"v2": "1.1", "v3": "c/1/1", "sharded": "c/0/0"}[kind]
        data = bytearray(chunk.read_bytes())
        data[2:6] = b"\xff" * 4
        chunk.write_bytes(data)
    with pytest.raises(SourceError, match=r"deep/b.*chunk|chunk.*deep/b") as caught:
        convert(source, copy=copy)
    assert caught.value.__cause__ is not None
    assert not isinstance(caught.value.__cause__, StreamH5Error)
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 5000,
        b'{"zarr_format": 9, "node_type": "array"}',
    ],
)
@pytest.mark.parametrize("name", ["zarr.json", "a/zarr.json"])
def test_metadata_that_is_none_is_refused(name: str, text: bytes, tmp_path: Path) -> None:
    source = store(tmp_path, "v3")
    (source / name).write_bytes(text)
    with pytest.raises(SourceError, match=r"s\.zarr"):
        convert(source)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [-40, 30]),
        ("shape", [40]),
        ("shape", "x"),
        ("data_type", "float99"),
        ("codecs", []),
        ("codecs", [{"name": "bytes"}, {"name": "no-such-codec"}]),
        ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [0, 10]}}),
        ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [10]}}),
        ("dimension_names", ["x"]),
        ("fill_value", "x"),
    ],
)
def test_metadata_with_a_wrong_value_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    source = store(tmp_path, "v3")
    metadata = json.loads((source / "a/zarr.json").read_text())
    metadata[key] = value
    (source / "a/zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(StreamH5Error) as caught:
        convert(source)
    assert len(str(caught.value)) <= 300


@pytest.mark.parametrize("name", ["/x/.zattrs", "../x/.zgroup", "a//b/.zgroup", "./.zattrs", "//.zgroup"])
def test_zip_with_a_name_that_is_no_key_is_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        file.writestr(".zgroup", '{"zarr_format": 2}')
        file.writestr(name, '{"zarr_format": 2}')
    with pytest.raises(SourceError, match="relative paths"):
        convert(tmp_path / "z.zip")


def test_groups_nested_hundreds_deep_come_over(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        for depth in range(400):
            file.writestr("g/" * depth + ".zgroup", '{"zarr_format": 2}')
    convert(tmp_path / "z.zip")
    with pytest.importorskip("h5py").File(tmp_path / "out.h5") as file:
        assert "g/" * 398 + "g" in file


@pytest.mark.parametrize("kind", KINDS)
def test_store_with_bytes_changed_or_cut_off_raises_nothing_but_errors_of_ours(
    kind: str, tmp_path: Path
) -> None:
    source = store(tmp_path, kind)
    files = files_of(source)
    rng = np.random.default_rng(7)
    for _ in range(60):
        victim = files[rng.integers(len(files))]
        good = victim.read_bytes()
        mutant = bytearray(good)
        if rng.random() < 0.3:
            del mutant[rng.integers(len(mutant)) :]
        for _ in range(rng.integers(1, 4)):
            if mutant:
                mutant[rng.integers(len(mutant))] = rng.integers(256)
        victim.write_bytes(mutant)
        with suppress(StreamH5Error):  # and nothing else
            convert(source, copy=None if rng.random() < 0.7 else False)
        victim.write_bytes(good)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (4,), }" + b"\xff",
        b"{'descr': 'nope', 'fortran_order': False, 'shape': (4,), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (4,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (-4,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (2**70,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        b"{'descr': '<f8', 'fortran_order': 3, 'shape': (4,), }",
        b"{'descr': [('a',)], 'fortran_order': False, 'shape': (4,), }",
        b"(" * 3000,
        b"[" * 60,
    ],
)
def test_npy_file_that_is_damaged_is_refused_by_name(header: bytes, tmp_path: Path) -> None:
    text = header + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(32))
    with pytest.raises(SourceError, match=r"a\.npy") as caught:
        convert(tmp_path / "a.npy")
    assert caught.value.__cause__ is not None


def test_npy_file_with_bytes_changed_or_cut_off_raises_nothing_but_errors_of_ours(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(60, dtype="f4").reshape(3, 20))
    rng = np.random.default_rng(3)
    for _ in range(200):
        mutant = bytearray(buffer.getvalue())
        mutant[rng.integers(8, 130)] = rng.integers(256)
        (tmp_path / "a.npy").write_bytes(
            mutant[: rng.integers(1, len(mutant))] if rng.random() < 0.3 else mutant
        )
        with suppress(StreamH5Error):
            convert(tmp_path / "a.npy")
