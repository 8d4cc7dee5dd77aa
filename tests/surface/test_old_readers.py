"""libver="v108": HDF5 1.8 and readers of that time take the files; no other index than the v1 B-tree is in them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from tests.deadlock import DEADLOCK_SECONDS
from tests.readers.judgements import assert_chunk_map
from tests.readers.programs import brought
from tests.surface import old_hdf5
from tests.surface.kinds import KINDS, MAXSHAPES
from tests.written import DTYPES, GZIP, assert_every_reader, columns, values

V108 = [kind for kind in KINDS if kind.endswith("v108")]


@pytest.fixture
def hdf5_1_8() -> None:
    """Skip the test unless HDF5 1.8 is here."""
    reason = old_hdf5.missing()
    if reason is not None:
        pytest.skip(f"reader missing: {reason}")


def objects(path: Path) -> dict[str, Any]:
    """Every dataset and group by one of its paths: None for a group, the values of a dataset."""
    found: dict[str, Any] = {"/": None}

    def note(name: str, node: Any) -> None:
        is_dataset = isinstance(node, h5py.Dataset) and node.shape is not None
        found[f"/{name}"] = np.asarray(node[()], node.dtype) if is_dataset else None

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def assert_same(content: bytes, expected: Any, what: str) -> None:
    """Assert that HDF5 1.8 has read these values; pointers to variable-length ones by their number alone."""
    dtype = expected.dtype.base
    if dtype.hasobject or h5py.check_ref_dtype(dtype):
        assert bool(content) == bool(expected.size), what
    elif what == "/scaleoffset/decimals":  # quotients, whose last bit is that of the build that reads them
        np.testing.assert_allclose(np.frombuffer(content, dtype), expected.ravel(), rtol=1e-6)
    else:
        np.testing.assert_array_equal(np.frombuffer(content, dtype), expected.ravel(), err_msg=what)


@pytest.mark.usefixtures("hdf5_1_8")
@pytest.mark.parametrize("kind", V108)
def test_every_object_is_read_by_hdf5_1_8(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    KINDS[kind](path)
    with h5py.File(path) as file:
        for name, expected in objects(path).items():
            with old_hdf5.opened(path, name) as node:
                if expected is not None:
                    assert_same(old_hdf5.elements(node), expected, name)
                found = old_hdf5.attributes(node)
                assert sorted(found) == sorted(file[name].attrs)
                for attribute, content in found.items():
                    assert_same(content, raw_attribute(file[name], attribute), f"{name}: {attribute}")
                if isinstance(file[name], h5py.Group):
                    assert old_hdf5.n_links(node) == len(file[name])
                    assert all(old_hdf5.has_link(node, link) for link in file[name])


@pytest.mark.usefixtures("hdf5_1_8")
@pytest.mark.parametrize("libver", ["earliest", "v108"])
def test_changed_file_of_an_old_library_is_read_by_hdf5_1_8(libver: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=(libver, "v108")) as file:
        file["whole"] = np.arange(1000)
        file.create_dataset("chunked", data=np.arange(100), chunks=(7,), maxshape=(None,), compression="gzip")
        file["g/inner"] = 1.5
    with streamh5.File(path, "a") as new:
        found, grown = new["chunked"], new["whole"]
        assert isinstance(found, streamh5.Dataset)
        assert isinstance(grown, streamh5.Dataset)
        grown.resize((2000,), maxshape=(None,))
        found.append([1, 2])
        found.attrs["unit"] = 1.5
        new.move("g", "h")
    expected = {"/whole": [*range(1000), *[0] * 1000], "/chunked": [*range(100), 1, 2]}
    for name, elements in expected.items():
        with old_hdf5.opened(path, name) as node:
            assert np.frombuffer(old_hdf5.elements(node), "<i8").tolist() == elements
    with old_hdf5.opened(path, "/h") as node:
        assert old_hdf5.has_link(node, "inner")


def raw_attribute(node: Any, name: str) -> Any:
    """The value of an attribute in its own dtype; empty where it has none."""
    attribute = node.attrs.get_id(name)
    if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        return np.empty(0, attribute.dtype)
    value = np.empty(attribute.shape, attribute.dtype)
    attribute.read(value)
    return value


@pytest.mark.parametrize("maxshape", MAXSHAPES.values(), ids=MAXSHAPES)
@pytest.mark.parametrize("filters", [{}, GZIP, {"fletcher32": True}], ids=["raw", "gzip", "fletcher32"])
@pytest.mark.parametrize("n", [0, 1, 3, 64, 65, 5000])
def test_chunks_of_each_number_are_found_in_the_old_index(
    n: int, filters: dict[str, Any], maxshape: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    data = values("<i2", (n, 9))
    if maxshape is not None:
        maxshape = (maxshape[0] and 9000, maxshape[1])
    with streamh5.File(path, libver="v108") as file:
        file.create_dataset("x", data=data, chunks=(1, 9), maxshape=maxshape, **filters)
    assert_every_reader(path, "/x", data)
    if maxshape is None:
        assert_chunk_map(path, "/x", columns(file, "/x"))
    content = path.read_bytes()
    assert content[8] == 2  # version of the superblock
    for signature in (b"FAHD", b"EAHD", b"BTHD"):
        assert signature not in content
    if n:
        assert content.count(b"TREE") >= 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_dataset_is_read_by_pyfive(dtype: str, tmp_path: Path) -> None:
    pyfive = pytest.importorskip("pyfive")
    data = values(dtype, (30, 7))
    with streamh5.File(tmp_path / "a.h5", libver="v108") as file:
        file.create_dataset("g/x", data=data, chunks=(4, 3), **GZIP).attrs["units"] = "K"
        file.create_dataset("g/y", data=data, chunks=(4, 3), maxshape=(None, 7))
        file.create_dataset("z", data=data)
    with pyfive.File(str(tmp_path / "a.h5")) as found:
        for name in ("g/x", "g/y", "z"):
            assert found[name][:].tobytes() == data.tobytes()
        assert found["g/x"].attrs["units"] in ("K", b"K")


JSFIVE = """
const fs = require("fs");
const hdf5 = require(process.argv[1]);
const bytes = fs.readFileSync(process.argv[2]);
const file = new hdf5.File(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length), "a.h5");
const found = {};
for (const name of process.argv.slice(3)) {
  const node = file.get(name);
  found[name] = {shape: node.shape, values: Array.from(node.value, Number), attributes: node.attrs};
}
console.log(JSON.stringify(found));
"""


def jsfive() -> str:
    """Return the folder of the npm package."""
    folder = brought("STREAMH5_NODE_MODULES", "node_modules") / "jsfive"
    if shutil.which("node") is None or not folder.is_dir():
        pytest.skip(f"reader missing: node and jsfive in {folder.parent} (.ci/readers)")
    return str(folder.resolve())


@pytest.mark.parametrize("dtype", ["<i2", "<u4", "<f4", "<f8"])
def test_dataset_is_read_by_jsfive(dtype: str, tmp_path: Path) -> None:
    package = jsfive()
    data = np.arange(210).astype(dtype).reshape(30, 7)
    with streamh5.File(tmp_path / "a.h5", libver="v108") as file:
        file.create_dataset("g/x", data=data, chunks=(4, 3), **GZIP).attrs["units"] = "K"
        file.create_dataset("g/y", data=data, chunks=(4, 3), maxshape=(None, 7))
        file.create_dataset("z", data=data, chunks=(1, 1))
    done = subprocess.run(
        ["node", "-e", JSFIVE, package, str(tmp_path / "a.h5"), "g/x", "g/y", "z"],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["g/x"]["attributes"] == {"units": "K"}
    for one in found.values():
        assert one["shape"] == [30, 7]
        assert one["values"] == data.ravel().tolist()


def test_null_dataset_and_text_are_in_an_old_file(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", libver="v108") as file:
        file.create_dataset("null", dtype="f4")
        file["text"] = "text"
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["null"].shape is None
        assert found["text"].asstr()[()] == "text"


def test_large_chunk_is_refused_for_old_readers(tmp_path: Path) -> None:
    with (
        streamh5.File(tmp_path / "a.h5", libver="v108") as file,
        pytest.raises(errors.LimitError, match="4,294,967,296"),
    ):
        file.create_dataset("x", (2**20, 2**20), "u1", chunks=(2**16, 2**16))
