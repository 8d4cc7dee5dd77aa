"""The house has one direction of import, and every outside package its place.

`MAY_IMPORT` is the table, from the ground up: each unit (a top-level module or folder of the package)
may import itself and the units that stand beside it. The order of the rows is the order of the
storeys, so the table cannot hold a circle.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.deadlock import DEADLOCK_SECONDS

PACKAGE = Path(__file__).parents[2] / "streamh5"

EVERYTHING = frozenset({"*"})

MAY_IMPORT: dict[str, frozenset[str]] = {
    "version": frozenset(),
    "errors": frozenset(),
    "arguments": frozenset({"errors"}),
    "processes": frozenset({"errors", "arguments"}),
    "format": frozenset({"errors"}),
    "filters": frozenset({"errors", "format"}),
    "model": frozenset({"errors", "format"}),
    "display": frozenset({"errors", "arguments", "model"}),  # facts in, HTML out
    "stores": frozenset({"errors", "arguments", "processes"}),
    "reader": frozenset({"errors", "arguments", "format", "filters", "model", "stores"}),
    "sinks": frozenset({"errors", "arguments", "processes", "stores"}),
    "engine": frozenset({"errors", "format", "model"}),
    "references": frozenset(
        {"errors", "arguments", "processes", "format", "filters", "model", "reader", "sinks", "stores"}
    ),
    "write": frozenset(
        {
            "version",
            "errors",
            "arguments",
            "processes",
            "format",
            "filters",
            "model",
            "display",
            "reader",
            "sinks",
            "stores",
            "engine",
            "references",
        }
    ),
    "recovery": frozenset(
        {"errors", "arguments", "format", "filters", "model", "reader", "sinks", "stores", "engine", "write"}
    ),
    "check": frozenset(
        {
            "errors",
            "arguments",
            "processes",
            "format",
            "filters",
            "model",
            "display",
            "reader",
            "stores",
            "write",
        }
    ),
    "handles": frozenset(
        {
            "errors",
            "arguments",
            "processes",
            "format",
            "filters",
            "model",
            "display",
            "reader",
            "sinks",
            "stores",
            "engine",
            "references",
            "write",
            "recovery",
        }
    ),
    "dask": frozenset(
        {
            "version",
            "errors",
            "arguments",
            "processes",
            "filters",
            "model",
            "reader",
            "sinks",
            "stores",
            "write",
            "handles",
        }
    ),
    "netcdf": frozenset(
        {
            "version",
            "errors",
            "arguments",
            "processes",
            "format",
            "filters",
            "model",
            "reader",
            "sinks",
            "stores",
            "write",
            "handles",
            "dask",
        }
    ),
    "conversion": frozenset(
        {
            "errors",
            "arguments",
            "processes",
            "format",
            "filters",
            "model",
            "display",
            "reader",
            "sinks",
            "stores",
            "write",
            "handles",
            "dask",
            "netcdf",
        }
    ),
    "__init__": EVERYTHING,
    "sample_data": frozenset(),  # for the notebooks
    "cli": EVERYTHING,
    "__main__": EVERYTHING,
}

# processes: a child process is told by name what to call; filters: the packages of codecs, by their rows; stores: the
# module of a protocol.
BY_COMPUTED_NAME = frozenset({"processes", "filters", "stores"})

ANYWHERE = frozenset({"numpy"})

MAY_USE: dict[str, frozenset[str]] = {
    # required packages
    "dask": frozenset({"__init__", "arguments", "handles", "dask", "netcdf", "conversion", "cli"}),
    # format: lookup3 checksums; references: its texts; conversion: zarr's CRC-32C
    "numcodecs": frozenset({"format", "filters", "references", "conversion"}),
    "backports": frozenset({"filters"}),  # its zstd
    "compression": frozenset({"filters"}),  # the standard library's from Python 3.14 on
    "isal": frozenset({"filters", "write"}),  # write: its CRC-32, for the journal
    "deflate": frozenset({"filters"}),
    # reads what was written, never writes
    "h5py": frozenset({"write", "references", "check", "dask", "netcdf", "conversion", "cli"}),
    "tqdm": frozenset({"write", "cli"}),
    # optional packages: imported in a function, or under TYPE_CHECKING
    "imagecodecs": frozenset({"filters"}),
    "hdf5plugin": frozenset({"check", "dask"}),
    "ml_dtypes": frozenset({"format", "model", "reader"}),
    "zarr": frozenset({"dask", "conversion"}),
    "xarray": frozenset({"references", "dask", "netcdf", "conversion"}),
    "pyarrow": frozenset({"references"}),
    "virtualizarr": frozenset({"references", "write"}),
    "sparse": frozenset({"dask"}),
    "cupy": frozenset({"dask"}),
    "distributed": frozenset({"dask"}),
    "fsspec": frozenset({"stores"}),
    "s3fs": frozenset({"stores"}),
    "botocore": frozenset({"stores"}),
    "aiobotocore": frozenset({"stores"}),
    "aiohttp": frozenset({"stores"}),
    "gcsfs": frozenset({"stores"}),
    "adlfs": frozenset({"stores"}),
    "azure": frozenset({"stores"}),
    "google": frozenset({"stores"}),  # errors of its credentials
    "google_crc32c": frozenset({"stores"}),
    "yarl": frozenset({"stores"}),  # aiohttp's URLs
}

REQUIRED = frozenset(
    {"numpy", "dask", "numcodecs", "backports", "compression", "isal", "deflate", "h5py", "tqdm"}
)


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def unit_of(module: Path) -> str:
    """Return the top-level module or folder to which a file belongs."""
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"), str(module))


def imported(module: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the dotted name of everything that a module imports, wherever it stands."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import; write the whole name"
            assert node.module is not None
            # `from streamh5 import errors` imports a module: its full name counts.
            if node.module == "streamh5":
                yield from ((node.lineno, f"streamh5.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def named_modules(module: Path) -> Iterator[tuple[int, str | None]]:
    """Yield the line and the dotted name of every module that is reached by its name; None for a computed name.

    That is how an import can hide: ``sys.modules[name]``, ``importlib.import_module(name)``, ``__import__(name)``.
    """
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Subscript):
            reached, names = ast.unparse(node.value), [node.slice]
        elif isinstance(node, ast.Call):
            reached, names = ast.unparse(node.func), node.args
        else:
            continue
        if re.search(r"\bsys\.modules(\.get)?$|\b(import_module|__import__)$", reached):
            name = names[0] if names else None
            is_text = isinstance(name, ast.Constant) and isinstance(name.value, str)
            yield node.lineno, ast.literal_eval(name) if name is not None and is_text else None


def is_allowed(unit: str, name: str) -> bool:
    """Tell whether a unit may import ``streamh5.sinks.base`` and the like."""
    parts = name.split(".")
    if len(parts) == 1:
        return MAY_IMPORT[unit] is EVERYTHING  # the package itself is all of it
    allowed = MAY_IMPORT[unit]
    return allowed is EVERYTHING or parts[1] == unit or bool({parts[1], ".".join(parts[1:3])} & allowed)


def test_units_of_the_package_all_stand_in_the_table() -> None:
    unknown = sorted({unit_of(module) for module in modules()} - MAY_IMPORT.keys())
    assert not unknown, (
        f"streamh5/{', streamh5/'.join(unknown)}: not in MAY_IMPORT of {Path(__file__).name}. "
        "Add a row: where it stands, and which units below it may import"
    )


def test_table_lets_nobody_import_upwards() -> None:
    storeys = list(MAY_IMPORT)
    upward = [
        f"{unit} <- {other}"
        for unit, others in MAY_IMPORT.items()
        for other in others - EVERYTHING
        if storeys.index(other.split(".")[0]) >= storeys.index(unit)
    ]
    assert not upward, f"rows of MAY_IMPORT that import their own storey or one above: {upward}"


def test_imports_go_in_the_direction_of_the_house() -> None:
    wrong = [
        f"{module.relative_to(PACKAGE.parent)}:{line} imports {name}"
        for module in modules()
        if unit_of(module) in MAY_IMPORT
        for line, name in imported(module)
        if name.split(".")[0] == "streamh5" and not is_allowed(unit_of(module), name)
    ]
    assert not wrong, "imports against the direction of the house (MAY_IMPORT):\n" + "\n".join(wrong)


def test_modules_that_are_reached_by_name_keep_the_direction_of_the_house() -> None:
    wrong = [
        f"{module.relative_to(PACKAGE.parent)}:{line} reaches {name or 'a module whose name is computed'}"
        for module in modules()
        for line, name in named_modules(module)
        if (unit := unit_of(module)) not in BY_COMPUTED_NAME and MAY_IMPORT[unit] is not EVERYTHING
        if name is None or (name.split(".")[0] == "streamh5" and not is_allowed(unit, name))
    ]
    assert not wrong, "imports that hide behind a name (write an import; MAY_IMPORT):\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "code",
    [
        "sys.modules['streamh5'].__version__",
        "sys.modules.get('streamh5')",
        "importlib.import_module('streamh5')",
        "import_module('streamh5')",
        "__import__('streamh5')",
    ],
)
def test_module_that_is_reached_by_name_is_seen(code: str, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(f"def f():\n    return {code}\n")
    assert list(named_modules(module)) == [(2, "streamh5")]


def test_outside_packages_are_imported_only_in_their_place() -> None:
    wrong = []
    for module in modules():
        for line, name in imported(module):
            package = name.split(".")[0]
            if package in sys.stdlib_module_names | ANYWHERE | {"streamh5"}:
                continue
            if unit_of(module) not in MAY_USE.get(package, frozenset()):
                wrong.append(f"{module.relative_to(PACKAGE.parent)}:{line} imports {name}")
    assert not wrong, "packages outside their place (MAY_USE):\n" + "\n".join(wrong)


def test_import_of_the_package_loads_no_optional_package() -> None:
    optional = sorted(MAY_USE.keys() - REQUIRED)
    code = (  # dask.array imports xarray itself where it is installed
        "import sys, dask.array; before = set(sys.modules); import streamh5; "
        f"print(*[name for name in {optional!r} if name in sys.modules.keys() - before])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
        check=True,
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("unit", "name", "expected"),
    [
        ("format", "streamh5.model.tree", False),
        ("format", "streamh5.errors", True),
        ("write", "streamh5.sinks.base", True),
        ("format", "streamh5.sinks.local_file", False),
        ("write", "streamh5.handles", False),
        ("dask", "streamh5", False),
        ("cli", "streamh5", True),
    ],
)
def test_is_allowed_of_a_known_case_is_right(unit: str, name: str, expected: bool) -> None:
    assert is_allowed(unit, name) is expected
