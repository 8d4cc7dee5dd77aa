"""``python -m tests.fuzz [N [JOBS]]``: N mutants in all (100,000), and their counts into docs/reliability.md.

``python -m tests.fuzz TARGET FIRST [LAST]`` reads some again and says how each ends.
"""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.campaign import ROOT, Tally, run, table
from tests.fuzz.seeds import make_seeds
from tests.fuzz.targets import TARGETS

DOCS = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- counts: python -m tests.fuzz -->\n", "<!-- end of mutants -->\n"
BATCH = 500


def main(arguments: list[str]) -> int:
    """Run the campaign; 1 if anything ended as it must not."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = Path(folder) / "seeds"
        make_seeds(seeds)
        if arguments and arguments[0] in TARGETS:
            return _again(seeds, *arguments)
        numbers = [int(one) for one in arguments]
        n_all, jobs = (*numbers, *(100_000, os.cpu_count() or 1)[len(numbers) :])
        tallies = _run_all(seeds, -(-n_all // len(TARGETS)), jobs)
    text = DOCS.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    DOCS.write_text(f"{before}{BEGIN}" + "\n".join(table(tallies)) + f"\n{END}{after}")
    return int(any(one.faults for one in tallies.values()))


def _run_all(seeds: Path, each: int, jobs: int) -> dict[str, Tally]:
    """Run `each` mutants of every target, in batches of `jobs` workers at a time; faults are printed at once."""
    tallies = {name: Tally() for name in TARGETS}
    batches = [(name, first) for first in range(0, each, BATCH) for name in TARGETS]

    def run_batch(batch: tuple[str, int]) -> tuple[str, Tally]:
        name, first = batch
        return name, run(seeds, name, first, min(first + BATCH, each))

    with ThreadPoolExecutor(jobs) as pool:
        for name, tally in pool.map(run_batch, batches):
            tallies[name] += tally
            print(f"{name}: {tallies[name].n:,}, {len(tallies[name].deaths_of_libraries)} deaths", flush=True)
            print("".join(f"{fault}\n" for fault in tally.faults), end="", flush=True)
    return tallies


def _again(seeds: Path, name: str, first: str, last: str | None = None) -> int:
    from tests.fuzz import worker

    worker.main(seeds, name, int(first), int(last or int(first) + 1), safe=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
