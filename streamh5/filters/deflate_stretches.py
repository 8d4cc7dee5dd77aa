"""A zlib stream that stores stretches of noise as stored blocks and compresses the others with ISA-L.

The low bytes of measured numbers are often noise, and shuffle puts them next to each other. A compressor needs as
much time for noise as for other data and gains nothing. Deflate has stored blocks for such data (RFC 1951, 3.2.4),
and a stream may mix them with compressed blocks. Samples decide for each eighth of a chunk, which after shuffle is a
plane, several planes, or a part of one. Float64 data that was not rounded is written nearly twice as fast, in files of
about the same size; without noise, the samples cost 1 to 3 %
(``tests/benchmarks/deflate_levels.py --noise``; table in ``docs/filters.md``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from streamh5.filters.base import Buffer

# All constants were tuned with tests/benchmarks/deflate_levels.py --noise; the table is in docs/filters.md.
MIN_CHUNK_NBYTES = 1 << 20
"""Smaller chunks are not sampled: the samples would cost more than they save."""

# After shuffle an eighth is one plane of float64, half a plane of float32.
N_STRETCHES = 8
# 4 KiB of samples determine the entropy of a stretch of 128 KiB to 0.02 bits, and cost 1 to 3 % of the time.
N_SAMPLES = 16
SAMPLE_NBYTES = 256
GOLDEN_RATIO = 0.618034
"""Offsets of samples in their parts of a stretch follow it, so that they never align with the rows of an image."""
_SAMPLE_NUMBERS = 256 * np.arange(N_SAMPLES)[:, np.newaxis]
NOISE_ENTROPY_BITS = 7.8
"""Minimum entropy of a byte of noise (Renyi's, of order 2, which is below Shannon's): a code table would gain 2.5 % at
most. The samples of a stretch determine it to 0.02."""
# Number of places of a stretch whose first bytes are searched for in the window after them: 8 bytes of noise do not
# repeat by chance.
N_ANCHORS = 4
ANCHOR_NBYTES = 8
WINDOW_NBYTES = 1 << 15
"""Maximum distance of a match in deflate."""
MAX_STORED_BLOCK_NBYTES = 0xFFFF

BLOCK_HEADER_NBYTES = 5

Z_MEM_LEVELS = {"MEM_LEVEL_SMALL": 3, "MEM_LEVEL_LARGE": 7}
"""ISA-L's memory levels as ``isal_zlib.compressobj`` counts them, from 1 to 9."""

ZLIB_HEADER = b"\x78\x01"
FINAL_BLOCK = b"\x03\x00"
"""An empty block with fixed codes: a final block, type 1, end of block."""

Bytes1D = npt.NDArray[np.uint8]
Run = tuple[bool, int, int]
"""Whether it is noise, its start, its end."""


def stretches_compressor(isal_level: int, mem_level_name: str) -> Callable[[Buffer], Buffer]:
    """Return a function that makes a zlib stream of a chunk, without the GIL.

    Parameters
    ----------
    isal_level
        Level of ISA-L, 0 to 3.
    mem_level_name
        One of ISA-L's ``MEM_LEVEL_...``.
    """
    from isal import igzip_lib, isal_zlib

    zlib_container, no_container = igzip_lib.COMP_ZLIB, igzip_lib.COMP_DEFLATE
    compress: Callable[..., bytes] = igzip_lib.compress
    mem_level, z_mem_level = getattr(igzip_lib, mem_level_name), Z_MEM_LEVELS[mem_level_name]

    def deflated(part: memoryview, *, is_last: bool) -> list[bytes]:
        if is_last:
            return [compress(part, isal_level, no_container, mem_level)]
        deflate: Any = isal_zlib.compressobj(isal_level, wbits=-15, memLevel=z_mem_level)
        return [deflate.compress(part), deflate.flush(isal_zlib.Z_FULL_FLUSH)]

    def zlib_stream(chunk: Buffer) -> Buffer:
        if len(chunk) < MIN_CHUNK_NBYTES:
            return compress(chunk, isal_level, zlib_container, mem_level)
        view = chunk if isinstance(chunk, memoryview) else np.frombuffer(chunk, np.uint8).data
        runs = _runs(view)
        if not any(noise for noise, _, _ in runs):
            return compress(chunk, isal_level, zlib_container, mem_level)
        pieces: list[bytes | Bytes1D] = [ZLIB_HEADER]
        for noise, start, stop in runs:
            part = view[start:stop]
            pieces += [_stored(part)] if noise else deflated(part, is_last=stop == view.nbytes)
        if runs[-1][0]:
            pieces.append(FINAL_BLOCK)
        pieces.append(isal_zlib.adler32(chunk).to_bytes(4, "big"))
        return _joined(pieces)

    return zlib_stream


