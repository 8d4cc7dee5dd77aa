"""HDF5 built with its assertions and strict format checks: its tools take every kind of file.

The tools of a distribution are built without both: they pass over what the library itself holds to be wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.readers.hdf5_tools import (
    STRICT_TOOLS,
    h5debug,
    h5ls,
    header_address,
    missing_strict_tools,
    repacks,
)
from tests.readers.programs import run_program
from tests.readers.protocol import ReaderError
from tests.surface.kinds import KINDS

UNDEFINED = "18446744073709551615"


@pytest.fixture
def strict_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the tools of the strict HDF5 before those of the distribution."""
    reason = missing_strict_tools()
    if reason is not None:
        pytest.skip(f"reader missing: {reason}")
    monkeypatch.setenv("PATH", f"{STRICT_TOOLS}{os.pathsep}{os.environ['PATH']}")


def objects(path: Path) -> set[str]:
    """Every object of a file by one of its paths."""
    found = {"/"}
    with h5py.File(path) as file:
        file.visit(lambda name: found.add(f"/{name}"))
    return found


def structures(path: Path) -> Iterator[tuple[int, ...]]:
    """Address of every superblock, header, heap and index, with the further arguments of h5debug for it."""
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


@pytest.mark.usefixtures("strict_tools")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_passes_the_strict_tools(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    KINDS[kind](path)
    for tool, *options in (["h5dump", "-o", os.devnull], ["h5stat"]):
        assert "rror" not in run_program(tool, *options, path).stderr
    assert "rror" not in h5ls(path)
    for addresses in structures(path):
        assert h5debug(path, *addresses)
    repacks(path, "-L")


@pytest.mark.usefixtures("hdf5_tools")
def test_strict_tools_refuse_what_others_pass_over(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        file["x"] = np.arange(3)
    content = bytearray(path.read_bytes())
    content[header_address(path, "/x") + 2] += 1  # number of messages in a header without checksum
    path.write_bytes(content)
    run_program("h5dump", path)
    request.getfixturevalue("strict_tools")
    with pytest.raises(ReaderError, match="h5dump"):
        run_program("h5dump", path)
