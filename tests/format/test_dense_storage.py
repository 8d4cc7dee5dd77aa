from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from streamh5.errors import AttributeValueError, LimitError, PathError
from streamh5.format.attribute import Attribute
from streamh5.format.checksum import lookup3
from streamh5.format.data_layout import CompactLayout
from streamh5.format.dataspace import Dataspace
from streamh5.format.datatype import datatype_class
from streamh5.format.dense_storage import DenseStorage, dense_attributes, dense_links
from streamh5.format.fractal_heap import MAX_MANAGED_NBYTES
from streamh5.format.group_info import encode_group_info
from streamh5.format.link import HardLink, Link, SoftLink
from streamh5.format.storage_info import encode_attribute_info, encode_link_info
from tests.format.conftest import attribute_body

if TYPE_CHECKING:
    from tests.format.conftest import FileBuilder

# Found by search: one lookup3 hash, so that only the names themselves order them.
_COLLIDING = ("n36468", "n85629")


def _scalar(builder: FileBuilder, value: int) -> int:
    layout = CompactLayout(np.int32(value).tobytes())
    return builder.add_dataset("unused", layout, dtype=np.dtype("<i4"), space=Dataspace(()))


def _write_links(builder: FileBuilder, links: list[Link]) -> Path:
    builder.links.clear()
    storage = dense_links(links)
    address = builder.add(storage.encode(builder.reserve(0)))
    assert builder.reserve(0) - address == storage.nbytes
    info = encode_link_info(storage.info(address))
    return builder.write(root=[info, encode_group_info()])


