"""Stored chunks back to raw bytes, as far as that is needed to say whether they are good.

Undoing the filters that were applied first checks nothing where they only shuffle bytes, so that is left
out; a zlib stream that is the last to be undone is counted and not kept. What a filter may give is bounded
by the raw size of the chunk, whatever the stored bytes claim.
"""

from __future__ import annotations

import bz2
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numcodecs import blosc
from numcodecs.fletcher32 import Fletcher32
from numcodecs.lz4 import decompress as decompress_lz4
from numcodecs.zstd import decompress as decompress_zstd

from streamh5.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.format.filter_pipeline import FilterRecord

__all__ = ["ChunkDecoder", "chunk_decoder", "is_checksummed"]

Bytes: TypeAlias = bytes | memoryview

DEFLATE, SHUFFLE, FLETCHER32, BZIP2, BLOSC, LZ4, ZSTD = 1, 2, 3, 307, 32001, 32004, 32015

_PIECE_NBYTES = 1 << 20
_SIZEOF_FLETCHER32 = 4
_CHECKSUMMED = frozenset({DEFLATE, FLETCHER32, BZIP2})
"""zlib streams end with Adler-32, bzip2 blocks with a CRC; zstd, LZ4 and Blosc as HDF5 uses them have none."""


def is_checksummed(filters: tuple[FilterRecord, ...], filter_mask: int) -> bool:
    """Whether a chunk that went through `filters` carries a checksum of its bytes."""
    return any(record.filter_id in _CHECKSUMMED for record in _applied(filters, filter_mask))


@dataclass(frozen=True, slots=True)
class ChunkDecoder:
    """What undoes the filters of chunks.

    Attributes
    ----------
    chunk_nbytes
        Raw bytes of a chunk.
    steps
        Filters in the order of undoing, each with the most bytes that it may give.
    shuffles
        Filters that are undone after these, and only move bytes.
    counts_last
        The last step is a zlib stream whose bytes `check` only counts.
    unknown_filters
        Numbers of filters that cannot be undone here; then nothing can be checked or decoded.
    """

    chunk_nbytes: int
    steps: tuple[tuple[FilterRecord, int], ...]
    shuffles: tuple[FilterRecord, ...]
    counts_last: bool
    unknown_filters: tuple[int, ...]

    def check(self, stored: Bytes) -> None:
        """Undo the filters of one chunk.

        Raises
        ------
        FormatError
            A checksum or a stream is wrong, or the raw chunk has not the size that it must have.
        """
        for record in self.shuffles:
            _shuffled_nbytes(record)
        data = _undo(self.steps[:-1] if self.counts_last else self.steps, stored)
        nbytes = _inflated_nbytes(data, self.steps[-1][1]) if self.counts_last else len(data)
        self._check_size(nbytes)

    def decode(self, stored: Bytes) -> Bytes:
        """Return the raw bytes of one chunk.

        Raises
        ------
        FormatError
            As for `check`.
        """
        data = _undo(self.steps, stored)
        self._check_size(len(data))
        for record in self.shuffles:
            data = _unshuffle(data, self.chunk_nbytes, record)
        return data

    def _check_size(self, nbytes: int) -> None:
        if nbytes != self.chunk_nbytes:
            raise FormatError(f"decodes to {nbytes:,} bytes instead of {self.chunk_nbytes:,}", nbytes=nbytes)


def _undo(steps: tuple[tuple[FilterRecord, int], ...], data: Bytes) -> Bytes:
    for record, most in steps:
        data = _DECODERS[record.filter_id](data, most, record)
    return data


