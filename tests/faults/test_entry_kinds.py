"""Every kind of journal entry is written, decoded, and used by a resume and by salvage, whose files h5py reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.recovery.entry_kinds import KINDS
from streamh5.recovery.read_journal import decode_journal, split_entries
from streamh5.sinks.local_file import LocalFileSink

ROWS = np.arange(12, dtype="i4").reshape(6, 2)


def write_all(file: streamh5.File) -> streamh5.Dataset:
    """Write, or resume, a file with an object of each kind; return its dataset of rows, which lacks the last one."""
    file.create_group("group", track_order=True)
    file["type"] = np.dtype([("a", "i4")])
    file.attrs["attribute"] = "set"
    file.attrs["removed"] = 1
    del file.attrs["removed"]
    file.create_dataset("value", (3,), "i8")[1:] = [5, 6]
    early = file.create_dataset("early", (4,), "i2", chunks=(2,), alloc_time="early")
    early[:2] = [7, 8]
    file.create_dataset("regions", (6, 2), "i4", chunks=(4, 2))[1:3] = ROWS[1:3]
    rows = file.create_dataset("rows", (None, 2), "i4", chunks=(2, 2))
    rows.append(ROWS[rows.n_appended : 5])
    with pytest.raises(streamh5.errors.BlockError):  # the value cannot be cast, so the dataset is taken back
        file.create_dataset("taken back", data=np.ma.masked_array([1, 2], [True, False]), chunks=(1,))
    file["link"] = file["rows"]
    file["soft"] = streamh5.SoftLink("/rows")
    return rows


def interrupted(path: Path) -> None:
    with streamh5.File(path, "w", resume=True) as file:
        write_all(file)
        file.suspend()


def cut(path: Path) -> None:
    """Lose the end of the data, as a power cut may: the next write declares the claims of the lost chunks void."""
    interrupted(path)
    partial = Path(f"{path}.partial")
    with partial.open("r+b") as raw:
        raw.truncate(partial.stat().st_size - 4)
    interrupted(path)


def half_salvaged(path: Path) -> None:
    """Stop a salvage just before the file gets its name."""
    interrupted(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFileSink, "commit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            streamh5.salvage(f"{path}.partial", output=path.with_name("first.h5"))


def twice(path: Path) -> None:
    interrupted(path)
    interrupted(path)


def check_header(file: h5py.File) -> None:
    assert set(file) >= {"early", "rows", "value"}


def check_group(file: h5py.File) -> None:
    order = file["group"].id.get_create_plist().get_link_creation_order()
    assert order & h5py.h5p.CRT_ORDER_TRACKED


def check_datatype(file: h5py.File) -> None:
    assert file["type"].dtype == np.dtype([("a", "i4")])


def check_links(file: h5py.File) -> None:
    assert file["link"] == file["rows"]
    assert file.get("soft", getlink=True).path == "/rows"


def check_taken_back(file: h5py.File) -> None:
    assert "taken back" not in file


def check_attributes(file: h5py.File) -> None:
    assert file.attrs["attribute"] == "set"
    assert "removed" not in file.attrs


def check_value(file: h5py.File) -> None:
    np.testing.assert_array_equal(file["value"][...], [0, 5, 6])


def check_early(file: h5py.File) -> None:
    np.testing.assert_array_equal(file["early"][:2], [7, 8])


def check_regions(file: h5py.File) -> None:
    np.testing.assert_array_equal(file["regions"][:4], [[0, 0], *ROWS[1:3], [0, 0]])


def check_rows(file: h5py.File) -> None:
    assert len(file["rows"]) >= 4
    np.testing.assert_array_equal(file["rows"][...], ROWS[: len(file["rows"])])


@dataclass
class Case:
    """What readers see of an entry, and how an interrupted write gets it."""

    check: Callable[[h5py.File], None]
    interrupt: Callable[[Path], None] = interrupted


CASES = {
    "H": Case(check_header),
    "S": Case(check_rows, twice),
    "G": Case(check_group),
    "T": Case(check_datatype),
    "D": Case(check_early),
    "L": Case(check_links),
    "U": Case(check_taken_back),
    "A": Case(check_attributes),
    "E": Case(check_value),
    "N": Case(check_rows),
    "F": Case(check_header),
    "R": Case(check_early),
    "C": Case(check_rows),
    "I": Case(check_regions),
    "V": Case(check_rows, cut),
    "P": Case(check_rows, half_salvaged),
}


OF_CHANGES = {"B", "O", "Z", "X", "M"}
"""Kinds of files that change: `test_growing_files`, `test_salvage_of_changes`."""


OF_OBJECTS = {"Y", "K", "Q"}
"""Kinds of objects of object stores: `test_objects`."""


def test_every_kind_has_a_case() -> None:
    assert CASES.keys() | OF_CHANGES | OF_OBJECTS == KINDS.keys()


@pytest.mark.parametrize("letter", CASES)
def test_every_kind_is_written_and_of_use_to_a_resume_and_to_salvage(letter: str, tmp_path: Path) -> None:
    case = CASES[letter]
    path = tmp_path / "a.h5"
    case.interrupt(path)
    log = Path(f"{path}.partial.journal").read_bytes()
    assert letter in {found for found, _, _ in split_entries(log)}
    journal = decode_journal(log)
    assert journal is not None
    assert journal.nbytes == len(log), "an entry was not understood"
    (tmp_path / "copy").mkdir()
    for one in tmp_path.glob("a.h5.partial*"):
        shutil.copy(one, tmp_path / "copy")

    with streamh5.File(path, "w", resume=True) as file:
        write_all(file).append(ROWS[5:])
    salvaged = streamh5.salvage(tmp_path / "copy" / "a.h5.partial").path
    for written in (path, salvaged):
        with h5py.File(written) as read:
            case.check(read)
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["rows"][...], ROWS)
