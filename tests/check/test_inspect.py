"""`inspect`, compared with what h5py reads from the same file."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.cli.main import main
from streamh5.errors import FormatError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    values = (np.arange(6000) % 11).astype("f4").reshape(100, 60)
    with streamh5.File(path, "w") as file:
        file.attrs["note"] = "a string in the heap"
        file.create_dataset(
            "scan/x", shape=(100, 60), dtype="f4", chunks=(10, 20), compression="gzip", shuffle=True
        )[:50, :] = values[:50]
        file["scan/x"].attrs["unit"] = 3
        file.create_dataset("one", shape=(7,), dtype=">i2", chunks=(7,), compression=None)[:] = np.arange(7)
        grows = file.create_dataset("grows", shape=(0, 4), maxshape=(None, 4), dtype="u1", chunks=(5, 4))
        assert grows.shape == (0, 4)
        file.create_dataset("flag", data=True)
    return path


def test_inspect_agrees_with_h5py(path: Path) -> None:
    found = streamh5.inspect(path)
    by_path = {one.path: one for one in found.datasets}
    with h5py.File(path) as file:
        assert {one.path for one in found.groups} == {"/", "/scan"}
        assert set(by_path) == {"/scan/x", "/one", "/grows", "/flag"}
        for name, one in by_path.items():
            seen = file[name]
            assert (one.shape, one.chunks, one.n_attributes) == (seen.shape, seen.chunks, len(seen.attrs))
            assert one.maxshape in (None, seen.maxshape)
            assert one.nbytes == seen.nbytes
            assert one.header_address == h5py.h5o.get_info(seen.id).addr
            if seen.chunks:
                assert one.n_chunks == seen.id.get_num_chunks()
                assert one.stored_nbytes == seen.id.get_storage_size()
                infos = [seen.id.get_chunk_info(i) for i in range(one.n_chunks)]
                assert one.data_start == min((info.byte_offset for info in infos), default=None)
                assert one.data_stop == max((info.byte_offset + info.size for info in infos), default=None)
    x = by_path["/scan/x"]
    assert (x.storage, x.n_missing, x.dtype) == ("Fixed Array", 15, "float32")
    assert x.filters == ("shuffle(4)", "gzip(4)")
    assert (by_path["/one"].storage, by_path["/one"].dtype) == ("Single Chunk", "big-endian int16")
    assert by_path["/grows"].storage == "Extensible Array"
    assert by_path["/flag"].dtype == "bool"


def test_inspect_regions_sum_up_to_the_file(path: Path) -> None:
    found = streamh5.inspect(path)
    assert sum(region.nbytes for region in found.regions) == found.file_nbytes == path.stat().st_size
    assert found.regions[0].kind == "superblock"
    assert "heaps" in {region.kind for region in found.regions}


@pytest.mark.parametrize("width", [80, 100, 120])
def test_inspect_text_fits_its_width_and_names_everything(path: Path, width: int) -> None:
    text = streamh5.inspect(path).render(width)
    assert max(map(len, text.splitlines()[1:])) <= width
    for word in (
        "/scan/x",
        "Fixed Array index",
        "shuffle(4) > gzip(4)",
        "15 never written",
        "grows to (unlimited, 4)",
    ):
        assert word in text


def test_inspect_of_a_damaged_file_shows_what_is_left(path: Path) -> None:
    with h5py.File(path) as file:
        address = h5py.h5o.get_info(file["one"].id).addr
    content = bytearray(path.read_bytes())
    content[address + 20] ^= 1
    path.write_bytes(content)
    found = streamh5.inspect(path)
    assert "/scan/x" in {one.path for one in found.datasets}
    assert [(one.path, one.address) for one in found.damaged] == [("/one", address)]
    assert "damaged: /one" in repr(found)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("<u8", "uint64"),
        (">f8", "big-endian float64"),
        ("<c8", "complex64"),
        ("S9", "ASCII string of 9 bytes"),
        (h5py.string_dtype(), "UTF-8 string"),
        ([("a", "i1"), ("b", "f2", (2,))], "{a: int8, b: float16 (2,)}"),
        ("M8[ns]", "<M8[ns]"),
        (h5py.enum_dtype({"A": 1}), "enumeration of 1"),
    ],
)
def test_inspect_names_dtypes_as_numpy_and_h5py_do(tmp_path: Path, dtype: object, name: str) -> None:
    with streamh5.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", shape=(3,), chunks=(3,), dtype=np.dtype(dtype))  # type: ignore[call-overload]
    assert streamh5.inspect(tmp_path / "x.h5").datasets[0].dtype == name


def test_cli_inspect_prints_text_or_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(path)]) == 0
    assert "Fixed Array index" in capsys.readouterr().out
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["path"] for one in found["datasets"]} == {"/scan/x", "/one", "/grows", "/flag"}
    assert main(["inspect", str(path.parent / "none.h5")]) == 2


def test_inspect_of_what_is_no_hdf5_file_raises_format_error(tmp_path: Path) -> None:
    (tmp_path / "no.h5").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="is not an HDF5 file"):
        streamh5.inspect(tmp_path / "no.h5")
