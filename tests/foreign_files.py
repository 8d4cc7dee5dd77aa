"""Files that streamh5 did not write: a small one for every structure of the format."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import tables

BUILDERS: dict[str, Callable[[Path], None]] = {}

VALUES = (np.arange(60 * 50) % 7).astype("i2").reshape(60, 50)


def library() -> ctypes.CDLL:
    """Return h5py's own HDF5, for calls that h5py does not have."""
    mapped = Path("/proc/self/maps")
    if not mapped.exists():
        pytest.skip("no /proc here, by which h5py's HDF5 is found")
    names = {line.split()[-1] for line in mapped.read_text().splitlines() if "libhdf5" in line}
    found = [name for name in sorted(names) if "libhdf5-" in name or "libhdf5.so" in name]
    return ctypes.CDLL(next(name for name in found if "h5py" in name))


def call(name: str, identifier: int, *arguments: Any) -> None:
    """Call a function of HDF5 whose first argument is an identifier; integers after it are C ints."""
    function = getattr(library(), name)
    function.restype = ctypes.c_int
    assert function(ctypes.c_int64(identifier), *arguments) >= 0, name


def builder(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Enter a function that makes a file."""
    BUILDERS[make.__name__] = make
    return make


def fill(file: h5py.Group, n_links: int = 3) -> None:
    """Put a bit of everything that every library version has into a group."""
    file.attrs["text"] = "hello"
    file.attrs["numbers"] = np.arange(5.0)
    file.create_dataset("contiguous", data=VALUES)
    file.create_dataset("chunked", data=VALUES, chunks=(7, 11), compression="gzip", shuffle=True)
    file.create_dataset("rows", data=VALUES, chunks=(7, 50), maxshape=(None, 50), fletcher32=True)
    file.create_dataset("free", data=VALUES, chunks=(7, 11), maxshape=(None, None))
    file.create_dataset("scalar", data=3.5)
    file.create_dataset("empty", data=h5py.Empty("f4"))
    file.create_dataset("words", data=["one", "", "three"], dtype=h5py.string_dtype())
    file["soft"] = h5py.SoftLink("/somewhere/else")
    file["links/external"] = h5py.ExternalLink("other.h5", "/x")  # which makes an old group a new one
    file["hard"] = file["contiguous"]
    for i in range(n_links):
        file.create_group(f"groups/{i}")


def _libver(name: str, **options: Any) -> None:
    def make(path: Path) -> None:
        with h5py.File(path, "w", **options) as file:
            fill(file)

    make.__name__ = name
    builder(make)


for _version in ("earliest", "v108", "v110", "v112", "v114", "latest"):
    _libver(f"libver_{_version}", libver=_version if _version == "latest" else (_version, "latest"))
    _libver(f"track_order_{_version}", libver=(_version, "latest"), track_order=True)
for _nbytes in (512, 4096):
    _libver(f"userblock_{_nbytes}", userblock_size=_nbytes)
_libver("userblock_latest", userblock_size=2048, libver="latest")
_libver("paged", fs_strategy="page", fs_persist=True, fs_page_size=4096, libver="latest")
_libver("free_space_kept", fs_strategy="fsm", fs_persist=True)


@builder
def small_addresses(path: Path) -> None:
    """Addresses and lengths of 4 bytes, in old structures."""
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_sizes(4, 4)
    with h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, fcpl=creation)) as file:
        fill(file, 100)
        del file["words"]


@builder
def other_btree_sizes(path: Path) -> None:
    """Superblock version 1, for nodes of old B-trees of other sizes than usual."""
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    call("H5Pset_istore_k", creation.id, ctypes.c_uint(8))
    call("H5Pset_sym_k", creation.id, ctypes.c_uint(5), ctypes.c_uint(3))
    with h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, fcpl=creation)) as file:
        fill(file, 300)
        file.create_dataset("many", data=np.arange(3000), chunks=(3,))


@builder
def shared_messages(path: Path) -> None:
    """Datatypes, dataspaces and attributes in the heaps of shared object header messages."""
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    call("H5Pset_shared_mesg_nindexes", creation.id, ctypes.c_uint(1))
    call("H5Pset_shared_mesg_index", creation.id, ctypes.c_uint(0), ctypes.c_uint(0x1F), ctypes.c_uint(20))
    with h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, fcpl=creation)) as file:
        for i in range(20):
            one = file.create_dataset(f"{i}", data=np.zeros(3, [("abcdef", "i4"), ("b", "f8")]))
            one.attrs["a name that is long enough"] = np.arange(20)


def _many_names(path: Path, libver: str, *, track_order: bool) -> None:
    with h5py.File(path, "w", libver=(libver, "latest"), track_order=track_order) as file:
        group = file.create_group("many", track_order=track_order)
        for i in range(300):
            group.create_group(f"group number {i}" * (1 + i % 3))
        data = file.create_dataset("x", data=np.arange(3), track_order=track_order)
        for i in range(300):
            data.attrs[f"attribute {i}"] = np.arange(i)
        for i in range(0, 300, 2):
            del group[f"group number {i}" * (1 + i % 3)]
            del data.attrs[f"attribute {i}"]
        if libver != "earliest":
            data.attrs["huge"] = np.zeros(20_000)


@builder
def many_names_earliest(path: Path) -> None:
    """Old groups of several nodes, and attributes in continuations, with gaps where names were removed."""
    _many_names(path, "earliest", track_order=False)


@builder
def many_names_latest(path: Path) -> None:
    """Heaps with indirect blocks and a huge object, B-trees with internal nodes."""
    _many_names(path, "latest", track_order=False)


@builder
def many_names_in_order(path: Path) -> None:
    """The same, with indexes of creation order."""
    _many_names(path, "v108", track_order=True)


DTYPES: dict[str, Any] = {
    **{name: np.dtype(name) for name in ("i1", ">i4", "<u8", "f2", ">f8", "c8", "S7", "?", "g")},
    "padded": np.dtype({"names": ["a", "b"], "formats": ["i2", ">u4"], "offsets": [3, 9], "itemsize": 40}),
    "nested": np.dtype([("x", [("y", "f4", (2, 3)), ("z", "S3")]), ("e", h5py.enum_dtype({"A": 1, "B": 2}))]),
    "array": np.dtype(("i4", (2, 3))),
    "enum": h5py.enum_dtype({"RED": -1, "GREEN": 7}, basetype=">i2"),
    "text": h5py.string_dtype("utf-8", 9),
    "opaque": h5py.opaque_dtype(np.dtype("M8[ns]")),
    "reference": h5py.ref_dtype,
    "region": h5py.regionref_dtype,
    "sequence": h5py.vlen_dtype(np.dtype([("a", "i4"), ("b", "f8")])),
    "strings": h5py.string_dtype("ascii"),
}


def _all_dtypes(path: Path, libver: str) -> None:
    with h5py.File(path, "w", libver=(libver, "latest")) as file:
        for name, dtype in DTYPES.items():
            file.create_dataset(name, (4,), dtype)
            file.create_dataset(f"{name}, chunked", (9,), dtype, chunks=(2,))
            h5py.h5t.py_create(dtype, logical=True).copy().commit(file.id, f"type {name}".encode())
            used = file.create_dataset(f"{name}, of a named type", (4,), file[f"type {name}"])
            named = file[f"type {name}"].id
            h5py.h5a.create(used.id, b"a", named, h5py.h5s.create_simple((2,)))
        file["strings"][1:3] = [b"some", b"text"]
        file["sequence, chunked"][3] = np.ones(7, DTYPES["sequence"].metadata["vlen"])
        file["reference"][0] = file["i1"].ref
        file["region"][0] = file["i1"].regionref[1:3]
        space = h5py.h5s.create_simple((3,))
        low = {
            "bits": h5py.h5t.STD_B16LE,
            "bits, big-endian": h5py.h5t.STD_B32BE,
            "time": h5py.h5t.UNIX_D32LE,
        }
        low["twelve bits"] = h5py.h5t.STD_I16LE.copy()
        low["twelve bits"].set_precision(12)
        low["space-padded"] = h5py.h5t.C_S1.copy()
        low["space-padded"].set_size(5)
        low["space-padded"].set_strpad(h5py.h5t.STR_SPACEPAD)
        low["texts of texts"] = h5py.h5t.vlen_create(h5py.h5t.vlen_create(h5py.h5t.STD_I8LE))
        for name, datatype in low.items():
            h5py.h5d.create(file.id, name.encode(), datatype, space)


@builder
def all_dtypes_earliest(path: Path) -> None:
    """Datatypes of every class, plain and named, in the oldest encoding."""
    _all_dtypes(path, "earliest")


@builder
def all_dtypes_latest(path: Path) -> None:
    """The same in the newest encoding."""
    _all_dtypes(path, "latest")


def _allocation(path: Path, libver: str) -> None:
    with h5py.File(path, "w", libver=(libver, "latest")) as file:
        for number, allocated in enumerate(("ALLOC_TIME_EARLY", "ALLOC_TIME_LATE", "ALLOC_TIME_INCR")):
            for written in ("FILL_TIME_ALLOC", "FILL_TIME_NEVER", "FILL_TIME_IFSET"):
                for most in ((10, 10), (40, 10), (None, 10), (None, None)):
                    for value in (None, 7):
                        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                        plist.set_chunk((3, 4))
                        plist.set_alloc_time(getattr(h5py.h5d, allocated))
                        plist.set_fill_time(getattr(h5py.h5d, written))
                        if value is not None:
                            plist.set_fill_value(np.array(value, "i4"))
                        limits = tuple(h5py.h5s.UNLIMITED if one is None else one for one in most)
                        space = h5py.h5s.create_simple((10, 10), limits)
                        name = f"{number} {written} {most} {value}".encode()
                        one = h5py.Dataset(h5py.h5d.create(file.id, name, h5py.h5t.STD_I32LE, space, plist))
                        one[0:5, 0:5] = 1
        shrunk = file.create_dataset("shrunk", data=VALUES, chunks=(2, 5), maxshape=(None, None))
        shrunk.resize((7, 8))
        shrunk.resize((0, 8))
        shrunk.resize((9, 3))


@builder
def allocation_earliest(path: Path) -> None:
    """Chunks that are allocated before they are written, outside of the shape, and removed again."""
    _allocation(path, "earliest")


@builder
def allocation_latest(path: Path) -> None:
    """The same with the indexes of HDF5 1.10."""
    _allocation(path, "latest")


@builder
def unfiltered_edges(path: Path) -> None:
    """Chunks at the edge that are stored without filters, in each index."""
    with h5py.File(path, "w", libver="latest") as file:
        for number, most in enumerate(((6, 6), (None, 6), (None, None))):
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((4, 4))
            plist.set_deflate(4)
            call("H5Pset_chunk_opts", plist.id, ctypes.c_uint(2))
            limits = tuple(h5py.h5s.UNLIMITED if one is None else one for one in most)
            space = h5py.h5s.create_simple((6, 6), limits)
            made = h5py.h5d.create(file.id, f"{number}".encode(), h5py.h5t.STD_I32LE, space, plist)
            h5py.Dataset(made)[...] = np.arange(36).reshape(6, 6)


@builder
def elsewhere(path: Path) -> None:
    """Virtual datasets and external files."""
    with h5py.File(path, "w", libver="latest") as file:
        layout = h5py.VirtualLayout((4, 10), "i4", (None, 10))
        for i in range(4):
            layout[i] = h5py.VirtualSource("sources.h5", f"{i}", (10,))
        file.create_virtual_dataset("virtual", layout, fillvalue=-1)
        file.create_virtual_dataset("virtual without sources", h5py.VirtualLayout((4, 10), "i4"))
        file.create_dataset("external", (20,), "i4", external=[("one.raw", 0, 40), ("two.raw", 8, 40)])


@builder
def links_and_comments(path: Path) -> None:
    """Links of a user-defined class, names that are not UTF-8, comments, a hard link to a group above."""
    with h5py.File(path, "w") as file:
        group = file.create_group("group")
        group["above"] = file["/"]
        name = "Temp\xb0C".encode("latin-1")
        file[name] = np.arange(4)
        group.id.links.create_soft(b"soft", name)
        call("H5Oset_comment", group.id.id, b"a comment")
        no_parameters = (ctypes.c_int64(0), ctypes.c_int64(0))

        class LinkClass(ctypes.Structure):
            _fields_ = [("version", ctypes.c_int), ("id", ctypes.c_int), ("comment", ctypes.c_char_p)] + [
                (one, ctypes.c_void_p) for one in ("create", "move", "copy", "traverse", "delete", "query")
            ]  # type: ignore[assignment]

        traverse = ctypes.CFUNCTYPE(ctypes.c_int64)(lambda: -1)
        pointer = ctypes.cast(traverse, ctypes.c_void_p)
        made = LinkClass(1, 187, b"u", None, None, None, pointer, None, None)
        assert library().H5Lregister(ctypes.byref(made)) >= 0
        arguments = (ctypes.c_int(187), b"abc", ctypes.c_size_t(3), *no_parameters)
        call("H5Lcreate_ud", group.id.id, b"user-defined", *arguments)
        library().H5Lunregister(ctypes.c_int(187))


@builder
def deleted(path: Path) -> None:
    """Removed objects: free space, names in old heaps, references to what is no more."""
    with h5py.File(path, "w") as file:
        fill(file, 40)
        file.create_dataset("references", (2,), h5py.ref_dtype)[0] = file["scalar"].ref
        for name in ("scalar", "chunked", "soft", "words", "groups/3", "groups/17"):
            del file[name]
        file["groups/a new name"] = 1


@builder
def netcdf(path: Path) -> None:
    """What netCDF-C writes."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createDimension("x", 50)
        kinds = file.createEnumType("i1", "kind", {"a": 1, "b": 2})
        file.createVariable("x", "f4", ("x",))[:] = np.arange(50)
        file.createVariable("values", "i2", ("time", "x"), zlib=True, fill_value=-1)[:20] = VALUES[:20]
        file.createVariable("names", str, ("x",))[3] = "three"
        file.createVariable("kinds", kinds, ("time",))[:5] = 1
        file.createGroup("inner").title = "a group"


@builder
def pytables(path: Path) -> None:
    """What PyTables writes."""
    with tables.open_file(path, "w") as file:
        table = file.create_table("/", "table", {"a": tables.Int32Col(), "b": tables.StringCol(9)})
        table.append([(i, f"{i}") for i in range(100)])
        file.create_vlarray("/", "lists", tables.Int32Atom()).append([1, 2, 3])
        file.create_earray("/", "grows", tables.Float64Atom(), (0, 3)).append(np.zeros((50, 3)))
        file.create_carray("/", "carray", obj=VALUES, filters=tables.Filters(5, "zlib"))
