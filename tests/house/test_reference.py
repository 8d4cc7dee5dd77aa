"""The reference (docs/api/): every public name is documented, its example runs, and a page shows it."""

from __future__ import annotations

import doctest
import inspect
import os
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import streamh5
from tests.public_names import PublicName, public_names

pytest.importorskip("numpydoc")
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

NAMES = public_names()
API = Path(__file__).parents[2] / "docs" / "api"

ENFORCED = {
    *("GL03", "GL05", "GL06", "GL07", "GL08", "GL10"),  # sections: known, in their order, without gaps
    *("SS01", "SS02", "SS03", "SS04", "SS05", "SS06"),  # one imperative sentence in one line
    *(
        "PR01",
        "PR02",
        "PR03",
        "PR07",
        "PR08",
        "PR09",
        "PR10",
    ),  # parameters are those of the signature, described
    *("RT04", "RT05", "YD01", "SA02", "SA03"),
    "EX01",
}
"""Checks of numpydoc. Left out: where quotes stand (GL01, GL02: ruff), more than a summary for everything (ES01, SA01),
types of parameters (PR04, PR05, PR06: annotations have them, and the reference shows those), and sections Returns of
functions whose summary says what they return (RT01, RT02, RT03: see below)."""


ABILITIES = tuple(
    f"streamh5.sinks.base.{name}" for name in ("Snapshots", "Readable", "Flushable", "Journaled")
)
"""What a sink may have besides the members of `Sink`: tests/sinks/test_own_sink.py has a sink for each."""


def section(name: str, title: str) -> Any:
    return NumpyDocString(inspect.getdoc(NAMES[name].value) or "")[title]


def fields(owner: Any) -> set[str]:
    documented: Any = NumpyDocString(inspect.getdoc(owner) or "")
    entries = [*documented["Attributes"], *documented["Parameters"]]
    return {name.strip() for entry in entries for name in entry.name.split(",")}


def callables() -> list[str]:
    return [path for path, one in NAMES.items() if one.kind in ("class", "function")]


def test_reference_knows_the_public_names() -> None:
    kinds = [one.kind for one in NAMES.values()]
    assert kinds.count("class") > 70
    assert kinds.count("function") > 90
    assert kinds.count("property") > 50
    assert kinds.count("field") > 100
    assert {
        "streamh5.Group.create_dataset",
        "streamh5.errors.LimitError",
        "streamh5.VerifyReport.ok",
    } <= NAMES.keys()


def has_example(path: str) -> bool:
    """Return whether the docstring of a name, or that of its class, shows its use."""
    if section(path, "Examples"):
        return True
    owner, _, name = path.rpartition(".")
    if path.startswith(ABILITIES):
        return True
    if owner not in NAMES:
        return False
    text = "\n".join(section(owner, "Examples"))
    shown = r"\w\[" if name in ("__getitem__", "__setitem__") else rf"(\.|def |^ *\.\.\. +){name}\b"
    return re.search(shown, text, re.MULTILINE) is not None


def problems(one: PublicName) -> list[str]:
    """Return what numpydoc finds, without what is not asked of this kind of name."""
    found = {(code, text) for code, text in validate(one.path)["errors"] if code in ENFORCED}
    document = inspect.getdoc(one.value) or ""
    is_result = is_dataclass(one.value) or hasattr(one.value, "_fields")
    is_protocol = getattr(one.value, "_is_protocol", False)
    if is_result or is_protocol or "made by" in document or (one.kind == "class" and is_error(one.value)):
        found = {(code, text) for code, text in found if code != "PR01"}
    if has_example(one.path) or (one.kind == "class" and (is_result or is_error(one.value))):
        found = {(code, text) for code, text in found if code != "EX01"}
    return sorted(f"{code} {text}" for code, text in found)


def is_error(value: Any) -> bool:
    """Return whether it is an exception or a warning: docs/api/errors.md has the examples."""
    return issubclass(value, BaseException)


@pytest.mark.parametrize("name", callables())
def test_public_name_is_documented(name: str) -> None:
    assert problems(NAMES[name]) == []


@pytest.mark.parametrize("name", [path for path, one in NAMES.items() if one.kind == "function"])
def test_function_says_what_it_returns(name: str) -> None:
    value = NAMES[name].value
    returned = str(inspect.signature(value).return_annotation)
    if returned in ("None", "NoReturn"):
        return
    documented: Any = NumpyDocString(inspect.getdoc(value) or "")
    assert documented["Returns"] or documented["Yields"] or documented["Summary"][0].startswith("Return")


