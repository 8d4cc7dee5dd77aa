"""Run every fault and put the counts into docs/reliability.md: ``python -m tests.faults``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults import tally

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- counts: python -m tests.faults -->\n", "<!-- end of counts -->\n"


def main() -> int:
    status = pytest.main([str(ROOT / "tests" / "faults"), "-q", "-m", "campaign or not campaign"])
    if status == 0:
        text = DOCS.read_text()
        before, rest = text.split(BEGIN)
        _, after = rest.split(END)
        table = "\n".join(["| fault | tried |", "|---|---:|", *tally.lines()])
        DOCS.write_text(f"{before}{BEGIN}{table}\n{END}{after}")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
