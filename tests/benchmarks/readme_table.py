"""The README's table: the results on its first screen, taken from ``docs/benchmarks.json``."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from tests.benchmarks.figures import ratio_of, seconds_of, timings_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["put_table", "rate_of", "table_of"]

BEGIN, END = "<!-- benchmark table: begin -->", "<!-- benchmark table: end -->"
OURS = "streamh5 gzip"
OURS_DURABLE = OURS + ", durable"
COLUMNS = {"a": "4 MiB chunks", "b": "64 KiB chunks", "c": "16 KiB chunks"}
ROWS = {
    OURS: "**streamh5** (gzip)",
    OURS_DURABLE: "the same until it is on the disk, its default",
    "to_hdf5 gzip-4": "`da.to_hdf5` (gzip-4)",
    "xarray netcdf4 gzip-4": "`xarray.to_netcdf` (zlib-4)",
    "zarr default": "zarr (zstd, its default)",
    "zarr sharded default": "zarr, sharded",
    "h5py direct chunks gzip": "h5py, direct chunks from threads, as an expert would",
    "limit gzip": "*the compressor alone, on both cores*",
}


def rate_of(work: dict[str, Any], name: str, *, durable: bool) -> float | None:
    """Median rate in MB/s; None where the contender took no part."""
    timings = timings_of(work, name, durable=durable)
    rates = [t["nbytes"] / seconds_of(t, durable=durable) / 1e6 for t in timings]
    return median(rates) if rates else None


def _rate(work: dict[str, Any], name: str, *, durable: bool) -> str:
    rate = rate_of(work, name, durable=durable)
    return "" if rate is None else f"{rate:.0f}"


def _cells(work: dict[str, Any], name: str) -> tuple[str, str]:
    if name == OURS_DURABLE:
        return _rate(work, OURS, durable=True), ""
    rate = _rate(work, name, durable=False)
    if not rate:
        return "", ""
    if name == OURS:
        return f"**{rate}**", ""
    ratio = ratio_of(work, OURS, name, durable=False)
    if ratio is None:
        return rate, ""
    if name.startswith("limit"):
        return f"*{rate}*", f"*{ratio.median:.2f} x*"
    n_decimals = 0 if ratio.median >= 5 else 1 if ratio.median >= 2 else 2
    return rate, f"{ratio.median:.{n_decimals}f} x"


def table_of(works: dict[str, Any]) -> str:
    """Rates in MB/s and how many times as fast streamh5 is, as a Markdown table.

    All rates are those until the data is handed over; a row below ours has the rate until it is on the disk.
    """
    shown = [name for name in COLUMNS if name in works]
    lines = [
        "| | " + " | ".join(f"{COLUMNS[name]} |" for name in shown) + " |",
        "|---|" + "---:|---:|" * len(shown),
    ]
    for name, title in ROWS.items():
        cells = [cell for work in shown for cell in _cells(works[work], name)]
        if any(cells):
            lines.append("| " + " | ".join([title, *cells]) + " |")
    return "\n".join(lines)


def put_table(works: dict[str, Any], page: Path) -> None:
    """Put the table between the marks of `page`; what stands before and behind it there stays."""
    before, _, rest = page.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    head, _, tail = old.strip().partition("\n|")
    tail = tail.rpartition("|\n")[2]
    page.write_text(f"{before}{BEGIN}\n{head.strip()}\n\n{table_of(works)}\n\n{tail.strip()}\n{END}{after}")
