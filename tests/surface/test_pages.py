"""Files with pages (file space strategy PAGE): what HDF5's page buffer reads, and with how many reads.

A block of metadata that crosses the end of a page cannot be read with a page buffer, so h5py with ``page_buf_size`` is
the judge of every file here.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import streamh5
from streamh5.arguments.write_options import MAX_HEADER_SLACK
from streamh5.errors import SpecError
from streamh5.format.object_header import MAX_FREE_NBYTES
from tests.readers.page_buffer import (
    BUFFER_NBYTES,
    CountingFile,
    assert_paged,
    page_nbytes,
    refused_by_page_buffer,
)
from tests.readers.programs import missing_program, run_program

PAGES = (512, 1024, 4096, 12_288, 1 << 16, 1 << 20, True)


def write_many(path: Path, **keywords: Any) -> None:
    """200 datasets with attributes, 1 MiB each."""
    data = np.random.default_rng(0).integers(0, 1 << 16, (512, 1024), "u2")
    with streamh5.File(path, "x", **keywords) as file:
        made = [
            file.create_dataset(
                f"x{i}", data.shape, "u2", chunks=(64, 1024), compression="gzip", compression_opts=1
            )
            for i in range(200)
        ]
        for i, dataset in enumerate(made):
            dataset.attrs.update({"number": i, "units": f"unit {i}"})
        for dataset in made:
            dataset[...] = data


def list_all(file: h5py.File) -> int:
    """What a reader asks for before it reads data: shapes, types, filters, attributes, places of chunks."""
    n = 0
    for dataset in file.values():
        assert dataset.chunks == (64, 1024)
        assert dataset.compression == "gzip"
        assert dict(dataset.attrs)
        n += sum(dataset.id.get_chunk_info(i).size > 0 for i in range(dataset.id.get_num_chunks()))
    return n


def test_page_buffer_gets_all_metadata_of_200_datasets_with_one_read(tmp_path: Path) -> None:
    write_many(tmp_path / "plain.h5")
    write_many(tmp_path / "paged.h5", page=True)
    size = page_nbytes(tmp_path / "paged.h5")
    source = CountingFile(tmp_path / "paged.h5")
    with h5py.File(source, page_buf_size=BUFFER_NBYTES) as file:
        assert list_all(file) == 200 * 8
    # signature, superblock and extension are read before there is a page buffer
    assert source.reads[:3] == [(0, 8), (0, 48), (48, 512)]
    assert source.reads[3:] == [(0, size)]
    plain, paged = (tmp_path / f"{name}.h5" for name in ("plain", "paged"))
    assert paged.stat().st_size <= plain.stat().st_size * 1.01
    source = CountingFile(plain)
    with h5py.File(source) as file:
        list_all(file)
    assert len(source.reads) > 400


def test_small_file_grows_by_less_than_two_disk_blocks(tmp_path: Path) -> None:
    data = np.frombuffer(np.random.default_rng(0).bytes(100_000), "u1")
    for name, page in (("plain", None), ("paged", True)):
        with streamh5.File(tmp_path / f"{name}.h5", page=page) as file:
            dataset = file.create_dataset("x", data.shape, "u1", chunks=(20_000,))
            dataset.attrs["units"] = np.bytes_("m")
            dataset[...] = data
    plain, paged = ((tmp_path / f"{name}.h5").stat().st_size for name in ("plain", "paged"))
    assert paged - plain < 2 * 4096  # one in front, one at the end
    assert_paged(tmp_path / "paged.h5", 4096)


def _xarray() -> xr.Dataset:
    return xr.Dataset(
        {"t": (("time", "x"), np.arange(60.0).reshape(10, 6), {"units": "K", "names": ["a", "b"]})},
        {"time": np.arange(10), "label": ("x", list("abcdef"))},
    )


def _zarr(folder: Path) -> str:
    zarr.create_array(str(folder / "a.zarr"), data=np.arange(100), chunks=(10,))
    return str(folder / "a.zarr")


def _file(path: Path, **keywords: Any) -> None:
    with streamh5.File(path, **keywords) as file:
        file["x"] = np.arange(10)


WRITERS: dict[str, Callable[[Path, Path, Any], object]] = {
    "File": lambda path, _, page: _file(path, page=page),
    "to_fixed_h5": lambda path, _, page: streamh5.to_fixed_h5(
        path, "/x", da.arange(100, chunks=9), page=page
    ),
    "to_netcdf": lambda path, _, page: streamh5.to_netcdf(_xarray(), path, page=page),
    "create_space": lambda path, _, page: streamh5.create_space(_xarray(), path, page=page),
    "from_zarr": lambda path, folder, page: streamh5.from_zarr(_zarr(folder), path, page=page),
    "convert": lambda path, folder, page: streamh5.convert(_zarr(folder), path, page=page),
}


@pytest.mark.parametrize("page", [True, 1 << 16, "1 MiB"])
@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_writes_pages(writer: str, page: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    WRITERS[writer](path, tmp_path, page)
    assert_paged(path, {True: None, "1 MiB": 1 << 20}.get(page, page))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("page", [0, -1, 511, 3000, 6000, (1 << 30) + 4096, "2 GiB", "many", 1.5, [4096]])
def test_wrong_size_is_refused_before_any_work(writer: str, page: Any, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="page must be"):
        WRITERS[writer](tmp_path / "a.h5", tmp_path, page)
    assert not list(tmp_path.glob("a.h5*"))


def test_pages_for_hdf5_1_8_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"needs HDF5 1\.10"):
        streamh5.File(tmp_path / "a.h5", page=True, libver="v108")
    assert not list(tmp_path.iterdir())


def test_header_slack_is_refused_above_what_a_header_can_have_free(tmp_path: Path) -> None:
    assert MAX_HEADER_SLACK == MAX_FREE_NBYTES
    with pytest.raises(SpecError, match="header_slack must be at most 65,539, not 65,540"):
        streamh5.File(tmp_path / "a.h5", header_slack=65_540)
    assert not list(tmp_path.iterdir())
    with streamh5.File(tmp_path / "a.h5", header_slack=65_539) as file:
        file["x"] = np.arange(10)


def test_attributes_removed_with_most_header_slack_leave_a_file_that_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, header_slack=65_539) as file:
        dataset = file.create_dataset("x", (10,), "i4", chunks=(5,))
        dataset.attrs["bytes"] = np.full(60_000, 7, "u1")
        dataset[...] = np.arange(10)
        del dataset.attrs["bytes"]
    with h5py.File(path) as file:
        assert file["x"][()].tolist() == list(range(10))
        assert not file["x"].attrs


def test_h5stat_names_strategy_and_page(tmp_path: Path) -> None:
    if reason := missing_program("h5stat"):
        pytest.skip(reason)
    _file(tmp_path / "a.h5", page="64 KiB")
    said = run_program("h5stat", "-S", tmp_path / "a.h5").stdout
    assert "File space management strategy: H5F_FSPACE_STRATEGY_PAGE" in said
    assert "File space page size: 65536 bytes" in said


def test_inspect_and_verify_tell_the_pages(tmp_path: Path) -> None:
    _file(tmp_path / "a.h5", page="64 KiB")
    assert streamh5.inspect(tmp_path / "a.h5").page_nbytes == 1 << 16
    report = streamh5.verify(tmp_path / "a.h5")
    assert (report.page_nbytes, report.n_unbuffered, report.ok) == (1 << 16, 0, True)
    assert "pages of 64.0 KiB; a page buffer can read all metadata" in repr(report)


def test_verify_tells_what_a_page_buffer_cannot_read(tmp_path: Path) -> None:
    # HDF5 lets pages of its Fixed Arrays cross pages of the file
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest", fs_strategy="page", fs_page_size=1 << 14) as file:
        file.create_dataset("x", data=np.arange(5000), chunks=(1,))
        file["small"] = np.arange(10)
    assert refused_by_page_buffer(path, ["x", "small"]) == {"x"}
    report = streamh5.verify(path)
    assert report.ok
    assert [one.path for one in report.unbuffered] == ["/x"]
    assert "1 structure that a page buffer (page_buf_size) cannot read; other readers can" in repr(report)


@pytest.mark.parametrize("page", [512, 4096, 1 << 16, 1 << 20])
def test_verify_judges_files_of_hdf5_as_its_page_buffer_does(page: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest", fs_strategy="page", fs_page_size=page) as file:
        for i, n in enumerate((3, 200, 900, 1500, 9000)):
            for name, keywords in (("fixed", {}), ("grows", {"maxshape": (None,)})):
                file.create_dataset(f"{name}{i}", data=np.arange(n), chunks=(1,), **keywords)
        for j in range(300):
            file.create_group(f"g{j}").attrs["a"] = "text" * j
    refused = refused_by_page_buffer(path, [f"/{kind}{i}" for kind in ("fixed", "grows") for i in range(5)])
    assert refused == {one.path for one in streamh5.verify(path).unbuffered}


def _changed(path: Path, **keywords: Any) -> Any:
    return streamh5.File(path, "a", **keywords)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("size", [512, 1 << 14])
def test_additions_to_files_of_hdf5_keep_its_pages(libver: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver, fs_strategy="page", fs_page_size=size) as file:
        file.create_dataset("rows", data=np.arange(300), chunks=(1,), maxshape=(None,))
        file.create_dataset("grid", data=np.arange(64).reshape(8, 8), chunks=(1, 1), maxshape=(None, None))
        file.create_dataset("fixed", (1000,), "i4", chunks=(1,))
        file["plain"] = np.arange(10)
    with _changed(path) as file:
        file["rows"].append(np.arange(300, 2000))
        file["fixed"][:] = np.arange(1000)
        file["grid"][2:5] = 7
        file["plain"].attrs["text"] = "a" * 3000
        for i in range(300):
            file.require_group(f"groups/{i}")
    assert_paged(path, size)
    assert not streamh5.verify(path).n_unbuffered
    with h5py.File(path, "r+") as file:
        assert file["rows"][()].tolist() == list(range(2000))
        assert file["fixed"][()].tolist() == list(range(1000))
        file["rows"].resize((2100,))
        file["rows"][2000:] = 1
        del file["fixed"]
        file.create_group("more").attrs["a"] = "b" * 500
    with h5py.File(path) as file:
        assert file["rows"][-1] == 1


@pytest.mark.parametrize("page", [512, True, 1 << 16])
def test_additions_keep_pages_and_refuse_others(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, page=page) as file:
        file.create_dataset("rows", (0,), "i4", maxshape=(None,), chunks=(10,)).append(np.arange(50))
    size = page_nbytes(path)
    for i in range(3):
        with _changed(path, page=None if i else True) as file:
            file["rows"].append(np.arange(1000))
            file.create_dataset(f"x{i}", data=np.arange(100), chunks=(5,), compression="gzip").attrs["a"] = (
                "b"
            )
            if i == 1:
                file.flush()
                file["rows"].attrs["text"] = "a" * 2000
        assert_paged(path, size)
        assert not streamh5.verify(path).n_unbuffered
    with pytest.raises(SpecError, match=r"has pages of .* which stay"):
        streamh5.File(path, "a", page=8192)
    _file(tmp_path / "b.h5")
    with pytest.raises(SpecError, match="has no pages, which stay"):
        streamh5.File(tmp_path / "b.h5", "a", page=True)


def test_file_that_keeps_its_free_space_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", fs_strategy="page", fs_persist=True) as file:
        file["x"] = np.arange(10)
    with pytest.raises(SpecError, match="keeps its free space"):
        streamh5.File(path, "a")


def test_superblock_extension_has_the_bytes_of_hdf5(tmp_path: Path) -> None:
    _file(tmp_path / "a.h5", page=True)
    with h5py.File(tmp_path / "b.h5", "w", libver="latest", fs_strategy="page", fs_page_size=4096) as file:
        file["x"] = np.arange(10)
    ours = (tmp_path / "a.h5").read_bytes()
    assert ours[20:28] == (48).to_bytes(8, "little")
    assert ours[48:54] == b"OHDR\2\0"
    assert ours[55:88] in (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("page", [512, True, 1 << 20])
def test_library_changes_a_file_with_pages(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, page=page) as file:
        file.create_dataset("x", data=np.arange(1000), chunks=(10,), compression="gzip").attrs["a"] = "text"
        file.create_dataset("rows", (0,), "i4", maxshape=(None,), chunks=(10,)).append(np.arange(50))
        file["group/plain"] = np.arange(10)
    for keywords in ({}, {"page_buf_size": BUFFER_NBYTES}):
        with h5py.File(path, "r+", **keywords) as file:
            file["x"][...] = file["x"][()] + 1
            file["x"].attrs["more"] = "a" * 300
            file["rows"].resize((file["rows"].shape[0] + 500,))
            file["rows"][-500:] = 7
            file[f"new{len(keywords)}"] = np.arange(5000)
            file.require_group("group").attrs[f"a{len(keywords)}"] = np.arange(50)
        assert_paged(path)
    with h5py.File(path) as file:
        assert file["x"][0] == 2
        assert file["rows"].shape == (1050,)


@pytest.mark.parametrize(("page", "n"), [(4096, 700), (12_288, 3000)])
def test_library_keeps_large_blocks_when_it_changes_small_ones_behind_them(
    page: int, n: int, tmp_path: Path
) -> None:
    # the index of "large" is larger than a page, and written past the page buffer, that of "small" is not
    path = tmp_path / "a.h5"
    with streamh5.File(path, page=page) as file:
        made = [
            file.create_dataset(name, (size,), "i4", chunks=(1,))
            for name, size in (("large", n), ("small", 50))
        ]
        for dataset in made:
            dataset[:5] = 1
    with h5py.File(path, "r+", page_buf_size=BUFFER_NBYTES) as file:
        assert file["small"][:5].tolist() == [1] * 5
        file["large"][5:] = 2
        file.flush()
        file["small"][5:] = 3
    with h5py.File(path) as file:
        assert file["large"][()].tolist() == [1] * 5 + [2] * (n - 5)
        assert file["small"][()].tolist() == [1] * 5 + [3] * 45


@pytest.mark.parametrize("page", [1024, 12_288])
@pytest.mark.parametrize("way", ["close", "flush", "checkpoint"])
def test_file_ends_with_a_whole_page_so_that_pages_of_the_library_begin_with_one(
    page: int, way: str, tmp_path: Path
) -> None:
    path, other = tmp_path / "a.h5", tmp_path / "b.h5"
    with streamh5.File(path, page=page) as file:
        file.create_dataset("rows", (None,), "u1", chunks=(7,)).append(np.arange(100, dtype="u1"))
        if way == "flush":
            file.flush()
            shutil.copy(path, other)
        elif way == "checkpoint":
            shutil.copy(file.checkpoint(), other)
    changed = path if way == "close" else other
    assert changed.stat().st_size % page == 0
    with h5py.File(changed, "r+") as file:
        for i in range(30):
            file.create_group(f"g{i}").attrs["text"] = "a" * 100
    assert_paged(changed, page)
    assert not streamh5.verify(changed).n_unbuffered


@pytest.mark.parametrize("n", [0, 3, 40, 700, 2000])
def test_flushed_file_has_its_last_page_whatever_lies_there(n: int, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, page=4096) as file:
        file.create_dataset("fixed", (10,), "i4", chunks=(1,))
        file.flush()
        for i in range(2):
            rows = file.require_group("more").create_dataset(
                f"x{i}", (0,), "i4", maxshape=(None,), chunks=(1,)
            )
            rows.append(np.arange(n, dtype="i4"))
            file.create_dataset(f"fixed{i}", data=np.arange(n + 1), chunks=(1,))
            file.flush()
            assert path.stat().st_size % 4096 == 0
            assert_paged(path, 4096)


def test_header_slack_ends_with_the_page(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, page=4096, header_slack=65_539) as file:
        file["x"] = np.arange(10)
    assert path.stat().st_size == 3 * 4096
    with h5py.File(path, "r+", page_buf_size=BUFFER_NBYTES) as file:
        file["x"].attrs["text"] = "a" * 2000
    assert_paged(path, 4096)


def _add_anything(data: st.DataObject, file: streamh5.File, path: str, depth: int) -> None:
    """Create objects of any kind in a group."""
    draw = data.draw
    group = file.require_group(path)
    for i in range(draw(st.integers(0, 5))):
        name = f"d{i}"
        match draw(st.sampled_from(["fixed", "grows", "grows twice", "plain", "text", "filtered", "many"])):
            case "fixed":
                group.create_dataset(name, data=np.arange(draw(st.integers(1, 1500))), chunks=(1,))
            case "filtered":
                n = draw(st.integers(1, 500))
                group.create_dataset(name, data=np.arange(n), chunks=(1,), compression="gzip")
            case "grows":
                dataset = group.create_dataset(name, (0,), "i4", maxshape=(None,), chunks=(1,))
                dataset.append(np.arange(draw(st.integers(1, 3000)), dtype="i4"))
            case "grows twice":
                n = draw(st.integers(1, 40))
                group.create_dataset(
                    name, data=np.arange(n * n).reshape(n, n), maxshape=(None, None), chunks=(1, 1)
                )
            case "plain":
                group.create_dataset(name, data=np.arange(draw(st.integers(1, 3000))), chunks=False)
            case "text":
                group.create_dataset(name, data=["text"] * draw(st.integers(7, 300)), chunks=(7,))
            case "many":
                for j in range(draw(st.sampled_from([10, 257, 700]))):
                    group.require_group(f"{name}-{j}")
    for i in range(draw(st.integers(0, 4))):
        size = draw(st.sampled_from([1, 100, 700, 4000, 30_000, 70_000]))
        group.attrs[f"a{i}"] = np.full(size, i, "u1")
        group.attrs[f"t{i}"] = "text" * (size // 8)
    if depth:
        _add_anything(data, file, f"{path}/g", depth - 1)


@settings(max_examples=25)
@given(data=st.data(), page=st.sampled_from(PAGES))
def test_any_tree_reads_with_a_page_buffer(data: st.DataObject, page: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.h5")
        with streamh5.File(path, page=page, track_order=data.draw(st.booleans())) as file:
            _add_anything(data, file, "/a", 2)
            if data.draw(st.booleans()):
                file.flush()
                _add_anything(data, file, "/b", 1)
        assert_paged(path, None if page is True else page)
        report = streamh5.verify(path)
        assert report.ok, report
        assert not report.n_unbuffered, report
