"""An HDF5 built with its assertions and strict format checks takes every kind of file, and adds to it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.readers.hdf5_tools import header_address
from tests.readers.programs import run_program
from tests.readers.protocol import ReaderError
from tests.readers.strict_tools import assert_passes_strict_tools, objects, walks
from tests.surface.kinds import KINDS


@pytest.mark.usefixtures("strict_tools")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_passes_the_strict_tools(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    KINDS[kind](path)
    assert_passes_strict_tools(path)


@pytest.mark.usefixtures("strict_tools")
@pytest.mark.parametrize("kind", KINDS)
def test_strict_library_adds_a_link_to_every_group(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    KINDS[kind](path)
    made = [f"{name.rstrip('/')}/made" for name, is_group in objects(path).items() if is_group]
    run_program("h5mkgrp", path, *made)
    with h5py.File(path) as file:
        assert all(isinstance(file[name], h5py.Group) for name in made)
    walks(path)


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
