"""References in kerchunk's form: zarr and xarray read the file through them, kerchunk makes the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import hdf5plugin
import numpy as np
import pytest
from dask.delayed import delayed

import streamh5
from streamh5.errors import ReferencesError
from streamh5.filters import FilterOptions
from tests.references.opened import chunks, kerchunk_references, metadata, open_with_zarr
from tests.written import DTYPES, values, write

INDEXES: dict[str, dict[str, Any]] = {
    "single": {"shape": (7, 5), "chunks": (7, 5), "compression": "gzip"},
    "implicit": {"shape": (20, 9), "chunks": (6, 4), "alloc_time": "early"},
    "fixed": {"shape": (20, 9), "chunks": (6, 4), "compression": "gzip"},
    "fixed, room to grow": {"shape": (20, 9), "chunks": (6, 4), "maxshape": (40, 33), "compression": "gzip"},
    "extensible": {"shape": (20, 9), "chunks": (6, 4), "maxshape": (None, 9), "shuffle": True},
    "extensible, last": {"shape": (20, 9), "chunks": (6, 4), "maxshape": (30, None), "compression": "gzip"},
    "b-tree": {"shape": (20, 9), "chunks": (6, 4), "maxshape": (None, None), "compression": "gzip"},
    "contiguous": {"shape": (20, 999)},
    "compact": {"shape": (20, 9)},
    "scalar": {"shape": ()},
    "empty": {"shape": (0, 4), "chunks": (2, 4)},
}

FILTERS: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip", "compression_opts": 9},
    "shuffle, gzip, fletcher32": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "fletcher32": {"fletcher32": True},
    "shuffle": {"shuffle": True},
    "zstd": dict(hdf5plugin.Zstd(clevel=5)),
    "blosc": dict(hdf5plugin.Blosc(cname="zstd", shuffle=2)),
    "blosc lz4": dict(hdf5plugin.Blosc(cname="lz4", shuffle=1)),
    "bzip2": dict(hdf5plugin.BZip2()),
}


def smooth(shape: tuple[int, ...], dtype: str = "<i4") -> np.ndarray[Any, Any]:
    """Values that every filter makes smaller."""
    return (np.arange(int(np.prod(shape))).reshape(shape) // 7).astype(dtype)


def assert_same_references(summary: streamh5.WriteSummary, path: Path) -> dict[str, Any]:
    """Assert that the write knows what the file says, and return the references."""
    made = summary.to_kerchunk()
    assert made is not None
    assert made == streamh5.read_references(path).to_kerchunk()
    references: dict[str, Any] = made["refs"]
    return references


@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.parametrize("libver", ["v110", "v108"])
def test_references_of_every_index_are_read_by_zarr(name: str, libver: str, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    shape = INDEXES[name]["shape"]
    data = smooth(shape)
    with streamh5.File(path, "x", libver=libver) as file:
        file.create_dataset("g/x", data=data, **{k: v for k, v in INDEXES[name].items() if k != "shape"})
    assert file.summary is not None
    references = assert_same_references(file.summary, path)
    np.testing.assert_array_equal(open_with_zarr({"version": 1, "refs": references}, "g/x"), data)


@pytest.mark.parametrize("name", ["single", "fixed", "extensible", "b-tree", "contiguous"])
def test_references_are_those_that_kerchunk_makes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    keywords = {**INDEXES[name]}
    shape = keywords.pop("shape")
    with streamh5.File(path, "x") as file:
        file.attrs["title"] = "a file"
        dataset = file.create_dataset("g/x", data=smooth(shape), **keywords)
        dataset.attrs.update({"units": "K", "n": 3, "scale": [0.5, 2.0], "names": ["a", "é"], "flag": True})
    assert file.summary is not None
    ours, theirs = assert_same_references(file.summary, path), kerchunk_references(path)
    assert chunks(ours) == chunks(theirs)
    ours, theirs = metadata(ours), metadata(theirs)
    assert ours.keys() == theirs.keys()
    # kerchunk gives HDF5's default fill value, for which xarray masks every zero
    assert theirs["g/x/.zarray"].pop("fill_value") == 0
    assert ours["g/x/.zarray"].pop("fill_value") is None
    assert ours == theirs


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("maxshape", [None, (None, 9), (None, None)])
@pytest.mark.parametrize("userblock_size", [0, 1024])
def test_references_of_a_file_of_h5py_are_those_that_kerchunk_makes(
    libver: str, maxshape: Any, userblock_size: int, tmp_path: Path
) -> None:
    path = tmp_path / "x.h5"
    data = smooth((20, 9), "<f8")
    with h5py.File(path, "w", libver=libver, userblock_size=userblock_size) as file:
        file.create_dataset("x", data=data, chunks=(6, 4), maxshape=maxshape, compression="gzip")
        file.create_dataset("g/plain", data=data)
        file["again"] = file["x"]
        file["soft"] = h5py.SoftLink("/x")
    found = streamh5.read_references(path).to_kerchunk()
    assert found is not None
    theirs = chunks(kerchunk_references(path))
    name = "again" if "again/0.0" in theirs else "x"  # one of the names of an object with two
    assert {key.replace(f"{name}/", "") for key in theirs} == {
        key.replace("again/", "").replace("x/", "") for key in chunks(found["refs"])
    }
    assert sorted(chunks(found["refs"]).values()) == sorted(theirs.values())
    np.testing.assert_array_equal(open_with_zarr(found, "g/plain"), data)


@pytest.mark.parametrize("name", FILTERS)
def test_filters_that_numcodecs_has_are_undone_by_zarr(name: str, tmp_path: Path) -> None:
    data = smooth((30, 21), "<f8")
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        file.create_dataset("x", data=data, chunks=(8, 10), **FILTERS[name])
    assert file.summary is not None
    made = file.summary.to_kerchunk()
    np.testing.assert_array_equal(open_with_zarr(made, "x"), data)


@pytest.mark.parametrize(
    ("keywords", "filter_name"),
    [
        ({"compression": "lzf"}, "lzf"),
        ({"compression": "szip"}, "szip"),
        ({"compression": "lz4"}, "lz4"),
        ({"scaleoffset": 0}, "scaleoffset"),
        (dict(hdf5plugin.Bitshuffle()), "bitshuffle"),
        (dict(hdf5plugin.Blosc2()), "blosc2"),
    ],
)
def test_filter_that_numcodecs_lacks_is_refused_by_name(
    keywords: dict[str, Any], filter_name: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        file.create_dataset("bad", data=smooth((8, 8)), chunks=(4, 8), **keywords)
        file.create_dataset("good", data=smooth((8, 8)), chunks=(4, 8))
    found = streamh5.read_references(path)
    assert list(found.refused) == ["/bad"]
    with pytest.raises(
        ReferencesError, match=rf"/bad: numcodecs has no codec for {filter_name} \(filter \d+\)"
    ):
        found.to_kerchunk()
    left = found.to_kerchunk(skip=True)
    assert left is not None
    assert "good/.zarray" in left["refs"]
    assert not [key for key in left["refs"] if "bad" in key]


@pytest.mark.parametrize("dtype", [*DTYPES, "S7", "V5", "<M8[ns]", "<m8[s]"])
def test_every_dtype_is_read_by_zarr(dtype: str, tmp_path: Path) -> None:
    is_number = np.dtype(dtype).kind in "biufc"
    column = values(dtype, (5, 1)) if is_number else smooth((5, 1), "<i8").astype(dtype.replace("V", "S"))
    data = np.repeat(column.astype(dtype), 60, axis=1)
    path = tmp_path / "x.h5"
    write(path, data, chunks=(2, 40), compression="gzip")
    found = open_with_zarr(streamh5.read_references(path).to_kerchunk(), "x")
    assert found.tobytes() == data.tobytes()
    assert found.dtype == np.dtype(dtype)


def test_packed_compounds_are_read_by_zarr_and_others_are_refused(tmp_path: Path) -> None:
    packed = np.dtype([("a", "<i2"), ("b", ">f8"), ("c", "S3")])
    nested = np.dtype([("a", "<i2"), ("b", packed)])
    padded = np.dtype({"names": ["a", "b"], "formats": ["<i2", "<f8"], "offsets": [0, 8], "itemsize": 16})
    data = np.zeros((4,), packed)
    data["a"], data["b"], data["c"] = np.arange(4), np.arange(4) / 3, b"xyz"
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        file.create_dataset("packed", data=data, chunks=(2,), fletcher32=True)
        file.create_dataset("padded", data=np.zeros(4, padded), chunks=(2,))
        file.create_dataset("nested", data=np.zeros(4, nested), chunks=(2,))
    found = streamh5.read_references(path)
    assert set(found.refused) == {"/nested", "/padded"}
    assert "member 'b' is itself a compound" in found.refused["/nested"]
    assert "padding between its members" in found.refused["/padded"]
    assert open_with_zarr(found.to_kerchunk(skip=True), "packed").tobytes() == data.tobytes()


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "blosc", "zstd"])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("n_columns", [1, 1000, 300_000])
def test_noise_that_does_not_compress_is_read_by_zarr(
    compression: str, shuffle: bool, n_columns: int, tmp_path: Path
) -> None:
    path = tmp_path / "x.h5"
    data = np.random.default_rng(1).integers(0, 1 << 32, (4, n_columns), "<u4")
    with streamh5.File(path, "x") as file:
        file.create_dataset("x", data=data, chunks=(1, n_columns), compression=compression, shuffle=shuffle)
    assert file.summary is not None
    references = assert_same_references(file.summary, path)
    np.testing.assert_array_equal(open_with_zarr({"version": 1, "refs": references}, "x"), data)
    if compression != "bzip2":  # kerchunk does not know it
        theirs = kerchunk_references(path)
        np.testing.assert_array_equal(open_with_zarr(theirs, "x"), data)


@pytest.mark.parametrize("where", ["write", "file"])
def test_chunks_that_skipped_a_filter_are_refused_with_their_number(where: str, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    data = smooth((40, 1000), "<u1")
    with streamh5.File(path, "x") as file:
        dataset = file.create_dataset("g/x", data=data, chunks=(5, 1000), compression="gzip")
        for first in (0, 5):
            dataset.write_direct_chunk((first, 0), data[first : first + 5].tobytes(), filter_mask=1)
    with h5py.File(path, "r") as read:
        masks = [read["g/x"].id.get_chunk_info(i).filter_mask for i in range(8)]
    assert masks == [1, 1, 0, 0, 0, 0, 0, 0]
    references: Callable[[], Any] = (
        streamh5.read_references(path).to_kerchunk
        if where == "file" or file.summary is None
        else file.summary.to_kerchunk
    )
    with pytest.raises(ReferencesError, match=r"/g/x: 2 of 8 chunks skipped filters") as caught:
        references()
    assert list(caught.value.facts["refused"]) == ["/g/x"]  # type: ignore[call-overload]


def test_filter_that_every_chunk_skipped_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    data = np.frombuffer(np.random.default_rng(1).bytes(8000), "<u2").reshape(4, 1000)
    with streamh5.File(path, "x") as file:
        dataset = file.create_dataset(
            "x", data.shape, "<u2", chunks=(1, 1000), compression="gzip", shuffle=True
        )
        shuffle = FilterOptions(shuffle=True).chain(data.dtype, 2000)
        for i, buffer in enumerate(shuffle.encode_rows(data.view(np.uint8)).buffers):
            dataset.write_direct_chunk((i, 0), bytes(buffer), filter_mask=2)
    assert file.summary is not None
    references = assert_same_references(file.summary, path)
    assert metadata(references)["x/.zarray"]["filters"] == [{"id": "shuffle", "elementsize": 2}]
    np.testing.assert_array_equal(open_with_zarr({"version": 1, "refs": references}, "x"), data)


@pytest.mark.parametrize("fillvalue", [None, 0, 7])
def test_missing_chunks_are_left_out_and_read_as_the_fill_value(
    fillvalue: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        dataset = file.create_dataset(
            "x", (10, 10), "<i4", chunks=(5, 5), fillvalue=fillvalue, compression="gzip"
        )
        dataset[5:, :5] = np.ones((5, 5), "<i4")
    assert file.summary is not None
    references = assert_same_references(file.summary, path)
    assert list(chunks(references)) == ["x/1.0"]
    assert metadata(references)["x/.zarray"]["fill_value"] == (7 if fillvalue else None)
    with h5py.File(path, "r") as read:
        np.testing.assert_array_equal(open_with_zarr({"version": 1, "refs": references}, "x"), read["x"][...])


def test_missing_chunks_of_another_value_than_the_mask_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        dataset = file.create_dataset("x", (10, 10), "<f4", chunks=(5, 5))
        dataset.attrs["_FillValue"] = np.float32(-1)
        dataset[:5, :5] = np.ones((5, 5), "<f4")
    with pytest.raises(
        ReferencesError, match=r"/x: 3 chunks are missing and read as .*0\.0.*_FillValue .*-1"
    ):
        streamh5.read_references(path).to_kerchunk()


def test_strings_of_variable_length_go_into_the_references(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    texts = np.array([["a", "", "é"], ["long " * 50, "%d", '"']], object)
    with streamh5.File(path, "x") as file:
        file.create_dataset("t", data=texts, dtype=h5py.string_dtype(), chunks=(1, 3))
        file.create_dataset("s", data="one", dtype=h5py.string_dtype())
    assert file.summary is not None
    made = {"version": 1, "refs": assert_same_references(file.summary, path)}
    assert open_with_zarr(made, "t").tolist() == texts.tolist()
    assert str(open_with_zarr(made, "s")) == "one"


def test_datasets_without_bytes_of_their_own_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["null"] = h5py.Empty("f4")
        file.create_dataset("vlen", (2,), h5py.vlen_dtype("i4"))
        file.create_dataset("reference", (2,), h5py.ref_dtype)
        file.create_dataset("external", (4,), "u1", external=[(str(tmp_path / "raw"), 0, 4)])
        file["source"] = np.arange(4)
        layout = h5py.VirtualLayout((4,), "i8")
        layout[:] = h5py.VirtualSource(file["source"])
        file.create_virtual_dataset("virtual", layout)
        space_padded = h5py.h5t.C_S1.copy()
        space_padded.set_size(4)
        space_padded.set_strpad(h5py.h5t.STR_SPACEPAD)
        h5py.h5d.create(file.id, b"spaces", space_padded, h5py.h5s.create_simple((2,)))
        eleven_bits = h5py.h5t.STD_I16LE.copy()
        eleven_bits.set_precision(11)
        h5py.h5d.create(file.id, b"eleven", eleven_bits, h5py.h5s.create_simple((2,)))
    refused = streamh5.read_references(path).refused
    assert set(refused) == {
        f"/{name}" for name in ("null", "vlen", "reference", "external", "virtual", "spaces", "eleven")
    }
    for name, problem in refused.items():
        assert problem.startswith(f"{name}: ")


def test_small_data_is_put_into_the_references(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with streamh5.File(path, "x") as file:
        file.create_dataset("small", data=smooth((10,), "<i8"), chunks=(10,))
        file.create_dataset("large", data=smooth((11,), "<i8"), chunks=(11,))
        file.create_dataset("two", data=smooth((4,), "<i8"), chunks=(2,))
    assert file.summary is not None
    made = file.summary.to_kerchunk(inline=80)
    assert made is not None
    assert [key for key, value in chunks(made["refs"]).items() if isinstance(value, str)] == ["small/0"]
    np.testing.assert_array_equal(open_with_zarr(made, "small"), smooth((10,), "<i8"))


def test_json_file_holds_what_is_returned(tmp_path: Path) -> None:
    path = tmp_path / 'a "b" é.h5'
    with streamh5.File(path, "x") as file:
        file.attrs["é"] = 'quote " and \\'
        file.create_dataset('odd % "name" é', data=smooth((130, 120)), chunks=(1, 1))
        file.create_dataset("scalar", data=np.int32(4))
        file.create_dataset("text", data=np.array(["é"], object))
    assert file.summary is not None
    file.summary.to_kerchunk(tmp_path / "x.json")
    made = file.summary.to_kerchunk()
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == made
    assert made is not None
    assert len(chunks(made["refs"])) == 130 * 120 + 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a "b" é.h5', "x.json"]


def test_url_stands_in_the_references(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write(path, smooth((4, 4)), chunks=(2, 2))
    made = streamh5.read_references(path, url="s3://bucket/x.h5").to_kerchunk()
    assert made is not None
    assert {value[0] for value in chunks(made["refs"]).values()} == {"s3://bucket/x.h5"}


def test_references_are_written_with_the_file(tmp_path: Path) -> None:
    x = da.arange(1000, chunks=100)
    streamh5.to_fixed_h5(tmp_path / "x.h5", "/x", x, references=tmp_path / "x.json")
    references = json.loads((tmp_path / "x.json").read_text())
    np.testing.assert_array_equal(open_with_zarr(references, "x"), np.arange(1000))
    with pytest.raises(streamh5.errors.DestinationExistsError, match=r"x\.json exists"):
        streamh5.to_fixed_h5(tmp_path / "y.h5", "/x", x, references=tmp_path / "x.json")
    assert not (tmp_path / "y.h5").exists()
    streamh5.to_fixed_h5(tmp_path / "y.h5", "/x", x, references=tmp_path / "x.json", overwrite=True)
    assert "y.h5" in (tmp_path / "x.json").read_text()


def test_what_references_cannot_express_is_refused_before_any_data(tmp_path: Path) -> None:
    x = da.from_delayed(delayed(pytest.fail)("computed"), shape=(4,), dtype="i4")
    with pytest.raises(ReferencesError, match="numcodecs has no codec for lzf"):
        streamh5.to_fixed_h5(tmp_path / "x.h5", "/x", x, compression="lzf", references=tmp_path / "x.json")
    with pytest.raises(streamh5.errors.DestinationMissingError, match="nowhere does not exist"):
        streamh5.to_fixed_h5(tmp_path / "x.h5", "/x", x, references=tmp_path / "nowhere" / "x.json")
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_no_references(tmp_path: Path) -> None:
    broken = da.ones(8, chunks=4).map_blocks(lambda block: block / "no", meta=np.empty(0))
    with pytest.raises(TypeError):
        streamh5.to_fixed_h5(tmp_path / "x.h5", "/x", broken, references=tmp_path / "x.json")
    assert list(tmp_path.iterdir()) == []


def test_file_that_was_added_to_has_references_to_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write(path, smooth((4, 4)), "/g/old", chunks=(2, 2))
    with streamh5.File(path, "a") as file:
        file.create_dataset("g/new", data=smooth((4, 4)), chunks=(2, 2))
    assert file.summary is not None
    made = file.summary.to_kerchunk()
    for name in ("g/old", "g/new"):
        np.testing.assert_array_equal(open_with_zarr(made, name), smooth((4, 4)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "x.txt"}, "ends in neither .json nor .parquet"),
        ({"path": "x.json", "format": "csv"}, "must be 'json' or 'parquet', not 'csv'"),
        ({"path": "x.parquet", "record_size": 0}, "record_size must be at least 1, not 0"),
    ],
)
def test_unknown_form_is_refused(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write(path, smooth((4, 4)))
    arguments["path"] = tmp_path / arguments["path"]
    with pytest.raises(streamh5.errors.SpecError, match=message):
        streamh5.read_references(path).to_kerchunk(**arguments)
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_is_not_there_or_no_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5 file")
    for name in ("none.h5", "text.h5"):
        with pytest.raises(streamh5.errors.UnreadableError, match=name):
            streamh5.read_references(tmp_path / name)


def test_summary_without_its_tree_equals_the_one_with_it(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "x.h5", "x") as file:
        file.create_dataset("x", data=smooth((4, 4)), chunks=(2, 2))
    summary = file.summary
    assert summary is not None
    bare = streamh5.WriteSummary(summary.path, summary.datasets, summary.file_nbytes, summary.seconds)
    assert bare == summary
    assert repr(bare) == repr(summary)
    assert bare.to_kerchunk() == summary.to_kerchunk()
