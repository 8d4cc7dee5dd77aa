"""``python -m tests.benchmarks``: run the benchmarks; ``--help`` lists the options."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.index import run_index
from tests.benchmarks.machine import describe_machine, describe_versions
from tests.benchmarks.memory import MEMORY_CONTENDERS
from tests.benchmarks.readme_picture import put_picture
from tests.benchmarks.readme_table import put_table
from tests.benchmarks.run import (
    REPOSITORY,
    ChildError,
    Settings,
    run_child,
    run_work,
    temporary_directory,
)
from tests.benchmarks.work import WORKS, prepare_pool

INDEX = "index"


def _data_directory() -> Path:
    """Where the tests look for the full climatology, too."""
    named = os.environ.get("STREAMH5_SHARED_DATA")
    return Path(named) if named else REPOSITORY.parent / "shared" / "data"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    names = ", ".join(f"{work.name} ({work.title})" for work in WORKS.values())
    add = parser.add_argument
    add("--work", default=",".join([*WORKS, INDEX]), help=f"works, separated by commas: {names}; {INDEX}")
    add("--contenders", default="*", help="patterns of names, separated by commas")
    add(
        "--quiet-seconds", type=float, default=60, help="longest wait for a quiet machine; 0 measures at once"
    )
    add("--repeats", type=int, default=5, help="rounds")
    add("--slow-seconds", type=float, default=15, help="a contender slower than this is slow")
    add("--slow-repeats", type=int, default=3, help="rounds that a slow contender takes part in")
    add("--scale", type=float, default=1.0, help="part of the documented sizes, such as 0.125")
    add("--threads", type=int, default=os.cpu_count() or 1, help="dask's threads")
    add(
        "--dir",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where to write: the file system under test",
    )
    add("--data", type=Path, default=_data_directory(), help="directory of the real climatology")
    add(
        "--memory",
        default="",
        metavar="GIB",
        help="measure peak memory for these sizes instead, such as 1,8,32",
    )
    add(
        "--out",
        type=Path,
        help="directory of benchmarks.json, .svg and .md, such as docs; adds to what is there",
    )
    return parser.parse_args()


def _measure_memory(sizes: list[float], names: list[str], settings: Settings) -> list[dict[str, Any]]:
    work = WORKS["a"]
    prepare_pool(work, settings.directory, settings.data)
    entries: list[dict[str, Any]] = []
    for gib in sizes:
        for contender in (c for c in CONTENDERS if c.name in names):
            entry: dict[str, Any] = {"contender": contender.name, "gib": gib}
            order = {
                "work": work.name,
                "contender": contender.name,
                "pools": str(settings.directory),
                "threads": settings.threads,
                "n_blocks": round(gib * 2**30 / work.block_nbytes),
            }
            absent = contender.missing()
            try:
                with temporary_directory(settings) as directory:
                    order["directory"] = str(directory)
                    entry |= {"missing": f"not installed: {absent}"} if absent else run_child("memory", order)
            except ChildError as error:
                entry["missing"] = f"failed: {error}"
            entries.append(entry)
    return entries


def main() -> None:
    arguments = _arguments()
    settings = Settings(
        directory=arguments.dir / "streamh5-benchmarks",
        data=arguments.data,
        scale=arguments.scale,
        repeats=arguments.repeats,
        slow_seconds=arguments.slow_seconds,
        slow_repeats=arguments.slow_repeats,
        threads=arguments.threads,
        quiet_seconds=arguments.quiet_seconds,
        contenders=tuple(arguments.contenders.split(",")),
    )
    settings.directory.mkdir(exist_ok=True)
    results: dict[str, Any] = {"works": {}, "memory": []}
    saved = arguments.out and arguments.out / "benchmarks.json"
    if saved and saved.exists():
        results = json.loads(saved.read_text())
    results |= {
        "machine": describe_machine(settings.directory, settings.threads),
        "versions": describe_versions(),
    }
    if arguments.memory:
        names = list(MEMORY_CONTENDERS) if arguments.contenders == "*" else list(settings.contenders)
        sizes = [float(size) for size in arguments.memory.split(",")]
        results["memory"] = _measure_memory(sizes, names, settings)
        print(report.text_of(report.memory_table(results["memory"])))
    else:
        run: dict[str, Any] = {}
        for name in arguments.work.split(","):
            run[name] = run_index(settings) if name == INDEX else run_work(WORKS[name], settings)
            table = report.text_of(report.work_table(run[name]))
            notes = report.setting_text(run[name]), report.missing_text(run[name])
            print(f"\n{name}: {run[name]['title']}", table, *filter(None, notes), sep="\n", flush=True)
        print(f"\nFigures\n{report.text_of(report.figures_table(run))}")
        print(f"\nDurable and handed over\n{report.text_of(report.durability_table(run))}")
        results["works"] |= run
    if arguments.out:
        report.save(results, arguments.out)
        if arguments.out.resolve() == REPOSITORY / "docs":
            put_table(results["works"], REPOSITORY / "README.md")
            put_picture(results, REPOSITORY / "docs" / "images" / "speed-and-memory.svg")


if __name__ == "__main__":
    main()
