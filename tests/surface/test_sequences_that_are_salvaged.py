"""Sequences of changes that an exception ends, and then salvage: the file is what h5py has made of its twin."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import streamh5
from streamh5.sinks.working_names import journal_path, partial_path
from tests.surface.test_sequences import Pair, judge_with_every_tool, judge_with_h5diff, play


class Stop(Exception):
    """Ends a write."""


def end_and_salvage(pair: Pair) -> None:
    """End a write with an exception, then salvage it; remove the attributes that say so."""
    path, twin = Path(pair.ours.filename), Path(pair.theirs.filename)
    pair.ours.session.leftover.has_values = True  # so that changes without data are kept as well
    with suppress(Stop), pair.ours:
        raise Stop
    pair.theirs.close()
    try:
        datasets = streamh5.salvage(path).datasets
    except streamh5.errors.JournalError as error:
        if "nothing to salvage" not in str(error):
            raise
        journal_path(partial_path(path)).unlink()  # no change since the last flush
        datasets = ()
    with h5py.File(twin, "r+") as file:
        for one in datasets:
            # it ends before a chunk of which a region was written in part: the rows before that must be right
            if one.n_rows is not None and one.shape and one.shape[0] < len(file[one.path]):
                file[one.path].resize(one.shape[0], axis=0)
    with h5py.File(path, "r+") as file:
        names: list[str] = ["/"]
        file.visit(names.append)
        for name in names:
            for attribute in [one for one in file[name].attrs if one.startswith("streamh5_")]:
                del file[name].attrs[attribute]


@pytest.mark.usefixtures("hdf5_tools")
@settings(max_examples=40, derandomize=True, phases=[Phase.generate])
@given(data=st.data())
def test_sequence_of_changes_that_is_salvaged_gives_what_h5py_gives(
    data: st.DataObject, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("pair")
    play(data.draw, folder, n_sessions=3, n_steps=8, judge=judge_with_h5diff, end=end_and_salvage)
    shutil.rmtree(folder)


@pytest.mark.campaign
@pytest.mark.usefixtures("strict_tools")
@settings(max_examples=300, phases=[Phase.generate], report_multiple_bugs=False)
@given(data=st.data())
def test_sequences_of_changes_that_are_salvaged_pass_every_tool(
    data: st.DataObject, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("pair")
    play(data.draw, folder, n_sessions=4, n_steps=20, judge=judge_with_every_tool, end=end_and_salvage)
    shutil.rmtree(folder)
