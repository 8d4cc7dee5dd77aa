"""How many faults of each kind were tried in this run, each with its promise checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "reliability.md"

COUNTS: Counter[str] = Counter()


def tried(fault: str, n: int = 1) -> None:
    """Count faults whose promise held."""
    COUNTS[fault] += n


def lines() -> Iterator[str]:
    """Rows of the table in docs/reliability.md."""
    width = max(map(len, COUNTS))
    for fault, n in sorted(COUNTS.items()):
        yield f"| {fault:{width}} | {n:6,} |"
    yield f"| {'all':{width}} | {sum(COUNTS.values()):6,} |"


def run_all(folder: str) -> int:
    """Run all tests of a folder, campaigns too, and put the counts into docs/reliability.md if all pass."""
    status = pytest.main([str(ROOT / "tests" / folder), "-q", "-m", "campaign or not campaign"])
    if status == 0:
        begin, end = f"<!-- counts: python -m tests.{folder} -->\n", "<!-- end of counts -->\n"
        before, rest = DOCS.read_text().split(begin)
        _, after = rest.split(end, 1)
        table = "\n".join(["| fault | tried |", "|---|---:|", *lines()])
        DOCS.write_text(f"{before}{begin}{table}\n{end}{after}")
    return int(status)
