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
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamh5.filters.base import Buffer, byte_view
from streamh5.filters.deflate_settings import (
    GOLDEN_RATIO,
    SMALL_BLOCK_NBYTES,
    TRIAL_NBYTES,
    IsalSetting,
    chosen_setting,
    trial_nbytes,
)

# All constants were tuned with tests/benchmarks/deflate_levels.py --noise; the table is in docs/filters.md.
MIN_SAMPLED_NBYTES = 1 << 20
"""Smaller chunks are not sampled: the samples would cost more than they save."""
MIN_CHOICE_NBYTES = 3 << 20
"""Smaller chunks have a fixed setting. Their planes are short, which medium blocks would cross the edges of."""

# After shuffle an eighth is one plane of float64, half a plane of float32.
N_STRETCHES = 8
# 2 KiB of samples determine the entropy of a stretch to 0.05 bits, and cost 1 % of the time.
N_SAMPLES = 16
SAMPLE_NBYTES = 128
N_PAIRS = N_SAMPLES * SAMPLE_NBYTES * (SAMPLE_NBYTES - 1)
"""Ordered pairs of bytes of the same sample of an eighth."""
_SAMPLE_NUMBERS = 256 * np.arange(N_STRETCHES * N_SAMPLES)[:, np.newaxis]
NOISE_ENTROPY_BITS = 7.8
"""Minimum entropy of a byte of noise (Renyi's, of order 2, which is below Shannon's): a code table would gain 2.5 % at
most."""
MAX_NOISE_SAVING = 0.025
"""Maximum that the matches of such a stretch save in a trial, which finds what drifts or repeats."""
MAX_STORED_BLOCK_NBYTES = 0xFFFF

BLOCK_HEADER_NBYTES = 5

Z_MEM_LEVELS = {"SMALL": 3, "MEDIUM": 5, "LARGE": 7}
"""ISA-L's memory levels as ``isal_zlib.compressobj`` counts them, from 1 to 9."""

ZLIB_HEADER = b"\x78\x01"
FINAL_BLOCK = b"\x03\x00"
"""An empty block with fixed codes: a final block, type 1, end of block."""

Bytes1D = npt.NDArray[np.uint8]


class Stretch(NamedTuple):
    """An eighth of a chunk.

    Attributes
    ----------
    start, stop
        Its place in the chunk.
    is_noise
        Whether compression would gain nothing.
    n_alike
        Number of pairs of equal bytes in its samples: the fewer, the more information is in it.
    """

    start: int
    stop: int
    is_noise: bool
    n_alike: int


def isal_compressor(levels: tuple[int, ...]) -> Callable[[Buffer], Buffer]:
    """Return a function that makes a zlib stream of a chunk, without the GIL.

    Parameters
    ----------
    levels
        Levels of ISA-L that may be chosen for a chunk, in ascending order.
    """
    from isal import igzip_lib, isal_zlib

    zlib_container, no_container = igzip_lib.COMP_ZLIB, igzip_lib.COMP_DEFLATE
    compress: Callable[..., bytes] = igzip_lib.compress
    mem_levels = {memory: getattr(igzip_lib, f"MEM_LEVEL_{memory}") for memory in Z_MEM_LEVELS}
    usual_level, small, large = levels[-1], mem_levels["SMALL"], mem_levels["LARGE"]

    def deflated(part: memoryview, setting: IsalSetting, *, is_last: bool) -> list[bytes]:
        if is_last:
            return [compress(part, setting.level, no_container, mem_levels[setting.memory])]
        deflate: Any = isal_zlib.compressobj(setting.level, wbits=-15, memLevel=Z_MEM_LEVELS[setting.memory])
        return [deflate.compress(part), deflate.flush(isal_zlib.Z_FULL_FLUSH)]

    def zlib_stream(chunk: Buffer) -> Buffer:
        nbytes = len(chunk)
        if nbytes < MIN_SAMPLED_NBYTES:
            memory = large if nbytes <= SMALL_BLOCK_NBYTES else small
            return compress(chunk, usual_level, zlib_container, memory)
        view = byte_view(chunk)
        stretches = _stretches(view)
        part = _largest_compressed(view, stretches) if nbytes >= MIN_CHOICE_NBYTES else None
        setting = IsalSetting(usual_level, "SMALL") if part is None else chosen_setting(levels, part)
        if not any(stretch.is_noise for stretch in stretches):
            return compress(chunk, setting.level, zlib_container, mem_levels[setting.memory])
        pieces: list[bytes | Bytes1D] = [ZLIB_HEADER]
        for start, stop, is_noise in _runs(stretches):
            part = view[start:stop]
            pieces += [_stored(part)] if is_noise else deflated(part, setting, is_last=stop == nbytes)
        if stretches[-1].is_noise:
            pieces.append(FINAL_BLOCK)
        pieces.append(isal_zlib.adler32(chunk).to_bytes(4, "big"))
        return _joined(pieces)

    return zlib_stream


def _stretches(view: memoryview) -> list[Stretch]:
    """Sample each eighth of a chunk."""
    edges, places = _edges_and_places(len(view))
    samples = np.frombuffer(b"".join([view[place : place + SAMPLE_NBYTES] for place in places]), np.uint8)
    # pairs within a sample: a value that drifts through the stretch looks random in all samples together
    numbered = samples.reshape(-1, SAMPLE_NBYTES) + _SAMPLE_NUMBERS
    counts = np.bincount(numbered.ravel(), minlength=256 * len(places)).reshape(N_STRETCHES, -1)
    n_alike = np.einsum("ij,ij->i", counts, counts) - N_SAMPLES * SAMPLE_NBYTES
    kinds = [_is_noise(view[start:stop], n) for (start, stop), n in zip(edges, n_alike, strict=True)]
    return [Stretch(*edge, *kind) for edge, *kind in zip(edges, kinds, n_alike.tolist(), strict=True)]


@lru_cache(maxsize=16)
def _edges_and_places(nbytes: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Return where the eighths of a chunk start and stop, and where their samples start."""
    edges = list(pairwise([nbytes * i // N_STRETCHES for i in range(N_STRETCHES + 1)]))
    step = nbytes // N_STRETCHES // N_SAMPLES
    # offsets by the golden ratio never align with the rows of an image
    offsets = [step * i + int((step - SAMPLE_NBYTES) * (GOLDEN_RATIO * i % 1)) for i in range(N_SAMPLES)]
    return edges, [start + offset for start, _ in edges for offset in offsets]


def _is_noise(stretch: memoryview, n_alike: int) -> bool:
    looks_random = n_alike <= N_PAIRS * 2**-NOISE_ENTROPY_BITS
    return looks_random and trial_nbytes(stretch, 2) > (1 - MAX_NOISE_SAVING) * TRIAL_NBYTES


def _largest_compressed(view: memoryview, stretches: list[Stretch]) -> memoryview | None:
    """Return the eighth that will take the most room in the stream, but for noise; None if all take little."""
    stretch = min((one for one in stretches if not one.is_noise), key=attrgetter("n_alike"), default=None)
    return None if stretch is None or stretch.n_alike > N_PAIRS / 2 else view[stretch.start : stretch.stop]


def _runs(stretches: list[Stretch]) -> Iterator[tuple[int, int, bool]]:
    """Join neighbours of the same kind: start, stop, whether they are noise."""
    for is_noise, group in groupby(stretches, key=attrgetter("is_noise")):
        run = list(group)
        yield run[0].start, run[-1].stop, is_noise


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
