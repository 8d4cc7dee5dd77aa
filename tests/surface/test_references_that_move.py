"""References in chunks of an existing file follow the objects that mode "a" moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from tests.readers.hdf5_tools import repacks

FILTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
}
MAXSHAPES: dict[str, tuple[int | None, ...]] = {"fixed": (9,), "one": (None,), "single": (9,)}


@pytest.mark.usefixtures("hdf5_tools")
@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("kind", MAXSHAPES)
def test_references_in_chunks_follow_objects_that_move(
    kind: str, filters: str, libver: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    compound = np.dtype([("n", "i4"), ("to", h5py.ref_dtype), ("part", h5py.regionref_dtype)])
    keywords: dict[str, Any] = {
        "chunks": (9,) if kind == "single" else (4,),
        "maxshape": MAXSHAPES[kind],
        **FILTERS[filters],
    }
    with h5py.File(path, "w", libver=libver) as file:
        targets = [file.create_dataset(f"{i}", data=np.arange(10) + i) for i in range(9)]
        file.create_dataset("refs", (9,), h5py.ref_dtype, **keywords)
        file["refs"][:] = np.array([one.ref for one in targets], h5py.ref_dtype)
        file.create_dataset("compound", (9,), compound, **keywords)
        for i, one in enumerate(targets[:6]):
            file["compound"][i] = (i, one.ref, one.regionref[i : i + 2])
        file.create_dataset("grid", (9, 9), h5py.ref_dtype, chunks=(2, 4), maxshape=(None, None))
        file["grid"][8, 8] = targets[3].ref
    for changes in ("0", "3", "refs"):
        with streamh5.File(path, "a") as changed:
            changed[changes].attrs["new"] = 1
            changed["5"].attrs["too"] = 2
    with streamh5.File(path, "a") as changed:
        del changed["7"]
        changed.move("4", "g/four")
        changed.move("3", "g/three")
    with h5py.File(path, "r+") as found:
        names: list[str | None] = ["/0", "/1", "/2", "/g/three", "/g/four", "/5", "/6", None, "/8"]
        for i, name in enumerate(names):
            reference = found["refs"][i]
            assert (found[reference].name if reference else None) == name
        for i in range(6):
            n, reference, region = found["compound"][i]
            assert n == i
            assert found[reference].name == names[i]
            np.testing.assert_array_equal(found[region][region], np.arange(i, i + 2) + i)
        assert not found["compound"][8]["to"]
        assert found[found["grid"][8, 8]].name == "/g/three"
        assert not found["grid"][0, 0]
        found["refs"][7] = found["0"].ref
        found["refs"][0] = found["8"].ref
        del found["compound"]  # h5diff cannot compare references in a compound
    assert streamh5.verify(path).ok
    repacks(path, "-L")
    with h5py.File(path) as found:
        assert found[found["refs"][7]].name == "/0"


def test_too_many_references_in_chunks_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("g/refs", (1 << 24,), h5py.ref_dtype, chunks=(1 << 10,))
    before = path.read_bytes()
    with pytest.raises(
        streamh5.errors.SpecError, match=r"/g/refs: its chunks have 134,217,728 bytes with ref"
    ):
        streamh5.File(path, "a")
    assert path.read_bytes() == before
