"""`convert`: files of every kind become HDF5, and other programs find nothing changed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamh5
from streamh5.cli import main as cli
from streamh5.errors import ChunkShapeError, DestinationExistsError, FilterError, SourceError, SpecError
from tests.real_data import real_files
from tests.written import assert_every_reader, filter_ids, traces, values


def convert(source: Path, path: Path, name: str | None = None, **keywords: Any) -> streamh5.Conversion:
    return streamh5.convert(source, path, name, progress=False, **keywords)


def write_zoo(path: Path) -> None:
    """Write a file with objects, links, attributes and types of every kind that can be carried over."""
    random = np.random.default_rng(0)
    with h5py.File(path, "w", track_order=True) as file:
        file.attrs["title"] = "é"
        file.attrs["fixed"] = np.bytes_(b"abc")
        file.attrs["vector"] = np.arange(3, dtype=">i2")
        file.attrs["nothing"] = h5py.Empty("f4")
        file.create_group("z/deep").attrs["list"] = ["a", "bc"]
        x = file.create_dataset(
            "z/x", data=random.normal(size=(100, 70)), chunks=(30, 20), compression="gzip", shuffle=True,
            fletcher32=True,
        )  # fmt: skip
        sparse = file.create_dataset(
            "sparse", (100, 70), ">i4", chunks=(30, 20), maxshape=(None, 70), fillvalue=3, compression="gzip"
        )
        sparse[0:10, 0:10] = 7
        file.create_dataset("contiguous", data=random.normal(size=(300, 100)))
        file.create_dataset("compact", data=np.arange(5))
        file["scalar"], file["text"], file["empty"] = 3.5, "hello", h5py.Empty("i4")
        file["texts"] = np.array(["a", "", "cé"], object)
        file.create_dataset("sequences", (3,), h5py.vlen_dtype("i4"))[1] = [1, 2]
        file.create_dataset("enum", data=np.array([0, 1]), dtype=h5py.enum_dtype({"A": 0, "B": 1}))
        file.create_dataset("fields", data=np.array([(1, 2.5)], [("a", "<i4"), ("b", ">f8")]))
        file.create_dataset("complex", data=np.ones(3, "c8"))
        file.create_dataset("flags", data=np.array([True, False]))
        file.create_dataset(
            "many texts", data=np.array(["x"] * 5000, object), chunks=(1000,), compression="gzip"
        )
        file["hard"], file["group again"] = x, file["z"]
        file["soft"], file["external"] = h5py.SoftLink("/z/x"), h5py.ExternalLink("other.h5", "/x")
        x.attrs["reference"], x.attrs["region"] = file["compact"].ref, x.regionref[0:3, 2:5]
        file.create_dataset("references", data=np.array([file["z"].ref, x.ref], h5py.ref_dtype))
        file["compact"].make_scale("scale")
        file["user of the scale"] = np.arange(5)
        file["user of the scale"].dims[0].attach_scale(file["compact"])


def h5diff(one: Path, other: Path) -> str:
    done = subprocess.run(["h5diff", "-v", one, other], capture_output=True, text=True, check=False)
    differences = [
        line for line in done.stdout.splitlines() if "differences found" in line and line[0] != "0"
    ]
    only_in_one = re.findall(r"^ +x +/.*$", done.stdout, re.MULTILINE)
    failure = f"exit status {done.returncode}" if done.returncode not in (0, 1) else ""
    return "\n".join([*differences, *only_in_one, done.stderr, failure]).strip()


def test_hdf5_file_comes_over_without_a_difference(tmp_path: Path, hdf5_tools: None) -> None:
    write_zoo(tmp_path / "in.h5")
    done = convert(tmp_path / "in.h5", tmp_path / "out.h5", verify=True)
    assert h5diff(tmp_path / "in.h5", tmp_path / "out.h5") == ""
    assert {one.path for one in done.arrays if one.is_copied} == {"/z/x", "/sparse"}
    with h5py.File(tmp_path / "in.h5") as source, h5py.File(tmp_path / "out.h5") as file:
        assert list(file) == list(source)
        assert file["hard"] == file["z/x"]
        assert file["group again"] == file["z"]
        assert file.get("soft", getlink=True).path == "/z/x"
        assert file.get("external", getlink=True).filename == "other.h5"
        assert file[file["z/x"].attrs["reference"]] == file["compact"]
        region = file["z/x"].attrs["region"]
        np.testing.assert_array_equal(file["z/x"][region], source["z/x"][0:3, 2:5])
        assert [file[one].name for one in file["references"]] == ["/z", "/z/x"]
        assert file["user of the scale"].dims[0][0] == file["compact"]
        assert (file["sparse"].maxshape, file["sparse"].fillvalue) == ((None, 70), 3)
        assert file["sparse"].id.get_num_chunks() == 1
        for name in ("z/x", "sparse"):
            assert file[name].chunks == source[name].chunks
        assert file["z/x"].id.read_direct_chunk((0, 20)) == source["z/x"].id.read_direct_chunk((0, 20))
        assert file["contiguous"].compression is None


def test_hdf5_file_is_rechunked_and_recompressed(tmp_path: Path, hdf5_tools: None) -> None:
    write_zoo(tmp_path / "in.h5")
    done = convert(
        tmp_path / "in.h5", tmp_path / "out.h5", chunks=(10, 50), compression="gzip", compression_opts=9
    )
    assert not any(one.is_copied for one in done.arrays)
    assert h5diff(tmp_path / "in.h5", tmp_path / "out.h5") == ""
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["z/x"].chunks == file["contiguous"].chunks == (10, 50)
        assert file["contiguous"].compression_opts == 9
        assert file["many texts"].chunks == (1000,)


def test_rechunked_dataset_keeps_the_filters_of_the_source(tmp_path: Path) -> None:
    write_zoo(tmp_path / "in.h5")
    convert(tmp_path / "in.h5", tmp_path / "out.h5", chunks={"/z/x": (50, 35)})
    with h5py.File(tmp_path / "out.h5") as file:
        x = file["z/x"]
        assert (x.chunks, x.compression, x.shuffle, x.fletcher32) == ((50, 35), "gzip", True, True)


def test_chunks_that_skipped_filters_keep_their_masks(tmp_path: Path) -> None:
    noise = np.frombuffer(np.random.default_rng(0).bytes(4096), "u1")
    data = np.concatenate([noise, np.zeros(4096, "u1")])
    with h5py.File(tmp_path / "in.h5", "w") as file:
        x = file.create_dataset("x", data=data, chunks=(1024,), compression="gzip")
        for start in range(0, 4096, 1024):
            x.id.write_direct_chunk((start,), data[start : start + 1024].tobytes(), filter_mask=1)
    assert convert(tmp_path / "in.h5", tmp_path / "out.h5").arrays[0].is_copied
    assert not convert(tmp_path / "in.h5", tmp_path / "verified.h5", verify=True).arrays[0].is_copied
    assert_every_reader(tmp_path / "out.h5", "/x", data)
    with h5py.File(tmp_path / "out.h5") as file:
        assert [file["x"].id.get_chunk_info(i).filter_mask for i in range(8)] == [1] * 4 + [0] * 4


def test_filter_that_streamh5_does_not_know_is_copied(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        x = file.create_dataset("x", (8,), "u1", chunks=(4,), compression=32099, allow_unknown_filter=True)
        x.id.write_direct_chunk((0,), b"abc")
    done = convert(tmp_path / "in.h5", tmp_path / "out.h5")
    assert done.arrays[0].reason == "filter (32099)"
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["x"].id.read_direct_chunk((0,)) == (0, b"abc")
        assert file["x"].id.get_create_plist().get_filter(0)[0] == 32099


def test_damaged_chunk_that_is_verified_is_an_error_with_its_path(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        x = file.create_dataset("x", (8,), "u1", chunks=(4,), compression="gzip")
        x.id.write_direct_chunk((0,), b"no zlib stream")
    with pytest.raises(SourceError, match=r"/x: the stored chunk of .* is damaged"):
        convert(tmp_path / "in.h5", tmp_path / "out.h5", verify=True)
    with pytest.raises(SourceError, match=r"/x: HDF5 cannot read it"):
        convert(tmp_path / "in.h5", tmp_path / "out.h5", compression=None)
    assert traces(tmp_path) == ["in.h5"]


def test_object_that_cannot_be_read_is_an_error_or_left_out_with_a_note(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w", libver="latest") as file:
        file["bad"], file["x"] = np.arange(5), np.arange(3)
        file["x"].attrs["reference"] = file["bad"].ref
        address = file.id.links.get_info(b"bad").u
    with open(tmp_path / "in.h5", "r+b") as raw:
        raw.seek(address)
        raw.write(b"XXXX")
    with pytest.raises(SourceError, match=r"^/bad cannot be read: .*--skip-unsupported") as caught:
        convert(tmp_path / "in.h5", tmp_path / "out.h5")
    assert isinstance(caught.value.__cause__, KeyError | OSError | RuntimeError | ValueError)
    done = convert(tmp_path / "in.h5", tmp_path / "out.h5", skip_unsupported=True)
    assert len(done.notes) == 2
    assert done.notes[0].startswith("/bad cannot be read")
    assert "1 references to missing objects are null" in done.notes[1]
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["x"][...].tolist() == [0, 1, 2]
        assert list(file) == ["x"]
        assert not file["x"].attrs["reference"]


@settings(max_examples=25)
@given(data=st.data())
def test_any_dataset_of_h5py_reads_equal(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    shape = tuple(data.draw(st.integers(1, 12)) for _ in range(data.draw(st.integers(1, 3))))
    keywords: dict[str, Any] = {}
    if data.draw(st.booleans()):
        keywords = {
            "chunks": tuple(data.draw(st.integers(1, n)) for n in shape),
            "compression": data.draw(st.sampled_from([None, "gzip", "lzf"])),
            "shuffle": data.draw(st.booleans()),
            "fletcher32": data.draw(st.booleans()),
            "maxshape": tuple(data.draw(st.sampled_from([n, n + 3, None])) for n in shape),
        }
    dtype = data.draw(st.sampled_from(["<i4", ">f8", "?", "<c8", "S3", "u1"]))
    expected = np.ones(shape, dtype) if dtype == "S3" else values(dtype, shape)
    with h5py.File(folder / "in.h5", "w", libver=data.draw(st.sampled_from(["earliest", "latest"]))) as file:
        x = file.create_dataset("x", shape, dtype, **keywords)
        part = tuple(slice(0, data.draw(st.integers(1, n))) for n in shape)
        x[part] = expected[part]
        expected = x[...]
    chunks = data.draw(st.sampled_from([None, "auto", tuple(max(1, n // 2) for n in shape)]))
    convert(folder / "in.h5", folder / "out.h5", chunks=chunks)
    with h5py.File(folder / "out.h5") as file:
        found = file["x"][...]
        assert file["x"].maxshape == keywords.get("maxshape", shape)
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("maxshape", [(None, 7), (12, None), (None, None), (12, 9)], ids=str)
def test_chunks_of_a_dataset_that_can_grow_come_to_their_places(
    maxshape: Any, libver: str, tmp_path: Path
) -> None:
    expected = np.arange(1, 85, dtype="<i4").reshape(12, 7)
    with h5py.File(tmp_path / "in.h5", "w", libver=libver) as file:
        file.create_dataset("x", data=expected, chunks=(5, 2), maxshape=maxshape)
    convert(tmp_path / "in.h5", tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["x"][...], expected)


def test_netcdf4_file_stays_one(tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    with xr.open_dataset(real_files()[0], engine="scipy", decode_cf=False) as source:
        encoding = {name: {"zlib": True} for name in source.data_vars}
        source.to_netcdf(tmp_path / "in.nc", engine="netcdf4", encoding=encoding)
    done = convert(tmp_path / "in.nc", tmp_path / "out.nc")
    assert done.format == "netCDF-4"
    for engine in ("netcdf4", "h5netcdf"):
        with (
            xr.open_dataset(tmp_path / "in.nc", engine=engine, decode_cf=False) as expected,
            xr.open_dataset(tmp_path / "out.nc", engine=engine, decode_cf=False) as found,
        ):
            xr.testing.assert_identical(found.load(), expected.load())
            assert found.encoding["unlimited_dims"] == expected.encoding["unlimited_dims"]


@pytest.mark.parametrize("source", real_files(), ids=lambda path: path.stem)
def test_netcdf_classic_file_becomes_netcdf4_bit_for_bit(source: Path, tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    netcdf4 = pytest.importorskip("netCDF4")
    done = convert(source, tmp_path / "out.nc")
    assert done.format == "netCDF-4"
    with (
        xr.open_dataset(source, engine="scipy", decode_cf=False) as expected,
        xr.open_dataset(tmp_path / "out.nc", engine="netcdf4", decode_cf=False) as found,
    ):
        xr.testing.assert_identical(found.load(), expected.load())
        for name in expected.variables:
            assert found[name].values.tobytes() == expected[name].values.astype(found[name].dtype).tobytes()
    with netcdf4.Dataset(tmp_path / "out.nc") as file:
        assert file.data_model == "NETCDF4"


def test_netcdf_classic_characters_and_attributes_stay_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("xarray")
    netcdf4 = pytest.importorskip("netCDF4")
    with netcdf4.Dataset(tmp_path / "x.nc", "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("t", None)
        file.createDimension("letter", 4)
        for name, dtype, dims, values in (
            ("t", "f8", ("t",), [0, 1, 2]),
            ("letter", "S1", ("letter",), list("wxyz")),
            ("words", "S1", ("t", "letter"), [list("abcd"), list("ef g"), list("h\0\0\0")]),
            ("single", "S1", (), "q"),
            ("packed", "i2", ("t",), [1, 2, -3]),
            ("bytes", "i1", ("t",), [1, 2, -1]),
        ):
            file.createVariable(name, dtype, dims)[...] = np.array(values, dtype)
        file["t"].setncatts({"units": "days since 2000-01-01", "coordinates": "words"})
        file["packed"].setncatts({"scale_factor": 0.5, "add_offset": 2.0, "missing_value": np.int16(-3)})
        file["bytes"].setncatts({"_Unsigned": "true", "flag_values": np.array([1, 2], "i1")})
        file["single"]._Encoding = "utf-8"
    convert(tmp_path / "x.nc", tmp_path / "out.nc")
    with netcdf4.Dataset(tmp_path / "x.nc") as expected, netcdf4.Dataset(tmp_path / "out.nc") as found:
        assert {name: (len(one), one.isunlimited()) for name, one in found.dimensions.items()} == {
            "t": (3, True),
            "letter": (4, False),
        }
        assert set(found.variables) == set(expected.variables)
        for name, theirs in expected.variables.items():
            ours = found[name]
            for one in (ours, theirs):
                one.set_auto_maskandscale(False)
                one.set_auto_chartostring(False)
            assert (ours.dimensions, ours.dtype) == (theirs.dimensions, theirs.dtype)
            assert ours[...].tobytes() == theirs[...].tobytes()
            assert set(ours.ncattrs()) == set(theirs.ncattrs())
            for key in theirs.ncattrs():
                assert type(ours.getncattr(key)) is type(theirs.getncattr(key))
                assert np.array_equal(ours.getncattr(key), theirs.getncattr(key))


def test_netcdf_file_of_64_bit_data_becomes_netcdf4(tmp_path: Path) -> None:
    pytest.importorskip("xarray")
    netcdf4 = pytest.importorskip("netCDF4")
    with netcdf4.Dataset(tmp_path / "x.nc", "w", format="NETCDF3_64BIT_DATA") as file:
        file.createDimension("x", 3)
        file.createVariable("x", "u8", ("x",))[:] = [1, 2, 2**63]
    convert(tmp_path / "x.nc", tmp_path / "out.nc")
    with h5py.File(tmp_path / "out.nc") as file:
        assert file["x"][...].tolist() == [1, 2, 2**63]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">i2", "?", "U3"])
def test_npy_file_becomes_a_dataset(order: Any, dtype: str, tmp_path: Path) -> None:
    data = np.asarray(np.arange(600).reshape(20, 30) % 7, order=order).astype(dtype)
    np.save(tmp_path / "x.npy", data)
    convert(tmp_path / "x.npy", tmp_path / "x.h5", "/a/b")
    with h5py.File(tmp_path / "x.h5") as file:
        found = file["a/b"].asstr()[...] if dtype == "U3" else file["a/b"][...]
        np.testing.assert_array_equal(found, data)
    assert filter_ids(tmp_path / "x.h5", "a/b") == {1, 2}


def test_npy_of_no_dimension_becomes_a_scalar(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.float64(3.5))
    convert(tmp_path / "x.npy", tmp_path / "x.h5", compression="gzip")
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["data"][()] == 3.5


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), (b"", "not a zarr store, HDF5, netCDF or .npy file"),
     (b"hello world", "begins with b'hello wo'"), (b"\x89HDF\r\n\x1a\n", "cannot be read: "),
     (b"CDF\1", "the header of the netCDF classic file is damaged"),
     (b"\x93NUMPY\1", "numpy cannot map it"), (b"PK", "zip")],
)  # fmt: skip
def test_source_that_is_none_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    pytest.importorskip("xarray")
    pytest.importorskip("zarr")
    if content is not None:
        (tmp_path / "in").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        convert(tmp_path / "in", tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_npy_of_objects_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(SourceError, match="numpy cannot map it"):
        convert(tmp_path / "x.npy", tmp_path / "x.h5")


def test_request_that_does_not_fit_the_source_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    write_zoo(tmp_path / "x.h5")
    with pytest.raises(FilterError, match="no stored chunks"):
        convert(tmp_path / "x.npy", tmp_path / "y.h5", copy=True)
    with pytest.raises(FilterError, match=r"/contiguous: its chunks cannot be copied: it has no chunks"):
        convert(tmp_path / "x.h5", tmp_path / "y.h5", copy=True)
    with pytest.raises(SpecError, match="leave name"):
        convert(tmp_path / "x.h5", tmp_path / "y.h5", "/x")
    with pytest.raises(SpecError, match="is the source itself"):
        convert(tmp_path / "x.h5", tmp_path / "x.h5", overwrite=True)
    with pytest.raises(SpecError, match="is the source itself"):
        convert(tmp_path / "x.npy", tmp_path / "x.npy", overwrite=True)
    with pytest.raises(DestinationExistsError):
        convert(tmp_path / "x.npy", tmp_path / "x.h5")
    assert traces(tmp_path) == ["x.h5", "x.npy"]


@pytest.mark.parametrize("kind", ["npy", "h5", "zarr", "nc"])
def test_chunks_that_are_for_no_array_are_refused(kind: str, tmp_path: Path) -> None:
    source = tmp_path / f"in.{kind}"
    values = np.zeros((3, 4))
    match kind:
        case "npy":
            np.save(source, values)
        case "h5":
            with h5py.File(source, "w") as file:
                file["data"] = values
        case "zarr":
            pytest.importorskip("zarr").create_array(source, data=values)
        case "nc":
            xarray = pytest.importorskip("xarray")
            xarray.Dataset({"data": (("y", "x"), values)}).to_netcdf(source, format="NETCDF3_CLASSIC")
    with pytest.raises(ChunkShapeError, match=r"\(1, 2, 3\) have 3 dimensions, and no array has: .* 2"):
        convert(source, tmp_path / "out.h5", chunks=(1, 2, 3))
    with pytest.raises(ChunkShapeError, match=r"for /nothing, .* arrays: /data"):
        convert(source, tmp_path / "out.h5", chunks={"nothing": (1, 2), "data": (1, 2)})
    assert not (tmp_path / "out.h5").exists()
    done = convert(source, tmp_path / "out.h5", chunks=(1, 2), compression="gzip")
    assert [one.path for one in done.arrays] == ["/data"]
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["data"].chunks == (1, 2)


def test_cli_names_options_not_keywords(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    arguments = ["convert", str(tmp_path / "x.npy"), str(tmp_path / "x.h5")]
    assert cli.main(arguments) == 0
    assert cli.main(arguments) == 2
    assert "x.h5 exists; pass --overwrite to replace it, or" in capsys.readouterr().err


def test_cli_convert_says_how_every_array_came_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_zoo(tmp_path / "in.h5")
    assert cli.main(["convert", str(tmp_path / "in.h5"), str(tmp_path / "out.h5"), "--verbose"]) == 0
    shown = capsys.readouterr().out
    assert "/z/x: 16 chunks copied as stored: shuffle, gzip, fletcher32" in shown
    assert "/contiguous: decoded and encoded: it has no chunks" in shown


def test_cli_convert_takes_chunks_and_compression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_zoo(tmp_path / "in.h5")
    arguments = ["convert", str(tmp_path / "in.h5"), str(tmp_path / "out.h5"), "--json", "--overwrite"]
    options = ["--chunks", "/z/x=10,10", "--chunks", "/contiguous=auto", "--compression", "gzip=9"]
    assert cli.main([*arguments, *options]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {one["path"]: one["is_copied"] for one in facts["arrays"]}["/z/x"] is False
    with h5py.File(tmp_path / "out.h5") as file:
        assert (file["z/x"].chunks, file["z/x"].compression_opts) == ((10, 10), 9)
    assert cli.main([*arguments, "--compression", "none", "--no-copy"]) == 0
    assert filter_ids(tmp_path / "out.h5", "z/x") == set()


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--chunks", "1,b"], "write 1,256,256"), (["--chunks", "1,2", "--chunks", "/x=1,2"], "one shape for all"),
     (["--compression", "brotli"], "brotli"), (["--compression", "gzip=high"], "gzip level")],
)  # fmt: skip
def test_cli_convert_option_that_is_wrong_is_one_line_and_status_2(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 3)))
    assert cli.main(["convert", str(tmp_path / "x.npy"), str(tmp_path / "x.h5"), *options]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("streamh5: ")
    assert message in shown
    assert shown.count("\n") == 1


def test_import_of_streamh5_imports_neither_zarr_nor_h5py() -> None:
    code = "import sys, dask.array; before = set(sys.modules); import streamh5; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"zarr", "h5py", "hdf5plugin"} & set(done.stdout.split())
