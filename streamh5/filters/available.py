"""Which filters this machine can write, and how fast."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from streamh5.errors import MissingCodecError
from streamh5.filters.base import Buffer, Encode, FilterRow, RawChunk
from streamh5.filters.deflate import DEFAULT_LEVEL, deflate_engine
from streamh5.filters.registry import FILTERS, set_up_filter
from streamh5.filters.shuffle import ROW as SHUFFLE

# 4 MiB, the chunks that `auto_chunks` chooses.
_SAMPLE_SHAPE = (1024, 1024)
# For each filter: the fastest of a few calls, and about a second for all of them.
_MEASURE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class AvailableFilter:
    """One filter on this machine.

    Attributes
    ----------
    filter_id
        Registered number.
    keyword
        How to request it: a ``compression=`` word or a keyword of its own.
    is_writable
        Whether its codec is installed.
    note
        The engine of gzip, or what to install.
    mb_per_s
        Speed of one thread on 4 MiB of noisy float32 data, in 10^6 bytes per second. Data is shuffled first where
        the filter does not shuffle by itself; the time of that is not counted. None if it was not measured or if
        the filter leaves the data unchanged.
    ratio
        Raw size divided by stored size of the same data; None where `mb_per_s` is.

    Examples
    --------
    >>> from streamh5.filters import available
    >>> [one.to_dict()["keyword"] for one in available() if one.is_writable][:3]
    ['gzip', 'shuffle', 'fletcher32']
    """

    filter_id: int
    keyword: str
    is_writable: bool
    note: str = ""
    mb_per_s: float | None = None
    ratio: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values for JSON."""
        return asdict(self)


def available(*, measure: bool = False) -> list[AvailableFilter]:
    """List the filters that streamh5 knows, and whether this machine can write them.

    Parameters
    ----------
    measure
        Also measure speed and ratio by encoding 4 MiB with each filter, which takes a second or two.

    Returns
    -------
    list of AvailableFilter
        Ordered by filter number.

    Examples
    --------
    >>> from streamh5.filters import available
    >>> one = available()[0]
    >>> one.keyword, one.is_writable, one.to_dict()["filter_id"]
    ('gzip', True, 1)
    """
    if not measure:
        return [_describe(row, None) for row in FILTERS]
    from concurrent.futures import (
        ThreadPoolExecutor,  # 5 ms that nothing else in the package of filters needs
    )

    sample = _sample()
    # In a worker thread, as chunks are encoded: the main thread's Blosc would use all cores.
    with ThreadPoolExecutor(1) as thread:
        return list(thread.map(lambda row: _describe(row, sample), FILTERS))


def _describe(row: FilterRow, sample: bytes | None) -> AvailableFilter:
    chunk = RawChunk(np.dtype("<f4"), _SAMPLE_SHAPE, 4 * _SAMPLE_SHAPE[0] * _SAMPLE_SHAPE[1])
    try:
        encode = set_up_filter(row.filter_id, row.example, chunk).encode
    except MissingCodecError as error:
        return AvailableFilter(row.filter_id, row.keyword, False, str(error))
    note = deflate_engine(DEFAULT_LEVEL) if row.keyword == "gzip" else ""
    mb_per_s = ratio = None
    if sample is not None and encode(sample) is not sample:
        shuffle = set_up_filter(SHUFFLE.filter_id, (), chunk)
        mb_per_s, ratio = _measure(encode, shuffle.encode(sample) if row.wants_shuffle else sample)
    return AvailableFilter(row.filter_id, row.keyword, True, note, mb_per_s, ratio)


def _measure(encode: Encode, sample: Buffer) -> tuple[float, float]:
    best = float("inf")
    stop = time.perf_counter() + _MEASURE_SECONDS
    while True:
        start = time.perf_counter()
        stored = encode(sample)
        end = time.perf_counter()
        best = min(best, end - start)
        if end > stop:
            return len(sample) / best / 1e6, len(sample) / len(stored)


def _sample() -> bytes:
    rows, columns = np.mgrid[: _SAMPLE_SHAPE[0], : _SAMPLE_SHAPE[1]] / 100.0
    noise = np.random.default_rng(0).normal(0, 0.05, _SAMPLE_SHAPE)
    values = 280 + 10 * np.sin(rows) * np.cos(columns) + noise
    sample: bytes = np.round(values, 2).astype("<f4").tobytes()
    return sample
