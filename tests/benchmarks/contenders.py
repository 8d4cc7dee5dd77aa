"""The ways to write a dask array, each called as its own users call it.

A contender gets the array, the chunk shape and a path, and returns when its library says that the
data is written. What it wrote is read back once per run and compared (`timing`).
"""

from __future__ import annotations

import importlib.util
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.benchmarks.codecs import (
    BLOSC_LEVEL,
    ENCODE,
    GZIP_SETTINGS,
    ZSTD_LEVEL,
    chunk_origins,
    shuffle_and_deflate,
)
from tests.benchmarks.limits import encode_and_drop, raw_append

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import dask.array as da

    from tests.benchmarks.work import Work

    Write = Callable[[da.Array, tuple[int, ...], Path], None]

__all__ = ["CONTENDERS", "HANDED_OVER", "Contender", "contender_of", "contenders_of"]

HANDED_OVER = ', sync="none"'
"""End of the name of a contender whose file is not durable when it returns."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to write."""

    name: str
    family: str
    """Codec family; a work names the families that it takes."""
    write: Write
    requires: tuple[str, ...]
    suffix: str = ".h5"
    """Decides the reader that checks the output; empty where there is nothing to read."""
    only_split: bool = False
    """Takes part only where a block holds several chunks."""
    setting: str = ""
    """Setting of gzip; of the contenders of one name, the one takes part whose setting is chosen for the work."""

    def missing(self) -> list[str]:
        """Modules that it needs and that are not installed."""
        return [name for name in self.requires if importlib.util.find_spec(name) is None]


def contenders_of(work: Work, setting: str) -> list[Contender]:
    """Those that take part in `work`, in the order of the table; `setting` is that of the expert and the limit."""
    split = work.block != work.chunks
    return [
        contender
        for contender in CONTENDERS
        if contender.family in work.codecs and (split or not contender.only_split)
        if contender.setting in ("", setting)
    ]


def contender_of(name: str, setting: str = "") -> Contender:
    """The contender of a name, with this setting if it has several."""
    return next(c for c in CONTENDERS if c.name == name and c.setting in ("", setting))


def _plugin_options(name: str) -> dict[str, Any]:
    import hdf5plugin

    if name == "blosc-lz4":
        return dict(hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE))
    return {**hdf5plugin.Zstd(clevel=3), "shuffle": name == "zstd+shuffle"}


def h5_options(codec: str) -> dict[str, Any]:
    """Dataset options of `codec` in h5py's vocabulary, which to_hdf5, h5netcdf and streamh5 share."""
    if codec == "none":
        return {"compression": None}
    if codec == "lzf":
        return {"compression": "lzf", "shuffle": True}
    if codec == "gzip":
        return {"compression": "gzip", "shuffle": True}
    if codec.startswith("gzip-"):
        return {"compression": "gzip", "compression_opts": int(codec.removeprefix("gzip-")), "shuffle": True}
    return _plugin_options(codec)


def write_streamh5(codec: str, sync: str, x: da.Array, chunks: tuple[int, ...], path: Path) -> None:
    import streamh5

    # Blosc shuffles by itself; streamh5's default would do it twice.
    options = {"shuffle": False, **h5_options(codec), "sync": sync}
    streamh5.to_fixed_h5(str(path), "/x", x, chunks=chunks, progress=False, **options)


def write_to_hdf5(codec: str, x: da.Array, chunks: tuple[int, ...], path: Path) -> None:
    x.to_hdf5(str(path), "/x", chunks=chunks, **h5_options(codec))


class _DirectChunks:
    """Target of `da.store` that encodes in the calling thread and holds the lock to write only."""

    def __init__(self, dataset: Any, encode: Any) -> None:
        self.dataset = dataset
        self.encode = encode
        self.lock = threading.Lock()

    def __setitem__(self, region: tuple[slice, ...], block: Any) -> None:
        chunks = self.dataset.chunks
        stored = self.encode(block, chunks)
        start = [part.start or 0 for part in region]
        offsets = [
            tuple(s + o for s, o in zip(start, origin, strict=True))
            for origin in chunk_origins(block.shape, chunks)
        ]
        write = self.dataset.id.write_direct_chunk
        with self.lock:
            for offset, data in zip(offsets, stored, strict=True):
                write(offset, data)


def write_direct_chunks(codec: str, setting: str, x: da.Array, chunks: tuple[int, ...], path: Path) -> None:
    """Write as an expert does by hand: own codec calls in dask's threads, libhdf5 to place the bytes."""
    import dask.array as da
    import h5py

    with h5py.File(path, "w", libver="latest") as file:
        dataset = file.create_dataset("x", x.shape, x.dtype, chunks=chunks, **h5_options(codec))
        target: Any = _DirectChunks(dataset, ENCODE[setting or codec])
        da.store(x, target, lock=False)


