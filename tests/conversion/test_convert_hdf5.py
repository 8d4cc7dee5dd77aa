"""`convert` of HDF5 files of any origin: HDF5's own tools find what they find in the source."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
from h5py import h5a, h5d, h5p, h5s, h5t

import streamh5
from streamh5.errors import SourceError, StreamH5Error
from streamh5.format.link import UserDefinedLink
from tests.conversion.test_convert import convert, h5diff

UNLIMITED = h5s.UNLIMITED


def header(path: Path, *options: str) -> str:
    """What h5dump says of a file but for its name."""
    done = subprocess.run(
        ["h5dump", *options, path.name], cwd=path.parent, capture_output=True, text=True, check=True
    )
    return done.stdout.split("\n", 1)[1]


def dataset(
    file: h5py.File, name: str, kind: h5t.TypeID, shape: tuple[int, ...], **properties: Any
) -> h5py.Dataset:
    """Create a dataset of any HDF5 datatype."""
    plist = h5p.create(h5p.DATASET_CREATE)
    for verb, value in properties.items():
        if verb != "maxshape":
            getattr(plist, verb)(value)
    space = h5s.create_simple(shape, properties.get("maxshape", shape))
    return h5py.Dataset(h5d.create(file.id, name.encode(), kind, space, plist))


def kinds() -> dict[str, h5t.TypeID]:
    """Datatypes that numpy has no dtype for."""
    padded = h5t.C_S1.copy()
    padded.set_size(7)
    padded.set_strpad(h5t.STR_SPACEPAD)
    tagged = h5t.create(h5t.OPAQUE, 5)
    tagged.set_tag(b"a tag of mine")
    narrow = h5t.STD_I32BE.copy()
    narrow.set_precision(17)
    narrow.set_offset(3)
    compound = h5t.create(h5t.COMPOUND, 40)
    for name, position, member in ((b"s", 1, padded), (b"b", 9, h5t.STD_B16BE), (b"i", 16, narrow)):
        compound.insert(name, position, member)
    return {
        "bits": h5t.STD_B16BE,
        "padded": padded,
        "tagged": tagged,
        "narrow": narrow,
        "compound": compound,
        "time": h5t.UNIX_D32LE,
        "array": h5t.array_create(h5t.STD_B8LE, (2, 3)),
    }


@pytest.mark.parametrize("libver", ["earliest", "v110", "latest"])
def test_datatypes_without_dtype_come_over_byte_for_byte(
    tmp_path: Path, hdf5_tools: None, libver: str
) -> None:
    random = np.random.default_rng(0)
    with h5py.File(
        tmp_path / "in.h5", "w", libver=libver if libver != "latest" else ("v110", "v110")
    ) as file:
        for name, kind in kinds().items():
            values = np.frombuffer(random.bytes(6 * kind.get_size()), f"V{kind.get_size()}")
            one = dataset(file, f"whole {name}", kind, (6,))
            one.id.write(h5s.ALL, h5s.ALL, values, kind)
            chunked = dataset(file, f"chunked {name}", kind, (6,), set_chunk=(4,), set_deflate=4)
            chunked.id.write(h5s.ALL, h5s.ALL, values, kind)
            attribute = h5a.create(one.id, b"attribute", kind, h5s.create_simple((6,)))
            attribute.write(values, mtype=kind)
    for keywords in ({}, {"compression": "gzip"}, {"chunks": (5,)}):
        convert(tmp_path / "in.h5", tmp_path / "out.h5", overwrite=True, **keywords)
        if "chunks" not in keywords:
            assert header(tmp_path / "out.h5") == header(tmp_path / "in.h5")
        with h5py.File(tmp_path / "in.h5") as source, h5py.File(tmp_path / "out.h5") as file:
            for name in source:
                kind = source[name].id.get_type()
                assert file[name].id.get_type() == kind
                read = []
                for one in (source, file):
                    values = np.zeros(6, f"V{kind.get_size()}")
                    one[name].id.read(h5s.ALL, h5s.ALL, values, kind)
                    read.append(values.tobytes())
                assert read[0] == read[1]


def test_objects_of_variable_length_come_over_as_they_are(tmp_path: Path, hdf5_tools: None) -> None:
    inner = np.dtype([("text", h5py.string_dtype()), ("numbers", h5py.vlen_dtype(">i2")), ("x", ">f8")])
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.attrs.create("big", np.array([np.arange(3), np.arange(0)], object), dtype=h5py.vlen_dtype(">f4"))
        file.attrs["scalar"] = "text of any length"
        file["scalar"] = "text"
        compounds = file.create_dataset("compounds", (5,), inner, chunks=(2,), compression="gzip")
        compounds[1] = ("é", np.arange(4), 1.5)
        compounds.attrs.create("same", compounds[1], dtype=inner)
        partly = file.create_dataset("partly", (6,), h5py.string_dtype(), chunks=(2,))
        partly[0], partly[1] = "a", ""
        file.create_dataset("matrices", (2,), h5py.vlen_dtype(np.dtype((">i4", (2,)))))
    done = convert(tmp_path / "in.h5", tmp_path / "out.h5")
    assert done.notes == ()
    assert h5diff(tmp_path / "in.h5", tmp_path / "out.h5") == ""
    assert header(tmp_path / "out.h5") == header(tmp_path / "in.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["partly"].id.get_num_chunks() == 1


def test_fill_values_of_text_come_over(tmp_path: Path, hdf5_tools: None) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        filled = file.create_dataset("x", (5,), h5py.string_dtype(), chunks=(2,), fillvalue="none")
        filled[4] = "some"
    convert(tmp_path / "in.h5", tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5", "r+") as file:  # HDF5 reads such values with write intent only
        assert [text.decode() for text in file["x"]] == ["none"] * 4 + ["some"]
        assert file["x"].id.get_num_chunks() == 1
    assert 'VALUE  "none"' in header(tmp_path / "out.h5", "-p", "-H")


def test_references_keep_their_selection_and_dangling_ones_are_null(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        x, gone = file.create_dataset("x", data=np.arange(20).reshape(4, 5)), file.create_group("gone")
        mask = np.zeros((4, 5), bool)
        mask[1, 1] = mask[3, 4] = True
        x.attrs["points"], x.attrs["step"] = x.regionref[mask], x.regionref[::2, 1:3]
        file["references"] = np.array([x.ref, gone.ref, file.ref], h5py.ref_dtype)
        del file["gone"]
    done = convert(tmp_path / "in.h5", tmp_path / "out.h5")
    assert ["references to missing objects are null" in note for note in done.notes] == [True]
    with h5py.File(tmp_path / "out.h5") as file:
        x = file["x"]
        assert x[x.attrs["points"]].tolist() == [6, 19]
        assert x[x.attrs["step"]].ravel().tolist() == [1, 2, 11, 12]
        to_x, to_gone, to_root = file["references"][...]
        assert (file[to_x], bool(to_gone), file[to_root]) == (x, False, file["/"])


def test_storage_that_was_never_allocated_stays_so(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_dataset("contiguous", (300_000_000,), "u1", fillvalue=3)
        file.create_dataset("sparse", (5_000, 5_000), "u1", chunks=(50, 50), compression="gzip")[0, 0] = 1
        layout = h5py.VirtualLayout((1_000_000, 100), "i4", maxshape=(None, 100))
        layout[10:20] = h5py.VirtualSource("gone.h5", "x", (10, 100))
        layout[50:60] = h5py.VirtualSource(".", "part", (10, 100))
        file["part"] = np.arange(1000).reshape(10, 100)
        file.create_virtual_dataset("virtual", layout, fillvalue=-1)
    done = convert(tmp_path / "in.h5", tmp_path / "out.h5", compression="gzip")
    assert (tmp_path / "out.h5").stat().st_size < 10_000_000
    assert [note.startswith("/virtual: 1 sources") for note in done.notes] == [True]
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["contiguous"].id.get_offset() is None
        assert file["contiguous"][-1] == 3
        assert file["sparse"].id.get_num_chunks() == 1
        virtual = file["virtual"]
        assert virtual.maxshape == (None, 100)
        assert virtual[50:60].tolist() == np.arange(1000).reshape(10, 100).tolist()
        assert (virtual[10:20] == -1).all()
        assert virtual.id.get_num_chunks() * virtual.chunks[0] * virtual.chunks[1] < 10_000_000


def test_virtual_datasets_without_end_come_over(tmp_path: Path, hdf5_tools: None) -> None:
    values = np.arange(40, dtype="i4").reshape(4, 10)
    for i in range(2):
        with h5py.File(tmp_path / f"{i}.h5", "w") as file:
            file.create_dataset("x", data=values + 100 * i, maxshape=(None, 10), chunks=(2, 10))
    layouts = [h5py.VirtualLayout((8, 10), "i4", (None, 10)), h5py.VirtualLayout((4, 20), "i4", (None, 20))]
    for i in range(2):
        source = h5py.VirtualSource(tmp_path / f"{i}.h5", "x", (4, 10), maxshape=(None, 10))
        layouts[0][i : h5s.UNLIMITED : 2] = source[: h5s.UNLIMITED]
        layouts[1][: h5s.UNLIMITED, 10 * i : 10 * i + 10] = source[: h5s.UNLIMITED]
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for name, layout in zip(("interleaved", "side by side"), layouts, strict=True):
            file.create_virtual_dataset(name, layout, fillvalue=-1)
    assert convert(tmp_path / "in.h5", tmp_path / "out.h5").notes == ()
    assert h5diff(tmp_path / "in.h5", tmp_path / "out.h5") == ""
    with h5py.File(tmp_path / "in.h5") as source, h5py.File(tmp_path / "out.h5") as file:
        for name in source:
            assert file[name].maxshape == source[name].maxshape
            assert file[name][()].tolist() == source[name][()].tolist()
        assert file["side by side"][3].tolist() == [*range(30, 40), *range(130, 140)]


def test_external_file_that_is_not_there_is_named_with_where_it_is_looked_for(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_dataset("x", (1000,), "i4", external=[("gone.bin", 0, 4000)])
    with pytest.raises(
        SourceError, match=r"^/x: HDF5 cannot read it: unable to open external raw data file; .*_PREFIX"
    ):
        convert(tmp_path / "in.h5", tmp_path / "out.h5")


def test_properties_of_storage_come_over(tmp_path: Path) -> None:
    times = [h5d.FILL_TIME_ALLOC, h5d.FILL_TIME_NEVER, h5d.FILL_TIME_IFSET]
    allocation = [h5d.ALLOC_TIME_EARLY, h5d.ALLOC_TIME_LATE, h5d.ALLOC_TIME_INCR]
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for i in range(9):
            properties = {"set_fill_time": times[i % 3], "set_alloc_time": allocation[i // 3]}
            one = dataset(
                file, f"x{i}", h5t.STD_I16BE, (10,), set_chunk=(4,), set_fill_value=np.array(7, "i2"),
                maxshape=(UNLIMITED,), **properties,
            )  # fmt: skip
            one[0:3] = 1
        large = file.create_dataset("large chunks", (3,), maxshape=(None,), chunks=(1000,), dtype="f4")
        large[...] = 1
    for keywords in ({}, {"compression": "gzip"}):
        convert(tmp_path / "in.h5", tmp_path / "out.h5", overwrite=True, **keywords)
        with h5py.File(tmp_path / "in.h5") as source, h5py.File(tmp_path / "out.h5") as file:
            for name, one in source.items():
                ours, theirs = (x.id.get_create_plist() for x in (file[name], one))
                assert ours.get_fill_time() == theirs.get_fill_time()
                assert ours.get_alloc_time() == theirs.get_alloc_time()
                assert (file[name].chunks, file[name].maxshape) == (one.chunks, one.maxshape)
                assert (file[name].fillvalue, file[name].dtype) == (one.fillvalue, one.dtype)
                np.testing.assert_array_equal(file[name], one)


def test_checksums_stay_where_other_filters_are_asked_for(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_dataset("x", data=np.arange(100), chunks=(10,), fletcher32=True)
    assert convert(tmp_path / "in.h5", tmp_path / "out.h5", compression="gzip").notes == ()
    with h5py.File(tmp_path / "out.h5") as file:
        assert (file["x"].fletcher32, file["x"].compression) == (True, "gzip")
    done = convert(tmp_path / "in.h5", tmp_path / "out.h5", compression=None, overwrite=True)
    assert done.notes == ("/x: its checksums are removed with the filters; fletcher32=True keeps them",)


def test_user_block_stays_in_front(tmp_path: Path, hdf5_tools: None) -> None:
    with h5py.File(tmp_path / "in.mat", "w", userblock_size=1024) as file:
        x = file.create_dataset("x", data=np.arange(1000), chunks=(100,), compression="gzip")
        x.attrs["region"], file["texts"] = x.regionref[3:5], ["a", "b"]
    with open(tmp_path / "in.mat", "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    done = convert(tmp_path / "in.mat", tmp_path / "out.mat")
    assert done.arrays[0].is_copied
    assert (tmp_path / "out.mat").read_bytes()[:1024] == (tmp_path / "in.mat").read_bytes()[:1024]
    assert h5diff(tmp_path / "in.mat", tmp_path / "out.mat") == ""
    with h5py.File(tmp_path / "out.mat", "r+") as file:
        file["new"] = np.arange(5)
        assert file["x"][file["x"].attrs["region"]].tolist() == [3, 4]
    with h5py.File(tmp_path / "out.mat") as file:
        assert (file["x"][-1], file["new"][-1]) == (999, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mat", "out.mat"]


def test_named_datatypes_of_netcdf_are_shared(tmp_path: Path) -> None:
    if shutil.which("ncdump") is None:
        pytest.skip("reader missing: ncdump")
    with netCDF4.Dataset(tmp_path / "in.nc", "w") as file:
        file.createDimension("n", 2)
        clouds = file.createEnumType("u1", "cloud", {"clear": 0, "cumulus": 1})
        point = file.createCompoundType(np.dtype([("x", "f4"), ("y", ">i2")]), "point")
        ragged = file.createVLType("i4", "ragged")
        for name, kind in (("c", clouds), ("p", point), ("r", ragged)):
            file.createVariable(name, kind, ("n",))
        file["c"][:], file["r"][0] = [0, 1], np.arange(3, dtype="i4")
        file["p"].setncattr("a", np.array((1, 2), point.dtype))
    convert(tmp_path / "in.nc", tmp_path / "out.nc")
    dumps = [
        subprocess.run(
            ["ncdump", "-n", "x", tmp_path / name], capture_output=True, text=True, check=True
        ).stdout
        for name in ("in.nc", "out.nc")
    ]
    assert dumps[0] == dumps[1]


def test_groups_in_cycles_and_deep_groups_come_over(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        group = file
        for _ in range(1500):
            group = group.create_group("g")
        group["up"] = file["/"]
        group["x"] = 1
    assert convert(tmp_path / "in.h5", tmp_path / "out.h5").notes == ()
    with h5py.File(tmp_path / "out.h5") as file:
        group = file["/g" * 1500]
        assert sorted(group) == ["up", "x"]
        assert group["up"] == file["/"]


def test_any_flipped_bit_is_one_of_our_errors(tmp_path: Path) -> None:
    path = tmp_path / "in.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for i in range(3):
            file.create_dataset(f"x{i}", data=np.arange(50), chunks=(10,), compression="gzip")
        file["x0"].attrs["texts"] = ["a", "bc"]
    good, random = path.read_bytes(), np.random.default_rng(0)
    refusals = []
    for _ in range(150):
        damaged = bytearray(good)
        damaged[int(random.integers(48, len(good)))] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        for skip in (False, True):
            try:
                convert(path, tmp_path / "out.h5", overwrite=True, sync="none", skip_unsupported=skip)
            except StreamH5Error as error:
                refusals.append(str(error))
    assert len(refusals) > 20
    assert max(map(len, refusals)) < 400


def test_chunk_of_size_zero_is_an_error_and_not_copied(tmp_path: Path) -> None:
    """A copy of it would be a file that nobody can read, and the error would come with its first reader."""
    path = tmp_path / "damaged.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        x = file.create_dataset("x", data=np.arange(100).reshape(10, 10), chunks=(5, 5), compression="gzip")
        stored = x.id.get_chunk_info_by_coord((5, 0)).size
    content = path.read_bytes()
    key = struct.pack("<IIQQQ", stored, 0, 5, 0, 0)  # of a version 1 B-tree: size, mask, offsets
    assert content.count(key) == 1
    path.write_bytes(content.replace(key, bytes(4) + key[4:]))
    with h5py.File(path) as file, pytest.raises(OSError, match="filter returned failure"):
        file["x"][()]
    with pytest.raises(SourceError, match=r"/x: the chunk \(1, 0\) has a stored size of 0; it is damaged"):
        convert(path, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_user_defined_links_come_over(tmp_path: Path, hdf5_tools: None) -> None:
    with streamh5.File(tmp_path / "made.h5", "w") as file:
        file["x"] = np.arange(3)
        file.session.link("/u", UserDefinedLink(187, b"abc"))
    assert convert(tmp_path / "made.h5", tmp_path / "out.h5").notes == ()
    listed = subprocess.run(["h5ls", tmp_path / "out.h5"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"^u +UD Link|^u +.*187", listed, re.MULTILINE)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file.id.links.get_info(b"u").type == 187


def test_comments_and_datatypes_that_lost_their_name_are_noted(tmp_path: Path, hdf5_tools: None) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["group/data"] = 1
        file["type"] = np.dtype([("a", "i4")])
        for commented in (b"group", b"group/data", b"type", b"."):
            file.id.set_comment(commented, b"a comment")
        for name in ("x", "y"):
            file.create_dataset(name, (3,), file["type"])
        file["gone"] = np.dtype([("b", "f8")])
        for name in ("z", "z2"):
            file.create_dataset(name, (3,), file["gone"])
        del file["gone"]
    done = convert(tmp_path / "in.h5", tmp_path / "out.h5")
    assert [note.split(";")[0] for note in done.notes] == [
        "4 objects have comments (H5Oset_comment), which are left out",
        "1 named datatypes have no link",
    ]
    assert h5diff(tmp_path / "in.h5", tmp_path / "out.h5") == ""
    with h5py.File(tmp_path / "out.h5") as file:
        assert [file[name].id.get_type().committed() for name in ("x", "y", "z", "z2")] == [1, 1, 0, 0]


def test_dataset_without_chunks_in_its_file_is_converted_with_max_memory(tmp_path: Path) -> None:
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    with h5py.File(source, "w") as file:
        file.create_dataset("x", (0, 5), "f4", chunks=(1, 5), maxshape=(None, 5))
    streamh5.convert(source, path, max_memory="1 GB", progress=False)
    with h5py.File(path) as file:
        assert file["x"].shape == (0, 5)
        assert file["x"].chunks == (1, 5)