def test_properties_and_fields_are_documented() -> None:
    missing = []
    for path, one in NAMES.items():
        owner, _, name = path.rpartition(".")
        if one.kind == "property" and not (inspect.getdoc(one.value) and has_example(path)):
            missing.append(path)
        if one.kind == "field" and owner in NAMES and name not in fields(NAMES[owner].value):
            missing.append(path)
    assert missing == []


FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(text: str, name: str) -> doctest.DocTest:
    names = {"np": np, "streamh5": streamh5, "__name__": "example"}
    return doctest.DocTestParser().get_doctest(text, names, name, None, None)


def run(test: doctest.DocTest) -> None:
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    told: list[str] = []
    assert runner.run(test, out=told.append).failed == 0, "".join(told)


WITH_EXAMPLES = [path for path, one in NAMES.items() if ">>>" in (inspect.getdoc(one.value) or "")]


def test_every_example_is_run() -> None:
    assert len(WITH_EXAMPLES) > 90
    assert not [
        path for path in WITH_EXAMPLES if "doctest: +SKIP" in (inspect.getdoc(NAMES[path].value) or "")
    ]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(examples(inspect.getdoc(NAMES[name].value) or "", name))
    assert not list(tmp_path.glob("*.partial*"))


def shown_on_pages() -> dict[str, str]:
    """Return the names that the pages show with their docstrings, and the page of each."""
    found = {}
    for page in sorted(API.glob("*.md")):
        module = ""
        for kind, name in re.findall(
            r"^\.\. (\w+):: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE
        ):
            if kind == "currentmodule":
                module = name
            elif kind.startswith("auto") and kind != "autosummary":
                path = f"{module}.{name}"
                found[path if path in NAMES else name] = page.name
    return found


def test_every_public_name_is_on_a_page() -> None:
    named = {path for path, one in NAMES.items() if one.kind != "field"}
    shown = shown_on_pages()
    assert not named - shown.keys(), "add these to a page of docs/api/"
    assert not shown.keys() - named, "not public: see tests/public_names.py"


def error_rows() -> list[tuple[str, str]]:
    text = (API / "errors.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(\w+)` \| `(.+)` \|$", text, re.MULTILINE)


def test_every_error_is_in_the_table_or_explained() -> None:
    text = (API / "errors.md").read_text(encoding="utf-8")
    explained = re.findall(r"`(\w+)`: ", text)
    assert sorted([name for name, _ in error_rows()] + explained) == sorted(
        set(streamh5.errors.__all__) - {"StreamH5Error"}
    )
    assert (inspect.getdoc(streamh5.errors) or "").partition("::\n\n")[2].partition("\n\nA message")[
        0
    ] == "\n".join(
        "    " + line for line in text.partition("```text\n")[2].partition("\n```")[0].splitlines()
    )


@pytest.fixture(scope="module")
def names_of_the_table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("errors")
    before = os.getcwd()
    os.chdir(folder)
    x = da.ones((10, 4), chunks=(5, 4))
    x.to_fixed_h5("there.h5", "/x")
    Path("text.txt").write_text("text" * 1000)
    day = xr.Dataset({"t": (("time", "x"), np.zeros((2, 2)))}, {"time": [0, 1], "x": [0, 1]})
    streamh5.to_netcdf(day, "year.nc")
    with streamh5.File("references.h5", "w") as closed:
        closed["r"] = np.array([streamh5.Reference("/r")], object)
    interrupted = streamh5.File("interrupted.h5", resume_key="one")
    interrupted["x"] = np.ones((100, 100))
    interrupted.suspend()
    with streamh5.File("open.h5", "w") as f:
        f.create_dataset("there", (10, 4), chunks=(5, 4))
        yield {"f": f, "closed": closed, "x": x, "day": day, "np": np, "streamh5": streamh5}
    os.chdir(before)


@pytest.mark.parametrize(("name", "call"), error_rows(), ids=[name for name, _ in error_rows()])
def test_call_of_the_table_raises_its_error(name: str, call: str, names_of_the_table: dict[str, Any]) -> None:
    with pytest.raises(streamh5.StreamH5Error) as raised:
        eval(call, names_of_the_table)
    assert type(raised.value) is getattr(streamh5.errors, name)


@pytest.mark.parametrize("page", sorted(path.name for path in API.glob("*.md")))
def test_python_blocks_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", (API / page).read_text(encoding="utf-8"), re.M | re.DOTALL)
    assert ("```python" in (API / page).read_text(encoding="utf-8")) == bool(blocks)
    exec("\n".join(blocks), {"__name__": "example"})
