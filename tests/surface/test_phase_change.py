"""When attributes go to dense storage: the limits of an object stay when streamh5 writes its header anew."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

import streamh5


def _limits(file: h5py.File) -> dict[str, tuple[int, int]]:
    return {name: file[name].id.get_create_plist().get_attr_phase_change() for name in ("d", "g", "plain")}


@pytest.mark.parametrize("track_times", [False, True])
def test_phase_change_of_attributes_is_kept_when_headers_are_written_anew(
    track_times: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for name, kind in (("d", h5py.h5p.DATASET_CREATE), ("g", h5py.h5p.GROUP_CREATE)):
            creation = h5py.h5p.create(kind)
            creation.set_attr_phase_change(5, 3)
            if name == "g":
                h5py.h5g.create(file.id, b"g", gcpl=creation)
            else:
                creation.set_obj_track_times(track_times)
                h5py.h5d.create(file.id, b"d", h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple((3,)), creation)
        file.create_group("plain")
        before = _limits(file)
    assert before == {"d": (5, 3), "g": (5, 3), "plain": (8, 6)}
    with streamh5.File(path, "a") as changed:
        for name in before:
            changed[name].attrs["unit"] = "K"
        changed.create_dataset("g/x", data=[1, 2])
    with h5py.File(path, "r+") as file:
        assert _limits(file) == before
        for name in before:
            for i in range(9):
                file[name].attrs[str(i)] = i
    with h5py.File(path) as file:
        assert {name: len(file[name].attrs) for name in before} == dict.fromkeys(before, 10)
