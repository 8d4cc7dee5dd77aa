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
WITH_SERVICES = {"cloud.md", "cluster.md"}
"""Pages with tests of their own below; `tests/recipes` runs those of docs/recipes."""
LOOKED_AT = {
    "dask.md": "assert h5py.File('long.h5')['x'].shape == (240, 500, 500)",
    "file.md": "import h5py; assert h5py.File('long.h5')['frames'][:, 0, 0].tolist() == list(range(30))",
    "filters.md": "assert all((h5py.File('filters.h5')[name][()] == x).all() for name in 'abcdef')\n"
    "assert 0 < abs(h5py.File('sperr.h5')['x'][()] - x).max() <= 0.5",
    "h5py-names.md": "import h5py; assert h5py.File('names.h5')['column'][()].tolist() == [1, 1, 1]",
    "instruments.md": "import h5py; assert h5py.File('run.h5')['frames'][:, 0, 0].tolist() == list(range(100))",
    "references.md": "assert ds['x'].load().shape == (1000, 1000)",
    "xarray.md": "assert xr.open_dataset('space.nc').t2m[71].max() == 3",
}
"""What is looked at after the code of a page has run."""


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
    """Return the blocks that run: all but those below a comment ``<!-- not run: REASON -->``."""
    pattern = re.compile(r"(<!-- not run: [^>]+ -->\s*)?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [code for not_run, code in pattern.findall(page.read_text(encoding="utf-8")) if not not_run]


RUN_AS_A_WHOLE = [
    str(path.relative_to(DOCS))
    for path in sorted([*DOCS.glob("*.md"), *DOCS.glob("api/*.md")])
    if path.name not in WITH_SERVICES and python_blocks(path)
]


def test_code_of_no_page_escapes() -> None:
    """Each page with Python is run by a test, and no block has another name for it, which would hide it."""
    folders = {path.parent for path in DOCS.rglob("*.md") if "```python" in path.read_text(encoding="utf-8")}
    assert {path.relative_to(DOCS).parts[:1] for path in folders} <= {(), ("api",), ("recipes",)}
    assert LOOKED_AT.keys() <= set(RUN_AS_A_WHOLE)
    fences = {
        fence
        for page in PAGES
        for fence in re.findall(r"^ *```(\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert fences <= {
        "python",
        "bash",
        "sh",
        "console",
        "text",
        "json",
        "{toctree}",
        "{include}",
        "{command-help}",
    }


def test_every_script_of_the_cluster_page_is_run_below() -> None:
    names = [block.split(None, 2)[1] for block in python_blocks(DOCS / "cluster.md")]
    assert names == ["local.py", "modules.py", "ranks.py"]


@pytest.mark.parametrize("name", RUN_AS_A_WHOLE)
def test_python_blocks_of_a_page_run_from_top_to_bottom(name: str, tmp_path: Path) -> None:
    blocks = [*python_blocks(DOCS / name), LOOKED_AT.get(name, "")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # where this process has set it, hdf5plugin does not register its filters, without which SPERR does not encode
    environment.pop("HDF5_PLUGIN_PATH", None)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "faulthandler", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
    )
    assert done.returncode == 0, done.stderr
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
    built = "docs/_build/"  # by the command of the README
    assert not [name for name in sorted(named) if not (name.startswith(built) or (ROOT / name).exists())]
