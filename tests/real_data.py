"""Real data for tests: every variable of two NOAA files, or of the sample in ``tests/data``.

The full files are taken from the folder that ``STREAMH5_SHARED_DATA`` names, or from ``shared/data``
beside the checkout.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from scipy.io import netcdf_file

CHECKOUT = Path(__file__).parents[1]
FULL = ("coads_climatology.cdf", "etopo20.cdf")
SAMPLE = ("coads_sample.nc", "etopo20_sample.nc")


def real_files() -> list[Path]:
    """Return the two full files where they are at hand, the two of the sample otherwise."""
    named = os.environ.get("STREAMH5_SHARED_DATA")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "data"
    full = [folder / name for name in FULL]
    if all(path.is_file() for path in full):
        return full
    if named:
        raise FileNotFoundError(f"STREAMH5_SHARED_DATA is {named}, where {' or '.join(FULL)} is missing")
    return [CHECKOUT / "tests" / "data" / name for name in SAMPLE]


def real_arrays(files: list[Path] | None = None) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield ``file/variable`` and the values as stored: big-endian, missing ones as -1e34."""
    for path in real_files() if files is None else files:
        with netcdf_file(path, mmap=False) as file:
            for name, variable in file.variables.items():
                yield f"{path.stem}/{name}", variable.data
