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
    """Assert that the strict tools read the file, and copy it without a difference."""
    walks(path)
    repacks(path, "-L")


def _content(said: str) -> None:
    if "rror" in said:
        raise ReaderError(said[-2000:])
