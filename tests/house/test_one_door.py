"""Only the session of a write reaches its engine: every other module calls the session."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "streamh5"
SESSION = PACKAGE / "handles" / "session.py"


def engines_reached(source: str) -> list[int]:
    """Return the lines that name the engine of another object, such as ``file.session._engine``."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr in ("engine", "_engine")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "streamh5"))
    ]


def test_no_module_but_the_session_reaches_its_engine() -> None:
    found = [
        f"{module.relative_to(PACKAGE)}:{line}"
        for module in sorted(PACKAGE.rglob("*.py"))
        if module != SESSION
        for line in engines_reached(module.read_text(encoding="utf-8"))
    ]
    assert not found, f"call the session instead, or give it the method that is missing: {found}"


@pytest.mark.parametrize(
    "line", ["file.session.engine.extend(n, 1)", "self.session._engine", "session.engine"]
)
def test_a_second_door_is_found(line: str) -> None:
    assert engines_reached(line) == [1]
