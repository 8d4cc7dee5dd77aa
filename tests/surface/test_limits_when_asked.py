"""What the file format cannot hold is refused by the call that asks for it, not when the file is closed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from tests.written import traces

MAX_NAME = 65_535 - 21


@pytest.mark.parametrize("name", ["a" * MAX_NAME, "ü" * (MAX_NAME // 2)], ids=["ascii", "utf-8"])
@pytest.mark.parametrize("track_order", [False, True])
def test_link_name_of_the_largest_size_is_kept_and_one_more_refused(
    name: str, track_order: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, track_order=track_order) as file:
        for call in (file.create_group, lambda n: file.create_dataset(n, (3,), "i4")):
            with pytest.raises(errors.LimitError, match=r"65,514"):
                call(f"g/{name}bb")
        assert list(file) == []
        file.create_group(name)
    with h5py.File(path) as found:
        assert list(found) == [name]


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (streamh5.SoftLink("a" * 70_000), errors.LimitError),
        (streamh5.ExternalLink("a" * 70_000, "/x"), errors.LimitError),
        (streamh5.SoftLink("a" * 65_530), errors.LimitError),
        (streamh5.SoftLink(""), errors.PathError),
        (h5py.SoftLink("a\0b"), errors.PathError),
        (h5py.ExternalLink("f.h5", "a\0b"), errors.PathError),
    ],
    ids=lambda value: type(value).__name__,
)
def test_link_target_that_hdf5_cannot_hold_is_refused_when_linked(
    target: Any, error: type[Exception], tmp_path: Path
) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(error):
            file["g/link"] = target
        assert list(file) == []


def test_attributes_of_more_than_16_mib_together_are_read_by_h5py(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    part = np.zeros(5 << 20, "u1")
    with streamh5.File(path) as file:
        for i in range(3):
            file.attrs[str(i)] = part
        file.attrs["3"] = part
        del file.attrs["0"]
        file.attrs["3"] = part
        file.attrs["3"] = part[:10]
        file.attrs["4"] = part
    with h5py.File(path) as found:
        assert {name: value.size for name, value in found.attrs.items()} == {
            "1": 5 << 20,
            "2": 5 << 20,
            "3": 10,
            "4": 5 << 20,
        }


def test_links_of_more_than_16_mib_together_are_read_by_h5py(tmp_path: Path) -> None:
    target = "t" * 60_000
    n = 400
    with streamh5.File(tmp_path / "a.h5") as file:
        for i in range(n):
            file[f"g/{i}"] = streamh5.SoftLink(target)
        group = file["g"]
        assert isinstance(group, streamh5.Group)
        assert len(group) == n
    with h5py.File(tmp_path / "a.h5") as found:
        assert len(found["g"]) == n
        assert all(found["g"].get(str(i), getlink=True).path == target for i in range(0, n, 7))


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"dtype": [(f"member number {i:05}", "f8") for i in range(2000)]}, "datatype"),
        ({"dtype": "S70000", "fillvalue": b"a"}, "fill value"),
    ],
    ids=["datatype", "fill value"],
)
def test_header_message_that_is_too_large_is_refused_when_created(
    keywords: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        with pytest.raises(errors.LimitError, match=rf"/x.*{words}.*65,535"):
            file.create_dataset("x", (3,), chunks=(1,), **keywords)
        assert list(file) == []


@pytest.mark.parametrize("n", [1000, 1180])
def test_compound_of_many_members_is_read(n: int, tmp_path: Path) -> None:
    dtype = np.dtype([(f"member number {i:05}", "f8") for i in range(n)])
    data = np.zeros(2, dtype)
    data["member number 00900"] = [1, 2]
    with streamh5.File(tmp_path / "a.h5") as file:
        file["x"] = data
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"].dtype == dtype
        np.testing.assert_array_equal(found["x"][()], data)


@pytest.mark.parametrize(
    ("shape", "keywords"),
    [
        ((2**32,), {"chunks": (1,)}),
        ((2**50,), {"chunks": (1,)}),
        ((10,), {"chunks": (1,), "maxshape": (2**50,)}),
        ((2**40, 2**40), {"chunks": (2**15, 2**16)}),
    ],
    ids=str,
)
def test_grid_of_2_32_chunks_is_refused(shape: tuple[int, ...], keywords: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, pytest.raises(errors.LimitError, match="4,294,967,295"):
        file.create_dataset("x", shape, "u1", **keywords)


@pytest.mark.parametrize("maxshape", [None, (None, 2**16), (None, None)], ids=["fixed", "first", "both"])
@pytest.mark.parametrize("filters", [{}, {"compression": "gzip"}], ids=["raw", "gzip"])
def test_row_that_makes_2_32_chunks_is_refused(maxshape: Any, filters: Any, tmp_path: Path) -> None:
    """The table of chunks would take 32 GiB, and the Extensible Array has numbers of 32 bits."""
    keywords: Any = {"dtype": "u1", "chunks": (1, 1), "maxshape": maxshape, **filters}
    with streamh5.File(tmp_path / "a.h5") as file:
        x = file.create_dataset("x", (None, 2**16), **keywords)
        for write in (
            lambda: x.write_direct_chunk((2**16 - 1, 0), b"a"),
            lambda: x.__setitem__((slice(2**16 - 1, 2**16), slice(0, 1)), 1),
            lambda: x.__setitem__((slice(2**40, 2**40 + 1), slice(0, 1)), 1),
            lambda: x.append(np.broadcast_to(np.uint8(0), (2**16, 2**16))),
        ):
            with pytest.raises(errors.LimitError, match="more than the 4,294,967,295 chunks"):
                write()
        x[2:3, 5:7] = 3
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"].shape == (3, 2**16)
        assert found["x"][2, 4:8].tolist() == [0, 3, 3, 0]
        assert found["x"].id.get_num_chunks() == 2


def test_extent_of_the_largest_size_with_few_chunks_is_read(tmp_path: Path) -> None:
    shape = (2**63 - 1, 3)
    with streamh5.File(tmp_path / "a.h5", libver="v200") as file:
        file.create_dataset("x", shape, "u1", chunks=(2**50, 1), maxshape=(None, None))
        with pytest.raises(errors.LimitError, match="9,223,372,036,854,775,808"):
            file.create_dataset("y", (2**63,), "u1", chunks=(2**50,))
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"].shape == shape


@pytest.mark.parametrize("rank", [32, 33])
def test_rank_above_32_is_refused_and_32_is_not(rank: int, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        if rank == 33:
            with pytest.raises(errors.LimitError, match="33 dimensions"):
                file.create_dataset("x", (1,) * rank, "u1", chunks=(1,) * rank)
            return
        file.create_dataset("x", (1,) * rank, "u1", chunks=(1,) * rank)[...] = 5
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["x"][()].ravel().tolist() == [5]


CHUNK = (2**16, 2**16)


@pytest.mark.parametrize(
    ("chunks", "libver", "is_taken"),
    [
        ((2**16 - 1, 2**16 + 1), "v110", True),  # 4 GiB - 1
        ((2**16, 2**16), "v110", False),
        ((2**16, 2**16), "v108", False),
        ((2**16, 2**16), "v200", True),
        ((2**17, 2**17), "v200", True),
    ],
)
def test_chunk_of_4_gib_needs_libver_v200(
    chunks: tuple[int, int], libver: str, is_taken: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, libver=libver) as file:
        if not is_taken:
            with pytest.raises(errors.LimitError, match=r"4,294,967,296.*v200"):
                file.create_dataset("x", (2**20, 2**20), "u1", chunks=chunks, compression="gzip")
            return
        file.create_dataset("x", (2**20, 2**20), "u1", chunks=chunks, compression="gzip", fillvalue=7)
        file.create_dataset("y", (2**20, 2**20), "u1", chunks=chunks, maxshape=(None, 2**20))
        file.create_dataset("z", (2**20, 2**20), "u1", chunks=chunks, maxshape=(None, None))
    with h5py.File(path) as found:
        for name in "xyz":
            assert found[name].chunks == chunks
        assert found["x"].id.get_num_chunks() == 0


def test_lazy_array_is_not_computed_before_a_limit_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamh5.model.attribute_spec.MAX_DENSE_ATTRIBUTE_NBYTES", 2**20)  # of 4 GiB
    computed: list[int] = []

    def block(part: Any) -> Any:
        computed.append(1)
        return part

    array = da.zeros((4,), chunks=2).map_blocks(block, dtype="f8", meta=np.empty(0))
    with pytest.raises(errors.LimitError):
        streamh5.to_fixed_h5(tmp_path / "a.h5", f"/{'a' * 70_000}", array)
    attrs = {str(i): np.zeros(9 << 20, "u1") for i in range(2)}
    with pytest.raises(errors.LimitError):
        streamh5.to_fixed_h5(tmp_path / "a.h5", "/x", array, attrs=attrs)
    assert computed == []
    assert traces(tmp_path) == []


def test_65536th_attribute_in_order_is_refused_when_set(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path, track_order=True) as file:
        for i in range(65_535):
            file.attrs[f"a{i}"] = np.int8(1)
        with pytest.raises(errors.LimitError, match="65,535 attributes"):
            file.attrs["one more"] = 1
        file.attrs["a7"] = np.int8(2)
    with h5py.File(path) as found:
        assert len(found.attrs) == 65_535
        assert (found.attrs["a7"], found.attrs["a65534"]) == (2, 1)


def test_source_of_no_elements_and_a_long_dimension_is_one_block(tmp_path: Path) -> None:
    source, out = tmp_path / "in.h5", tmp_path / "out.h5"
    with h5py.File(source, "w") as file:
        file.create_dataset("x", (2**47, 0), "u1", maxshape=(None, None), chunks=(10, 10))
    streamh5.convert(source, out, copy=False)
    with h5py.File(out) as file:
        assert file["x"].shape == (2**47, 0)


@pytest.mark.parametrize("shape", [(2**60,), (2**30, 2**31)])
def test_source_of_more_blocks_than_can_be_listed_is_refused_and_can_be_left_out(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    source, out = tmp_path / "in.h5", tmp_path / "out.h5"
    with h5py.File(source, "w") as file:
        file.create_dataset("x", shape, "u1", chunks=(1 << 10,) * len(shape))[(0,) * len(shape)] = 1
        file["y"] = 1
    with h5py.File(source) as file, pytest.raises(errors.SourceError, match=r"/x: shape .* blocks"):
        streamh5.to_fixed_h5(out, "/x", file["x"])
    with pytest.raises(errors.SourceError, match=r"/x: shape .* make"):
        streamh5.convert(source, out, copy=False)
    streamh5.convert(source, out, copy=False, skip_unsupported=True)
    with h5py.File(out) as file:
        assert list(file) == ["y"]
