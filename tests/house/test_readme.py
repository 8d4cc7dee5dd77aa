"""The README is run: its commands by .ci/run exactly as printed, its Python examples here.

The ``python`` blocks run one after the other in a temporary folder and one namespace. A comment above a
block changes that: ``<!-- fresh -->`` begins a new namespace and folder, ``<!-- not run: why -->``
leaves the block out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deadlock import DEADLOCK_SECONDS

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
RUN = CHECKOUT / ".ci" / "run"
COMMANDS = {
    "main job": "python -m pip install . && streamh5 demo",
    "docs": 'python -m pip install ".[docs]" && python -m sphinx -W --keep-going docs docs/_build/html',
    "tests": 'python -m pip install ".[test]" && python -m pytest',
}


def printed_command(name: str) -> str:
    """Return the lines of the bash block below a marker, read without the script that .ci/run uses."""
    lines = iter(README.splitlines())
    assert f"<!-- command: {name} -->" in lines, f"README.md has no marker `<!-- command: {name} -->`"
    assert next(line for line in lines if line) == "```bash"
    block: list[str] = []
    for line in lines:
        if line == "```":
            return "\n".join(block)
        block.append(line)
    raise AssertionError("the block does not end")


@pytest.mark.parametrize("name", COMMANDS)
def test_command_of_the_readme_is_the_one_that_ci_reads(name: str) -> None:
    script = CHECKOUT / ".ci" / "readme_command.py"
    done = subprocess.run(
        [sys.executable, script, name], capture_output=True, text=True, timeout=DEADLOCK_SECONDS, check=True
    )
    assert done.stdout == printed_command(name) + "\n"
    assert done.stdout.strip() == COMMANDS[name]


def test_readme_command_of_an_unknown_name_fails() -> None:
    script = CHECKOUT / ".ci" / "readme_command.py"
    done = subprocess.run(
        [sys.executable, script, "no such"],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
    )
    assert done.returncode != 0
    assert "no such" in done.stderr


def test_ci_runs_the_commands_as_printed_each_on_a_fresh_environment() -> None:
    run = RUN.read_text(encoding="utf-8")
    steps = re.findall(
        r'^fresh \S+\ncommand=\$\("\$python" "\$root/\.ci/readme_command\.py" "([^"]+)"\)\n'
        r'.*\nrun "README: \1" \d+ bash -euo pipefail -c "\$command"$',
        run,
        re.MULTILINE,
    )
    assert steps == list(COMMANDS)
    assert os.access(RUN, os.X_OK)


@dataclass(frozen=True)
class Example:
    line: int
    code: str
    mark: str

    def __str__(self) -> str:
        return f"line-{self.line}"


def examples() -> Iterator[Example]:
    """Yield the python blocks of the README with the comment that stands above each."""
    pattern = re.compile(r"(?:<!-- (fresh|not run: [^>]+) -->\s*)?```python\n(.*?)```", re.DOTALL)
    for match in pattern.finditer(README):
        line = README.count("\n", 0, match.start(2)) + 1
        yield Example(line, match[2], match[1] or "")


def test_readme_has_an_example() -> None:
    assert any(not example.mark.startswith("not run") for example in examples())


def test_python_examples_of_the_readme_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace: dict[str, Any] = {"__name__": "readme"}
    monkeypatch.chdir(tmp_path)
    for example in examples():
        if example.mark.startswith("not run"):
            continue
        if example.mark == "fresh":
            namespace = {"__name__": "readme"}
            folder = tmp_path / str(example)
            folder.mkdir()
            monkeypatch.chdir(folder)
        # The line numbers of a traceback are the README's.
        code = compile("\n" * (example.line - 1) + example.code, str(CHECKOUT / "README.md"), "exec")
        try:
            exec(code, namespace)
        except BaseException as error:
            error.add_note(f"in the example at README.md:{example.line}")
            raise