def _dump(path: Path) -> str:
    return subprocess.run(["h5dump", str(path)], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("n", [1, 2, 40, 45, 46, 300, 5000])
def test_dense_links_of_every_kind_read_and_extended_by_h5py(
    builder: FileBuilder, n: int, ordered: bool
) -> None:
    address = _scalar(builder, 5)
    names = [f"link {i * 7919 % 10_007} é"[: 6 + i % 9] + str(i) for i in range(n)]
    links = [
        Link(name, HardLink(address) if i % 3 else SoftLink(f"/{names[1 % n]}"), i if ordered else None)
        for i, name in enumerate(names)
    ]
    path = _write_links(builder, links)
    with h5py.File(path) as file:
        assert set(file) == set(names)
        assert len(file) == n
        for i, name in enumerate(names):
            if i % 3:
                assert file[name][()] == 5
            else:
                assert file.get(name, getlink=True).path == f"/{names[1 % n]}"
        flags = file["/"].id.get_create_plist().get_link_creation_order()
        assert flags == (3 if ordered else 0)
        if ordered:
            by_order = [file.id.links.get_info(name.encode()).corder for name in names]
            assert by_order == list(range(n))
    if n < 400:
        assert _dump(path).count("SOFTLINK") == len(names[::3])
    with h5py.File(path, "r+") as file:
        for i in range(30):
            file[f"new {i}"] = i
        del file[names[0]]
    with h5py.File(path) as file:
        assert set(file) == set(names[1:]) | {f"new {i}" for i in range(30)}
        assert file["new 29"][()] == 29


def test_dense_links_with_colliding_hashes_found(builder: FileBuilder) -> None:
    first, second = _COLLIDING
    assert lookup3(first.encode()) == lookup3(second.encode())
    address = _scalar(builder, 5)
    links = [Link(name, HardLink(address)) for name in (second, "other", first)]
    with h5py.File(_write_links(builder, links)) as file:
        assert file[first][()] == file[second][()] == 5
        assert len(file) == 3


def test_dense_links_same_name_twice_path_error() -> None:
    with pytest.raises(PathError, match="'a'"):
        dense_links([Link("a", HardLink(48)), Link("b", HardLink(48)), Link("a", HardLink(48))])


def test_dense_links_with_other_targets_as_if_encoded_with_them() -> None:
    names = [f"n{i}" for i in range(300)]
    soft = Link("soft", SoftLink("/n7"))
    first = dense_links([soft, *(Link(name, HardLink(0)) for name in names)])
    then = dense_links([soft, *(Link(name, HardLink(48 + i)) for i, name in enumerate(names))])
    assert first.with_targets([None, *range(48, 348)]).encode(4096) == then.encode(4096)
    assert first.encode(4096) != then.encode(4096)


def test_dense_links_some_without_order_path_error() -> None:
    with pytest.raises(PathError, match="1 of 2"):
        dense_links([Link("a", HardLink(48), 0), Link("b", HardLink(48))])


def test_dense_link_at_and_above_limit() -> None:
    at_limit = Link("n" * 65_523, HardLink(48))
    dense_links([at_limit]).encode(48)
    with pytest.raises(LimitError, match="65536 bytes"):
        dense_links([Link("n" * 65_524, HardLink(48))])


def _attribute(name: str, value: Any) -> Attribute:
    array = np.asarray(value)
    return Attribute(name, datatype_class(array.dtype), Dataspace(array.shape), array.tobytes())


def _storage(attributes: list[Attribute], *, ordered: bool) -> DenseStorage:
    bodies = list(map(attribute_body, attributes))
    return dense_attributes([one.name for one in attributes], bodies, creation_order=ordered)


def _write_attributes(builder: FileBuilder, attributes: list[Attribute], ordered: bool) -> Path:
    storage = _storage(attributes, ordered=ordered)
    address = builder.add(storage.encode(builder.reserve(0)))
    assert builder.reserve(0) - address == storage.nbytes
    info = encode_attribute_info(storage.info(address))
    layout = CompactLayout(np.int32(1).tobytes())
    builder.add_dataset(
        "x", layout, dtype=np.dtype("<i4"), space=Dataspace(()), extra=[info], attribute_order=ordered
    )
    return builder.write()


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("n", [1, 9, 28, 300, 2000])
def test_dense_attributes_read_and_extended_by_h5py(builder: FileBuilder, n: int, ordered: bool) -> None:
    values = {f"ä {i * 7919 % 10_007}": np.arange(i % 40, dtype=">i4") for i in range(n)}
    path = _write_attributes(builder, [_attribute(*item) for item in values.items()], ordered)
    with h5py.File(path) as file:
        attrs = file["x"].attrs
        assert len(attrs) == n
        assert list(attrs) == list(values) if ordered else set(attrs) == set(values)
        for name, value in values.items():
            np.testing.assert_array_equal(attrs[name], value)
    if n < 400:
        assert _dump(path).count("ATTRIBUTE") == n
    with h5py.File(path, "r+") as file:
        attrs = file["x"].attrs
        for i in range(30):
            attrs[f"new {i}"] = np.full(i, i)
        first = next(iter(values))
        attrs[first] = "changed"
        if n > 1:
            del attrs[list(values)[1]]
    with h5py.File(path) as file:
        attrs = file["x"].attrs
        assert len(attrs) == n + 30 - (n > 1)
        assert attrs[first] == "changed"
        np.testing.assert_array_equal(attrs["new 29"], np.full(29, 29))


@pytest.mark.parametrize("nbytes", [65_536, 1_000_000, 16_000_000])
def test_dense_attributes_beyond_header_message_read_by_readers(builder: FileBuilder, nbytes: int) -> None:
    values = {"small": np.arange(3), "big": np.random.default_rng(0).integers(0, 256, nbytes, np.uint8)}
    path = _write_attributes(builder, [_attribute(*item) for item in values.items()], False)
    with h5py.File(path) as file:
        for name, value in values.items():
            np.testing.assert_array_equal(file["x"].attrs[name], value)
    with h5py.File(path, "r+") as file:
        file["x"].attrs["more"] = 1
        file["x"].attrs["small"] = 2
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"].attrs["big"], values["big"])
        assert file["x"].attrs["small"] == 2


def test_dense_attribute_that_fills_the_block_is_read_by_h5py(builder: FileBuilder) -> None:
    overhead = 8 + 2 + 1 + 12 + 12  # before the value: fields, name, datatype, dataspace
    most = MAX_MANAGED_NBYTES - overhead
    at_limit = _attribute("n", np.ones(most, np.uint8))
    with h5py.File(_write_attributes(builder, [at_limit], False)) as file:
        assert file["x"].attrs["n"].sum() == most


def test_dense_attributes_same_name_twice_attribute_value_error() -> None:
    with pytest.raises(AttributeValueError, match="'a'"):
        _storage([_attribute("a", 1), _attribute("a", 2)], ordered=True)


def test_dense_links_around_largest_heap_read_by_h5py(builder: FileBuilder) -> None:
    address = _scalar(builder, 5)
    each = 65_000
    n = MAX_MANAGED_NBYTES // (each + 12)
    links = [Link(f"{i:0{each}}", HardLink(address)) for i in range(n)]
    with h5py.File(_write_links(builder, links)) as file:
        assert len(file) == n
        assert file[links[-1].name][()] == 5


def test_dense_links_that_are_too_many_for_one_block_read_by_h5py(builder: FileBuilder) -> None:
    address = _scalar(builder, 5)
    links = [Link(f"{i:0{65_000 if i % 2 else 3000}}", HardLink(address)) for i in range(600)]
    with h5py.File(_write_links(builder, links)) as file:
        assert len(file) == 600
        assert all(file[link.name][()] == 5 for link in links[::37])