class _OneByOne:
    """Target of `da.store` that slices, shuffles, compresses and writes one chunk after the other."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.lock = threading.Lock()

    def __setitem__(self, region: tuple[slice, ...], block: Any) -> None:
        chunks = self.dataset.chunks
        start = [part.start or 0 for part in region]
        for origin in chunk_origins(block.shape, chunks):
            chunk = block[tuple(slice(o, o + c) for o, c in zip(origin, chunks, strict=True))]
            stored = shuffle_and_deflate(chunk)
            with self.lock:
                self.dataset.id.write_direct_chunk(
                    tuple(s + o for s, o in zip(start, origin, strict=True)), stored
                )


def write_one_by_one(x: da.Array, chunks: tuple[int, ...], path: Path) -> None:
    """Write as most do who call `write_direct_chunk`: a loop over the chunks, numpy and ISA-L in it."""
    import dask.array as da
    import h5py

    with h5py.File(path, "w", libver="latest") as file:
        dataset = file.create_dataset("x", x.shape, x.dtype, chunks=chunks, **h5_options("gzip-1"))
        target: Any = _OneByOne(dataset)
        da.store(x, target, lock=False)


def _zarr_codecs(codec: str, itemsize: int) -> dict[str, Any]:
    from zarr import codecs

    if codec == "default":
        return {}
    if codec == "none":
        return {"compressors": None}
    if codec == "gzip-4":
        return {"compressors": codecs.GzipCodec(level=4)}
    if codec == "blosc-lz4":
        return {"compressors": codecs.BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")}
    if codec == "zstd+shuffle":
        from zarr.codecs.numcodecs import Shuffle

        compressors = (Shuffle(elementsize=itemsize), codecs.ZstdCodec(level=3))
        return {"compressors": compressors}
    raise KeyError(codec)


def write_zarr(
    codec: str, x: da.Array, chunks: tuple[int, ...], path: Path, *, sharded: bool = False, rust: bool = False
) -> None:
    """Write a zarr 3 store, one file a chunk; sharded, one file a dask block; `rust`: with the codecs of zarrs."""
    import dask.array as da
    import zarr

    if rust:
        zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    shards: Any = x.chunksize if sharded else None
    target: Any = zarr.create_array(
        str(path), shape=x.shape, dtype=x.dtype, chunks=chunks, shards=shards, zarr_format=3,
        **_zarr_codecs(codec, x.dtype.itemsize),
    )  # fmt: skip
    da.store(x, target, lock=False)


def write_xarray(engine: str, codec: str, x: da.Array, chunks: tuple[int, ...], path: Path) -> None:
    """Write a dataset with ``to_netcdf`` of one of xarray's engines, or of streamh5."""
    import xarray

    options = h5_options(codec)
    if engine == "netcdf4":
        level = options.get("compression_opts")
        options = {"zlib": level is not None, "shuffle": level is not None}
        if level is not None:
            options["complevel"] = level
    elif codec == "none":
        options = {}
    dims = [f"d{i}" for i in range(x.ndim)]
    dataset = xarray.Dataset({"x": (dims, x)})
    encoding = {"x": {"chunksizes": chunks, "_FillValue": None, **options}}
    if engine == "streamh5":
        import streamh5

        streamh5.to_netcdf(dataset, path, encoding=encoding, progress=False)
    else:
        dataset.to_netcdf(path, engine=engine, encoding=encoding)  # type: ignore[call-overload]


def write_pytables(codec: str, x: da.Array, chunks: tuple[int, ...], path: Path) -> None:
    import dask.array as da
    import tables

    filters = tables.Filters(complevel=5, complib=codec.replace("-", ":"), shuffle=True)
    with tables.open_file(str(path), "w") as file:
        atom = tables.Atom.from_dtype(x.dtype)
        target = file.create_carray("/", "x", atom=atom, shape=x.shape, filters=filters, chunkshape=chunks)
        da.store(x, target, lock=True)


def write_tensorstore(x: da.Array, chunks: tuple[int, ...], path: Path) -> None:
    """Write a zarr 3 store with tensorstore, with zarr's default codec."""
    import dask.array as da
    import tensorstore

    codecs = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": ZSTD_LEVEL}},
    ]
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path)},
        "metadata": {
            "shape": list(x.shape),
            "data_type": x.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
            "codecs": codecs,
        },
    }
    target: Any = tensorstore.open(spec, create=True, open=True).result()
    da.store(x, target, lock=False)


def write_blosc2(x: da.Array, chunks: tuple[int, ...], path: Path) -> None:
    """Write blosc2's own file, whose chunks its own threads compress."""
    import blosc2
    import dask.array as da

    parameters = {"codec": blosc2.Codec.LZ4, "clevel": BLOSC_LEVEL, "filters": [blosc2.Filter.SHUFFLE]}
    target = blosc2.empty(
        x.shape,
        dtype=x.dtype,
        chunks=chunks,
        urlpath=str(path),
        mode="w",
        contiguous=True,
        cparams=parameters,
    )
    da.store(x, target, lock=True)


