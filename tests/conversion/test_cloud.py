"""``convert(cloud=True)``: files of several programs become right for object stores, with the same content."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamh5
from streamh5.cli.main import main
from streamh5.conversion.hdf5.decoded_regions import DecodedRegions
from streamh5.conversion.hdf5.elements import read_region
from streamh5.dask.stored_chunks import BLOCK_NBYTES
from streamh5.errors import FilterError, SourceError, SpecError
from streamh5.model.cloud_chunks import MAX_CLOUD_NBYTES, MIN_CLOUD_NBYTES, cloud_chunks
from tests.check.test_cloud import WRITERS, by_h5py, check_of
from tests.deadlock import DEADLOCK_SECONDS

SHAPES = st.lists(st.integers(1, 400), min_size=1, max_size=4).map(tuple)


@given(
    shape=SHAPES,
    divisors=st.lists(st.integers(1, 400), min_size=4, max_size=4),
    itemsize=st.sampled_from((1, 4, 24)),
)
def test_chosen_chunks_are_right_or_all_of_a_small_dataset(
    shape: tuple[int, ...], divisors: list[int], itemsize: int
) -> None:
    chunks = tuple(-(-n // d) for n, d in zip(shape, divisors, strict=False))
    new = cloud_chunks(shape, chunks, itemsize) or chunks
    nbytes = np.prod(new, dtype=object) * itemsize
    assert nbytes <= MAX_CLOUD_NBYTES
    assert nbytes >= MIN_CLOUD_NBYTES or new == shape
    assert all(c <= n for c, n in zip(new, shape, strict=True))
    assert cloud_chunks(shape, new, itemsize) is None


@pytest.mark.parametrize(
    ("shape", "chunks", "expected"),
    [
        ((1000, 512, 512), (1, 512, 512), (8, 512, 512)),  # frames of 0.5 MB are joined
        ((8, 8), (1, 1), (8, 8)),
        ((240, 90, 360), (1, 90, 90), (120, 90, 180)),  # not (128, 90, 180), which hangs over
        ((100,), (100,), None),
        ((0, 5), (1, 5), None),
        ((4000, 4000), (4000, 4000), (1000, 2000)),
        ((1021, 4001), (1021, 4001), (1021, 2001)),
    ],
)
def test_chosen_chunks_are_whole_numbers_of_old_ones(
    shape: tuple[int, ...], chunks: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    itemsize = 2 if chunks == (1, 512, 512) else 4
    assert cloud_chunks(shape, chunks, itemsize) == expected


def assert_same_content(source: Path, path: Path) -> None:
    """Compare groups, datasets and attributes with h5diff, where it is installed, and values with h5py."""
    if shutil.which("h5diff"):
        same = shutil.copy(source, source.with_suffix(".same.h5"))
        itself, other = (
            subprocess.run(
                ["h5diff", str(source), str(one)], check=False, capture_output=True, timeout=DEADLOCK_SECONDS
            )
            for one in (same, path)
        )
        # 2: this h5diff is too old for the source; it compares no lists of references, not even with those of a copy
        assert itself.returncode in (0, 2)
        assert (other.returncode, other.stdout) == (itself.returncode, itself.stdout)
    with h5py.File(source) as old, h5py.File(path) as new:
        names: list[str] = []
        old.visit(names.append)
        found: list[str] = []
        new.visit(found.append)
        assert sorted(found) == sorted(names)
        for name in ["/", *names]:
            assert list(new[name].attrs) == list(old[name].attrs)
            for key in old[name].attrs.keys() - {"DIMENSION_LIST", "REFERENCE_LIST"}:
                np.testing.assert_array_equal(new[name].attrs[key], old[name].attrs[key])
            if isinstance(old[name], h5py.Dataset):
                assert (new[name].shape, new[name].dtype) == (old[name].shape, old[name].dtype)
                assert new[name].maxshape == old[name].maxshape
                np.testing.assert_array_equal(new[name][()], old[name][()])


@pytest.mark.parametrize("name", WRITERS)
def test_cloud_conversion_of_the_files_of_others_is_right(tmp_path: Path, name: str) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    WRITERS[name][0](source)
    assert main(["convert", "--cloud", str(source), str(path)]) == 0
    report = streamh5.inspect(path).cloud()
    assert report.verdict == "right for the cloud", report
    assert main(["inspect", "--cloud", str(path)]) == 0
    assert report.requests.n_1mib_blocks == 1
    assert streamh5.verify(path).ok
    assert_same_content(source, path)


def mixed(path: Path) -> None:
    """Datasets with chunks of every size."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.create_dataset("right", data=rng.random((8, 500, 500)), chunks=(1, 500, 500), compression="gzip")
        file.create_dataset("small", data=rng.random((100, 100, 30)), chunks=(1, 10, 30), shuffle=True)
        file.create_dataset("large", data=np.arange(3_000_000.0), chunks=(3_000_000,), compression="lzf")
        file.create_dataset("grows", data=np.arange(5000), chunks=(1,), maxshape=(None,))
        file.create_dataset("contiguous", data=rng.integers(0, 9, (3000, 3000), "i2"))
        file.create_dataset("scalar", data=1.5)
        words = file.create_dataset("words", (1000,), h5py.string_dtype(), chunks=(10,))
        words[:] = [f"word {i}" for i in range(1000)]
        sparse = file.create_dataset("sparse", (100_000_000,), "f8", chunks=(1000,), fillvalue=7)
        sparse[500:1500] = 1


