"""``python -m tests.fuzz [N]``: N mutants in all (100,000), and their counts into docs/reliability.md.

``python -m tests.fuzz TARGET FIRST [LAST]`` reads some again and says how each ends.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.fuzz.campaign import ROOT, run, table
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
        if len(arguments) > 1:
            return _again(seeds, *arguments)
        n_all = int(arguments[0]) if arguments else 100_000
        each = -(-n_all // len(TARGETS))
        tallies = {}
        for name in TARGETS:
            tallies[name] = run(seeds, name, 0, each)
            print(f"{name}: {tallies[name].n:,}, {len(tallies[name].deaths_of_libhdf5)} deaths", flush=True)
            print("\n".join(tallies[name].faults), flush=True)
    text = DOCS.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    DOCS.write_text(f"{before}{BEGIN}" + "\n".join(table(tallies)) + f"\n{END}{after}")
    return int(any(one.faults for one in tallies.values()))


def _again(seeds: Path, name: str, first: str, last: str | None = None) -> int:
    from tests.fuzz import worker

    worker.main(seeds, name, int(first), int(last or int(first) + 1), safe=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
