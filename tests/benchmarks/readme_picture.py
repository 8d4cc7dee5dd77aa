"""The picture on the README's first screen, drawn from ``docs/benchmarks.json``: speed, and memory held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.benchmarks.readme_table import rate_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BARS", "picture_of", "put_picture"]

BARS = {
    "streamh5 gzip": "streamh5",
    "zarr default": "zarr (zstd)",
    "zarr sharded default": "zarr, sharded",
    "to_hdf5 gzip-4": "da.to_hdf5",
}
WIDTH, HEIGHT = 860, 250
LEFT, BAR_LEFT, BAR_RIGHT = 16, 128, 400  # of the speed panel: its text and its bars
CURVE_LEFT, CURVE_RIGHT, TOP, BOTTOM = 540, 840, 58, 206

# a page in dark mode shows the picture with the second set of colours
STYLE = """
  text { font: 13px -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px }
  .small { font-size: 12px; fill: #59636e }
  .end { text-anchor: end }
  .middle { text-anchor: middle }
  .ours { fill: #d1242f }
  .other { fill: #8c959f }
  .ours-line { stroke: #d1242f; stroke-width: 3; fill: none }
  .other-line { stroke: #8c959f; stroke-width: 2; stroke-dasharray: 6 4; fill: none }
  .axis { stroke: #8c959f; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9198a1 } .ours { fill: #ff7b72 } .ours-line { stroke: #ff7b72 }
  }"""


def _bars(work: dict[str, Any]) -> list[str]:
    """Return the panel of speeds: a bar for each contender of `BARS`."""
    rates = {title: rate_of(work, name, durable=False) for name, title in BARS.items()}
    shown = {title: rate for title, rate in rates.items() if rate is not None}
    fastest = max(shown.values())
    parts = [f'<text class="title" x="{LEFT}" y="24">Speed of a write (MB/s of float32 data, 2 cores)</text>']
    for i, (title, rate) in enumerate(shown.items()):
        y, width = 48 + 44 * i, (BAR_RIGHT - BAR_LEFT) * rate / fastest
        kind = "ours" if title == "streamh5" else "other"
        parts += [
            f'<text class="end" x="{BAR_LEFT - 10}" y="{y + 19}">{title}</text>',
            f'<rect class="{kind}" x="{BAR_LEFT}" y="{y}" width="{width:.1f}" height="28" rx="2"/>',
            f'<text x="{BAR_LEFT + width + 8:.1f}" y="{y + 19}">{rate:.0f}</text>',
        ]
    return parts


def _curve(memory: list[dict[str, Any]]) -> list[str]:
    """Return the panel of memory: what a write holds beside the interpreter, against the size of its array."""
    sizes = [one["gib"] for one in memory]
    held = [one["peak_nbytes"] / 2**20 for one in memory]
    largest, top_mib = max(sizes), 1024

    def point(gib: float, mib: float) -> str:
        x = CURVE_LEFT + (CURVE_RIGHT - CURVE_LEFT) * gib / largest
        return f"{x:.1f},{BOTTOM - (BOTTOM - TOP) * mib / top_mib:.1f}"

    line = " ".join(point(gib, mib) for gib, mib in zip(sizes, held, strict=True))
    parts = [f'<text class="title" x="{CURVE_LEFT - 58}" y="24">Memory that a write holds (MiB)</text>']
    for mib in (0, 512, 1024):
        y = BOTTOM - (BOTTOM - TOP) * mib / top_mib
        parts.append(f'<text class="small end" x="{CURVE_LEFT - 8}" y="{y + 4:.1f}">{mib}</text>')
    for gib in sizes:
        x = CURVE_LEFT + (CURVE_RIGHT - CURVE_LEFT) * gib / largest
        parts.append(f'<text class="small middle" x="{x:.1f}" y="{BOTTOM + 18}">{gib:.0f}</text>')
    return [
        *parts,
        f'<text class="small middle" x="{(CURVE_LEFT + CURVE_RIGHT) / 2}" y="{BOTTOM + 36}">'
        "size of the array (GiB)</text>",
        f'<path class="axis" d="M{CURVE_LEFT} {TOP}V{BOTTOM}H{CURVE_RIGHT}" fill="none"/>',
        f'<polyline class="other-line" points="{point(0, 0)} {point(1, 1024)}"/>',
        f'<text class="small" x="{CURVE_LEFT + 18}" y="{TOP + 10}">the array itself</text>',
        f'<polyline class="ours-line" points="{line}"/>',
        f'<text class="end" x="{CURVE_RIGHT}" y="{BOTTOM - 26}">{max(held):.0f} MiB for {largest:.0f} GiB</text>',
    ]


def picture_of(results: dict[str, Any]) -> str:
    """Return the picture as SVG.

    Parameters
    ----------
    results
        The content of ``docs/benchmarks.json``.
    """
    body = "\n".join([*_bars(results["works"]["a"]), *_curve(results["memory"])])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="Speed and memory of a write">\n<style>{STYLE}\n</style>\n{body}\n</svg>\n'
    )


def put_picture(results: dict[str, Any], path: Path) -> None:
    """Write the picture to `path`, if there is what it shows."""
    if "a" in results["works"] and results["memory"]:
        path.write_text(picture_of(results))
