"""Results as a table for the terminal, tables for the docs, JSON and a plot."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.contenders import HANDED_OVER
from tests.benchmarks.figures import (
    DURABLE_AT_LEAST,
    FIGURES,
    Figure,
    Ratio,
    durability_of,
    ratio_of,
    seconds_of,
)

__all__ = [
    "durability_table",
    "figures_table",
    "memory_table",
    "missing_text",
    "plot",
    "save",
    "setting_text",
    "work_table",
]

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
Rows = list[tuple[str, ...]]


def _rate(timings: list[dict[str, Any]], *, durable: bool) -> tuple[float, float, float]:
    """Median, lowest and highest rate in MB/s of raw bytes."""
    rates = sorted(t["nbytes"] / seconds_of(t, durable=durable) / 1e6 for t in timings)
    return median(rates), rates[0], rates[-1]


def _ratio_text(ratio: Ratio | None) -> str:
    return "-" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def _base(work: dict[str, Any]) -> str | None:
    """The contender that the ratios of a work's table refer to."""
    return next((name for name in work["timings"] if name.startswith("streamh5")), None)


def work_table(work: dict[str, Any]) -> Rows:
    """One row a contender; the last column is how many times as fast the first streamh5 row is."""
    base = _base(work)
    rows: Rows = [
        ("contender", "s", "handed over MB/s", "min-max", "durable MB/s", "size ratio", "runs", "others",
         f"{base or 'streamh5'} is x as fast")
    ]  # fmt: skip
    for name, timings in work["timings"].items():
        rate, low, high = _rate(timings, durable=False)
        durable = "-" if name.endswith(HANDED_OVER) else f"{_rate(timings, durable=True)[0]:.0f}"
        stored = timings[0]["stored_nbytes"]
        size = f"{timings[0]['nbytes'] / stored:.3f}" if stored else "-"
        ratio = base and base != name.removesuffix(HANDED_OVER) and ratio_of(work, base, name, durable=False)
        against = _ratio_text(ratio or None)
        runs = str(len(timings))
        others = f"{max(t['foreign_share'] for t in timings):.0%}"
        seconds = f"{median(t['seconds'] for t in timings):.2f}"
        rates = f"{rate:.0f}", f"{low:.0f}-{high:.0f}", durable
        rows.append((name, seconds, *rates, size, runs, others, against))
    return rows


def missing_text(work: dict[str, Any]) -> str:
    """Contenders that did not take part, a line each; empty when all did."""
    return "\n".join(f"not counted: {name}, {why}" for name, why in work["missing"].items())


def _size_text(work: dict[str, Any], figure: Figure) -> tuple[str, bool]:
    if figure.max_size_ratio is None:
        return "", True
    ours, theirs = (work["timings"][n][0]["stored_nbytes"] for n in (figure.contender, figure.against))
    return f", file x {ours / theirs:.3f}", ours / theirs <= figure.max_size_ratio


def figures_table(works: dict[str, Any]) -> Rows:
    """One row a figure that this run has both sides of."""
    rows: Rows = [("work", "against", "handed over", "at least", "durable", "at least", "reached")]
    for figure in FIGURES:
        work = works.get(figure.work)
        ratio = work and ratio_of(work, figure.contender, figure.against, durable=False)
        if not work or not ratio:
            continue
        durable = ratio_of(work, figure.contender, figure.against, durable=True)
        size, is_reached = _size_text(work, figure)
        sides = [(ratio, figure.at_least), (durable, figure.durable_at_least)]
        for side, at_least in sides:
            is_reached &= at_least is None or (side is not None and side.median >= at_least)
        cells = [cell for side, least in sides for cell in (_ratio_text(side), f"{least or '-'}")]
        cells[0] += size
        rows.append((figure.title, figure.against, *cells, "yes" if is_reached else "no"))
    return rows


def durability_table(works: dict[str, Any]) -> Rows:
    """One row for each contender of ours that was measured both durable and handed over."""
    rows: Rows = [("work", "contender", "durable over handed over", "at least", "reached")]
    for name, work in works.items():
        for contender in work["timings"]:
            ratio = durability_of(work, contender)
            if ratio is not None:
                reached = "yes" if ratio.median >= DURABLE_AT_LEAST else "no"
                rows.append((name, contender, _ratio_text(ratio), f"{DURABLE_AT_LEAST:g}", reached))
    return rows


