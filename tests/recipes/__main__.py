"""``python -m tests.recipes h5ad N_CELLS=1_000_000``: run a page with other constants, to see what memory it needs.

It runs in a temporary folder; the seconds and the peak of memory of each script are printed. Constants are what is
assigned at the beginning of a line. ``blocks=1`` runs only the first block, to see what the writing needs without the
reading behind it.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from tests.recipes.pages import run, scripts


def main(name: str, *settings: str) -> None:
    constants = dict(setting.split("=", 1) for setting in settings)
    n_blocks = int(constants.pop("blocks", "99"))
    with tempfile.TemporaryDirectory() as folder:
        for script in scripts(name, constants, n_blocks):
            start = time.perf_counter()
            print(run(script, Path(folder)), end="")
            seconds = time.perf_counter() - start
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
            print(f"-- {script.language}: {seconds:.1f} s; the largest process so far had {peak} MiB")
            for path in sorted(Path(folder).iterdir()):
                if path.is_file():
                    print(f"   {path.name} {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(*sys.argv[1:])
