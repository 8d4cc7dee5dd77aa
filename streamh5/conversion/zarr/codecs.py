"""Which HDF5 filters take the chunks of a zarr array as they are stored, and what is left to change.

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
crc32c             none                  taken off, when it has been checked
anything else      none                  decode and encode
================== ===================== ========================================================

Sources: specifications of zarr 2, zarr 3 and numcodecs; ``H5Zdeflate.c``, ``H5Zshuffle.c``,
``H5Zfletcher32.c`` and the filter plugins of the HDF Group.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.request import NotCopiable
from streamh5.errors import FilterError
from streamh5.filters import FilterChain
from streamh5.filters.blosc import Blosc
from streamh5.filters.bzip2 import Bzip2
from streamh5.filters.deflate import Deflate
from streamh5.filters.fletcher32 import Fletcher32
from streamh5.filters.lz4 import Lz4
from streamh5.filters.raw_chunk import RawChunk
from streamh5.filters.shuffle import Shuffle
from streamh5.filters.zstd import DEFAULT_LEVEL, Zstd

if TYPE_CHECKING:
    from streamh5.filters import Buffer, Filter

inflater: Any
try:
    from isal import isal_zlib as inflater
except ImportError:
    import zlib as inflater

__all__ = ["Accept", "ShardLayout", "StoredLayout", "crc32c", "stored_layout"]

Config = Mapping[str, Any]
Check = Callable[[memoryview, "int | None"], "Buffer | None"]

_BLOSC_CODECS = ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")
_BLOSC_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2, 0: 0, 1: 1, 2: 2}
_BLOSC_HEADER = struct.Struct("<4BIII")
_BLOSC_FORMAT = 2
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SIZEOF_CHECKSUM = 4
_LZ4_MAX_NBYTES = 0x7E000000


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
class StoredLayout:
    """How the chunks of an array are stored, and as what HDF5 takes them.

    Parameters
    ----------
    chunks
        Shape of a stored chunk: of the inner chunks where there are shards.
    dtype
        Of the elements as they are stored.
    chain
        The filters that undo the stored bytes, in HDF5's order.
    accept
        From the stored bytes to those that HDF5 is to hold; None where they cannot be taken over.
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


def stored_layout(metadata: Config, dtype: np.dtype[Any]) -> StoredLayout:
    """Decide how the stored chunks of an array go into HDF5.

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
        raise NotCopiable(f"chunks {chunks} hold nothing")
    byte_codecs = codecs if is_v2 else codecs[1:]
    chain, accept = _chain(byte_codecs, stored_dtype, chunks)
    return StoredLayout(chunks, stored_dtype, chain, accept, tuple(name for name, _ in byte_codecs), shards)


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
    """Return the filters that stand for the codecs, and what takes the stored bytes over."""
    raw = RawChunk(dtype, chunks, math.prod(chunks) * dtype.itemsize)
    names = [name for name, _ in codecs]
    has_crc32c = names[-1:] == ["crc32c"]
    filters = tuple(_filter(name, config, raw) for name, config in codecs[: len(codecs) - has_crc32c])
    names = names[: len(filters)]
    compressions = [i for i, name in enumerate(names) if name in _CHECKS]
    first, last = (compressions[0], compressions[-1]) if compressions else (len(names), len(names))
    n_checksums = [names[:first].count("fletcher32"), names[last:].count("fletcher32")]
    if n_checksums[0] and "blosc" in names[first:]:
        raise NotCopiable("the codec 'blosc' behind one that changes the size")
    for name in names[:-1]:
        if name in _REFRAMED:
            raise NotCopiable(f"the codec {name!r} has another frame in HDF5, and other codecs follow it")
    accept = Accept(
        has_crc32c,
        n_checksums[1] * _SIZEOF_CHECKSUM,
        raw.nbytes + n_checksums[0] * _SIZEOF_CHECKSUM if first == last else None,
        _CHECKS[names[last]] if compressions else None,
    )
    return FilterChain(filters, raw.nbytes), accept


def _filter(name: str, config: Config, raw: RawChunk) -> Filter:
    """Return the HDF5 filter that undoes a codec.

    Raises
    ------
    NotCopiable
        There is none.
    """
    try:
        match name:
            case "zlib" | "gzip":
                level = config.get("level", 1)
                return Deflate(level if level in range(10) else 6)
            case "zstd":
                return Zstd.from_level(config.get("level", DEFAULT_LEVEL))
            case "bz2":
                return Bzip2((config.get("level", 1),))
            case "lz4":
                return Lz4()
            case "blosc":
                shuffle = _BLOSC_SHUFFLES.get(config["shuffle"], 2 if raw.dtype.itemsize == 1 else 1)
                codec = _BLOSC_CODECS.index(config["cname"])
                return Blosc.from_values((0, 0, 0, 0, config["clevel"], shuffle, codec), raw)
            case "shuffle":
                return Shuffle(config["elementsize"])
            case "fletcher32":
                return Fletcher32()
    except FilterError as error:
        raise NotCopiable(str(error)) from error
    raise NotCopiable(f"HDF5 has no filter for the codec {name!r}")


@dataclass(frozen=True, slots=True)
class Accept:
    """Takes the stored bytes of a chunk over.

    Parameters
    ----------
    has_crc32c
        Whether a CRC-32C of everything is behind them, which HDF5 does not know.
    n_behind
        Bytes of the checksums behind the compressed data that HDF5 knows.
    nbytes
        Bytes before the compression; None where there are two compressions.
    check
        Looks at the compressed data; None where there is no compression.
    """

    has_crc32c: bool
    n_behind: int
    nbytes: int | None
    check: Check | None

    def __call__(self, data: Buffer) -> Buffer | None:
        """Return the bytes that HDF5 is to hold; None where the data is not what it must be."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        if self.has_crc32c:
            view, checksum = view[:-_SIZEOF_CHECKSUM], view[-_SIZEOF_CHECKSUM:]
            if crc32c(view) != int.from_bytes(checksum, "little"):
                return None
        inner = view[: len(view) - self.n_behind]
        if self.check is None:
            return view if len(inner) == self.nbytes else None
        checked = self.check(inner, self.nbytes)
        return view if checked is inner else checked


