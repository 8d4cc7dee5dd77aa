"""zarr arrays that tests convert, and h5py's view of what they become."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numcodecs
import numpy as np
import zarr
import zarr.codecs.numcodecs as extra
from numpy.typing import NDArray
from zarr import codecs

V2 = {
    "none": {"compressors": None},
    "zlib": {"compressors": numcodecs.Zlib(3)},
    "gzip": {"compressors": numcodecs.GZip(3)},
    "zstd": {"compressors": numcodecs.Zstd(3)},
    "bz2": {"compressors": numcodecs.BZ2(3)},
    "lz4": {"compressors": numcodecs.LZ4()},
    "blosc": {"compressors": numcodecs.Blosc("zstd", 3, numcodecs.Blosc.SHUFFLE)},
    "blosc bits": {"compressors": numcodecs.Blosc("lz4", 5, numcodecs.Blosc.BITSHUFFLE)},
    "shuffle": {"filters": [numcodecs.Shuffle(4)], "compressors": None},
    "shuffle, zlib": {"filters": [numcodecs.Shuffle(4)], "compressors": numcodecs.Zlib(1)},
    "fletcher32": {"filters": [numcodecs.Fletcher32()], "compressors": None},
    "shuffle, fletcher32, zlib": {
        "filters": [numcodecs.Shuffle(4), numcodecs.Fletcher32()],
        "compressors": numcodecs.Zlib(1),
    },
    "zlib, fletcher32": {"filters": [numcodecs.Zlib(1), numcodecs.Fletcher32()], "compressors": None},
    "zlib, zstd": {"filters": [numcodecs.Zlib(1)], "compressors": numcodecs.Zstd(1)},
}
"""Codecs of zarr 2 that HDF5 has filters for."""

V3: dict[str, Any] = {
    "none": (),
    "gzip": (codecs.GzipCodec(),),
    "zstd": (codecs.ZstdCodec(),),
    "zstd checksum": (codecs.ZstdCodec(checksum=True),),
    "zstd, crc32c": (codecs.ZstdCodec(), codecs.Crc32cCodec()),
    "crc32c": (codecs.Crc32cCodec(),),
    "blosc": (codecs.BloscCodec(cname="lz4", shuffle="bitshuffle"),),
}
"""Compressors of zarr 3 that HDF5 has filters for."""

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # codecs of numcodecs are not in the specification of zarr 3
    V3 |= {
        "shuffle, zlib": (extra.Shuffle(elementsize=4), extra.Zlib(level=3)),
        "lz4": (extra.LZ4(),),
        "bz2": (extra.BZ2(),),
        "fletcher32": (extra.Fletcher32(),),
    }


def make(path: Path, data: NDArray[Any], chunks: tuple[int, ...], **keywords: Any) -> Any:
    """Create a zarr array with these values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.create_array(path, shape=data.shape, dtype=data.dtype, chunks=chunks, **keywords)
        array[...] = data
    return array


def read_h5(path: Path, name: str = "data") -> NDArray[Any]:
    with h5py.File(path, "r") as file:
        values: NDArray[Any] = file[name][...]
        return values


def field(shape: tuple[int, ...], dtype: Any = "<f4") -> NDArray[Any]:
    """Values that every codec makes smaller."""
    values: NDArray[Any] = np.random.default_rng(0).integers(0, 20, shape).astype(dtype)
    return values
