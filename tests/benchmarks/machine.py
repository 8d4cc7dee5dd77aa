"""The machine under the measurements: what it is, and how to keep it from spoiling them."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = [
    "BUSY_RESOLUTION_SECONDS",
    "busy_seconds",
    "describe_machine",
    "describe_versions",
    "wait_until_quiet",
    "warm_page_cache",
]

PACKAGES = (
    "streamh5", "numpy", "dask", "h5py", "hdf5plugin", "zarr", "numcodecs", "backports.zstd", "xarray", "h5netcdf",
    "netCDF4", "tables", "isal",
)  # fmt: skip
STAT = Path("/proc/stat")
IDLE_FIELDS = (3, 4)
"""Idle and waiting for a disk, in the first line of ``/proc/stat``."""
BUSY_RESOLUTION_SECONDS = 0.03
"""``/proc/stat`` counts in hundredths of a second, for each core."""
GUEST_FIELD = 8
"""From here on, time that is counted in the earlier fields already."""
WARM_SURPLUS_NBYTES = 2**30
QUIET_WATCH_SECONDS = 0.2
QUIET_SHARE = 0.1


def busy_seconds() -> float | None:
    """Processor time that all processes together have used; None where the system does not tell."""
    if not STAT.exists():
        return None
    fields = [int(field) for field in STAT.read_text().split("\n", 1)[0].split()[1 : 1 + GUEST_FIELD]]
    return (sum(fields) - sum(fields[i] for i in IDLE_FIELDS)) / os.sysconf("SC_CLK_TCK")


def wait_until_quiet(at_most_seconds: float) -> None:
    """Wait until other processes use less than a tenth of the machine, or the time is over."""
    end = time.monotonic() + at_most_seconds
    while time.monotonic() < end:
        before = busy_seconds()
        time.sleep(QUIET_WATCH_SECONDS)
        after = busy_seconds()
        if before is None or after is None:
            return
        if after - before < QUIET_SHARE * QUIET_WATCH_SECONDS * (os.cpu_count() or 1):
            return


def warm_page_cache(directory: Path, nbytes: int) -> None:
    """Write a plain file and remove it, so that the pages which the next file takes exist.

    A virtual machine gets its memory from its host at the first touch. Free pages that were handed
    back cost ten times as much as those used before (measured: an append of 512 MiB at 0.45 or at
    7 GB/s), and whoever wrote before decides which of the two a contender meets. The file is larger
    than `nbytes` for what other processes take meanwhile; memory beside the page cache of the same
    file system does not serve, its pages lie elsewhere.
    """
    path = directory / "warm"
    piece = bytes(2**22)
    with path.open("wb", buffering=0) as file:
        for _ in range(-(-(nbytes + WARM_SURPLUS_NBYTES) // len(piece))):
            file.write(piece)
    path.unlink()


def _file_system(directory: Path) -> str:
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown file system"
    fields = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    holds = [(point, kind) for point, kind in fields if directory.is_relative_to(point)]
    return max(holds, key=lambda mount: len(mount[0]))[1]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_machine(directory: Path, threads: int) -> dict[str, Any]:
    """Processor, cores, threads, system and the file system of `directory`."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(directory.resolve()),
        "python": platform.python_version(),
    }


def describe_versions() -> dict[str, str]:
    """Versions of the packages that take part."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
