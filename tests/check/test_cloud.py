"""`FileInspection.cloud` on files of several programs; its predictions against what h5py reads."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest

import streamh5
from streamh5.check.cloud_report import CloudCheck, CloudReport
from streamh5.cli.main import main
from tests.check.counted_reads import CachedFile, CountedFile, list_and_find_chunks
from tests.deadlock import DEADLOCK_SECONDS
from tests.foreign_files import BUILDERS

MIB = 1 << 20
SHAPE, CHUNKS = (512, 256), (64, 256)


def fill(file: Any, n: int = 100) -> None:
    """Put datasets of 256 KiB of noise in 8 chunks each into groups."""
    rng = np.random.default_rng(0)
    for i in range(n):
        data = rng.integers(0, 1 << 16, SHAPE, "u2")
        made = file.create_dataset(f"group{i % 7}/x{i}", data=data, chunks=CHUNKS, compression="gzip")
        made.attrs["units"] = "m"
        made.attrs["numbers"] = np.arange(5)


def by_h5py(path: Path, **options: Any) -> None:
    with h5py.File(path, "w", **options) as file:
        fill(file)


def by_streamh5(path: Path, *, page: int | None = None) -> None:
    with streamh5.File(path, "w", page=page) as file:
        fill(file)


def by_netcdf4(path: Path) -> None:
    rng = np.random.default_rng(0)
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("y", SHAPE[0])
        file.createDimension("x", SHAPE[1])
        for i in range(60):
            made = file.createVariable(f"v{i}", "u2", ("y", "x"), zlib=True, chunksizes=CHUNKS)
            made.units = "m"
            made[:] = rng.integers(0, 1 << 16, SHAPE, "u2")


def by_h5repack(path: Path, page_nbytes: int) -> None:
    if shutil.which("h5repack") is None:
        pytest.skip("program missing: h5repack")
    source = path.with_suffix(".source.h5")
    by_h5py(source)
    subprocess.run(
        ["h5repack", "-S", "PAGE", "-G", str(page_nbytes), str(source), str(path)],
        check=True,
        timeout=DEADLOCK_SECONDS,
    )
    source.unlink()


WRITERS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "h5py": (by_h5py, "bad", "could be better"),
    "h5py-latest": (partial(by_h5py, libver="latest"), "bad", "could be better"),
    "h5py-page": (partial(by_h5py, fs_strategy="page"), "bad", "could be better"),
    "h5py-page-1MiB": (partial(by_h5py, fs_strategy="page", fs_page_size=MIB), "good", "good"),
    "netcdf4": (by_netcdf4, "bad", "could be better"),
    "h5repack-8MB": (partial(by_h5repack, page_nbytes=8_000_000), "good", "good"),
    "streamh5": (by_streamh5, "good", "could be better"),
    "streamh5-page-1MiB": (partial(by_streamh5, page=MIB), "good", "good"),
}
"""How a file is written; the grades of its metadata and of its pages."""


def check_of(report: CloudReport, name: str) -> CloudCheck:
    return next(check for check in report.checks if check.name == name)


def written(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "a.h5"
    WRITERS[name][0](path)
    return path


@pytest.mark.parametrize("name", WRITERS)
def test_cloud_predicts_what_h5py_reads(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    predicted = streamh5.inspect(path).cloud().requests

    without_cache = CountedFile(path)
    with h5py.File(without_cache) as file:
        list_and_find_chunks(file)
        page_nbytes = file.id.get_create_plist().get_file_space_page_size()
    assert predicted.n_structures == pytest.approx(len(without_cache.reads), rel=0.05)

    for nbytes, expected in ((MIB, predicted.n_1mib_blocks), (8 * MIB, predicted.n_8mib_blocks)):
        cached = CachedFile(path, nbytes)
        with h5py.File(cached) as file:
            list_and_find_chunks(file)
        assert len(cached.reads) == expected

    if predicted.n_pages is not None:
        with_pages = CountedFile(path)
        with h5py.File(with_pages, page_buf_size=max(page_nbytes, 64 * MIB)) as file:
            list_and_find_chunks(file)
        assert len(with_pages.reads) == pytest.approx(
            predicted.n_pages + 3, abs=0 if predicted.n_pages < 10 else 3
        )


@pytest.mark.parametrize("name", WRITERS)
def test_cloud_grades_the_files_of_others(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    report = streamh5.inspect(path).cloud()
    _, metadata, pages = WRITERS[name]
    grades = {check.name: check.grade for check in report.checks}
    assert (grades["metadata"], grades["pages"]) == (metadata, pages)
    assert report.ok == (metadata != "bad")
    assert main(["inspect", "--cloud", str(path)]) == (0 if report.ok else 1)
    assert grades["chunks"] == "could be better"
    assert all(bool(check.advice) == (check.grade != "good") for check in report.checks)


def made_by_h5py(path: Path, make: Callable[[h5py.File], object], **options: Any) -> CloudReport:
    with h5py.File(path, "w", **options) as file:
        make(file)
    return streamh5.inspect(path).cloud()


@pytest.mark.parametrize(
    ("shape", "chunks", "grade"),
    [
        ((4, 1000, 250), (1, 1000, 250), "good"),  # 1,000,000 bytes
        ((4, 1000, 250), (1, 999, 250), "could be better"),
        ((4, 10_000, 250), (1, 10_000, 250), "good"),  # 10,000,000 bytes
        ((4, 10_001, 250), (1, 10_001, 250), "could be better"),
        ((4, 1000, 250), (1, 100, 250), "could be better"),  # 100,000 bytes, of 4 MB
        ((10, 1000, 250), (1, 100, 250), "could be better"),  # of 10 MB
        ((10, 1000, 250), (1, 99, 250), "bad"),
        ((4, 1000, 250), (1, 10, 250), "could be better"),  # some hundred requests at most
        ((4, 16_000, 250), (1, 16_000, 250), "could be better"),
        ((4, 16_001, 250), (1, 16_001, 250), "bad"),
        ((100,), (100,), "good"),  # one chunk
        ((100,), (1,), "could be better"),
        ((4, 4000, 1000), None, "could be better"),  # without chunks: 16 MB
        ((4, 4001, 1000), None, "bad"),
        ((100,), None, "good"),
    ],
)
def test_cloud_grades_chunks(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...] | None, grade: str
) -> None:
    report = made_by_h5py(
        tmp_path / "a.h5",
        lambda file: file.create_dataset(
            "x", data=np.zeros(shape, "i1" if chunks is None else "i4"), chunks=chunks
        ),
    )
    found = check_of(report, "chunks")
    assert found.grade == grade
    assert "/x" in found.found or grade == "good"
    assert found.figures["datasets"][0]["path"] == "/x"


def test_cloud_names_filters_that_need_a_plugin(tmp_path: Path) -> None:
    report = made_by_h5py(
        tmp_path / "a.h5", lambda file: file.create_dataset("x", data=np.zeros(100), compression="lzf")
    )
    found = check_of(report, "filters")
    assert (found.grade, found.figures["plugins"]) == ("could be better", ["lzf"])
    assert "lzf (/x)" in found.found
    assert "streamh5 convert --cloud IN OUT --compression gzip" in found.advice


def test_cloud_names_the_number_of_a_filter_without_a_name(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("x", (4,), "u1", chunks=(4,), compression=511, compression_opts=(6,))
        made.write_direct_chunk((0,), b"abc")
    report = streamh5.inspect(tmp_path / "a.h5").cloud()
    assert "filter 511 (/x)" in check_of(report, "filters").found


def test_cloud_counts_text_of_variable_length(tmp_path: Path) -> None:
    def make(file: h5py.File) -> None:
        file.attrs["note"] = "an attribute does not count"
        file.create_dataset("words", data=["w" * 40] * 30_000, dtype=h5py.string_dtype())

    found = check_of(made_by_h5py(tmp_path / "a.h5", make), "variable length")
    assert found.grade == "could be better"
    assert found.figures["heap_nbytes"] > 30_000 * 40


def test_cloud_finds_data_in_other_files(tmp_path: Path) -> None:
    report = made_by_h5py(
        tmp_path / "a.h5",
        lambda file: file.create_dataset("x", (10,), "i4", external=[(str(tmp_path / "raw"), 0, 40)]),
    )
    assert check_of(report, "data").grade == "bad"
    layout = h5py.VirtualLayout((10,), "i4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (10,))
    report = made_by_h5py(tmp_path / "b.h5", lambda file: file.create_virtual_dataset("x", layout))
    assert check_of(report, "data").grade == "could be better"


def test_cloud_finds_unused_bytes_a_user_block_and_damage(tmp_path: Path) -> None:
    def make(file: h5py.File) -> None:
        file["removed"] = np.zeros(3 * MIB, "u1")
        file["kept"] = np.arange(10)
        file.flush()
        del file["removed"]

    path = tmp_path / "a.h5"
    report = made_by_h5py(path, make, userblock_size=512)
    assert check_of(report, "unused bytes").grade == "could be better"
    assert check_of(report, "file").grade == "could be better"
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        address = h5py.h5o.get_info(file["kept"].id).addr
    content[512 + address] = 77  # its version
    path.write_bytes(content)
    damaged = streamh5.inspect(path).cloud()
    assert (check_of(damaged, "file").grade, damaged.ok) == ("bad", False)
    assert main(["inspect", "--cloud", str(path)]) == 1


@pytest.mark.parametrize("width", [80, 100, 120])
def test_cloud_text_fits_its_width(tmp_path: Path, width: int) -> None:
    report = streamh5.inspect(written(tmp_path, "h5py")).cloud()
    lines = report.render(width).splitlines()
    assert lines[0].endswith("MiB: not right for the cloud")
    assert max(map(len, lines[1:])) <= width


def test_cloud_as_json_holds_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "streamh5")
    assert main(["inspect", "--cloud", "--json", str(path)]) == 0
    report = streamh5.inspect(path).cloud()
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(report.to_dict()))
    assert report.to_dict()["requests"]["n_1mib_blocks"] == report.requests.n_1mib_blocks


def test_cloud_of_a_file_that_cannot_be_read_ends_with_status_2(tmp_path: Path) -> None:
    assert main(["inspect", "--cloud", str(tmp_path / "missing.h5")]) == 2


@pytest.mark.parametrize("name", BUILDERS)
def test_cloud_judges_every_structure_of_the_format(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.h5"
    BUILDERS[name](path)
    report = streamh5.inspect(path).cloud()
    assert report.requests.n_1mib_blocks == -(-report.requests.metadata_stop // MIB) == 1
    assert json.dumps(report.to_dict())
    assert len(report.render().splitlines()) > len(report.checks)
