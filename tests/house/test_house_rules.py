"""Budgets that keep the tail short, and habits that no linter checks."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "streamh5"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

MODULES = sorted(PACKAGE.rglob("*.py"))


def n_lines(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def function_lines(module: Path) -> list[tuple[int, str]]:
    """Return the lines of the body of every function of a module, without its docstring.

    Signatures do not count: the keywords of a public function are what they are.
    """
    found = []
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{module.relative_to(CHECKOUT)}:{node.lineno} {node.name}"
            n_docstring = n_lines(node.body[0]) if ast.get_docstring(node) is not None else 0
            assert node.end_lineno is not None
            found.append((node.end_lineno - node.body[0].lineno + 1 - n_docstring, name))
    return found


def test_files_of_the_package_keep_their_budget() -> None:
    lengths = {m: len(m.read_text(encoding="utf-8").splitlines()) for m in MODULES}
    over = [f"{m.relative_to(CHECKOUT)}: {n} lines" for m, n in lengths.items() if n > MAX_FILE_LINES]
    assert not over, f"files of more than {MAX_FILE_LINES} lines:\n" + "\n".join(over)


def test_functions_of_the_package_keep_their_budget() -> None:
    over = [
        f"{where}: {n} lines" for m in MODULES for n, where in function_lines(m) if n > MAX_FUNCTION_LINES
    ]
    assert not over, f"functions of more than {MAX_FUNCTION_LINES} lines:\n" + "\n".join(over)


SAME_MEANING = {
    "Buffer",
    "P",
    "T",
    "ROW",
}  # types alike in each layer, type variables, the row of each filter


def defined_names(module: Path) -> set[str]:
    """Return the names that a module defines for others to import."""
    names = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    return {name for name in names if not name.startswith("_")}


def test_no_name_has_two_meanings() -> None:
    homes: dict[str, list[str]] = {}
    for module in MODULES:
        for name in defined_names(module) - SAME_MEANING:
            homes.setdefault(name, []).append(str(module.relative_to(PACKAGE)))
    twice = {name: modules for name, modules in homes.items() if len(modules) > 1}
    assert not twice, f"defined in more than one module: {twice}"


def test_package_has_no_module_named_utils() -> None:
    vague = [
        str(m.relative_to(CHECKOUT))
        for m in MODULES
        if re.fullmatch(r"_?(utils?|helpers?|misc|common)", m.stem)
    ]
    assert not vague, f"names that say nothing: {vague}"


def test_package_asserts_no_input() -> None:
    found = [
        f"{m.relative_to(CHECKOUT)}:{node.lineno}"
        for m in MODULES
        for node in ast.walk(ast.parse(m.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert not found, f"assert in the package (python -O drops it); raise one of streamh5.errors: {found}"


@pytest.mark.parametrize("folder", ["streamh5", "tests", "docs", ".ci"])
def test_text_leaves_nothing_for_later(folder: str) -> None:
    brought = {"node_modules", "hdf5-1.8", "hdf5-strict", "hdf5-source", "netcdf-source"}  # not ours
    word = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
    suffixes = {".py", ".md", ".mjs", ".sh", ""}
    found = [
        f"{path.relative_to(CHECKOUT)}:{number}"
        for path in sorted((CHECKOUT / folder).rglob("*"))
        if path.is_file() and path.suffix in suffixes and brought.isdisjoint(path.parts)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if word.search(line)
    ]
    assert not found, f"left for later: {found}"


def test_every_folder_of_the_package_stands_in_the_map_of_the_tests() -> None:
    folders = {module.parent.name for module in PACKAGE.glob("*/__init__.py")} - {"sample_data"}
    text = (CHECKOUT / "tests" / "README.md").read_text(encoding="utf-8")
    assert not [name for name in sorted(folders) if f"| `{name}/`" not in text]


def test_map_of_the_tests_names_what_is_there() -> None:
    text = (CHECKOUT / "tests" / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z_]+/)+(?:test_\w+\.py)?|[a-z]+\.py)`", text)
    there = [CHECKOUT / "tests", PACKAGE, CHECKOUT / "tests" / "surface"]
    assert named
    assert not [name for name in named if not any((folder / name).exists() for folder in there)]
