"""Dask arrays into datasets that are there: appended along any axis, and into regions; h5py reads them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import DestinationMissingError, FilterError, ResumeError, ShapeError, SpecError

DAY = np.arange(60, dtype="f4").reshape(5, 12)


def blocks(values: Any, chunks: Any = (2, 5)) -> Any:
    return da.from_array(values, chunks=chunks)


def read(path: Path, name: str = "x") -> Any:
    with h5py.File(path) as file:
        return file[name][()]


def append(path: Path, values: Any, **keywords: Any) -> streamh5.WriteSummary:
    summary: streamh5.WriteSummary = blocks(values).to_fixed_h5(path, "/x", **{"append_dim": 0, **keywords})
    return summary


def test_append_without_a_file_creates_a_dataset_that_can_grow(tmp_path: Path) -> None:
    append(tmp_path / "a.h5", DAY, append_dim=-1)
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["x"][()], DAY)
        assert file["x"].maxshape == (5, None)
        assert file["x"].compression == "gzip"


def test_append_to_a_file_without_the_dataset_creates_it(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    append(path, DAY)
    blocks(DAY).to_fixed_h5(path, "/y", mode="a", append_dim=0, compression="lzf")
    with h5py.File(path) as file:
        assert np.array_equal(file["x"][()], DAY)
        assert np.array_equal(file["y"][()], DAY)
        assert file["y"].maxshape == (None, 12)
        assert file["y"].compression == "lzf"


def test_region_without_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DestinationMissingError, match=r"a\.h5 does not exist.*/x.*leave region out"):
        blocks(DAY).to_fixed_h5(tmp_path / "a.h5", "/x", region=(slice(0, 5), ...))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keywords", [{"overwrite": True}, {"mode": "w"}, {"mode": "x"}])
def test_mode_that_replaces_the_file_is_refused(keywords: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"(overwrite=True|mode='.') replaces the file"):
        append(tmp_path / "a.h5", DAY, **keywords)


def test_append_dim_and_region_for_one_array_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"/x: append_dim and region contradict"):
        append(tmp_path / "a.h5", DAY, region=slice(0, 5))


@pytest.mark.parametrize("name", ["append_dim", "region"])
def test_unknown_name_in_a_dictionary_is_refused(name: str, tmp_path: Path) -> None:
    keywords: dict[str, Any] = {name: {"/y": 0}}
    with pytest.raises(SpecError, match=rf"{name} names '/y'.*it has /x"):
        streamh5.to_fixed_h5(tmp_path / "a.h5", {"/x": DAY}, **keywords)


def test_file_object_cannot_grow() -> None:
    with pytest.raises(SpecError, match=r"append_dim and region change files that have a path"):
        blocks(DAY).to_fixed_h5(io.BytesIO(), "/x", append_dim=0)


# -- with a dataset that is there


def test_arrays_are_appended_along_an_axis_again_and_again(tmp_path: Path) -> None:
    for axis in (0, 1, -1):
        path = tmp_path / f"{axis}.h5"
        for _ in range(4):
            append(path, DAY, append_dim=axis, mode="a")
        assert np.array_equal(read(path), np.concatenate([DAY] * 4, axis=axis))
        assert streamh5.verify(path).ok


def test_fixed_dataset_grows_past_its_maxshape(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    blocks(DAY).to_fixed_h5(path, "/x")
    append(path, DAY)
    with h5py.File(path) as file:
        assert np.array_equal(file["x"][()], np.concatenate([DAY, DAY]))
        assert file["x"].maxshape == file["x"].shape == (10, 12)


def test_each_new_chunk_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    blocks(np.zeros((10, 12)), (4, 12)).to_fixed_h5(path, "/x")
    summary = append(path, np.ones((20, 12)))
    assert summary.datasets[0].n_rewritten == 1  # the chunk that begins with stored rows
    assert np.array_equal(read(path), np.concatenate([np.zeros((10, 12)), np.ones((20, 12))]))


@pytest.mark.parametrize(
    "region",
    [
        (slice(3, 17), ...),
        (slice(0, 20), slice(5, 9)),
        (..., 7),
        (slice(6, 7), slice(1, 2)),
        (19, slice(0, 12)),
    ],
)
def test_region_is_replaced_and_the_rest_stays(region: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    values = np.arange(240, dtype="i4").reshape(20, 12)
    blocks(values, (4, 5)).to_fixed_h5(path, "/x")
    new = -1 - values[region]
    blocks(new, 3).to_fixed_h5(path, "/x", region=region)
    values[region] = new
    assert np.array_equal(read(path), values)
    assert streamh5.verify(path).ok


def test_region_of_a_file_without_the_dataset_is_refused(tmp_path: Path) -> None:
    append(tmp_path / "a.h5", DAY)
    with pytest.raises(SpecError, match=r"a\.h5 has no dataset /y"):
        streamh5.to_fixed_h5(tmp_path / "a.h5", "/y", DAY, region=...)


def test_several_arrays_are_appended_in_one_pass(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    x = blocks(DAY)
    for i in range(3):
        arrays = {"/x": x + i, "/g/sum": (x + i).sum(axis=1), f"/new{i}": x}
        streamh5.to_fixed_h5(path, arrays, append_dim={"/x": -1, "g/sum": 0})
    assert np.array_equal(read(path), np.concatenate([DAY + i for i in range(3)], axis=1))
    assert np.array_equal(read(path, "g/sum"), np.concatenate([(DAY + i).sum(axis=1) for i in range(3)]))
    assert all(np.array_equal(read(path, f"new{i}"), DAY) for i in range(3))


def test_attributes_of_the_call_are_set_on_the_stored_dataset(tmp_path: Path) -> None:
    append(tmp_path / "a.h5", DAY, attrs={"units": "K", "day": 1})
    append(tmp_path / "a.h5", DAY, attrs={"day": 2})
    with h5py.File(tmp_path / "a.h5") as file:
        assert dict(file["x"].attrs) == {"units": "K", "day": 2}


def test_same_call_again_with_its_settings_appends(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"chunks": (4, 12), "compression": "zstd", "shuffle": False, "fillvalue": -1}
    for _ in range(2):
        append(tmp_path / "a.h5", DAY, **settings)
    assert np.array_equal(read(tmp_path / "a.h5"), np.concatenate([DAY, DAY]))


def test_compression_that_contradicts_the_dataset_is_refused_and_the_default_is_not(tmp_path: Path) -> None:
    append(tmp_path / "a.h5", DAY, compression="zstd")
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(FilterError, match=r"/x: compression='gzip' contradicts.*zstd"):
        append(tmp_path / "a.h5", DAY, compression="gzip")
    assert (tmp_path / "a.h5").read_bytes() == before
    append(tmp_path / "a.h5", DAY)
    assert read(tmp_path / "a.h5").shape == (10, 12)


def test_delayed_write_appends_once(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    append(path, DAY)
    delayed: Any = append(path, DAY, compute=False)
    delayed.compute()
    assert np.array_equal(read(path), np.concatenate([DAY, DAY]))
    with pytest.raises(SpecError, match=r"/x: it was of shape \(5, 12\).*is of shape \(10, 12\).*call again"):
        delayed.compute()
    assert read(path).shape == (10, 12)


def test_failure_in_a_block_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    append(path, DAY)

    def fail(block: Any) -> Any:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        blocks(DAY).map_blocks(fail, dtype="f4").to_fixed_h5(path, "/x", append_dim=0)
    assert np.array_equal(read(path), DAY)
    append(path, DAY)
    assert np.array_equal(read(path), np.concatenate([DAY, DAY]))


def test_virtual_dataset_is_refused_before_any_work(tmp_path: Path) -> None:
    append(tmp_path / "source.h5", DAY)
    layout = h5py.VirtualLayout((5, 12), "f4", maxshape=(None, 12))
    layout[...] = h5py.VirtualSource(tmp_path / "source.h5", "x", shape=(5, 12))
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("x", layout)
    with pytest.raises(
        SpecError, match=r"/x: its elements cannot be changed, because it is a virtual dataset"
    ):
        append(path, DAY, compute=False)


def test_array_is_appended_to_a_file_of_the_hdf5_library(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:  # superblock 0, version 1 B-tree
        file.create_dataset(
            "x", data=DAY, chunks=(3, 7), maxshape=(None, None), compression="gzip", shuffle=True
        )
    append(path, DAY)
    append(path, np.concatenate([DAY, DAY]), append_dim=1)
    expected = np.concatenate([DAY, DAY])
    assert np.array_equal(read(path), np.concatenate([expected, expected], axis=1))
    with h5py.File(path, "r+") as file:
        file["x"].resize((11, 24))
        file["x"][10] = 1
    append(path, np.zeros((1, 24), "f4"))
    assert read(path)[10:].tolist() == [[1] * 24, [0] * 24]


def test_interrupted_append_is_resumed_and_computes_only_what_is_missing(tmp_path: Path) -> None:
    path, values = tmp_path / "a.h5", np.arange(4000.0).reshape(100, 40)
    blocks(values[:15], (10, 40)).to_fixed_h5(path, "/x", chunks=(10, 40))
    computed: list[int] = []

    def compute(block: Any, last: int) -> Any:
        row = int(block[0, 0]) // 40
        computed.append(row)
        if row > last:
            raise RuntimeError("mine")
        return block

    def resume(last: int, key: str) -> None:
        x = blocks(values[15:], (10, 40)).map_blocks(compute, last=last, dtype="f8", meta=np.empty((0, 0)))
        keywords: dict[str, Any] = {"resume": True, "resume_key": key, "scheduler": "synchronous"}
        x.to_fixed_h5(path, "/x", append_dim=0, **keywords)

    with pytest.raises(RuntimeError, match="mine"):
        resume(60, "day 1")
    assert np.array_equal(read(path), values[:15])
    first = set(computed)
    computed.clear()
    with pytest.raises(ResumeError, match=r"/x, source was 'day 1 at .* is 'day 2 at"):
        resume(100, "day 2")
    with pytest.raises(ShapeError, match=r"shape \(3, 5\) cannot be appended"):
        append(path, np.ones((3, 5)), resume=True)
    resume(100, "day 1")
    assert {35, 45} <= first
    assert not {35, 45} & set(computed)  # their chunks are stored, and no other chunk needs them
    assert np.array_equal(read(path), values)


@pytest.mark.parametrize("compute", [True, False])
def test_dataset_added_to_a_file_of_h5py_is_for_the_same_libraries(tmp_path: Path, *, compute: bool) -> None:
    path = tmp_path / "of-h5py.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        file["old"] = np.arange(10)
    written = da.arange(100, chunks=9).to_fixed_h5(path, "/new", mode="a", compute=compute)
    if not compute:
        written.compute()
    with h5py.File(path) as file:
        assert file["old"][()].tolist() == list(range(10))
        assert file["new"][()].tolist() == list(range(100))
        assert file["new"].id.get_create_plist().get_layout() == h5py.h5d.CHUNKED
    superblock = path.read_bytes()[8]
    assert superblock < 3  # HDF5 1.8 reads it
