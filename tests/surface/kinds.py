"""One file of each kind, for programs that check a whole file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import Reference, RegionReference
from tests.deadlock import DEADLOCK_SECONDS
from tests.written import DTYPES, GZIP, values

DEFLATE: dict[str, Any] = {"compression": "gzip"}
MAXSHAPES: dict[str, Any] = {
    "fixed": None,
    "bounded": (40, 50),
    "array": (None, 9),
    "array wide": (None, 50),
    "tree": (None, None),
    "tree second": (30, None),
}
RECORD = np.dtype(
    {
        "names": ["n", "text", "part", "vector"],
        "formats": ["i2", h5py.string_dtype(), [("a", "f8"), ("b", "u1", (2, 2))], ("f4", 3)],
        "offsets": [1, 8, 16, 40],
        "itemsize": 64,
    }
)
"""Nested, with array members and padding between and behind the members."""


def records(n: int) -> Any:
    found = np.zeros(n, RECORD)
    for i in range(n):
        found[i] = (i, f"row {i} ü", (i / 2, [[1, 2], [3, i]]), [i, -i, 0.5])
    return found


NESTED = np.dtype(
    [
        ("y", np.dtype((np.dtype((">f4", (3,))), (2,)))),
        (
            "z",
            np.dtype(
                (
                    np.dtype((np.dtype([("a", "i1"), ("b", h5py.enum_dtype({"p": -1}, "i2"), (2,))]), (2,))),
                    (1, 2),
                )
            ),
        ),
        ("flag", "?", (3,)),
        ("c", "c8", (2,)),
    ]
)
"""Arrays of arrays, also of records, enumerations, bools and complex numbers."""
NESTED_TEXT = np.dtype([("t", np.dtype((np.dtype((h5py.string_dtype(), (2,))), (2,)))), ("n", "i1")])


def nested(dtype: Any, n: int) -> Any:
    found = np.zeros(n, dtype)
    for name in dtype.names:
        column = found[name]
        if column.dtype.hasobject:
            column[...] = np.array([f"text {i}" for i in range(column.size)], object).reshape(column.shape)
        elif column.dtype.names:
            column["a"] = np.arange(column["a"].size).reshape(column["a"].shape)
        else:
            column[...] = np.arange(column.size).reshape(column.shape) % 5
    return found


def sequences(n: int) -> Any:
    found = np.empty(n, h5py.vlen_dtype("i4"))
    for i in range(n):
        found[i] = np.arange(i, dtype="i4")
    return found


TYPED: dict[str, Any] = {
    "fixed text": np.array([b"ab", b"", b"cde"]),
    "fixed utf-8": np.array(["ä".encode(), b"b"], h5py.string_dtype("utf-8", 5)),
    "U": np.array(["a", "ä", ""]),
    "StringDType": np.array(["a", "ä" * 50, ""], np.dtypes.StringDType()),
    "objects": np.array(["one", "two", ""], object),
    "ascii": np.array([b"one", b"two"], h5py.string_dtype("ascii")),
    "sequences": sequences(5),
    "opaque": np.array([b"\0\1\2", b"abc"], "V3"),
    "records": records(6),
    "arrays of arrays": nested(NESTED, 4),
    "arrays of arrays of text": nested(NESTED_TEXT, 4),
    "plain records": np.zeros(5, np.dtype([("a", "i1"), ("b", ">f8"), ("c", "c8")], align=True)),
    "enum": np.array([0, 2, 1], h5py.enum_dtype({"A": 0, "B": 1, "C": 2}, "u2")),
    "bool": np.array([True, False]),
    "dates": np.arange(5).astype("M8[ns]"),
    "durations": np.arange(5).astype("m8[D]"),
    "opaque dates": np.arange(5).astype("M8[s]").astype(h5py.opaque_dtype("M8[s]")),
    "half": np.arange(5, dtype="f2"),
    "long double": np.arange(5, dtype="g") / 3,
    "long complex": np.arange(5, dtype="G") * 1j,
    "complex": np.array([1 + 2j, -0.0]),
}
"""Values of each datatype beside the numbers, as h5py takes them too."""


def _numbers(file: streamh5.File) -> None:
    for dtype in DTYPES:
        file.create_dataset(f"n/{dtype}", data=values(dtype, (9, 5)), chunks=(4, 2), **GZIP)
        file.attrs[dtype] = values(dtype, (3,))


def _types(file: streamh5.File) -> None:
    for name, value in TYPED.items():
        file[f"whole/{name}"] = value
        file.create_dataset(f"chunked/{name}", data=value, chunks=(2,), **DEFLATE)
        file.attrs[name] = value
        file.create_dataset(f"attributes/{name}", data=value[0]).attrs["value"] = value[:1]


def _indexes(file: streamh5.File) -> None:
    for name, maxshape in MAXSHAPES.items():
        for n in (0, 1, 3, 200):
            for label, filters in {"raw": {}, "gzip": GZIP}.items():
                data = values("<i2", (n, 9))
                file.create_dataset(
                    f"{name}/{n}/{label}",
                    data=data,
                    chunks=(1, 4),
                    maxshape=maxshape and (maxshape[0] and 900, *maxshape[1:]),
                    **filters,
                )
    for n in (1, 200):
        file.create_dataset(f"early/{n}", data=values("f4", (n, 9)), chunks=(1, 4), alloc_time="early")


def _long_indexes(file: streamh5.File) -> None:
    """Indexes with all their levels: pages, super blocks, trees of depth 2; whole, and with holes."""
    shapes: dict[str, tuple[Any, int]] = {
        "fixed": (None, 5000),  # 5 pages
        "array": ((None,), 140_000),  # super block 13, from chunk 131,060 on, is the first with pages
        "tree": ((None, None), 6000),  # depth 2 from 5,185 records on
    }
    for name, (maxshape, n) in shapes.items():
        shape = (n,) if name != "tree" else (n, 1)
        chunks = (1,) * len(shape)
        whole: dict[str, Any] = {"chunks": chunks, "maxshape": maxshape, "fletcher32": True}
        file.create_dataset(f"{name}/whole", data=values("u1", shape), **whole)
        holes = file.create_dataset(f"{name}/holes", shape, "u1", chunks=chunks, maxshape=maxshape)
        holes[:9] = 1
        holes[n - 9 :] = 2


FILTERS: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip", "compression_opts": 9},
    "shuffle": {"shuffle": True},
    "fletcher32": {"fletcher32": True},
    "all three": {**GZIP, "fletcher32": True},
    "szip nn": {"compression": "szip", "compression_opts": ("nn", 8)},
    "szip ec": {"compression": "szip", "compression_opts": ("ec", 16)},
    "scaleoffset": {"scaleoffset": 0},
    "nbit": {"compression": "nbit"},
}
"""The filters of the library itself."""


def _filters(file: streamh5.File) -> None:
    even = (np.arange(50 * 40).reshape(50, 40) // 7 % 1000).astype("<i4")
    noise = values("<i4", (50, 40))
    for name, keywords in FILTERS.items():
        for maxshape in (None, (None, 40), (None, None)):
            file.create_dataset(
                f"{name}/{maxshape}", data=even, chunks=(16, 13), maxshape=maxshape, **keywords
            )
    for name in ("gzip", "fletcher32", "all three"):
        data = np.concatenate([even, noise, even])  # chunks of noise grow
        file.create_dataset(f"{name}/noise", data=data, chunks=(25, 40), **FILTERS[name])
    file.create_dataset(
        "scaleoffset/decimals", data=np.round(even / 8, 2).astype("f4"), chunks=(16, 13), scaleoffset=2
    )


def _layouts(file: streamh5.File) -> None:
    file["scalar"] = 5.0
    file["text"] = "text"
    file.create_dataset("null", dtype="f4")
    file["compact"] = np.arange(500)
    file["contiguous"] = np.arange(5000)
    file.create_dataset("late", (5000,), "i4")
    file["empty"] = np.zeros((0, 3))
    file.create_dataset("sparse", (50, 50), chunks=(9, 9), fillvalue=np.nan, **GZIP)[9:18] = 1


def _groups(file: streamh5.File) -> None:
    for n in (256, 257, 3000):
        for i in range(n):
            file[f"{n}/link {i}"] = streamh5.SoftLink("/x")
    file["x"] = np.arange(3)
    file["g/hard"] = file["x"]
    file["g/external"] = streamh5.ExternalLink("other.h5", "/y")
    file["g/group"] = file.create_group("deep/er/group")


def _attributes(file: streamh5.File) -> None:
    for i in range(1000):
        file.attrs[f"attribute {i}"] = i
    group = file.create_group("large")
    group.attrs["large"] = np.zeros(200_000)
    for i in range(300):
        group.attrs[f"text {i}"] = f"value {i}"
    file.create_dataset("x", data=np.arange(9), chunks=(2,)).attrs["large"] = np.ones(100_000)
    file.create_group("empty").attrs["null"] = h5py.Empty("f4")


def _references(file: streamh5.File) -> None:
    file["x"] = np.arange(20).reshape(4, 5)
    file.attrs["one"] = Reference("/x")
    file.attrs["lists"] = [[Reference("/x")], [Reference("/"), Reference("/x")]]
    file.attrs["region"] = RegionReference("/x", np.s_[1:3, 2:4])
    file["refs"] = np.array([Reference("/x"), Reference("/")] * 900, object)


def _named_datatypes(file: streamh5.File) -> None:
    """Each with one name: h5repack 1.10 loses the second one, in h5py's files as well."""
    for name in ("records", "enum", "sequences", "bool"):
        file[f"types/{name}"] = TYPED[name].dtype
        kind = file[f"types/{name}"]
        for chunks in (None, (2,)):
            file.create_dataset(f"{name}/{chunks}", data=TYPED[name], dtype=kind, chunks=chunks)
        file[name].attrs.create("value", TYPED[name][1:3], dtype=kind)
        kind.attrs["note"] = "named"


