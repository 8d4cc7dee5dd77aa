"""The runs: every contender of a work once, then all again in reverse order, and so on.

Each timing has a process of its own, so that no contender's thread pools, allocator state or open
libraries meet another's. Rounds alternate in direction, so that a drift of the machine (clock
frequency, a filling disk cache) does not favour one side; ratios are taken within a round.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.contenders import Contender, contenders_of
from tests.benchmarks.machine import wait_until_quiet
from tests.benchmarks.work import Work, prepare_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ChildError", "Settings", "run_child", "run_rounds", "run_work", "temporary_directory"]

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 1800
ERROR_LINE = re.compile(r"[\w.]+(Error|Exception|Warning): ")
DISTURBED_SHARE = 0.05
"""Part of the machine that other processes may take during a timing before it is made again."""
MAX_TRIES = 3


class ChildError(RuntimeError):
    """A measuring process failed; the message is the end of its error output."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says."""

    directory: Path
    """File system under test; also holds the cached pools."""
    data: Path
    scale: float
    repeats: int
    slow_seconds: float
    slow_repeats: int
    threads: int
    quiet_seconds: float
    """How long a timing waits for a quiet machine; with 0 it is not made again either."""
    contenders: tuple[str, ...]

    def selects(self, contender: Contender) -> bool:
        return any(fnmatch(contender.name, pattern) for pattern in self.contenders)


def run_child(module: str, order: dict[str, Any]) -> dict[str, Any]:
    """Run ``python -m tests.benchmarks.<module>`` with `order`; its last line of output is the result.

    Raises
    ------
    ChildError
        It failed, or took longer than half an hour.
    """
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", json.dumps(order)]
    environment = {
        **os.environ,
        # Threads beside dask's would take its cores.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH")))),
        "PYTHONWARNINGS": "ignore",
    }
    try:
        done = subprocess.run(
            command, env=environment, cwd=REPOSITORY, capture_output=True, text=True,
            check=False, timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"no result after {TIMEOUT_SECONDS} s") from error
    if done.returncode:
        # Notes may follow the line that names the error.
        named = [line for line in done.stderr.splitlines() if ERROR_LINE.match(line)]
        raise ChildError(named[-1] if named else f"exit status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


@contextmanager
def temporary_directory(settings: Settings) -> Iterator[Path]:
    """A directory on the file system under test, for one timing."""
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=settings.directory))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _measure(module: str, order: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """One timing; made again when other processes took part of the machine, the quietest one counts."""
    tries: list[dict[str, Any]] = []
    while len(tries) < (MAX_TRIES if settings.quiet_seconds else 1):
        wait_until_quiet(settings.quiet_seconds)
        with temporary_directory(settings) as directory:
            tries.append(run_child(module, {**order, "directory": str(directory)}))
        if tries[-1]["foreign_share"] <= DISTURBED_SHARE:
            break
    return min(tries, key=lambda timing: timing["foreign_share"])


def run_rounds(
    module: str, orders: dict[str, dict[str, Any]], settings: Settings
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Time everything in `orders`, by name, round after round.

    Returns
    -------
    tuple of dict, dict
        The timings by name, in the order of `orders`, and why those failed that did.
    """
    timings: dict[str, list[dict[str, Any]]] = {name: [] for name in orders}
    failed: dict[str, str] = {}
    for round_number in range(settings.repeats):
        for name in list(orders)[:: 1 if round_number % 2 == 0 else -1]:
            done = timings[name]
            slow = bool(done) and done[0]["seconds"] > settings.slow_seconds
            if name in failed or (slow and round_number >= settings.slow_repeats):
                continue
            try:
                done.append(_measure(module, {**orders[name], "check": round_number == 0}, settings))
            except ChildError as error:
                failed[name] = f"failed: {error}"
            print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return {name: done for name, done in timings.items() if name not in failed}, failed


def run_work(work: Work, settings: Settings) -> dict[str, Any]:
    """Time all contenders of `work`; those that are absent or fail are named, never counted."""
    missing: dict[str, str] = {}
    orders: dict[str, dict[str, Any]] = {}
    gzip: dict[str, Any] = {}
    try:
        prepare_pool(work, settings.directory, settings.data)
        if "gzip" in work.codecs:
            wait_until_quiet(settings.quiet_seconds)
            gzip = run_child("expert", {"work": work.name, "pools": str(settings.directory)})
    except (FileNotFoundError, ChildError) as error:
        return _result(work, settings, {}, {work.name: str(error)}, {})
    for contender in filter(settings.selects, contenders_of(work, gzip.get("chosen", ""))):
        absent = contender.missing()
        if absent:
            missing[contender.name] = f"not installed: {', '.join(absent)}"
            continue
        orders[contender.name] = {
            "work": work.name,
            "contender": contender.name,
            "setting": contender.setting,
            "pools": str(settings.directory),
            "threads": settings.threads,
            "n_blocks": work.n_blocks(settings.scale),
        }
    timings, failed = run_rounds("timing", orders, settings)
    return _result(work, settings, timings, missing | failed, gzip)


def _result(
    work: Work, settings: Settings, timings: dict[str, Any], missing: dict[str, str], gzip: dict[str, Any]
) -> dict[str, Any]:
    return {
        "title": work.title,
        "nbytes": work.n_blocks(settings.scale) * work.block_nbytes,
        "chunk_nbytes": work.chunk_nbytes,
        "scale": settings.scale,
        "timings": timings,
        "missing": missing,
        "gzip": gzip,
    }
