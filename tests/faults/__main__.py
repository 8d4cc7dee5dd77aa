"""Run every fault and put the counts into docs/reliability.md: ``python -m tests.faults``."""

from __future__ import annotations

import sys

from tests.faults import tally

if __name__ == "__main__":
    sys.exit(tally.run_all("faults"))