def _cycles(file: streamh5.File) -> None:
    file.create_group("a/b")
    file["a/b/above"] = file["a"]
    file["a/root"] = file["/"]
    file["a/b/above/x"] = np.arange(3)


def _written(fill: Callable[[streamh5.File], None], path: Path, **keywords: Any) -> None:
    with streamh5.File(path, **keywords) as file:
        fill(file)


def _added(fill: Callable[[streamh5.File], None], path: Path) -> None:
    with streamh5.File(path) as file:
        file.create_dataset("old/x", data=np.arange(30), chunks=(4,), **GZIP)
        file.attrs["old"] = "text"
    for name in ("first", "second"):
        with streamh5.File(path, "a") as file:
            file.create_group(name)
            file.attrs[name] = name
    with streamh5.File(path, "a") as file:
        fill(file)


FILLS = {
    "numbers": _numbers,
    "types": _types,
    "indexes": _indexes,
    "long indexes": _long_indexes,
    "filters": _filters,
    "layouts": _layouts,
    "groups": _groups,
    "attributes": _attributes,
    "references": _references,
    "named datatypes": _named_datatypes,
    "cycles": _cycles,
}
WAYS: dict[str, Callable[[Callable[[streamh5.File], None], Path], None]] = {
    "plain": _written,
    "order": partial(_written, track_order=True),
    "v108": partial(_written, libver="v108"),
    "added": _added,
}


