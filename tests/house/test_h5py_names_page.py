"""docs/h5py-names.md lists every public name of h5py's classes, and says rightly which of them are here."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import h5py
import pytest
from h5py._hl.attrs import AttributeManager
from h5py._hl.dims import DimensionManager, DimensionProxy

import streamh5
from streamh5.handles import dimensions
from streamh5.handles.attributes import Attributes

PAGE = Path(__file__).parents[2] / "docs" / "h5py-names.md"

CLASSES: dict[str, tuple[type, type]] = {
    "File": (h5py.File, streamh5.File),
    "Group": (h5py.Group, streamh5.Group),
    "Dataset": (h5py.Dataset, streamh5.Dataset),
    "AttributeManager": (AttributeManager, Attributes),
    "Datatype": (h5py.Datatype, streamh5.Datatype),
    "DimensionManager": (DimensionManager, dimensions.DimensionManager),
    "DimensionProxy": (DimensionProxy, dimensions.DimensionProxy),
}


def public(of: type) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


def section(title: str) -> str:
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2]
    return text.partition("\n## ")[0]


def rows(text: str) -> dict[str, str]:
    """Return the second column of a table by the names in the first."""
    found = re.findall(r"^\| (`[^|]*`) \| (yes|no) \| ", text, re.MULTILINE)
    return {name: here for names, here in found for name in re.findall(r"`(\w+)`", names)}


@pytest.mark.parametrize("title", CLASSES)
def test_page_lists_every_name_of_h5py_and_says_whether_it_is_here(title: str) -> None:
    theirs, ours = CLASSES[title]
    names = public(theirs) - (public(h5py.Group) if title == "File" else set())
    said = rows(section(title).partition("Keywords of")[0])
    assert not names - said.keys(), "names of h5py that the page does not list"
    for name, here in said.items():
        assert (here == "yes") == hasattr(ours, name), f"{title}.{name} is said to be here: {here}"


def test_page_lists_every_keyword_of_file() -> None:
    signature: Any = inspect.signature(h5py.File.__init__)
    said = rows(section("File").partition("Keywords of")[2])
    assert not signature.parameters.keys() - said.keys() - {"self", "name", "kwds"}
    ours = inspect.signature(streamh5.File.__init__).parameters
    for name, here in said.items():
        assert (here == "yes") == (name in ours), f"keyword {name} is said to be here: {here}"