def chunk_decoder(filters: tuple[FilterRecord, ...], filter_mask: int, chunk_nbytes: int) -> ChunkDecoder:
    """Set up the undoing of `filters` but for those in `filter_mask`.

    Parameters
    ----------
    filters
        The pipeline, in the order of writing.
    filter_mask
        Bit i set: filter i was skipped.
    chunk_nbytes
        Raw bytes of a chunk.
    """
    applied = _applied(filters, filter_mask)
    shuffles: list[FilterRecord] = []
    while applied and applied[0].filter_id == SHUFFLE:
        shuffles.insert(0, applied.pop(0))
    steps: list[tuple[FilterRecord, int]] = []
    most = chunk_nbytes
    for record in applied:
        steps.insert(0, (record, most))
        if record.filter_id == FLETCHER32:
            most += _SIZEOF_FLETCHER32
        elif record.filter_id != SHUFFLE:
            most += most // 16 + _PIECE_NBYTES  # no compressor lets data grow that much
    unknown = tuple(record.filter_id for record in applied if record.filter_id not in _DECODERS)
    counts_last = bool(applied) and applied[0].filter_id == DEFLATE
    return ChunkDecoder(chunk_nbytes, tuple(steps), tuple(shuffles), counts_last, unknown)


def _applied(filters: tuple[FilterRecord, ...], filter_mask: int) -> list[FilterRecord]:
    return [record for i, record in enumerate(filters) if not filter_mask >> i & 1]


def _inflate(data: Bytes, most: int, record: FilterRecord) -> Bytes:
    whole = bytearray()
    _inflated_nbytes(data, most, whole.extend)
    return memoryview(whole)


def _inflated_nbytes(data: Bytes, most: int, keep: Callable[[bytes], object] | None = None) -> int:
    """Inflate a zlib stream piece by piece and return its size."""
    # ISA-L would take half the time, but it accepts incomplete Huffman codes, which zlib, and so HDF5, refuses.
    stream = zlib.decompressobj()
    nbytes = 0
    try:
        for start in range(0, len(data), _PIECE_NBYTES):
            rest: Bytes = data[start : start + _PIECE_NBYTES]
            while not stream.eof:
                piece = stream.decompress(rest, _PIECE_NBYTES)
                nbytes += len(piece)
                if nbytes > most:
                    raise FormatError(f"decodes to more than the {most:,} bytes that it may have")
                if keep is not None:
                    keep(piece)
                rest = stream.unconsumed_tail
                if not rest and len(piece) < _PIECE_NBYTES:
                    break
            if stream.eof:
                n_behind = len(stream.unused_data) + max(0, len(data) - start - _PIECE_NBYTES)
                if n_behind:
                    raise FormatError(f"{n_behind:,} bytes are left behind its zlib stream")
                return nbytes
    except zlib.error as error:
        raise FormatError(f"its zlib stream is damaged: {error}") from error
    raise FormatError(f"its zlib stream ends too early, after {nbytes:,} bytes")


def _shuffled_nbytes(record: FilterRecord) -> int:
    """Element size of the shuffle filter, without which HDF5 (``H5Z_filter_shuffle``) refuses a chunk."""
    if not record.client_values or not record.client_values[0]:
        raise FormatError("the shuffle filter has no element size")
    return record.client_values[0]


def _unshuffle(data: Bytes, most: int, record: FilterRecord) -> Bytes:
    element_nbytes = _shuffled_nbytes(record)
    n_elements = len(data) // element_nbytes
    whole = n_elements * element_nbytes
    planes = np.frombuffer(data[:whole], np.uint8).reshape(element_nbytes, n_elements)
    return planes.T.tobytes() + bytes(data[whole:])


def _check_fletcher32(data: Bytes, most: int, record: FilterRecord) -> Bytes:
    if len(data) < _SIZEOF_FLETCHER32:
        raise FormatError(f"{len(data)} bytes are no chunk with a Fletcher checksum")
    try:
        return memoryview(_verify_fletcher32(data)).cast("B")
    except RuntimeError as error:
        raise FormatError("its Fletcher checksum is wrong") from error


_verify_fletcher32: Callable[[Bytes], Any] = Fletcher32().decode