def test_cloud_conversion_changes_only_chunks_that_are_not_right(tmp_path: Path) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    mixed(source)
    done = streamh5.convert(source, path, cloud=True)
    report = streamh5.inspect(path).cloud()
    assert report.ok
    assert check_of(report, "chunks").grade == "good"
    by_path = {one.path: one for one in done.arrays}
    assert by_path["/right"].is_copied
    assert by_path["/small"].reason == (
        "chunks (1, 10, 30) of 2.3 KiB become (100, 100, 30) of 2.3 MiB for the cloud"
    )
    assert "/small" in done.notes[0]
    assert "/right" not in done.notes[0]
    with h5py.File(source) as old, h5py.File(path) as new:
        assert new["right"].chunks == (1, 500, 500)
        assert new["large"].chunks == (750_000,)
        assert new["large"].compression == "lzf"
        assert new["sparse"].id.get_num_chunks() == 1
        for name in ("right", "small", "large", "grows", "contiguous", "scalar", "words"):
            np.testing.assert_array_equal(new[name][()], old[name][()])
        np.testing.assert_array_equal(new["sparse"][:2000], old["sparse"][:2000])
        assert new["grows"].maxshape == (None,)


def test_cloud_conversion_reads_blocks_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbytes: list[int] = []
    read = DecodedRegions.__call__

    def noted(self: DecodedRegions, region: Any) -> Any:
        found = read(self, region)
        nbytes.append(found.nbytes)
        return found

    monkeypatch.setattr(DecodedRegions, "__call__", noted)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_dataset("small", (64, 1024, 1024), "u1", chunks=(1, 64, 1024))[...] = 1
        file.create_dataset("large", (2, 4096, 4096), "u1", chunks=(1, 4096, 4096))[...] = 2
    streamh5.convert(tmp_path / "in.h5", tmp_path / "out.h5", cloud=True)
    assert sum(nbytes) == 96 << 20  # each element once
    assert max(nbytes) <= 32 << 20


def test_cloud_conversion_lets_given_chunks_and_pages_win(tmp_path: Path) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    by_h5py(source)
    first = "group0/x0"
    streamh5.convert(source, path, chunks={first: (32, 256)}, page=False, cloud=True)
    found = streamh5.inspect(path)
    assert found.page_nbytes == 0
    assert {one.path: one.chunks for one in found.datasets}["/" + first] == (32, 256)
    assert {one.chunks for one in found.datasets if one.path != "/" + first} == {(512, 256)}
    streamh5.convert(source, path, page="64 KiB", cloud=True, overwrite=True, safe=True)
    assert streamh5.inspect(path).page_nbytes == 64 << 10
    defaults: tuple[dict[str, Any], ...] = ({}, {"page": None})
    for default in defaults:
        streamh5.convert(source, path, cloud=True, overwrite=True, safe=True, **default)
        assert streamh5.inspect(path).page_nbytes > 0


def test_cloud_conversion_refuses_what_contradicts_it(tmp_path: Path) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    by_h5py(source)
    with pytest.raises(FilterError, match=r"cannot be copied: chunks .* for the cloud"):
        streamh5.convert(source, path, copy=True, cloud=True)
    with pytest.raises(SpecError, match=r"cloud=True writes pages.*page=False"):
        streamh5.convert(source, path, libver="v108", cloud=True)
    streamh5.convert(source, path, libver="v108", page=False, cloud=True)
    assert streamh5.inspect(path).cloud().ok


