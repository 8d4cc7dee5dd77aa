"""The child process that reads mutants: ``python -m tests.fuzz.worker SEEDS TARGET FIRST LAST [safe]``.

It says each number before it reads that mutant, so that its death names one; and after it how that ended.
"""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from streamh5.errors import StreamH5Error
from tests.fuzz.mutants import make_mutant
from tests.fuzz.targets import TARGETS

MAX_NBYTES = 1 << 30
"""Of data that a worker may hold; it holds 0.3 GiB with all that it has imported."""

MAX_SECONDS = 30
"""Of one mutant, of processor time."""


def main(seeds: Path, name: str, first: int, last: int, *, safe: bool) -> None:
    """Read mutants and report them."""
    target = TARGETS[name]
    files = sorted((seeds / target.kind).iterdir())
    read: Any = partial(target.read, **({"safe": True} if safe else {}))
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_NBYTES, MAX_NBYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 20, 256 << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for number in range(first, last):
        print(f"begin {number}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            mutant = make_mutant(files, number, Path(folder))
            signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
            outcome = _outcome(read, mutant, Path(folder) / "written.h5")
            signal.setitimer(signal.ITIMER_PROF, 0)
        print(f"end {number} {outcome}", flush=True)


def _outcome(read: Any, mutant: Path, out: Path) -> str:
    try:
        read(mutant, out)
    except StreamH5Error as error:
        text = str(error)
        return (
            f"error {type(error).__name__} {text!r}" if len(text) <= 2000 else f"raw a message of {len(text)}"
        )
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        where = traceback.extract_tb(error.__traceback__)
        ours = [one for one in where if "/streamh5/" in one.filename][-1:] or where[-1:]
        place = ", ".join(f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in ours)
        return f"raw {type(error).__name__}: {str(error)[:120]!r} in {place}"
    return "read"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), safe=sys.argv[5:] == ["safe"])