def crc32c(data: memoryview) -> int:
    """CRC-32C of some bytes."""
    from numcodecs.checksum32 import CRC32C  # needs google-crc32c, which comes with zarr

    checksum: int = CRC32C.checksum(np.frombuffer(data, np.uint8))
    return checksum


def _zlib_stream(data: memoryview, nbytes: int | None) -> Buffer | None:
    """Look at the two bytes of the header (RFC 1950, 2.2): deflate, no dictionary."""
    is_zlib = len(data) > 2 and data[0] & 15 == 8 and not data[1] & 32 and (data[0] << 8 | data[1]) % 31 == 0
    return data if is_zlib else None


def _bz2_stream(data: memoryview, nbytes: int | None) -> Buffer | None:
    return data if bytes(data[:3]) == b"BZh" else None


def _zstd_frame(data: memoryview, nbytes: int | None) -> Buffer | None:
    """Read the content size (RFC 8878, 3.1.1.1), which HDF5's plugin goes by."""
    if bytes(data[:4]) != _ZSTD_MAGIC or len(data) < 6:
        return None
    descriptor = data[4]
    size_flag, is_single = descriptor >> 6, descriptor >> 5 & 1
    if not size_flag and not is_single:
        return None
    start = 6 - is_single + (0, 1, 2, 4)[descriptor & 3]
    size = int.from_bytes(data[start : start + (1 << size_flag)], "little") + (256 if size_flag == 1 else 0)
    return data if nbytes in (None, size) else None


def _blosc_container(data: memoryview, nbytes: int | None) -> Buffer | None:
    """Compare the sizes in the header of a Blosc 1 container."""
    if len(data) < _BLOSC_HEADER.size:
        return None
    version, _, _, _, raw_nbytes, _, stored_nbytes = _BLOSC_HEADER.unpack_from(data)
    is_good = version <= _BLOSC_FORMAT and stored_nbytes == len(data) and nbytes in (None, raw_nbytes)
    return data if is_good else None


def _lz4_frame(data: memoryview, nbytes: int | None) -> Buffer | None:
    """Put the block of numcodecs into the frame of HDF5's plugin (``H5Zlz4.c``).

    The plugin takes a block of the raw size for one that is not compressed.
    """
    raw_nbytes = int.from_bytes(data[:4], "little")
    block_nbytes = len(data) - 4
    if nbytes not in (None, raw_nbytes) or not 0 < block_nbytes < raw_nbytes <= _LZ4_MAX_NBYTES:
        return None
    return b"".join((struct.pack(">QII", raw_nbytes, raw_nbytes, block_nbytes), data[4:]))


def _gzip_member(data: memoryview, nbytes: int | None) -> Buffer | None:
    """Put the deflate body of one gzip member (RFC 1952) into a zlib stream.

    A zlib stream ends with the Adler-32 of the content, a gzip member with its CRC-32: the body is inflated
    for it, which takes a fifth of the time of compressing again, and checks it.
    """
    if len(data) < 18 or bytes(data[:4]) != b"\x1f\x8b\x08\x00":
        return None
    inflate = inflater.decompressobj(-15)
    try:
        raw = inflate.decompress(data[10:])
    except inflater.error:
        return None
    crc, size = struct.unpack("<II", data[-8:])
    if not inflate.eof or len(inflate.unused_data) != 8 or nbytes not in (None, len(raw)):
        return None
    if size != len(raw) & 0xFFFFFFFF or crc != inflater.crc32(raw):
        return None
    return b"".join((b"\x78\x9c", data[10:-8], inflater.adler32(raw).to_bytes(4, "big")))


_CHECKS: dict[str, Check] = {
    "blosc": _blosc_container,
    "bz2": _bz2_stream,
    "gzip": _gzip_member,
    "lz4": _lz4_frame,
    "zlib": _zlib_stream,
    "zstd": _zstd_frame,
}
_REFRAMED = frozenset({"gzip", "lz4"})
