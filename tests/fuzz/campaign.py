"""Run mutants in workers, see how each ends, and count."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]


@dataclass
class Tally:
    """How the mutants of a target have ended.

    `deaths_of_libraries` were errors of ours, or results, with ``safe=True``; `faults` are what must not be.
    """

    n_read: int = 0
    n_errors: int = 0
    deaths_of_libraries: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def n(self) -> int:
        """Mutants that were tried."""
        return self.n_read + self.n_errors + len(self.deaths_of_libraries) + len(self.faults)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.n_read + other.n_read,
            self.n_errors + other.n_errors,
            self.deaths_of_libraries + other.deaths_of_libraries,
            self.faults + other.faults,
            self.kinds + other.kinds,
        )


def run(seeds: Path, name: str, first: int, last: int) -> Tally:
    """Read mutants ``first .. last - 1`` of a target."""
    tally = Tally()
    while first < last:
        first = _run_worker(seeds, name, first, last, tally)
    return tally


def _run_worker(seeds: Path, name: str, first: int, last: int, tally: Tally) -> int:
    """Run one worker until its end, or its death; return the mutant to go on with."""
    lines, status = _lines(seeds, name, first, last)
    current = first - 1
    for line in lines:
        word, number, *outcome = line.split(" ", 2)
        if word not in ("begin", "end"):
            continue
        current = int(number)
        if word == "begin":
            continue
        kind, _, detail = outcome[0].partition(" ")
        if kind == "raw":
            tally.faults.append(f"{name}, mutant {number}: {detail}")
        elif kind == "error":
            tally.n_errors += 1
            tally.kinds[detail.split(" ")[0]] += 1
        else:
            tally.n_read += 1
    if status == 0:
        return last
    if current < first:
        raise RuntimeError(f"the worker for {name} ends with status {status} before its first mutant")
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    is_safe = TARGETS[name].has_mortal_library and _ends_well_when_safe(seeds, name, current)
    (tally.deaths_of_libraries if is_safe else tally.faults).append(
        f"{name}, mutant {current}: died by {how}"
    )
    return current + 1


def _ends_well_when_safe(seeds: Path, name: str, number: int) -> bool:
    """Whether it is an error of ours, or a result: a library may have died of what an earlier mutant did."""
    lines, status = _lines(seeds, name, number, number + 1, "safe")
    return status == 0 and lines[-1].startswith((f"end {number} error", f"end {number} read"))


def _lines(seeds: Path, name: str, first: int, last: int, *more: str) -> tuple[list[str], int]:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.fuzz.worker",
        str(seeds),
        name,
        str(first),
        str(last),
    ]
    done = subprocess.run(
        [*command, *more], cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        errors="replace",
    )  # fmt: skip
    return done.stdout.splitlines(), done.returncode


def table(tallies: dict[str, Tally]) -> list[str]:
    """Rows for docs/reliability.md."""
    rows = ["| what reads | mutants | read | error of ours | a library died |", "|---|---:|---:|---:|---:|"]
    rows += [
        f"| {name} | {one.n:,} | {one.n_read:,} | {one.n_errors:,} | {len(one.deaths_of_libraries):,} |"
        for name, one in tallies.items()
    ]
    ones = tallies.values()
    sums = (
        sum(one.n for one in ones),
        sum(one.n_read for one in ones),
        sum(one.n_errors for one in ones),
        sum(len(one.deaths_of_libraries) for one in ones),
    )
    return [*rows, f"| all | {' | '.join(f'{n:,}' for n in sums)} |"]
