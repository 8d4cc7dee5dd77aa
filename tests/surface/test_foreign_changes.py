"""Files of other programs that mode "a" changes: everything else in them stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.foreign_changes import CHANGED, REFUSED, UNREADABLE, package_files, results, verdict
from tests.foreign_files import BUILDERS

REFUSED_KINDS = {
    "free_space_kept": "keeps its free space",
    "paged": "keeps its free space",
    "small_addresses": "addresses or lengths of other than 8 bytes",
}
"""Kinds of `BUILDERS` that cannot be changed in place, with a part of the reason."""


@pytest.mark.parametrize("name", BUILDERS)
def test_every_object_of_a_foreign_file_gets_an_attribute_and_nothing_else_changes(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.h5"
    BUILDERS[name](path)
    became, reason = verdict(path, tmp_path)
    if name in REFUSED_KINDS:
        assert became == REFUSED
        assert REFUSED_KINDS[name] in reason
    else:
        assert (became, reason) == (CHANGED, "")


def test_files_of_other_versions_of_pytables_and_matlab_change(tmp_path: Path) -> None:
    files = package_files("tables")[::6]
    assert files
    done = {path.name: verdict(path, tmp_path) for path in files}
    assert {name: why for name, (became, why) in done.items() if became != CHANGED} == {}


@pytest.mark.campaign
def test_no_test_file_of_other_packages_is_damaged(tmp_path: Path) -> None:
    found = [one for _, one in results(tmp_path)]
    assert [
        (one.path, one.reason) for one in found if one.verdict not in (CHANGED, REFUSED, UNREADABLE)
    ] == []
