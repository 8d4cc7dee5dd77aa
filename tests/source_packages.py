"""Source packages of HDF5 and netCDF-C, whose test files come from many versions, machines and years."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

CI = Path(__file__).parents[1] / ".ci"


def hdf5_files() -> list[Path]:
    """Return the test files in HDF5's source."""
    return sorted(source_package("hdf5").rglob("*.h5"))


def netcdf_files() -> list[Path]:
    """Return the test files in netCDF-C's source."""
    folder = source_package("netcdf")
    return sorted([*folder.rglob("*.nc"), *folder.rglob("*.h5")])


@cache
def source_package(name: str) -> Path:
    """Return the folder of the distribution's source package, fetched once into ``.ci/NAME-source``.

    ``STREAMH5_HDF5_SOURCE`` and ``STREAMH5_NETCDF_SOURCE`` name others.
    """
    variable = f"STREAMH5_{name.upper()}_SOURCE"
    given = os.environ.get(variable)
    folder = Path(given) if given else CI / f"{name}-source"
    if not folder.is_dir():
        if shutil.which("apt-get") is None:
            pytest.skip(f"no apt-get here, and {variable} is not set")
        _fetch(name, folder)
    return folder


def _fetch(name: str, folder: Path) -> None:
    """Get a source package with lists of its own, so that nothing of the machine changes."""
    work = folder.with_name(folder.name + ".fetched")
    shutil.rmtree(work, ignore_errors=True)
    for part in ("parts", "lists/partial", "cache/archives/partial"):
        (work / part).mkdir(parents=True)
    for source in Path("/etc/apt/sources.list.d").glob("*.sources"):
        lines = source.read_text().splitlines()
        kept = ["Types: deb-src" if line.startswith("Types:") else line for line in lines]
        (work / "parts" / source.name).write_text("\n".join(kept) + "\n")
    old = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.list")]
    for source in filter(Path.is_file, old):
        words = [line.split(maxsplit=1) for line in source.read_text().splitlines()]
        kept = [f"deb-src {line[1]}" for line in words if line and line[0] in ("deb", "deb-src")]
        (work / "parts" / f"{source.stem}.list").write_text("\n".join(kept) + "\n")
    options = ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={work / 'parts'}"]
    options += ["-o", f"Dir::State::lists={work / 'lists'}", "-o", f"Dir::Cache={work / 'cache'}"]
    subprocess.run(["apt-get", *options, "update"], check=False, capture_output=True, timeout=180)
    fetch = ["apt-get", *options, "source", "--download-only", "--only-source", name]
    done = subprocess.run(fetch, check=False, capture_output=True, text=True, cwd=work, timeout=300)
    archives = [path for path in work.glob(f"{name}_*.orig.tar.*") if path.suffix != ".asc"]
    if not archives:
        pytest.skip(f"the source package {name} cannot be had: {done.stderr[-300:]}")
    (work / "source").mkdir()
    subprocess.run(
        ["tar", "-x", "-f", archives[0], "-C", work / "source", "--strip-components=1"],
        check=True,
        timeout=300,
    )
    (work / "source").rename(folder)
    shutil.rmtree(work, ignore_errors=True)
