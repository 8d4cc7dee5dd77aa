"""How many faults of each kind were tried in this run, each with its promise checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

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
