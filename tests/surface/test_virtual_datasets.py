"""Virtual datasets: the same layouts made with h5py and with streamh5 read the same in every reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamh5
from streamh5.errors import BlockError, DatatypeError, ReferencesError, SpecError, StateError
from streamh5.format.fields import Fields
from streamh5.format.hyperslab import AxisBlocks, Hyperslab, decode_selection, encode_selection
from streamh5.format.virtual_mapping import (
    VirtualMapping,
    decode_virtual_mappings,
    encode_virtual_mappings,
)
from tests.readers.programs import run_program
from tests.written import values

UNLIMITED = h5py.h5s.UNLIMITED
Make = Callable[[Any], Any]
"""Returns a layout, made with the classes of h5py or of streamh5."""


@pytest.fixture(name="sources")
def source_files(tmp_path: Path) -> Path:
    for i in range(3):
        with h5py.File(tmp_path / f"part-{i}.h5", "w") as file:
            file.create_dataset("g/x", data=100 * i + np.arange(20).reshape(5, 4), maxshape=(None, 4))
    return tmp_path


def parts(of: Any) -> Any:
    layout = of.VirtualLayout((15, 4), "i8")
    for i in range(3):
        layout[5 * i : 5 * i + 5] = of.VirtualSource(f"part-{i}.h5", "g/x", (5, 4))
    return layout


def steps(of: Any) -> Any:
    layout = of.VirtualLayout((12, 9), "i8")
    layout[1:10:2, ::3] = of.VirtualSource("part-0.h5", "g/x", (5, 4))[:, 1:]
    layout[..., 1] = of.VirtualSource("part-1.h5", "/g/x", (5, 4))[1:4, :]
    layout[-1, 4:8] = of.VirtualSource("part-2.h5", "/g/x", (5, 4))[-2]
    layout[0, h5py.MultiBlockSlice(4, 3, 2, 2)] = of.VirtualSource("part-2.h5", "/g/x", (5, 4))[0, ...]
    return layout


def endless(of: Any) -> Any:
    layout = of.VirtualLayout((5, 8), "i8", maxshape=(None, 8))
    layout[0:UNLIMITED, 0:4] = of.VirtualSource("part-0.h5", "g/x", (5, 4), maxshape=(None, 4))[0:UNLIMITED]
    layout[0:UNLIMITED, 4:8] = of.VirtualSource("part-1.h5", "g/x", (5, 4), maxshape=(None, 4))[
        0:UNLIMITED, :
    ]
    return layout


def numbered(of: Any) -> Any:
    layout = of.VirtualLayout((1, 4), "i8", maxshape=(None, 4))
    layout[0:UNLIMITED] = of.VirtualSource("part-%b.h5", "g/x", (5, 4))[2]
    return layout


def missing(of: Any) -> Any:
    layout = of.VirtualLayout((9, 4), "f4")
    layout[0:5] = of.VirtualSource("nothing 100%%.h5", "g/x", (5, 4))
    return layout


def empty(of: Any) -> Any:
    return of.VirtualLayout((3, 4), "i2")


def whole(of: Any) -> Any:
    layout = of.VirtualLayout(5, ">f4")
    layout[:] = of.VirtualSource("part-1.h5", "g/x", (5, 4))[:, 0]
    return layout


def selection(space: h5py.h5s.SpaceID) -> tuple[Any, ...]:
    """What a space selects: its blocks if they have no end, else the bounds and the number of elements."""
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return ("all",)
    if space.is_regular_hyperslab():
        axes = list(zip(*space.get_regular_hyperslab(), strict=True))
        if any(count == UNLIMITED for _, _, count, _ in axes):
            return tuple(axis if axis[2] == UNLIMITED else (axis[0], axis[2] * axis[3]) for axis in axes)
    return space.get_select_bounds(), space.get_select_npoints()


LAYOUTS = (parts, steps, endless, numbered, missing, empty, whole)


@pytest.mark.parametrize("fillvalue", [None, 7])
@pytest.mark.parametrize("of", [streamh5, h5py], ids=["our layout", "layout of h5py"])
@pytest.mark.parametrize("make", LAYOUTS)
def test_virtual_dataset_reads_as_that_of_h5py(make: Make, of: Any, fillvalue: Any, sources: Path) -> None:
    ours, theirs = sources / "ours.h5", sources / "theirs.h5"
    with streamh5.File(ours, "w") as file:
        made = file.create_virtual_dataset("v/x", make(of), fillvalue)
        assert made.is_virtual
        assert (made.shape, made.dtype, made.chunks) == (make(of).shape, np.dtype(make(of).dtype), None)
        said = [(one.file_name, one.dset_name) for one in made.virtual_sources()]
    with h5py.File(theirs, "w") as other:
        other.create_virtual_dataset("v/x", make(h5py), fillvalue)
    with h5py.File(ours) as a, h5py.File(theirs) as b:
        x, expected = a["v/x"], b["v/x"]
        np.testing.assert_array_equal(x[()], expected[()])
        for name in ("shape", "maxshape", "dtype", "fillvalue", "is_virtual"):
            assert getattr(x, name) == getattr(expected, name), name
        assert said == [(one.file_name, one.dset_name) for one in x.virtual_sources()]
        for one, two in zip(x.virtual_sources(), expected.virtual_sources(), strict=True):
            assert one[1:3] == two[1:3]
            assert selection(one.src_space) == selection(two.src_space)
            assert selection(one.vspace) == selection(two.vspace)
        with netCDF4.Dataset(ours) as found:
            np.testing.assert_array_equal(found["v/x"][:].filled(), expected[()])
    assert "MAPPING" in run_program("h5dump", "-p", ours).stdout or make is empty
    assert streamh5.verify(ours).ok


def test_virtual_dataset_of_its_own_file_follows_when_the_file_is_renamed(tmp_path: Path) -> None:
    data = values("i4", (6, 5))
    with streamh5.File(tmp_path / "a.h5") as file:
        x = file.create_dataset("x", data=data, chunks=(2, 5))
        with file.build_virtual_dataset("v", (5, 6), "i4", fillvalue=3) as layout:
            layout[:, 0] = streamh5.VirtualSource(x)[1]
            layout[:, 1] = streamh5.VirtualSource(tmp_path / "a.h5", "x", shape=(6, 5))[2]
        layout = h5py.VirtualLayout((6,), "i4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "a.h5"), "/x", (6, 5))[:, 4]
        file.create_virtual_dataset("w", layout)
        assert {one.file_name for one in file["v"].virtual_sources()} == {"."}  # type: ignore[union-attr]
    (tmp_path / "a.h5").rename(tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as found:
        expected = np.full((5, 6), 3)
        expected[:, 0], expected[:, 1] = data[1], data[2]
        np.testing.assert_array_equal(found["v"][()], expected)
        np.testing.assert_array_equal(found["w"][()], data[:, 4])


def test_virtual_dataset_of_an_existing_file_is_kept(sources: Path) -> None:
    path = sources / "a.h5"
    with streamh5.File(path, "w") as file:
        file.create_virtual_dataset("v", parts(streamh5))
    with h5py.File(path, "r+") as theirs:
        theirs.create_virtual_dataset("w", parts(h5py))
    with streamh5.File(path, "a") as file:
        for name in "vw":
            found: Any = file[name]
            assert found.is_virtual
            found.attrs["note"] = "changed"
            with pytest.raises(SpecError, match="virtual"):
                found[0:5] = np.zeros((5, 4))
            with pytest.raises(StateError, match="h5py"):
                found.virtual_sources()
        file.create_virtual_dataset("u", parts(streamh5))
    with h5py.File(path) as reread:
        for name in "uvw":
            assert reread[name][::5, 0].tolist() == [0, 100, 200]
        assert reread["w"].attrs["note"] == "changed"


def test_virtual_dataset_that_changes_after_a_flush_keeps_its_sources(sources: Path) -> None:
    path = sources / "a.h5"
    with streamh5.File(path) as file:
        made = file.create_virtual_dataset("v", parts(streamh5))
        for i in range(3):
            made.attrs["count"] = i
            file.move("v", "w") if i == 1 else None
            file.flush()
            with h5py.File(path) as found:
                x = found["v" if i == 0 else "w"]
                assert (x.attrs["count"], x[::5, 0].tolist()) == (i, [0, 100, 200])


def test_virtual_dataset_is_written_through_an_interruption(sources: Path) -> None:
    path = sources / "a.h5"
    for is_resumed in (False, True):
        file = streamh5.File(path, resume=is_resumed)
        file.create_virtual_dataset("v", parts(streamh5), fillvalue=7)
        x = file.create_dataset("x", (4,), "i4", chunks=(2,))
        x[:2] = 1
        if is_resumed:
            file.close()
        else:
            file.suspend()
    with h5py.File(path) as found:
        assert found["v"][::5, 0].tolist() == [0, 100, 200]


def test_virtual_dataset_of_an_interrupted_write_is_salvaged(sources: Path) -> None:
    file = streamh5.File(sources / "a.h5")
    file.create_virtual_dataset("v", parts(streamh5))
    file.create_dataset("x", (4,), "i4", chunks=(2,))[:2] = 1
    file.suspend()
    salvaged = streamh5.salvage(sources / "a.h5.partial")
    assert [one.has_value for one in salvaged.datasets] == [True, True]
    with h5py.File(salvaged.path) as found:
        assert found["v"][::5, 0].tolist() == [0, 100, 200]


def test_virtual_dataset_has_no_references_to_chunks_and_is_converted(sources: Path) -> None:
    with streamh5.File(sources / "a.h5") as file:
        file.create_virtual_dataset("v", parts(streamh5))
    assert file.summary is not None
    with pytest.raises(ReferencesError, match="a virtual dataset"):
        file.summary.to_kerchunk()
    with (
        streamh5.File(sources / "b.h5", references=sources / "b.json") as file,
        pytest.raises(ReferencesError, match="no chunks to refer to"),
    ):
        file.create_virtual_dataset("v", parts(streamh5))
    streamh5.convert(sources / "a.h5", sources / "c.h5")
    with h5py.File(sources / "c.h5") as found:
        assert (found["v"].is_virtual, found["v"][::5, 0].tolist()) == (False, [0, 100, 200])


def _layout() -> streamh5.VirtualLayout:
    return streamh5.VirtualLayout((4, 6), "i4", maxshape=(None, 6))


@pytest.mark.parametrize(
    ("key", "source", "message"),
    [
        (
            np.s_[0:3],
            streamh5.VirtualSource("a", "x", (4, 6)),
            "24 elements, its place in the virtual dataset 18",
        ),
        (np.s_[9], streamh5.VirtualSource("a", "x", (6,)), "exceeds 4"),
        (np.s_[2:2], streamh5.VirtualSource("a", "x", (6,)), "selects no element"),
        (np.s_[0, 0, 0], streamh5.VirtualSource("a", "x", (1,)), "does not fit 2 dimensions"),
        (np.s_["x"], streamh5.VirtualSource("a", "x", (1,)), "neither an int nor a slice"),
        (np.s_[::-1], streamh5.VirtualSource("a", "x", (4, 6)), "step below 1"),
        (np.s_[:], streamh5.VirtualSource("a%b", "x", (4, 6)), "without end"),
        (np.s_[:], streamh5.VirtualSource("a 100%", "x", (4, 6)), "written '%%'"),
        (np.s_[0:UNLIMITED], streamh5.VirtualSource("a", "x", (6,)), "needs '%b'"),
        (np.s_[0:UNLIMITED], streamh5.VirtualSource("a%b", "x", (4, 6)), "24 elements"),
        (np.s_[0:4], streamh5.VirtualSource("a", "x", (4, 6))[0:UNLIMITED], "without end"),
        (np.s_[0:UNLIMITED, 0:UNLIMITED], streamh5.VirtualSource("a%b", "x", (1,)), "several dimensions"),
    ],
)
def test_mapping_that_hdf5_refuses_is_refused_with_the_reason(key: Any, source: Any, message: str) -> None:
    layout = _layout()
    with pytest.raises(SpecError, match=message):
        layout[key] = source
    assert layout.mappings == []


def test_virtual_dataset_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    source = streamh5.VirtualSource("a", "x", (4, 6))
    with pytest.raises(StateError, match="once"):
        _ = source[0:2][0]
    for arguments in (("a",), ("a", "x"), ("a", None, (3,))):
        with pytest.raises(SpecError, match="name and the shape"):
            streamh5.VirtualSource(*arguments)
    points = h5py.VirtualLayout((4,), "i4")
    points[[0, 1, 3]] = h5py.VirtualSource("a", "x", (3,))
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(SpecError, match="irregular"):
            file.create_virtual_dataset("v", points)
        with pytest.raises(SpecError, match="a layout is"):
            file.create_virtual_dataset("v", "layout")
        with pytest.raises(DatatypeError):
            file.create_virtual_dataset("v", streamh5.VirtualLayout((3,), "nonsense"))
        with pytest.raises(SpecError, match="maxshape"):
            file.create_virtual_dataset("v", streamh5.VirtualLayout((3,), "i4", maxshape=(2,)))
        made = file.create_virtual_dataset("v", _layout())
        with pytest.raises(SpecError, match="VirtualSource of a dataset"):
            streamh5.VirtualSource(made, "name")
        with pytest.raises(BlockError, match="write to its sources"):
            made[0] = 1
        with pytest.raises(SpecError, match="not a virtual dataset"):
            file.create_dataset("x", data=1).virtual_sources()
    with (
        streamh5.File(tmp_path / "b.h5", libver="v108") as file,
        pytest.raises(SpecError, match=r"HDF5 1\.8"),
    ):
        file.create_virtual_dataset("v", _layout())


AXES = st.builds(
    lambda start, block, gap, count: AxisBlocks(start, block + gap, count, block),
    *(st.integers(0, 2**20), st.integers(1, 2**20), st.integers(0, 9)),
    st.sampled_from((1, 2, 1000, UNLIMITED)),
)
SELECTIONS = st.lists(AXES, min_size=1, max_size=5).map(
    lambda axes: Hyperslab(tuple(axes), tuple(range(len(axes))))
)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(st.lists(st.builds(VirtualMapping, NAMES, NAMES, st.none() | SELECTIONS, SELECTIONS), max_size=4))
@settings(deadline=None)
def test_mappings_that_are_encoded_are_decoded_to_the_same(mappings: list[VirtualMapping]) -> None:
    assert decode_virtual_mappings(encode_virtual_mappings(mappings)) == mappings
    for one in mappings:
        assert decode_selection(Fields(encode_selection(one.src_space), "selection")) == one.src_space
