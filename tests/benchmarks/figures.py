"""The figures that streamh5 is held to, as ratios within one run."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.benchmarks.contenders import HANDED_OVER

__all__ = [
    "DURABLE_AT_LEAST",
    "FIGURES",
    "Figure",
    "Ratio",
    "durability_of",
    "ratio_of",
    "seconds_of",
    "timings_of",
]


@dataclass(frozen=True, slots=True)
class Figure:
    """`contender` is to be `at_least` times as fast as `against`.

    `at_least` holds until the data is handed to the operating system, `durable_at_least` until it is on the disk; None
    where nothing is required.
    """

    title: str
    work: str
    contender: str
    against: str
    at_least: float | None
    durable_at_least: float | None
    max_size_ratio: float | None = None
    """Its file may be this much larger than that of `against`."""


EXPERT = "h5py direct chunks gzip"

FIGURES = (
    Figure("4 MiB chunks, gzip", "a", "streamh5 gzip", "to_hdf5 gzip-4", 15, 14, 1.03),
    Figure("4 MiB chunks, gzip", "a", "streamh5 gzip", EXPERT, 1.0, None),
    Figure("4 MiB chunks, gzip", "a", "streamh5 gzip", "limit gzip", 0.92, 0.88),
    Figure("64 KiB chunks, gzip", "b", "streamh5 gzip", EXPERT, 1.2, None),
    Figure("64 KiB chunks, gzip", "b", "streamh5 gzip", "limit gzip", 0.88, None),
    Figure("16 KiB chunks, gzip", "c", "streamh5 gzip", EXPERT, 1.2, None),
    Figure("16 KiB chunks, gzip", "c", "streamh5 gzip", "limit gzip", 0.88, None),
    Figure("16 KiB chunks, gzip", "c", "streamh5 gzip", "zarr sharded default", 8, None),
    Figure("4 MiB chunks, none", "da", "streamh5 none", "raw append", None, 1.4),
    Figure("4 MiB chunks, none", "da", "streamh5 none", "to_hdf5 none", None, 1.3),
    Figure("64 KiB chunks, none", "db", "streamh5 none", "to_hdf5 none", 1.0, 1.0),
    Figure("16 KiB chunks, none", "dc", "streamh5 none", "to_hdf5 none", 1.5, 1.5),
    Figure("4 MiB chunks, zstd", "a", "streamh5 zstd", "zarr default", 1.5, None),
    Figure("4 MiB chunks, zstd", "a", "streamh5 zstd", "zarr sharded default", 1.5, None),
    Figure("4 MiB chunks, zstd", "a", "streamh5 zstd", "zarr default, zarrs", 1.5, None),
    Figure("4 MiB chunks, zstd", "a", "streamh5 zstd", "tensorstore zstd", 1.5, None),
    Figure("4 MiB chunks, shuffle and zstd", "a", "streamh5 zstd+shuffle", "zarr zstd+shuffle", 2, None),
    Figure("4 MiB chunks, blosc-lz4", "a", "streamh5 blosc-lz4", "zarr blosc-lz4", 2, None),
    Figure("4 MiB chunks, blosc-lz4", "a", "streamh5 blosc-lz4", "blosc2 lz4", 1.0, None),
    Figure("xarray to netCDF-4, zlib", "a", "streamh5 to_netcdf gzip-4", "xarray h5netcdf gzip-4", 8, None),
    Figure("xarray to netCDF-4, zlib", "a", "streamh5 to_netcdf gzip-4", "xarray netcdf4 gzip-4", 8, None),
    Figure("10,000,000-chunk index", "index", "streamh5 close", "numpy.save", 0.25, None),
)

DURABLE_AT_LEAST = 0.93
"""Rate of streamh5 until its data is on the disk, in parts of the rate with ``sync="none"``."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast, over the rounds that both took part in."""

    median: float
    low: float
    high: float
    n_rounds: int


def seconds_of(timing: dict[str, float], *, durable: bool) -> float:
    """Until the data is handed over, or until it is on the disk."""
    seconds = timing["seconds"]
    if durable:
        seconds += timing["own_sync_seconds"] + timing["sync_seconds"]
    return seconds


def timings_of(work: dict[str, Any], name: str, *, durable: bool) -> list[dict[str, Any]]:
    """Timings of a contender; those of its twin with ``sync="none"`` where the data need not be durable."""
    timings: dict[str, list[dict[str, Any]]] = work["timings"]
    own = timings.get(name, [])
    return own if durable else timings.get(name + HANDED_OVER, own)


def ratio_of(work: dict[str, Any], contender: str, against: str, *, durable: bool) -> Ratio | None:
    """Time of `against` divided by that of `contender`, round by round; None when one is not there."""
    return _ratio(
        [seconds_of(one, durable=durable) for one in timings_of(work, contender, durable=durable)],
        [seconds_of(one, durable=durable) for one in timings_of(work, against, durable=durable)],
    )


def durability_of(work: dict[str, Any], contender: str) -> Ratio | None:
    """Rate until the data is on the disk divided by the rate with ``sync="none"``, round by round."""
    if contender + HANDED_OVER not in work["timings"]:
        return None
    return _ratio(
        [seconds_of(one, durable=True) for one in timings_of(work, contender, durable=True)],
        [seconds_of(one, durable=False) for one in timings_of(work, contender, durable=False)],
    )


def _ratio(ours: list[float], theirs: list[float]) -> Ratio | None:
    ratios = [b / a for a, b in zip(ours, theirs, strict=False)]
    return Ratio(median(ratios), min(ratios), max(ratios), len(ratios)) if ratios else None