def _streamh5(codec: str, family: str) -> tuple[Contender, Contender]:
    """Return the durable default, and the twin that only hands the data to the operating system, as all others do."""
    modules = ("streamh5", *(() if family in ("gzip", "lzf", "none") else ("hdf5plugin",)))
    name = f"streamh5 {codec}"
    return (
        Contender(name, family, partial(write_streamh5, codec, "close"), modules),
        Contender(name + HANDED_OVER, family, partial(write_streamh5, codec, "none"), modules),
    )


def _to_hdf5(codec: str, family: str) -> Contender:
    plugin = ("hdf5plugin",) if family in ("zstd", "blosc") else ()
    return Contender(f"to_hdf5 {codec}", family, partial(write_to_hdf5, codec), ("h5py", *plugin))


def _direct(codec: str, family: str, *modules: str, setting: str = "") -> Contender:
    write = partial(write_direct_chunks, codec, setting)
    return Contender(f"h5py direct chunks {codec}", family, write, ("h5py", *modules), setting=setting)


def _zarr(codec: str, family: str, *, rust: bool = False) -> Contender:
    name, modules = (f"zarr {codec}, zarrs", ("zarr", "zarrs")) if rust else (f"zarr {codec}", ("zarr",))
    return Contender(name, family, partial(write_zarr, codec, rust=rust), modules, ".zarr")


def _sharded(codec: str, family: str) -> Contender:
    write = partial(write_zarr, codec, sharded=True)
    return Contender(f"zarr sharded {codec}", family, write, ("zarr",), ".zarr")


def _xarray(engine: str, codec: str, family: str) -> Contender:
    write = partial(write_xarray, engine, codec)
    modules = ("xarray", "netCDF4" if engine == "netcdf4" else engine)
    return Contender(f"xarray {engine} {codec}", family, write, modules, ".nc")


def _to_netcdf(codec: str, family: str) -> Contender:
    write = partial(write_xarray, "streamh5", codec)
    return Contender(f"streamh5 to_netcdf {codec}", family, write, ("streamh5", "xarray"), ".nc")


def _limit(codec: str, family: str, *modules: str, setting: str = "") -> Contender:
    write = partial(encode_and_drop, setting or codec)
    return Contender(f"limit {codec}", family, write, modules, "", setting=setting)


CONTENDERS = (
    *_streamh5("gzip", "gzip"),
    *(_direct("gzip", "gzip", "isal", setting=setting) for setting in GZIP_SETTINGS),
    Contender("h5py chunk by chunk gzip", "gzip", write_one_by_one, ("h5py", "isal"), only_split=True),
    *(_limit("gzip", "gzip", "isal", setting=setting) for setting in GZIP_SETTINGS),
    *_streamh5("gzip-1", "gzip"),
    _to_hdf5("gzip-1", "gzip"),
    _to_hdf5("gzip-4", "gzip"),
    _to_hdf5("gzip-6", "gzip"),
    _to_netcdf("gzip-4", "gzip"),
    _xarray("h5netcdf", "gzip-4", "gzip"),
    _xarray("netcdf4", "gzip-4", "gzip"),
    _zarr("gzip-4", "gzip"),
    _to_hdf5("lzf", "lzf"),
    *_streamh5("zstd", "zstd"),
    _limit("zstd", "zstd"),
    _zarr("default", "zstd"),
    _zarr("default", "zstd", rust=True),
    _sharded("default", "zstd"),
    Contender("tensorstore zstd", "zstd", write_tensorstore, ("tensorstore",), ".zarr"),
    *_streamh5("zstd+shuffle", "zstd"),
    _direct("zstd+shuffle", "zstd", "hdf5plugin"),
    _limit("zstd+shuffle", "zstd"),
    _zarr("zstd+shuffle", "zstd"),
    _to_hdf5("zstd+shuffle", "zstd"),
    *_streamh5("blosc-lz4", "blosc"),
    _direct("blosc-lz4", "blosc", "numcodecs", "hdf5plugin"),
    _limit("blosc-lz4", "blosc", "numcodecs"),
    _zarr("blosc-lz4", "blosc"),
    _to_hdf5("blosc-lz4", "blosc"),
    Contender("pytables blosc-lz4", "blosc", partial(write_pytables, "blosc-lz4"), ("tables",)),
    Contender("blosc2 lz4", "blosc", write_blosc2, ("blosc2",), ".b2nd"),
    *_streamh5("none", "none"),
    _direct("none", "none"),
    _limit("none", "none"),
    Contender("raw append", "none", raw_append, (), ""),
    _to_hdf5("none", "none"),
    _xarray("h5netcdf", "none", "none"),
    _xarray("netcdf4", "none", "none"),
    _zarr("none", "none"),
    _sharded("none", "none"),
)
