"""How many reads a group of many objects takes: as many for each object, however many there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.reader.file_bytes import FileBytes
from streamh5.references.file_references import read_references

N = 400


def _add(path: Path) -> None:
    with streamh5.File(path, "a") as file:
        file["new"] = np.arange(3)


USES: dict[str, Callable[[Path], Any]] = {
    "references": read_references,
    "add": _add,
    "inspect": streamh5.inspect,
}


def _n_reads(path: Path, n: int, libver: str, use: Callable[[Path], Any], patch: pytest.MonkeyPatch) -> int:
    with h5py.File(path, "w", libver=libver) as file:
        for i in range(n):
            if i % 2:
                file.create_group(f"g{i:06d}")
            else:
                file[f"v{i}"] = np.arange(4)
                file[f"v{i}"].attrs["a"] = i
    n_reads = 0
    read = FileBytes.read

    def counted(self: FileBytes, address: int, nbytes: int, structure: str) -> bytes:
        nonlocal n_reads
        n_reads += 1
        return read(self, address, nbytes, structure)

    with patch.context() as here:
        here.setattr(FileBytes, "read", counted)
        use(path)
    return n_reads


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("use", USES)
def test_reads_of_a_wide_group_grow_with_its_objects(
    use: str, libver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (_n_reads(tmp_path / f"{n}.h5", n, libver, USES[use], monkeypatch) for n in (N, 4 * N))
    assert 0 < many <= 4.1 * few
