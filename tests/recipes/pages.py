"""Run the pages of docs/recipes as they are printed, or with other constants."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.deadlock import DEADLOCK_SECONDS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "recipes"


@dataclass(frozen=True)
class Script:
    """Blocks that run in one process: adjacent ones of Python, or one of a shell."""

    language: str
    text: str

    def command(self) -> list[str]:
        if self.language == "bash":
            return ["bash", "-e", "-c", 'streamh5() { python -m streamh5 "$@"; }\n' + self.text]
        # what one package uses of another may be deprecated there: pandas 3 warns of anndata
        warnings = ["-W", "error", "-W", "ignore::DeprecationWarning"]
        return [sys.executable, *warnings, "-X", "faulthandler", "-c", self.text]


def scripts(
    name: str, constants: Mapping[str, str] | None = None, n_blocks: int | None = None
) -> Iterator[Script]:
    """Return the code of a page, in its order, with other values for constants."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    for constant, value in (constants or {}).items():
        text, n_found = re.subn(rf"^{constant} = [^#\n]*", f"{constant} = {value} ", text, flags=re.MULTILINE)
        if not n_found:
            raise ValueError(f"{name}.md has no line '{constant} = ...'")
    pattern = r"(<!-- not run: [^>]+ -->\s*)?^```(python|bash)\n(.*?)^```$"
    matches = re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    found = [(language, code) for not_run, language, code in matches if not not_run][:n_blocks]
    for language, blocks in groupby(found, key=lambda block: block[0]):
        if language == "python":
            yield Script(language, "\n".join(block for _, block in blocks))
        else:
            for _, block in blocks:
                yield Script(language, block)


def run(script: Script, folder: Path) -> str:
    """Run a script in a folder; return what it prints."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        script.command(),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
    )
    if done.returncode:
        raise AssertionError(f"{done.stdout}\n{done.stderr}")
    return done.stdout


def run_page(name: str, folder: Path, **constants: object) -> str:
    """Run the code of a page from top to bottom; return what it prints."""
    return "".join(run(one, folder) for one in scripts(name, {k: str(v) for k, v in constants.items()}))


def printed(name: str) -> list[str]:
    """Return the lines of the blocks that say what the code of a page prints."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    blocks = text.split("```text\n")[1:]
    return [line for block in blocks for line in block.split("```")[0].splitlines()]
