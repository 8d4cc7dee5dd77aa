"""Peak memory of a write does not grow with the array: measured in processes of their own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import pytest

import streamh5
from streamh5.dask.blocks import limit_workers

SCRIPT = """
import json, resource, sys
import dask.array as da, h5py, numpy as np, streamh5

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def block(block_info=None):
    start = block_info[None]["array-location"][0][0]
    n = block_info[None]["chunk-shape"][0]
    rows = (np.arange(start, start + n, dtype="f4") % 1000)[:, None]
    return rows + np.arange(1024, dtype="f4") * np.float32(0.001)

path, mode, n_mib = sys.argv[1], sys.argv[2], int(sys.argv[3])
n_rows = n_mib * 256
before = peak()
if mode == "dask":
    x = da.map_blocks(block, chunks=((1024,) * (n_rows // 1024), (1024,)), dtype="f4", meta=np.empty((0, 0), "f4"))
    summary = streamh5.to_fixed_h5(path, "/x", x, compression="gzip", shuffle=True)
elif mode.startswith("limited "):
    keywords = json.loads(mode.partition(" ")[2])
    is_transposed = keywords.pop("transposed", False)
    def noise(block_info):
        shape = block_info[None]["chunk-shape"]
        made = np.random.default_rng(0).integers(0, 2**63, shape[::-1] if is_transposed else shape, "i8")
        return made.T if is_transposed else made
    x = da.map_blocks(
        noise, chunks=((1 << 13,) * (n_mib // 64), (1 << 10,)), dtype="i8", meta=np.empty((0, 0), "i8"),
    )
    summary = streamh5.to_fixed_h5(path, "/noise", x, **keywords)
elif mode == "several":
    x = da.map_blocks(block, chunks=((1024,) * (n_rows // 2048), (1024,)), dtype="f4", meta=np.empty((0, 0), "f4"))
    summary = streamh5.to_fixed_h5(path, {"/x": x, "/y": x + 1})
else:
    keywords = {"compression": "gzip", "shuffle": True} if mode == "append" else {}
    with streamh5.File(path) as file:
        d = file.create_dataset("x", (None, 1024), "f4", chunks=(1024, 1024), **keywords)
        for start in range(0, n_rows, 1024):
            info = {None: {"array-location": [(start, start + 1024)], "chunk-shape": (1024, 1024)}}
            d.append(block(info))
    summary = file.summary
after = peak()
random = np.random.default_rng(0)
with h5py.File(path) as file:
    n_rows = len(file["x"]) if "x" in file else 0
    for row in random.integers(0, n_rows, 40) if n_rows else ():
        expected = np.float32(row % 1000) + np.arange(1024, dtype="f4") * np.float32(0.001)
        np.testing.assert_array_equal(file["x"][row], expected)
        if "y" in file:
            np.testing.assert_array_equal(file["y"][row], expected + 1)
print(json.dumps({"nbytes": summary.nbytes, "missing": summary.n_missing, "grown": after - before}))
"""


def measured(path: Path, mode: str, n_mib: int) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), mode, str(n_mib)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("mode", ["dask", "several", "append", "append raw"])
def test_array_of_one_gib_needs_a_fraction_of_it(mode: str, tmp_path: Path) -> None:
    found = measured(tmp_path / "a.h5", mode, 1024)
    assert (found["nbytes"], found["missing"]) == (1 << 30, 0)
    assert found["grown"] < 200e6, f"{found['grown'] / 1e6:.0f} MB above the imports"


UNFILTERED: dict[str, Any] = {"compression": None, "shuffle": False}


@pytest.mark.parametrize(
    ("keywords", "max_mib"),
    [
        ({"chunks": (1 << 13, 1 << 10)}, 448),
        ({"chunks": (1 << 13, 1 << 10), **UNFILTERED}, 208),
        ({"chunks": (1 << 13, 1 << 10), **UNFILTERED, "transposed": True}, 208),
        ({"chunks": (1 << 13, 1 << 10), **UNFILTERED, "write_empty_chunks": False}, 208),
        ({"chunks": (1 << 7, 1 << 10)}, 224),
        ({"chunks": (1 << 10, 1 << 9)}, 232),
    ],
)
def test_noise_in_blocks_of_64_mib_stays_within_max_memory(
    keywords: dict[str, Any], max_mib: int, tmp_path: Path
) -> None:
    order = json.dumps({**keywords, "max_memory": max_mib << 20})
    found = measured(tmp_path / "a.h5", f"limited {order}", 256)
    assert (found["nbytes"], found["missing"]) == (256 << 20, 0)
    assert found["grown"] < max_mib << 20, f"{found['grown'] / 2**20:.0f} MiB above the imports"


@pytest.mark.parametrize(
    ("keywords", "n_threads"),
    [
        # the block of 16 MiB, a copy of a batch of chunks, what the filters have, and what the C library keeps
        ({**UNFILTERED}, 2),  # 16 + 16 + 8: a chunk is a batch
        ({"chunks": (256, 256), **UNFILTERED}, 4),  # 16 + 4 + 4
        ({"chunks": (3000, 256), **UNFILTERED}, 3),  # 16 + 6 + 6
        ({"chunks": (8192, 160), **UNFILTERED}, 2),  # 16 + 2 x 10 + 8: what is padded is copied a second time
        ({"chunks": (1024, 256)}, 2),  # 16 + 4 x 4 + 4
        ({"chunks": (1024, 128)}, 2),
        ({"chunks": (1024, 256), "compression": "bzip2"}, 2),  # 16 + 5 x 4 + 4
        ({}, 1),  # 16 + 4 x 16 + 8
    ],
)
def test_threads_within_max_memory_follow_from_blocks_chunks_and_filters(
    keywords: dict[str, Any], n_threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def noted(*given: Any) -> dict[str, Any]:
        limited = limit_workers(*given)
        asked.append(limited["num_workers"])
        return limited

    monkeypatch.setattr("streamh5.dask.to_fixed_h5.limit_workers", noted)
    monkeypatch.setattr("streamh5.dask.blocks.CPU_COUNT", 8)
    x = da.zeros((8192, 256), chunks=(8192, 256), dtype="f8")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        x.to_fixed_h5(tmp_path / "a.h5", "/x", max_memory="170 MiB", **keywords)
    assert asked == [n_threads]
    assert [one.category for one in caught] == [streamh5.FewThreadsWarning] * (n_threads < 4)


def test_warning_of_few_threads_names_a_memory_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamh5.dask.blocks.CPU_COUNT", 8)
    x = da.zeros((8192, 256), chunks=(8192, 256), dtype="f8")
    with pytest.warns(streamh5.FewThreadsWarning, match=r"lets 1 of 8 threads") as caught:
        x.to_fixed_h5(tmp_path / "a.h5", "/x", max_memory="170 MiB")
    assert caught[0].filename == __file__
    assert len(str(caught[0].message)) <= 300
    needed = re.search(r"allow ([\d,]+)", str(caught[0].message))
    assert needed is not None
    x.to_fixed_h5(tmp_path / "b.h5", "/x", max_memory=int(needed[1].replace(",", "")))


@pytest.mark.campaign
def test_array_of_8_gib_needs_less_than_300_mb(tmp_path: Path) -> None:
    found = measured(tmp_path / "a.h5", "dask", 8192)
    assert (found["nbytes"], found["missing"]) == (8 << 30, 0)
    assert found["grown"] < 300e6, f"{found['grown'] / 1e6:.0f} MB above the imports"
