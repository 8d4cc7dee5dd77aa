"""Calls of other programs: found on the path, with a time limit, their words kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.readers.plugins import plugin_folder
from tests.readers.protocol import TIMEOUT_SECONDS, ReaderError

CI = Path(__file__).parents[2] / ".ci"


def brought(variable: str, name: str) -> Path:
    """Return where a reader is that .ci/readers brings: at the variable's path, or in the checkout."""
    return Path(os.environ.get(variable) or CI / name)


def missing_program(name: str) -> str | None:
    """Tell that a program of hdf5-tools is not installed; None when it is."""
    return None if shutil.which(name) else f"{name} is not installed (apt-get install hdf5-tools)"


def run_program(*arguments: str | Path, expected: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    """Run a program; a status that is not expected is a ReaderError with what the program said."""
    plugin_folder()
    command = [str(argument) for argument in arguments]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
            env=dict(os.environ, LC_ALL="C"),
        )
    except subprocess.TimeoutExpired as error:
        raise ReaderError(f"{command[0]} did not end within {TIMEOUT_SECONDS:g} s") from error
    if done.returncode not in expected:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ReaderError(f"{' '.join(command)} ended with status {done.returncode}: {said}")
    return done


def program_version(name: str) -> str:
    """Return the version line of a program of hdf5-tools (h5debug has none)."""
    return run_program(name, "-V").stdout.strip()
