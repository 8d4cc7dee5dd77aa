"""A file that is not there is a `FileNotFoundError`, as everybody who reads files catches it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import streamh5
from streamh5 import errors

READERS: dict[str, Callable[[Path, Path], Any]] = {
    "convert": streamh5.convert,
    "from_zarr": streamh5.from_zarr,
    "verify": lambda source, _: streamh5.verify(source),
    "inspect": lambda source, _: streamh5.inspect(source),
    "references": lambda source, _: streamh5.read_references(source),
    "salvage": lambda source, _: streamh5.salvage(source),
}


@pytest.mark.parametrize("how", READERS)
@pytest.mark.parametrize("name", ["no.h5", "no/such.h5", "no.h5.partial"])
def test_missing_source_is_a_file_not_found_error_of_ours(how: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no.*[Nn]o such file") as caught:
        READERS[how](tmp_path / name, tmp_path / "out.h5")
    assert isinstance(caught.value, errors.StreamH5Error)
    assert list(tmp_path.iterdir()) == []