def _runs(view: memoryview) -> list[Run]:
    """Split a chunk into stretches, and join neighbours of the same kind."""
    edges = [view.nbytes * i // N_STRETCHES for i in range(N_STRETCHES + 1)]
    kinds = [(_is_noise(view[start:stop]), start, stop) for start, stop in pairwise(edges)]
    runs = []
    for kind, group in groupby(kinds, key=lambda run: run[0]):
        run = list(group)
        runs.append((kind, run[0][1], run[-1][2]))
    return runs


def _is_noise(stretch: memoryview) -> bool:
    step = len(stretch) // N_SAMPLES
    room = step - SAMPLE_NBYTES
    places = [step * i + int(room * (GOLDEN_RATIO * i % 1)) for i in range(N_SAMPLES)]
    samples = np.frombuffer(b"".join([stretch[place : place + SAMPLE_NBYTES] for place in places]), np.uint8)
    # pairs within a sample: a value that drifts through the stretch looks random in all samples together
    counts = np.bincount((samples.reshape(N_SAMPLES, SAMPLE_NBYTES) + _SAMPLE_NUMBERS).ravel())
    pairs = len(samples) * (SAMPLE_NBYTES - 1)
    alike = int(counts @ counts) - len(samples)
    return alike <= pairs * 2**-NOISE_ENTROPY_BITS and not _repeats(stretch)


def _repeats(stretch: memoryview) -> bool:
    """Return whether data that looks like noise repeats within reach of deflate, for example in rows that are equal."""
    for i in range(N_ANCHORS):
        place = int((len(stretch) - WINDOW_NBYTES) * (GOLDEN_RATIO * (i + 1) % 1))
        window = bytes(stretch[place : place + WINDOW_NBYTES])
        if window.find(window[:ANCHOR_NBYTES], 1) > 0:
            return True
    return False


def _stored(part: memoryview) -> Bytes1D:
    """Return a stretch as stored blocks, none of them final."""
    raw = np.frombuffer(part, np.uint8)
    n_full, rest = divmod(len(raw), MAX_STORED_BLOCK_NBYTES)
    width = BLOCK_HEADER_NBYTES + MAX_STORED_BLOCK_NBYTES
    out = np.empty(n_full * width + (BLOCK_HEADER_NBYTES + rest if rest else 0), np.uint8)
    full = out[: n_full * width].reshape(n_full, width)
    full[:, :BLOCK_HEADER_NBYTES] = _block_header(MAX_STORED_BLOCK_NBYTES)
    full[:, BLOCK_HEADER_NBYTES:] = raw[: n_full * MAX_STORED_BLOCK_NBYTES].reshape(n_full, -1)
    if rest:
        last = out[n_full * width :]
        last[:BLOCK_HEADER_NBYTES] = _block_header(rest)
        last[BLOCK_HEADER_NBYTES:] = raw[-rest:]
    return out


def _block_header(nbytes: int) -> Bytes1D:
    """Return the header of a stored block (RFC 1951, 3.2.4): not final, type 0, then LEN and its complement."""
    return np.frombuffer(struct.pack("<BHH", 0, nbytes, nbytes ^ 0xFFFF), np.uint8)


def _joined(pieces: list[bytes | Bytes1D]) -> Bytes1D:
    """Join pieces to one buffer; numpy copies without the GIL, ``bytes.join`` does not."""
    out = np.empty(sum(map(len, pieces)), np.uint8)
    end = 0
    for piece in pieces:
        out[end : end + len(piece)] = np.frombuffer(piece, np.uint8)
        end += len(piece)
    return out
