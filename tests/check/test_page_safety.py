"""What `verify` says of files with pages that HDF5 can damage when it changes them: HDF5 is the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from tests.readers.page_buffer import BUFFER_NBYTES
from tests.surface.test_paged_headers import keep_next_to_nothing

PAGE = 8192


def test_large_header_of_compact_data_is_told_as_hdf5_damages_it(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest", fs_strategy="page", fs_page_size=PAGE) as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((20_000,))
        compact = h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_UINT8, space, plist)
        compact.write(h5py.h5s.ALL, h5py.h5s.ALL, np.full(20_000, 7, "u1"))
        file["x"] = np.arange(10)
    report = streamh5.verify(path)
    assert [one.path for one in report.unsafe] == ["/compact"]
    assert report.ok
    assert "in one block are not smaller than a page of 8,192" in repr(report)
    assert "streamh5 convert --page auto IN OUT" in repr(report)
    streamh5.convert(path, tmp_path / "b.h5", page=PAGE)
    assert not streamh5.verify(tmp_path / "b.h5").n_unsafe

    def change(where: Path) -> Any:
        with h5py.File(where, "r+", page_buf_size=BUFFER_NBYTES) as file:
            keep_next_to_nothing(file)
            for i in range(20):
                file["compact"][...] = i
                file.require_group(f"g{i}")
                file.visititems(lambda *_: None)
            return set(file["compact"][()].tolist())

    with pytest.raises((OSError, RuntimeError)):
        change(path)
    assert change(tmp_path / "b.h5") == {19}


def test_large_named_datatype_is_told_as_hdf5_damages_it(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.h5", tmp_path / "b.h5"
    with h5py.File(path, "w", libver="latest", fs_strategy="page", fs_page_size=PAGE) as file:
        file["type"] = np.dtype([(f"field with a long name {i}", "f8") for i in range(300)])
    assert [one.path for one in streamh5.verify(path).unsafe] == ["/type"]
    streamh5.convert(path, copy, page=PAGE)
    assert not streamh5.verify(copy).n_unsafe

    def change(where: Path) -> int:
        with h5py.File(where, "r+", page_buf_size=BUFFER_NBYTES) as file:
            keep_next_to_nothing(file)
            for i in range(20):
                file["type"].attrs["n"] = i
                file.require_group(f"g{i}")
                file.visititems(lambda *_: None)
            return int(file["type"].attrs["n"])

    with pytest.raises((OSError, RuntimeError)):
        change(path)
    assert change(copy) == 19


@pytest.mark.parametrize("size", [512, 1024, 1 << 16])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("persist", [False, True])
def test_files_of_hdf5_are_safe(size: int, libver: str, persist: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    pages: Any = {"fs_strategy": "page", "fs_page_size": size, "fs_persist": persist}
    with h5py.File(path, "w", libver=libver, **pages) as file:
        for i, n in enumerate([1, 300, 5000]):
            file.create_dataset(f"fixed{i}", data=np.arange(n), chunks=(1,))
            file.create_dataset(f"rows{i}", data=np.arange(n), chunks=(1,), maxshape=(None,))
            for j in range(12):
                file[f"rows{i}"].attrs[f"a{j}"] = np.arange(100 * j)
    assert not streamh5.verify(path).n_unsafe
    with h5py.File(path, "r+") as file:
        del file["fixed1"]
        file["rows1"].attrs["more"] = np.arange(5000)
    assert not streamh5.verify(path).n_unsafe