def _decode_bzip2(data: Bytes, most: int, record: FilterRecord) -> bytes:
    stream = bz2.BZ2Decompressor()
    try:
        decoded = stream.decompress(data, most + 1)
    except (OSError, EOFError) as error:
        raise FormatError(f"its bzip2 stream is damaged: {error}") from error
    if len(decoded) > most or not stream.eof or stream.unused_data:
        raise FormatError("its bzip2 stream does not end where the chunk ends")
    return decoded


def _decode_blosc(data: Bytes, most: int, record: FilterRecord) -> bytes:
    if len(data) < blosc.MAX_OVERHEAD:
        raise FormatError(f"{len(data)} bytes are no Blosc chunk")
    nbytes, _, stored_nbytes = struct.unpack_from("<III", data, 4)
    if nbytes > most or stored_nbytes != len(data):
        raise FormatError(f"its Blosc header says {stored_nbytes:,} bytes for {nbytes:,} raw ones")
    try:
        return bytes(blosc.decompress(data))
    except RuntimeError as error:
        raise FormatError(f"its Blosc chunk is damaged: {error}") from error


def _decode_lz4(data: Bytes, most: int, record: FilterRecord) -> bytes:
    """Undo the framing of HDF5's LZ4 filter: big-endian sizes before every block."""
    try:
        nbytes, block_nbytes = struct.unpack_from(">QI", data)
        if nbytes > most or (nbytes and not block_nbytes):
            raise FormatError(f"its LZ4 header says {nbytes:,} bytes in blocks of {block_nbytes:,}")
        position, n_left = 12, nbytes
        blocks = []
        while n_left:
            expected = min(block_nbytes, n_left)
            (stored_nbytes,) = struct.unpack_from(">I", data, position)
            block = bytes(data[position + 4 : position + 4 + stored_nbytes])
            if stored_nbytes != expected:  # otherwise it is stored raw
                block = bytes(decompress_lz4(struct.pack("<I", expected) + block))
            if len(block) != expected:
                raise FormatError(f"an LZ4 block has {len(block):,} bytes instead of {expected:,}")
            blocks.append(block)
            position, n_left = position + 4 + stored_nbytes, n_left - expected
    except (struct.error, RuntimeError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"its LZ4 blocks are damaged: {error}") from error
    if position != len(data):
        raise FormatError(f"its LZ4 blocks end at {position:,} of {len(data):,} bytes")
    return b"".join(blocks)


def _decode_zstd(data: Bytes, most: int, record: FilterRecord) -> bytes:
    nbytes = _zstd_content_nbytes(data)
    if nbytes > most:
        raise FormatError(f"its Zstandard frame says {nbytes:,} bytes, {most:,} are allowed")
    try:
        return bytes(decompress_zstd(data))
    except RuntimeError as error:
        raise FormatError(f"its Zstandard frame is damaged: {error}") from error


def _zstd_content_nbytes(data: Bytes) -> int:
    """Read the frame content size (RFC 8878, 3.1.1.1), without which the HDF5 filter refuses a frame."""
    head = bytes(data[:18])
    if len(head) < 6 or head[:4] != b"\x28\xb5\x2f\xfd":
        raise FormatError("it is no Zstandard frame")
    descriptor = head[4]
    is_single_segment = bool(descriptor & 0x20)
    width = (1 if is_single_segment else 0, 2, 4, 8)[descriptor >> 6]
    start = 5 + (not is_single_segment) + (0, 1, 2, 4)[descriptor & 3]
    if not width or len(head) < start + width:
        raise FormatError("its Zstandard frame does not say how large its content is")
    return int.from_bytes(head[start : start + width], "little") + (256 if width == 2 else 0)


_DECODERS: dict[int, Callable[[Bytes, int, FilterRecord], Bytes]] = {
    DEFLATE: _inflate,
    SHUFFLE: _unshuffle,
    FLETCHER32: _check_fletcher32,
    BZIP2: _decode_bzip2,
    BLOSC: _decode_blosc,
    LZ4: _decode_lz4,
    ZSTD: _decode_zstd,
}
"""By filter number: stored bytes, the most bytes they may give, and the filter -> bytes before the filter."""
