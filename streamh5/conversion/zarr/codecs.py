"""HDF5 filters that accept the stored chunks of a zarr array, and what has to change.

Both formats filter whole chunks, edge chunks in full, so where the codecs are the same, the bytes are:

================== ===================== ========================================================
zarr codec         HDF5 filter           stored bytes
================== ===================== ========================================================
none, shuffle,     the same              the same
fletcher32, zlib,
bz2
zstd               32015                 the same, where the frame tells its content size
blosc              32001                 the same
lz4                32004                 LZ4 block, in another frame
gzip               1 (deflate)           deflate body, in a zlib frame: its checksum needs the content
crc32c             none                  removed, after it has been checked
anything else      none                  decode and encode
================== ===================== ========================================================

Sources: specifications of zarr 2, zarr 3 and numcodecs; ``H5Zdeflate.c``, ``H5Zshuffle.c``,
``H5Zfletcher32.c`` and the filter plugins of the HDF Group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.request import NotCopiable
from streamh5.errors import FilterError
from streamh5.filters import FilterChain
from streamh5.filters.base import RawChunk, byte_view
from streamh5.filters.registry import FILTERS, set_up_filter

if TYPE_CHECKING:
    from streamh5.filters import Buffer, Filter

Config = Mapping[str, Any]
Check = Callable[[memoryview, "int | None"], "Buffer | None"]

_CODECS = {codec.name: (row.filter_id, codec) for row in FILTERS for codec in row.zarr}
_SIZEOF_CHECKSUM = 4


@dataclass(frozen=True, slots=True)
class ShardLayout:
    """Shards of a zarr 3 array.

    Parameters
    ----------
    shape
        Elements of a shard.
    index_at_end
        Whether the index of the inner chunks is at the end.
    has_checksum
        Whether a CRC-32C follows the index.
    """

    shape: tuple[int, ...]
    index_at_end: bool
    has_checksum: bool


@dataclass(frozen=True, slots=True)
class ZarrLayout:
    """How the chunks of an array are stored, and how HDF5 stores them.

    Parameters
    ----------
    chunks
        Shape of a stored chunk: of the inner chunks where there are shards.
    dtype
        Of the elements as they are stored.
    chain
        The filters that undo the stored bytes, in HDF5's order.
    accept
        From the stored bytes to those that HDF5 stores; None where they cannot be copied.
    codecs
        Names of the codecs.
    shards
        None where every chunk is stored on its own.
    """

    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    chain: FilterChain
    accept: Callable[[Buffer], Buffer | None]
    codecs: tuple[str, ...]
    shards: ShardLayout | None


def stored_layout(metadata: Config, dtype: np.dtype[Any]) -> ZarrLayout:
    """Return how the stored chunks of an array can be stored in HDF5.

    Parameters
    ----------
    metadata
        Metadata document of the array, zarr 2 or 3.
    dtype
        Element type of the array in memory.

    Raises
    ------
    NotCopiable
        Its chunks have to be decoded; the message says why.
    """
    if dtype.kind in "OTU" or dtype.hasobject:
        raise NotCopiable(f"elements of dtype {dtype} are stored in another way in HDF5")
    is_v2 = metadata["zarr_format"] == 2
    chunks, codecs, shards = _v2_codecs(metadata) if is_v2 else _v3_codecs(metadata)
    stored_dtype = dtype if is_v2 else _stored_dtype(codecs, dtype)
    if not chunks:
        raise NotCopiable("a scalar has no chunks in HDF5")
    if 0 in chunks:
        raise NotCopiable(f"chunks {chunks} have no elements")
    byte_codecs = codecs if is_v2 else codecs[1:]
    chain, accept = _chain(byte_codecs, stored_dtype, chunks)
    return ZarrLayout(chunks, stored_dtype, chain, accept, tuple(name for name, _ in byte_codecs), shards)


def _v2_codecs(metadata: Config) -> tuple[tuple[int, ...], list[tuple[str, Config]], None]:
    shape = tuple(metadata["chunks"])
    if metadata["order"] == "F" and sum(n > 1 for n in shape) > 1:
        raise NotCopiable("chunks in Fortran order (order='F')")
    configs = [*(metadata["filters"] or ()), *((metadata["compressor"],) if metadata["compressor"] else ())]
    return shape, [(config["id"], config) for config in configs], None


def _v3_codecs(metadata: Config) -> tuple[tuple[int, ...], list[tuple[str, Config]], ShardLayout | None]:
    grid = metadata["chunk_grid"]
    if grid["name"] != "regular":
        raise NotCopiable(f"a chunk grid of kind {grid['name']!r}")
    shape = tuple(grid["configuration"]["chunk_shape"])
    codecs = _named(metadata["codecs"])
    shards = None
    if codecs[0][0] == "sharding_indexed":
        if len(codecs) > 1:
            raise NotCopiable(f"shards that are encoded as a whole ({codecs[1][0]})")
        config = codecs[0][1]
        shards = _shard_layout(shape, config)
        shape, codecs = tuple(config["chunk_shape"]), _named(config["codecs"])
    while codecs and codecs[0][0] == "transpose":
        order = codecs[0][1]["order"]
        if order not in ("C", None) and list(order) != list(range(len(shape))):
            raise NotCopiable(f"transposed chunks (order {order})")
        del codecs[0]
    if not codecs or codecs[0][0] != "bytes":
        name = codecs[0][0] if codecs else "none"
        raise NotCopiable(f"HDF5 has no filter for the codec {name!r}")
    return shape, codecs, shards


def _named(codecs: Sequence[Config | str]) -> list[tuple[str, Config]]:
    """Names without the prefix of numcodecs, and configurations."""
    pairs = [
        (codec, {}) if isinstance(codec, str) else (codec["name"], codec.get("configuration") or {})
        for codec in codecs
    ]
    return [(name.removeprefix("numcodecs."), config) for name, config in pairs]


def _shard_layout(shape: tuple[int, ...], config: Config) -> ShardLayout:
    names = [name for name, _ in _named(config["index_codecs"])]
    endian = _named(config["index_codecs"])[0][1].get("endian", "little")
    if names not in (["bytes"], ["bytes", "crc32c"]) or endian != "little":
        raise NotCopiable(f"a shard index with the codecs {', '.join(names)}")
    return ShardLayout(shape, config.get("index_location", "end") == "end", "crc32c" in names)


def _stored_dtype(codecs: Sequence[tuple[str, Config]], dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Element type as the codec ``bytes`` stores it: the order of bytes is the codec's, not the array's."""
    if dtype.itemsize == 1 or dtype.kind in "SV":
        return dtype
    endian = codecs[0][1].get("endian")
    if endian not in ("little", "big"):
        raise NotCopiable(f"elements of {dtype.itemsize} bytes without an order of bytes")
    return dtype.newbyteorder("<" if endian == "little" else ">")


