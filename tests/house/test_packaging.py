"""What several files say about the package is the same in each: versions, dependencies, extras, addresses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import streamh5

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
INSTALLING = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")
RECIPE = (ROOT / ".conda" / "recipe.yaml").read_text(encoding="utf-8")

FOR_USERS = ["codecs", "s3", "gcs", "azure", "http", "references", "xarray", "zarr"]
"""Extras of those who use the package; the others are for work on it."""

NAMES_IN_CONDA = {"dask": "dask-core", "isal": "python-isal"}

NOT_IN_CONDA = {"deflate"}
"""conda-forge has no package of it; without it ISA-L or zlib compresses at its levels."""


def oldest(requirements: list[str]) -> dict[str, str]:
    """Return the lower bounds by the packages' names."""
    found = {}
    for requirement in map(Requirement, requirements):
        if requirement.name != "streamh5":
            (bound,) = requirement.specifier
            assert bound.operator == ">=", f"{requirement}: one lower bound, and nothing else"
            found[requirement.name] = bound.version
    return found


def of_users() -> dict[str, str]:
    """Return the lower bounds of everything that users install."""
    return oldest(PROJECT["dependencies"] + [one for extra in FOR_USERS for one in EXTRAS[extra]])


def recipe_section(name: str) -> dict[str, str]:
    """Return the versions of a list in the recipe by the packages' names."""
    block = re.search(rf"^  {name}:.*\n((?:    - .*\n)+)", RECIPE, re.MULTILINE)
    assert block, f"the recipe has no list {name}"
    lines = [line.partition("#")[0].strip(" -") for line in block[1].splitlines()]
    return {line.partition(" ")[0]: line.partition(" ")[2].removeprefix(">=") for line in lines}


def test_oldest_versions_of_the_page_are_those_that_are_required() -> None:
    section = INSTALLING.partition("## Supported versions")[2]
    table = dict(re.findall(r"^\| (\S+) \| ([\d.]+) \| ", section, re.MULTILINE))
    assert table.pop("Python") == PROJECT["requires-python"].removeprefix(">=")
    assert table == of_users()


def test_package_has_the_same_bound_in_every_extra() -> None:
    bounds: dict[str, set[str]] = {}
    for requirements in [PROJECT["dependencies"], *EXTRAS.values(), *PYPROJECT["dependency-groups"].values()]:
        for name, version in oldest([one for one in requirements if isinstance(one, str)]).items():
            bounds.setdefault(name.lower(), set()).add(version)
    assert {name: versions for name, versions in bounds.items() if len(versions) > 1} == {}


def test_extras_that_the_page_names_are_those_that_exist() -> None:
    named = {one for many in re.findall(r"`streamh5\[([\w,]+)\]`", INSTALLING) for one in many.split(",")}
    assert named == EXTRAS.keys()


@pytest.mark.parametrize("folder", ["streamh5", "docs", "notebooks", ".github"])
def test_extras_that_are_named_anywhere_exist(folder: str) -> None:
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in {".py", ".md", ".ipynb", ".yml"} and "_build" not in path.parts:
            for named in re.findall(
                r"""(?:streamh5|["'`]\.)\[([a-z0-9,]+)\]""", path.read_text(encoding="utf-8")
            ):
                assert set(named.split(",")) <= EXTRAS.keys(), f"{path.relative_to(ROOT)} names [{named}]"


def test_oldest_python_is_the_same_everywhere() -> None:
    python = PROJECT["requires-python"].removeprefix(">=")
    classifiers = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if "Python :: 3." in one]
    assert classifiers == sorted(classifiers, key=Version)
    assert classifiers[0] == python
    assert PYPROJECT["tool"]["mypy"]["python_version"] == python
    assert f'python_min: "{python}"' in RECIPE
    noxfile = (ROOT / ".ci" / "noxfile.py").read_text(encoding="utf-8")
    assert "nox.session(python=" + str(classifiers).replace("'", '"') + ")" in noxfile


def test_version_is_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {streamh5.__version__}\n" in citation
    assert f'\n  version: "{streamh5.__version__}"\n' in RECIPE


def test_conda_recipe_requires_what_the_package_requires() -> None:
    required = {
        name: version for name, version in oldest(PROJECT["dependencies"]).items() if name not in NOT_IN_CONDA
    }
    expected = {NAMES_IN_CONDA.get(name, name): version for name, version in required.items()}
    found = recipe_section("run")
    assert found.pop("__unix") == ""
    assert found.pop("python") == "${{ python_min }}"
    assert found == expected
    assert recipe_section("run_constraints") == oldest([one for extra in FOR_USERS for one in EXTRAS[extra]])
    assert recipe_section("host").items() >= oldest(PYPROJECT["build-system"]["requires"]).items()
    (script,) = PROJECT["scripts"].items()
    assert f"- {script[0]} = {script[1]}\n" in RECIPE


def test_addresses_are_the_same_everywhere() -> None:
    urls = PROJECT["urls"]
    for text in (RECIPE, (ROOT / "CITATION.cff").read_text(encoding="utf-8")):
        assert urls["Homepage"] in text
        assert urls["Documentation"] in text
    for path in [*(ROOT / ".github").glob("*.md"), ROOT / "pyproject.toml"]:
        for found in re.findall(
            r"github\.com/([\w.-]+/[\w.-]+?)(?:[\"/)\s,]|\.git)", path.read_text(encoding="utf-8")
        ):
            assert found == "streamh5/streamh5", f"{path.name}: github.com/{found}"


def test_workflows_run_actions_of_a_fixed_content() -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert [path.name for path in workflows] == ["ci.yml", "release.yml"]
    for path in workflows:
        for action in re.findall(r"uses: (.*)", path.read_text(encoding="utf-8")):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v[\d.]+", action), f"{path.name}: {action}"