def _dask(path: Path) -> None:
    lazy = da.from_array(values("<f4", (100, 70)), chunks=(30, 20))
    streamh5.to_fixed_h5(path, {"/a": lazy, "/g/b": lazy[:7]}, attrs={"/a": {"units": "K"}}, **GZIP)


def in_parts(path: Path, *, complete: bool) -> None:
    """Write; or write some of it and die, with what is there told to the journal."""
    with streamh5.File(path, resume=True) as file:
        file.attrs["title"] = "in parts"
        for name, maxshape in {"fixed": None, "array": (None, 9), "tree": (None, None)}.items():
            data = file.create_dataset(f"g/{name}", (400, 9), "i4", chunks=(1, 4), maxshape=maxshape, **GZIP)
            data[:200] = values("i4", (200, 9))
            if complete:
                data[200:] = 1
        if not complete:
            file.checkpoint()
            os._exit(0)


def _interrupted(path: Path) -> None:
    program = "import pathlib, sys; from tests.surface.kinds import in_parts; "
    program += "in_parts(pathlib.Path(sys.argv[1]), complete=False)"
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program, str(path)], cwd=root, check=True, timeout=DEADLOCK_SECONDS)


def _resumed(path: Path) -> None:
    _interrupted(path)
    in_parts(path, complete=True)


def _salvaged(path: Path) -> None:
    _interrupted(path)
    streamh5.salvage(f"{path}.partial", output=path)


def _netcdf(path: Path, **keywords: Any) -> None:
    """Scales and their references, unlimited dimensions, text, characters, groups."""
    xr = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    station = xr.Dataset({"height": ("station", [1.0, 2.0]), "name": ("station", ["a", "bü"])})
    weather = xr.Dataset(
        {
            "t": (("time", "x", "bit"), values("f4", (4, 6, 3)), {"units": "K"}),
            "flag": ("x", np.ones(6, "i2")),
        },
        coords={"time": [0.0, 1.0, 2.0, 4.0], "code": ("code", np.array([b"ab", b"cd"]))},
        attrs={"title": "weather", "list": [1, 2, 3]},
    )
    streamh5.to_netcdf(
        xr.DataTree.from_dict({"/": weather, "/stations": station}),
        path,
        unlimited_dims={"/": ["time"]},
        encoding={"/": {"t": {"zlib": True, "chunksizes": (1, 4, 3)}}},
        **keywords,
    )


KINDS: dict[str, Callable[[Path], None]] = {
    **{f"{what}, {how}": partial(write, fill) for what, fill in FILLS.items() for how, write in WAYS.items()},
    "dask": _dask,
    "resumed": _resumed,
    "salvaged": _salvaged,
    "netCDF": _netcdf,
    "netCDF, v108": partial(_netcdf, libver="v108"),
}
"""Each writes its file."""