def setting_text(work: dict[str, Any]) -> str:
    """Say which setting of gzip the expert and the limit had; empty where none was chosen."""
    if not work.get("gzip"):
        return ""
    settings = work["gzip"]["settings"]
    own = settings["streamh5's own"]["stored_nbytes"]
    parts = (
        f"{name} {found['nbytes'] / found['seconds'] / 1e6:.0f} MB/s with {found['stored_nbytes'] / own - 1:+.1%}"
        for name, found in settings.items()
    )
    return (
        f"The expert and the limit use the setting *{work['gzip']['chosen']}*. In one thread, with the size of the "
        f"file against streamh5's: {', '.join(parts)}."
    )


def memory_table(memory: list[dict[str, Any]]) -> Rows:
    """Peak resident memory above the imports, a row a contender and size."""
    rows: Rows = [("contender", "array", "peak above imports", "imports and pool")]
    for entry in memory:
        peak = f"{entry['peak_nbytes'] / 2**20:.0f} MiB" if "peak_nbytes" in entry else entry["missing"]
        baseline = f"{entry.get('baseline_nbytes', 0) / 2**20:.0f} MiB"
        rows.append((entry["contender"], f"{entry['gib']:g} GiB", peak, baseline))
    return rows


def text_of(rows: Rows) -> str:
    """Rows as an aligned table for the terminal."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for first, *rest in rows:
        cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        lines.append("  ".join((first.ljust(widths[0]), *cells)))
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def markdown_of(rows: Rows) -> str:
    """Rows as a Markdown table."""
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    rule = "|" + "---|" + "---:|" * (len(rows[0]) - 1)
    return "\n".join([head, rule, *body])


def plot(works: dict[str, Any], path: Path) -> None:
    """Bars of the median rate, one panel a work, the range as a line; the limits are hollow."""
    from matplotlib.figure import Figure as Canvas

    shown = {name: work for name, work in works.items() if work["timings"] and name != "index"}
    if not shown:
        return
    heights = [len(work["timings"]) for work in shown.values()]
    canvas = Canvas(figsize=(8, 0.24 * sum(heights) + 0.75 * len(shown)), layout="constrained")
    panels = canvas.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, work in zip(panels, shown.values(), strict=True):
        for position, (name, timings) in enumerate(work["timings"].items()):
            rate, low, high = _rate(timings, durable=False)
            ours, limit = name.startswith("streamh5"), name.startswith(("limit", "raw"))
            panel.barh(
                position, rate, 0.7, xerr=[[rate - low], [high - rate]],
                color="C1" if ours else "white" if limit else "C0",
                edgecolor="0.4" if limit else "none", error_kw={"lw": 1, "ecolor": "0.3"},
            )  # fmt: skip
        panel.set_yticks(range(len(work["timings"])), list(work["timings"]), fontsize=7)
        panel.invert_yaxis()
        panel.set_title(work["title"], fontsize=9, loc="left")
        panel.tick_params(axis="x", labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("MB/s of raw data, median and range", fontsize=8)
    canvas.savefig(path)


def _results_markdown(results: dict[str, Any], plot_name: str) -> str:
    machine, versions = results["machine"], results["versions"]
    parts = [
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"{machine['threads']} threads; {machine['system']}; {machine['file_system']}; "
        f"Python {machine['python']}.",
        "Versions: " + ", ".join(f"{name} {number}" for name, number in versions.items()) + ".",
    ]
    figures = figures_table(results["works"])
    if len(figures) > 1:
        parts += ["### Figures", markdown_of(figures)]
    durability = durability_table(results["works"])
    if len(durability) > 1:
        parts += ["### Durable and handed over", markdown_of(durability)]
    if results["works"]:
        parts += [f"![Rates of all contenders]({plot_name})"]
    for name, work in results["works"].items():
        scale = "" if work["scale"] == 1 else f", at scale {work['scale']:g}"
        parts += [f"### {name}: {work['title']}{scale}", markdown_of(work_table(work))]
        parts += [text for text in (setting_text(work), missing_text(work)) if text]
    if results["memory"]:
        parts += ["### Memory", markdown_of(memory_table(results["memory"]))]
    return "\n\n".join(parts)


def save(results: dict[str, Any], out: Path) -> None:
    """Write ``benchmarks.json`` and ``.svg`` into `out`, and the tables into its ``benchmarks.md``."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "benchmarks.json").write_text(json.dumps(results, indent=1) + "\n")
    plot(results["works"], out / "benchmarks.svg")
    page = out / "benchmarks.md"
    text = page.read_text() if page.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{_results_markdown(results, 'benchmarks.svg')}\n\n{END}{after}")