def test_cloud_conversion_of_other_sources_is_right(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 9, (1300, 13, 169), "u4")
    np.save(tmp_path / "x.npy", values)
    done = streamh5.convert(tmp_path / "x.npy", tmp_path / "npy.h5", cloud=True)
    assert streamh5.inspect(tmp_path / "npy.h5").cloud().ok, done
    zarr = pytest.importorskip("zarr")
    zarr.create_array(tmp_path / "x.zarr", data=values, chunks=(1, 13, 169))
    streamh5.convert(tmp_path / "x.zarr", tmp_path / "zarr.h5", cloud=True)
    classic = pytest.importorskip("netCDF4").Dataset(tmp_path / "x.nc", "w", format="NETCDF3_64BIT_OFFSET")
    classic.createDimension("x", 3_000_000)
    classic.createVariable("x", "f8", ("x",))[:] = np.arange(3e6)
    classic.close()
    streamh5.convert(tmp_path / "x.nc", tmp_path / "classic.h5", cloud=True)
    for name in ("npy", "zarr", "classic"):
        report = streamh5.inspect(tmp_path / f"{name}.h5").cloud()
        assert report.verdict == "right for the cloud", report
    with h5py.File(tmp_path / "zarr.h5") as file:
        np.testing.assert_array_equal(file["data"][...], values)


def test_cloud_conversion_prints_what_it_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    mixed(source)
    assert main(["convert", "--cloud", "--verbose", str(source), str(path)]) == 0
    text = capsys.readouterr().out
    assert "/grows: decoded and encoded: chunks (1,) of 8 B become (5000,) of 39.1 KiB for the cloud" in text
    assert "for the cloud: other chunks for 5 arrays: /grows, " in text
    assert main(["convert", "--cloud", "--json", "--overwrite", str(source), str(path)]) == 0
    chunks, pages = json.loads(capsys.readouterr().out)["notes"]
    assert chunks.startswith("for the cloud: other chunks for 5 arrays: ")
    assert pages.startswith("for the cloud: pages, ")


def long_values(kind: str, n: int) -> tuple[Any, Any]:
    """Return a dtype whose elements have 2 KB elsewhere in the file, and values."""
    text = h5py.string_dtype()
    if kind == "text":
        return text, [f"{i:2000}" for i in range(n)]
    if kind == "records":
        dtype = np.dtype([("i", "i4"), ("t", text)])
        return dtype, np.array([(i, f"{i:2000}") for i in range(n)], dtype)
    values = np.empty(n, object)
    values[:] = [np.full(250 + i % 2, i, "i8") for i in range(n)]
    return h5py.vlen_dtype(np.dtype("i8")), values


@pytest.mark.parametrize("is_cloud", [True, False])
@pytest.mark.parametrize("kind", ["text", "records", "sequences"])
def test_long_elements_of_variable_length_are_read_in_blocks_by_their_size(
    kind: str, is_cloud: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, path, n, read = tmp_path / "in.h5", tmp_path / "out.h5", 25_000, []
    dtype, values = long_values(kind, n)
    with h5py.File(source, "w") as file:
        file.create_dataset("x", (n,), dtype, chunks=(100,))[:] = values

    def noted(dataset: Any, region: tuple[slice, ...], *given: Any) -> Any:
        read.append(region[0].stop - region[0].start)
        return read_region(dataset, region, *given)

    monkeypatch.setattr("streamh5.conversion.hdf5.dataset.read_region", noted)
    asked: dict[str, Any] = {"cloud": True} if is_cloud else {"chunks": {"x": (200,)}}
    streamh5.convert(source, path, progress=False, **asked)
    assert sum(read) >= n
    assert max(read) * 2000 <= BLOCK_NBYTES
    with h5py.File(source) as old, h5py.File(path) as new:
        assert is_cloud is (MIN_CLOUD_NBYTES <= new["x"].chunks[0] * 2016 <= MAX_CLOUD_NBYTES)
        for i in (0, n // 2, n - 1):
            np.testing.assert_array_equal(new["x"][i], old["x"][i])
    chunks = check_of(streamh5.inspect(path).cloud(), "chunks")
    assert (chunks.grade == "good") is is_cloud


def test_damaged_text_is_refused_by_the_write_and_not_by_the_sample(tmp_path: Path) -> None:
    source = tmp_path / "in.h5"
    with h5py.File(source, "w") as file:
        words = file.create_dataset("words", (1000,), h5py.string_dtype(), chunks=(100,), compression="gzip")
        words[:] = "word"
        where = words.id.get_chunk_info(0).byte_offset
    with open(source, "r+b") as raw:
        raw.seek(where)
        raw.write(b"no zlib stream")
    with pytest.raises(SourceError, match="/words"):
        streamh5.convert(source, tmp_path / "out.h5", cloud=True, progress=False)
