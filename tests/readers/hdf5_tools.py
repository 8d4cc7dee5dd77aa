"""Verdicts of hdf5-tools: h5repack, h5diff, h5ls, h5stat, h5debug.

They are those on the path: Debian's; in tests of the fixture ``strict_tools`` those of `strict_tools`.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import h5py

from tests.readers.programs import missing_program, run_program
from tests.readers.protocol import ReaderError

TOOLS = ("h5dump", "h5repack", "h5diff", "h5ls", "h5stat", "h5debug")


def missing_tools() -> str | None:
    """Tell which of the tools is not installed; None when all are."""
    return next((reason for reason in map(missing_program, TOOLS) if reason), None)


def differs(
    path: Path, other: Path, dataset: str | None = None, other_dataset: str | None = None
) -> str | None:
    """Return what h5diff finds different between two files, or two datasets in them; None for nothing.

    Objects that h5diff cannot compare count as a difference: it ends with status 0 for them.
    """
    objects = [name for name in (dataset, other_dataset or dataset) if name is not None]
    done = run_program("h5diff", "-c", path, other, *objects, expected=(0, 1))
    lines = (done.stdout + done.stderr).splitlines()
    # Said of a dataset without elements even beside its equal.
    said = "\n".join(line for line in lines if line and not line.endswith("is an empty dataset"))
    if done.returncode == 0 and "Not comparable" not in said:
        return None
    return said or f"h5diff ended with status {done.returncode}"


def repacks(path: Path, *options: str) -> None:
    """Let h5repack copy the file, reading and filtering everything anew; h5diff must find no difference.

    Parameters
    ----------
    path
        The file.
    options
        Of h5repack: ``-L`` lets the copy have what only HDF5 1.8 and newer know, such as large attributes.

    Raises ReaderError when either refuses the file or the copy differs.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy.h5")
        run_program("h5repack", *options, path, copy)
        difference = differs(path, copy)
    if difference is not None:
        raise ReaderError(f"h5diff finds {path} and its repacked copy different: {difference}")


def h5ls(path: Path, object_path: str = "") -> str:
    """Return what ``h5ls -rv`` says of the whole file, or of one object."""
    return run_program(
        "h5ls", "-rv", f"{path}/{object_path.strip('/')}" if object_path.strip("/") else path
    ).stdout


def h5stat(path: Path) -> str:
    """Return what h5stat says of the file."""
    return run_program("h5stat", path).stdout


def h5debug(path: Path, *addresses: int) -> str:
    """Return what h5debug says of the structure at an address (further ones are its parameters)."""
    done = run_program("h5debug", path, *map(str, addresses))
    if "*** ERROR" in done.stdout or "Error detected" in done.stderr:
        raise ReaderError(f"h5debug at {addresses}: {done.stderr[-1000:] or done.stdout[-1000:]}")
    return done.stdout


def header_address(path: Path, object_path: str) -> int:
    """Return the address of an object's header, as h5py tells it."""
    with h5py.File(path, "r") as file:
        return int(h5py.h5o.get_info(file[object_path].id).addr)


def index_type(path: Path, dataset: str) -> str:
    """Return h5debug's name of the chunk index, such as ``Fixed Array``."""
    said = h5debug(path, header_address(path, dataset))
    match = re.search(r"^\s*Index Type:\s+(.+?)\s*$", said, re.MULTILINE)
    if match is None:
        raise ReaderError(f"h5debug names no chunk index of {dataset}: {said[-1000:]}")
    return match[1]


def index_address(path: Path, dataset: str) -> int:
    """Return the address of the chunk index, as h5debug tells it."""
    match = re.search(r"Index address:\s+(\d+)", h5debug(path, header_address(path, dataset)))
    if match is None:
        raise ReaderError(f"h5debug tells no index address of {dataset}")
    return int(match[1])
