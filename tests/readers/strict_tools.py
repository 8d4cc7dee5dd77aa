"""The tools of an HDF5 built with its assertions and strict format checks.

Those of a distribution are built without both: they pass over what the library itself holds to be wrong.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from tests.readers.hdf5_tools import TOOLS, h5debug, h5ls, header_address, repacks
from tests.readers.programs import brought, run_program
from tests.readers.protocol import ReaderError

STRICT_TOOLS = brought("STREAMH5_STRICT_HDF5_TOOLS", "hdf5-strict").absolute()
UNDEFINED = "18446744073709551615"


def missing_strict_tools() -> str | None:
    """Tell which of the tools is not here; None when all are."""
    missing = [tool for tool in (*TOOLS, "h5mkgrp") if not shutil.which(STRICT_TOOLS / tool)]
    return (
        f"HDF5 with strict checks: no {', '.join(missing)} in {STRICT_TOOLS} (.ci/readers)"
        if missing
        else None
    )


def objects(path: Path) -> dict[str, bool]:
    """Return every object of a file by one of its paths, and whether it is a group."""
    found = {"/": True}

    def note(name: str, node: Any) -> None:
        found[f"/{name}"] = isinstance(node, h5py.Group)

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def structures(path: Path) -> Iterator[tuple[int, ...]]:
    """Yield the address of superblock, headers, heaps and indexes, each with h5debug's further arguments."""
    yield ()
    for name in objects(path):
        header = header_address(path, name)
        yield (header,)
        said = h5debug(path, header)
        for storage in re.findall(r"storage [^\n]*address:\s+(\d+)", said):
            if storage != UNDEFINED:
                yield (int(storage),)
        # Not of a v2 B-tree: h5debug does not tell it the number of dimensions, which an assertion then stops.
        index = re.search(r"Index Type:\s+(Fixed|Extensible) Array", said)
        address = re.search(r"Index address:\s+(\d+)", said)
        if index and address and address[1] != UNDEFINED:
            yield (int(address[1]), header)


def walks(path: Path) -> None:
    """Let h5dump, h5ls, h5stat and h5debug go over every object of the file.

    Raises ReaderError when one of them refuses it.
    """
    for tool, *options in (["h5dump", "-o", os.devnull], ["h5stat"]):
        _content(run_program(tool, *options, path).stderr)
    _content(h5ls(path))
    for addresses in structures(path):
        h5debug(path, *addresses)


def assert_passes_strict_tools(path: Path) -> None:
    """Assert that the strict tools read the file, and copy it without a difference.

    h5repack 1.10 copies fill values of variable length as pointers into the old file, also where netCDF-C has
    written them: no tool opens such a copy, so that a file that has them is only read.
    """
    walks(path)
    if not _has_fill_of_variable_length(path):
        repacks(path, "-L")


def _has_fill_of_variable_length(path: Path) -> bool:
    """Tell whether strings of variable length in a file have a fill value of their own."""
    with h5py.File(path) as file:
        datasets = (file[name] for name in objects(path))
        return any(
            h5py.check_string_dtype(one.dtype) is not None
            and h5py.check_string_dtype(one.dtype).length is None
            and one.id.get_create_plist().fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED
            for one in datasets
            if isinstance(one, h5py.Dataset)
        )


def _content(said: str) -> None:
    if "rror" in said:
        raise ReaderError(said[-2000:])
