"""The pages of docs/ say what the code does now."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streamh5.format.chunk_index.element import chunk_element
from streamh5.format.chunk_index.fixed_array import SIZEOF_FIXED_ARRAY_HEADER, FixedArray
from tests.deadlock import DEADLOCK_SECONDS
from tests.stores.servers import KEY, SECRET, S3Server

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
EXECUTED = {
    "quickstart.md": "",
    "h5py-names.md": "import h5py; assert h5py.File('names.h5')['column'][()].tolist() == [1, 1, 1]",
    "file-layout.md": "",
    "convert.md": "",
    "references.md": "assert ds['x'].load().shape == (1000, 1000)",
}
"""Pages whose code runs, and what is looked at behind it."""


def load(name: str) -> Any:
    """Import a script of docs/."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", EXECUTED)
def test_python_blocks_of_a_page_run_from_top_to_bottom(name: str, tmp_path: Path) -> None:
    blocks = python_blocks(DOCS / name)
    assert blocks
    blocks.append(EXECUTED[name])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "faulthandler", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*.h5"))
    assert not list(tmp_path.glob("*.partial*"))


def test_python_blocks_of_the_cloud_page_run_with_a_server(tmp_path: Path, s3_server: S3Server) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-X",
            "faulthandler",
            "-c",
            "\n".join(python_blocks(DOCS / "cloud.md")),
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_server.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    first, mean, by_zarr = done.stdout.splitlines()
    assert mean == "999.5"
    assert first == by_zarr
    assert [path.name for path in tmp_path.iterdir()] == ["run2.json"]


def run_script(name: str, folder: Path, *launcher: str) -> None:
    """Run the block of cluster.md that begins with its name, as a script in a folder."""
    blocks = {block.split(None, 2)[1]: block for block in python_blocks(DOCS / "cluster.md")}
    (folder / name).write_text(blocks[name])
    done = subprocess.run(
        [*launcher, sys.executable, *(["-m", "mpi4py"] if launcher else ["-W", "error"]), name],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert "written by" in done.stdout


def test_script_with_a_local_cluster_writes_what_h5py_reads(tmp_path: Path) -> None:
    run_script("local.py", tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["local.h5", "local.py"]
    with h5py.File(tmp_path / "local.h5") as file:
        assert file["x"].shape == (4000, 1000)
        assert 0.49 < file["x"][...].mean() < 0.51


def test_script_with_processes_writes_what_h5py_reads(tmp_path: Path) -> None:
    run_script("modules.py", tmp_path)
    with h5py.File(tmp_path / "modules.h5") as file:
        frames = file["frames"][...]
    assert frames.shape == (20, 512, 512)
    for module in range(4):
        rng = np.random.default_rng(module)
        for frame in frames[:, 128 * module : 128 * (module + 1)]:
            np.testing.assert_array_equal(frame, rng.poisson(2, (128, 512)))


def test_script_with_mpi_writes_what_h5py_reads(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    mpiexec = shutil.which(
        "mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if mpiexec is None:
        pytest.skip("mpiexec is missing (PyPI: mpich)")
    run_script("ranks.py", tmp_path, mpiexec, "-n", "3")
    with h5py.File(tmp_path / "ranks.h5") as file:
        np.testing.assert_array_equal(file["x"][:, 7], np.arange(800) // 100 * 100)


def test_hex_dump_of_the_page_is_what_is_written_now() -> None:
    hex_dump = load("hex_dump")
    page = (DOCS / "file-layout.md").read_text(encoding="utf-8")
    assert hex_dump.page_with_dump(page) == page


def test_file_of_the_hex_dump_is_what_h5py_reads(tmp_path: Path) -> None:
    load("hex_dump").write_example(tmp_path / "x.h5")
    page = (DOCS / "file-layout.md").read_text(encoding="utf-8")
    with h5py.File(tmp_path / "x.h5", "r") as file:
        dataset = file["x"]
        np.testing.assert_array_equal(dataset[...], np.arange(24).reshape(4, 6))
        assert dict(dataset.attrs) == {"scale": 0.5}
        assert dataset.fletcher32
        for i in range(4):
            info = dataset.id.get_chunk_info(i)
            coords = tuple(n // c for n, c in zip(info.chunk_offset, dataset.chunks, strict=True))
            start = page.index(f"--- chunk {coords} ---\n{info.byte_offset:03x}  ")
            assert start > 0


def test_hex_dump_of_another_file_is_refused(tmp_path: Path) -> None:
    hex_dump = load("hex_dump")
    hex_dump.write_example(tmp_path / "x.h5")
    data = bytearray((tmp_path / "x.h5").read_bytes())
    data[8] = 2
    with pytest.raises(ValueError, match=r"superblock, version 3.*02 at 0x8 is not 3"):
        hex_dump.hex_dump(bytes(data))
    with pytest.raises(ValueError, match=f"the file has {len(data) + 1}"):
        hex_dump.hex_dump(bytes(data) + b"\0")


def test_index_sizes_of_the_page_are_those_of_the_format() -> None:
    page = (DOCS / "file-layout.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d,]+) \| [\d.]+ [MGT]iB \| ([\d.,]+) (bytes|MB) \|$", page, re.MULTILINE)
    assert len(rows) == 5
    for n_chunks, size, unit in rows:
        array = FixedArray(int(n_chunks.replace(",", "")), chunk_element(4 << 20, filtered=True))
        nbytes = SIZEOF_FIXED_ARRAY_HEADER + array.sizeof_data_block
        assert f"{nbytes:,}" == size if unit == "bytes" else f"{nbytes / 1e6:.1f}" == size


def test_pictures_are_those_of_the_notebooks() -> None:
    images = load("notebook_images")
    assert {path.name for path in (DOCS / "images").glob("*.png")} >= set(images.IMAGES)
    for name in images.IMAGES:
        assert (DOCS / "images" / name).read_bytes() == images.picture(name), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [
        link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"https?:|mailto:|#", link)
    ]
    missing = [link for link in links if not (page.parent / link.split("#")[0]).exists()]
    assert missing == []


def test_modules_that_the_pages_name_exist() -> None:
    named = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named |= set(re.findall(r"`((?:streamh5|tests|docs|notebooks)/[\w./-]+)`", text))
        if page.name == "architecture.md":
            folders = "|".join(one.name for one in (ROOT / "streamh5").iterdir() if one.is_dir())
            inside = re.findall(rf"`((?:{folders})/[\w./]*|\w+\.py)`", text)
            named |= {f"streamh5/{name}" for name in inside}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
