"""Peak memory of a write does not grow with the array: measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    n_rows = len(file["x"])
    for row in random.integers(0, n_rows, 40):
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


@pytest.mark.campaign
def test_array_of_8_gib_needs_less_than_300_mb(tmp_path: Path) -> None:
    found = measured(tmp_path / "a.h5", "dask", 8192)
    assert (found["nbytes"], found["missing"]) == (8 << 30, 0)
    assert found["grown"] < 300e6, f"{found['grown'] / 1e6:.0f} MB above the imports"