def _chain(
    codecs: Sequence[tuple[str, Config]], dtype: np.dtype[Any], chunks: tuple[int, ...]
) -> tuple[FilterChain, Accept]:
    """Return the filters that replace the codecs, and the function that accepts the stored bytes."""
    raw = RawChunk(dtype, chunks, math.prod(chunks) * dtype.itemsize)
    names = [name for name, _ in codecs]
    has_crc32c = names[-1:] == ["crc32c"]
    filters = tuple(_filter(name, config, raw) for name, config in codecs[: len(codecs) - has_crc32c])
    names = names[: len(filters)]
    compressions = [i for i, name in enumerate(names) if _CODECS[name][1].accept is not None]
    first, last = (compressions[0], compressions[-1]) if compressions else (len(names), len(names))
    n_checksums = [names[:first].count("fletcher32"), names[last:].count("fletcher32")]
    if n_checksums[0] and "blosc" in names[first:]:
        raise NotCopiable("the codec 'blosc' after one that changes the size")
    for name in names[:-1]:
        if _CODECS[name][1].is_reframed:
            raise NotCopiable(f"the codec {name!r} has another frame in HDF5, and other codecs follow it")
    accept = Accept(
        has_crc32c,
        n_checksums[1] * _SIZEOF_CHECKSUM,
        raw.nbytes + n_checksums[0] * _SIZEOF_CHECKSUM if first == last else None,
        _CODECS[names[last]][1].accept if compressions else None,
    )
    return FilterChain(filters, raw.nbytes), accept


def _filter(name: str, config: Config, raw: RawChunk) -> Filter:
    """Return the HDF5 filter that undoes a codec.

    Raises
    ------
    NotCopiable
        There is none.
    """
    if name not in _CODECS:
        raise NotCopiable(f"HDF5 has no filter for the codec {name!r}")
    filter_id, codec = _CODECS[name]
    try:
        return set_up_filter(filter_id, codec.values(config, raw), raw)
    except FilterError as error:
        raise NotCopiable(str(error)) from error


@dataclass(frozen=True, slots=True)
class Accept:
    """Accepts the stored bytes of a chunk for HDF5.

    Parameters
    ----------
    has_crc32c
        Whether a CRC-32C of everything follows, which HDF5 does not have.
    n_after
        Bytes of the checksums of HDF5 that follow the compressed data.
    nbytes
        Bytes before the compression; None where there are two compressions.
    check
        Checks the compressed data; None without compression.
    """

    has_crc32c: bool
    n_after: int
    nbytes: int | None
    check: Check | None

    def __call__(self, data: Buffer) -> Buffer | None:
        """Return the bytes to store in HDF5; None where the data is not as expected."""
        view = byte_view(data)
        if self.has_crc32c:
            view, checksum = view[:-_SIZEOF_CHECKSUM], view[-_SIZEOF_CHECKSUM:]
            if crc32c(view) != int.from_bytes(checksum, "little"):
                return None
        inner = view[: len(view) - self.n_after]
        if self.check is None:
            return view if len(inner) == self.nbytes else None
        checked = self.check(inner, self.nbytes)
        return view if checked is inner else checked


def crc32c(data: memoryview) -> int:
    """CRC-32C of some bytes."""
    from numcodecs.checksum32 import CRC32C  # needs google-crc32c, which comes with zarr

    checksum: int = CRC32C.checksum(np.frombuffer(data, np.uint8))
    return checksum
