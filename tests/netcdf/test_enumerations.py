"""Enumerations of netCDF: named datatypes, as netCDF-C writes them and xarray reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5.errors import BlockError, DatatypeError, PathError, SpecError, StreamH5Error

xr = pytest.importorskip("xarray")
nc4 = pytest.importorskip("netCDF4")

CLOUDS = {"Clear": 0, "Cumulus": 3, "Altostratus": 2, "missing": 255}


def enum(members: dict[str, int] = CLOUDS, name: str = "cloud_type", base: str = "u1") -> np.dtype[Any]:
    return np.dtype(base, metadata={"enum": members, "enum_name": name})


def clouds(*, is_lazy: bool = False, fill: int | None = None) -> Any:
    values = np.array([[0, 3, 2], [2, 2, 3], [3, 0, 0], [255, 0, 3]], "u1")
    encoding: dict[str, Any] = {"dtype": enum()}
    attributes = (
        {"long_name": "clouds"} if fill is None else {"long_name": "clouds", "_FillValue": np.uint8(fill)}
    )
    dataset = xr.Dataset({"c": (("t", "x"), values, attributes, encoding)})
    return dataset.chunk({"t": 2}) if is_lazy else dataset


@pytest.mark.parametrize("fill", [None, 255])
@pytest.mark.parametrize("is_lazy", [False, True])
def test_enumeration_is_stored_as_by_netcdf_c(is_lazy: bool, fill: int | None, tmp_path: Path) -> None:
    if shutil.which("ncdump") is None:
        pytest.skip("ncdump is not installed (apt-get install netcdf-bin)")
    clouds(fill=fill).to_netcdf(tmp_path / "ref.nc", engine="netcdf4")
    streamh5.to_netcdf(clouds(is_lazy=is_lazy, fill=fill), tmp_path / "a.nc")
    dumps = [
        subprocess.run(
            ["ncdump", "-n", "a", tmp_path / name], capture_output=True, check=True, text=True
        ).stdout
        for name in ("a.nc", "ref.nc")
    ]
    assert dumps[0] == dumps[1]
    assert "ubyte enum cloud_type {Clear = 0, Cumulus = 3, Altostratus = 2" in dumps[0]
    with h5py.File(tmp_path / "a.nc") as file:
        named = file["cloud_type"]
        assert isinstance(named, h5py.Datatype)
        assert file["c"].id.get_type().committed()
        assert h5py.check_enum_dtype(file["c"].dtype) == CLOUDS


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
def test_enumeration_is_what_xarray_reads_and_writes_again(engine: Any, tmp_path: Path) -> None:
    streamh5.to_netcdf(clouds(), tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc", engine=engine) as read:
        assert read["c"].values.tolist() == clouds()["c"].values.tolist()
        assert read["c"].encoding["dtype"].metadata == {"enum": CLOUDS, "enum_name": "cloud_type"}
        streamh5.to_netcdf(read, tmp_path / "b.nc")
    with nc4.Dataset(tmp_path / "b.nc") as file:
        assert file.enumtypes["cloud_type"].enum_dict == CLOUDS
        assert file["c"].datatype.name == "cloud_type"


def test_netcdf_c_adds_a_variable_of_the_enumeration(tmp_path: Path) -> None:
    streamh5.to_netcdf(clouds(), tmp_path / "a.nc")
    with nc4.Dataset(tmp_path / "a.nc", "a") as file:
        added = file.createVariable("d", file.enumtypes["cloud_type"], ("x",))
        added[:] = [3, 3, 2]
        file["c"][0] = 2
    with nc4.Dataset(tmp_path / "a.nc") as file:
        assert file["d"][:].tolist() == [3, 3, 2]
        assert file["c"][0].tolist() == [2, 2, 2]


def test_enumeration_with_filters_in_groups_and_of_each_size(tmp_path: Path) -> None:
    bases = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
    tree = xr.DataTree.from_dict(
        {
            f"/{base}": xr.Dataset(
                {
                    "v": (
                        "x",
                        np.tile(np.array([1, 2, 100], base), 50_000),
                        {},
                        {"dtype": enum({"b": 1, "a": 2, "c": 100}, base=base)},
                    )
                }
            )
            for base in bases
        }
    )
    streamh5.to_netcdf(tree, tmp_path / "a.nc", compression="gzip")
    with nc4.Dataset(tmp_path / "a.nc") as file:
        for base in bases:
            group = file[base]
            assert list(group.enumtypes["cloud_type"].enum_dict.items()) == [("b", 1), ("a", 2), ("c", 100)]
            assert group["v"].dtype == np.dtype(base)
            assert group["v"].filters()["zlib"]
            assert group["v"][:5].tolist() == [1, 2, 100, 1, 2]


def test_variables_share_an_enumeration_also_one_of_the_file(tmp_path: Path) -> None:
    dataset = clouds().assign(d=clouds()["c"])
    dataset["d"].encoding = {"dtype": enum()}
    streamh5.to_netcdf(dataset, tmp_path / "a.nc")
    added = xr.Dataset({"e": ("y", np.array([2, 0], "u1"), {}, {"dtype": enum()})})
    streamh5.to_netcdf(added, tmp_path / "a.nc", mode="a")
    with nc4.Dataset(tmp_path / "a.nc") as file:
        assert list(file.enumtypes) == ["cloud_type"]
        assert {file[name].datatype.name for name in "cde"} == {"cloud_type"}
        assert file["e"][:].tolist() == [2, 0]
    other = xr.Dataset({"f": ("y", np.array([2, 0], "u1"), {}, {"dtype": enum({"a": 0, "b": 2})})})
    with pytest.raises(SpecError, match=r"/f: /cloud_type is in the file"):
        streamh5.to_netcdf(other, tmp_path / "a.nc", mode="a")


@pytest.mark.parametrize("is_lazy", [False, True])
def test_append_to_an_enumeration_takes_members_only(is_lazy: bool, tmp_path: Path) -> None:
    clouds().to_netcdf(tmp_path / "a.nc", engine="netcdf4", unlimited_dims=["t"])
    streamh5.to_netcdf(clouds(is_lazy=is_lazy), tmp_path / "a.nc", append_dim="t")
    with nc4.Dataset(tmp_path / "a.nc") as file:
        file.set_auto_mask(False)
        assert file["c"][4:].tolist() == clouds()["c"].values.tolist()
        assert file["c"].datatype.name == "cloud_type"
    bad = (
        clouds(is_lazy=is_lazy) + 1
    )  # 1 and 4 are no members; which block is told of first is the threads' affair
    with pytest.raises(
        BlockError, match=r"/c: .* values are not members of its enumeration: the first is [14],"
    ):
        streamh5.to_netcdf(bad, tmp_path / "a.nc", append_dim="t")


def test_resume_with_an_enumeration(tmp_path: Path) -> None:
    fails = True

    def block(values: Any, block_id: Any = None) -> Any:
        if fails and block_id[0] == 2:
            raise RuntimeError("power cut")
        return values

    data = da.ones((4, 5), chunks=(1, 5), dtype="u1").map_blocks(block, meta=np.empty((0, 0), "u1"))
    dataset = xr.Dataset({"c": (("t", "x"), data * np.uint8(3), {}, {"dtype": enum()})})
    options: dict[str, Any] = {"resume": True, "resume_key": "k", "scheduler": "synchronous"}
    with pytest.raises(RuntimeError, match="power cut"):
        streamh5.to_netcdf(dataset, tmp_path / "a.nc", **options)
    fails = False
    streamh5.to_netcdf(dataset, tmp_path / "a.nc", **options)
    with nc4.Dataset(tmp_path / "a.nc") as file:
        assert file["c"][:].tolist() == [[3] * 5] * 4
        assert file["c"].datatype.enum_dict == CLOUDS


@pytest.mark.parametrize(
    ("dtype", "values", "error", "match"),
    [
        (np.dtype("u1", metadata={"enum": CLOUDS}), [0], DatatypeError, "/c.*enum_name"),
        (enum({}), [0], DatatypeError, "/c.*at least one member"),
        (enum(base="f4"), [0], DatatypeError, "/c.*integer dtype"),
        (enum({"a": 0, "b": 0}), [0], DatatypeError, "/c.*same value"),
        (enum({"a": 256}), [0], DatatypeError, "/c.*uint8 cannot hold"),
        (enum({"a/b": 0}), [0], PathError, "member of enumeration cloud_type.*a/b"),
        (enum(name="x y "), [0], PathError, "enumeration of /.*x y"),
        (enum(name="c"), [0], PathError, "/c is an enumeration and also a variable"),
        (enum(name="x"), [0], PathError, "/x is an enumeration and also a dimension"),
        (enum(), [0, 7], BlockError, "/c: 1 of 2 values.*the first is 7.*Clear = 0"),
    ],
)
def test_enumeration_that_netcdf_cannot_hold_is_refused(
    dtype: np.dtype[Any], values: list[int], error: type[StreamH5Error], match: str, tmp_path: Path
) -> None:
    dataset = xr.Dataset({"c": ("x", np.array(values, dtype.str), {}, {"dtype": dtype})})
    with pytest.raises(error, match=match):
        streamh5.to_netcdf(dataset, tmp_path / "a.nc")
    assert not (tmp_path / "a.nc").exists()


def test_two_enumerations_of_one_name_are_refused(tmp_path: Path) -> None:
    dataset = clouds().assign(d=clouds()["c"] * 0)
    dataset["d"].encoding = {"dtype": enum({"nothing": 0})}
    with pytest.raises(SpecError, match="/d: another variable has an enumeration /cloud_type"):
        streamh5.to_netcdf(dataset, tmp_path / "a.nc")
