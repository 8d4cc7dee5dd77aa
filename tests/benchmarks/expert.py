"""The setting that an expert would use: the fastest whose file is at most 1 % larger than that of streamh5.

``python -m tests.benchmarks.expert '<json>'`` compresses the blocks of a work with every setting of
`tests.benchmarks.codecs.GZIP_SETTINGS`, in one thread, and prints sizes, rates and the choice as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.codecs import GZIP_SETTINGS, shuffled_chunks
from tests.benchmarks.work import WORKS, load_pool

__all__ = ["OWN_SETTING", "chosen"]

OWN_SETTING = "streamh5's own"
MAX_SIZE_RATIO = 1.01
N_PASSES = 3
"""Passes over the pool; the settings take turns, and the fastest pass of each counts."""
MAX_BLOCKS = 8


def chosen(settings: dict[str, dict[str, float]]) -> str:
    """Return the fastest of the settings whose size is at most 1 % above streamh5's.

    Parameters
    ----------
    settings
        `seconds` and `stored_nbytes` of each, by its name.
    """
    most = settings[OWN_SETTING]["stored_nbytes"] * MAX_SIZE_RATIO
    allowed = {name: found for name, found in settings.items() if found["stored_nbytes"] <= most}
    return min(allowed, key=lambda name: allowed[name]["seconds"])


def main() -> None:
    order = json.loads(sys.argv[1])
    work = WORKS[order["work"]]
    blocks = load_pool(work, Path(order["pools"]))[:MAX_BLOCKS]
    found: dict[str, dict[str, Any]] = {}
    for _ in range(N_PASSES):
        for name, compress in GZIP_SETTINGS.items():
            seconds, nbytes = 0.0, 0
            for block in blocks:
                chunks = shuffled_chunks(block, work.chunks)
                start = time.perf_counter()
                nbytes += sum([len(compress(chunk)) for chunk in chunks])
                seconds += time.perf_counter() - start
            best = min(seconds, found.get(name, {}).get("seconds", seconds))
            found[name] = {"seconds": best, "stored_nbytes": nbytes, "nbytes": blocks.nbytes}
    print(json.dumps({"chosen": chosen(found), "settings": found}))


if __name__ == "__main__":
    main()
