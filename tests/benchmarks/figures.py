"""The figures that streamh5 is held to, as ratios within one run."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

__all__ = ["FIGURES", "Figure", "Ratio", "ratio_of"]


@dataclass(frozen=True, slots=True)
class Figure:
    """`contender` is to be `at_least` times as fast as `against`."""

    title: str
    work: str
    contender: str
    against: str
    at_least: float
    max_size_ratio: float | None = None
    """Its file may be this much larger than that of `against`."""


FIGURES = (
    Figure("4 MiB chunks, gzip", "a", "streamh5 gzip", "to_hdf5 gzip-4", 12, 1.03),
    Figure("4 MiB chunks, gzip", "a", "streamh5 gzip", "zarr default", 3),
    Figure("4 MiB chunks, gzip", "a", "streamh5 gzip", "h5py direct chunks gzip", 1.0),
    Figure("4 MiB chunks, gzip", "a", "streamh5 gzip", "limit gzip", 0.85),
    Figure("4 MiB chunks, none", "da", "streamh5 none", "to_hdf5 none", 1.6),
    Figure("4 MiB chunks, none", "da", "streamh5 none", "raw append", 0.92),
    Figure("64 KiB chunks, gzip", "b", "streamh5 gzip", "h5py direct chunks gzip", 1.3),
    Figure("64 KiB chunks, gzip", "b", "streamh5 gzip", "h5py chunk by chunk gzip", 1.3),
    Figure("64 KiB chunks, gzip", "b", "streamh5 gzip", "limit gzip", 0.80),
    Figure("16 KiB chunks, gzip", "c", "streamh5 gzip", "zarr sharded default", 8),
    Figure("16 KiB chunks, gzip", "c", "streamh5 gzip", "h5py direct chunks gzip", 1.4),
    Figure("16 KiB chunks, gzip", "c", "streamh5 gzip", "h5py chunk by chunk gzip", 1.4),
    Figure("16 KiB chunks, gzip", "c", "streamh5 gzip", "limit gzip", 0.70),
    Figure("16 KiB chunks, none", "dc", "streamh5 none", "to_hdf5 none", 1.5),
    Figure("64 KiB chunks, none", "db", "streamh5 none", "to_hdf5 none", 1.0),
    Figure("4 MiB chunks, zstd", "a", "streamh5 zstd", "zarr default", 2),
    Figure("4 MiB chunks, shuffle and zstd", "a", "streamh5 zstd+shuffle", "zarr zstd+shuffle", 2),
    Figure("4 MiB chunks, blosc-lz4", "a", "streamh5 blosc-lz4", "zarr blosc-lz4", 2),
    Figure("xarray to netCDF-4, zlib", "a", "streamh5 to_netcdf gzip-4", "xarray h5netcdf gzip-4", 8),
    Figure("xarray to netCDF-4, zlib", "a", "streamh5 to_netcdf gzip-4", "xarray netcdf4 gzip-4", 8),
    Figure("10,000,000-chunk index", "index", "streamh5 close", "numpy.save", 0.25),
)


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


def ratio_of(work: dict[str, Any], contender: str, against: str, *, durable: bool) -> Ratio | None:
    """Time of `against` divided by that of `contender`, round by round; None when one is not there."""
    timings = work["timings"]
    if not timings.get(contender) or not timings.get(against):
        return None
    ratios = [
        seconds_of(theirs, durable=durable) / seconds_of(ours, durable=durable)
        for ours, theirs in zip(timings[contender], timings[against], strict=False)
    ]
    return Ratio(median(ratios), min(ratios), max(ratios), len(ratios))
