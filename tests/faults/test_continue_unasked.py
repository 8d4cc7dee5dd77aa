"""A resumed program that appends without asking where it was would store rows twice: it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.cli.main import main
from streamh5.errors import DestinationExistsError, InterruptedWriteError, ResumeError, SpecError

GROWING: dict[str, Any] = {"shape": (0, 4), "dtype": "i4", "chunks": (2, 4), "maxshape": (None, 4)}
OPEN: dict[str, Any] = {**GROWING, "shape": (None, 4)}


def dataset(file: streamh5.File, keywords: dict[str, Any] = GROWING) -> streamh5.Dataset:
    found = file["x"] if "x" in file else file.create_dataset("x", **keywords)
    assert isinstance(found, streamh5.Dataset)
    return found


def row(i: int) -> Any:
    return np.full(4, i, "i4")


def interrupted(path: Path, mode: str, keywords: dict[str, Any], *, flushed: int = 0) -> None:
    """Leave an interrupted write with six rows, the first of which were flushed."""
    file = streamh5.File(path, mode, resume=True)
    x = dataset(file, keywords)
    for i in range(x.n_appended, 6):
        x.append(row(i))
        if i + 1 == flushed:
            file.flush()
    file.suspend()


@pytest.mark.parametrize("keywords", [GROWING, OPEN])
@pytest.mark.parametrize(("mode", "flushed"), [("w", 0), ("x", 0), ("a", 0), ("a", 4)])
def test_append_after_a_resume_that_was_not_asked_about_is_refused(
    mode: str, flushed: int, keywords: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "run.h5"
    interrupted(path, mode, keywords, flushed=flushed)
    with (
        pytest.raises(ResumeError, match="/x: the interrupted write has 6 rows") as error,
        streamh5.File(path, mode, resume=True) as file,
    ):
        dataset(file, keywords).append(row(0))
    assert "read n_appended and go on there" in str(error.value)
    assert error.value.facts == {"n_rows": 6}
    with streamh5.File(path, mode, resume=True) as file:  # nothing was stored, nothing was lost
        x = dataset(file, keywords)
        assert x.n_appended == 6
        for i in range(x.n_appended, 9):
            x.append(row(i))
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"][:, 0], np.arange(9))


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.n_appended,
        lambda x: x.shape,
        len,
        lambda x: x.is_stored((0, 0), (2, 4)),
        lambda x: x.resize((6, 4)),
    ],
)
def test_any_way_to_ask_counts(ask: Any, tmp_path: Path) -> None:
    interrupted(tmp_path / "run.h5", "w", GROWING)
    with streamh5.File(tmp_path / "run.h5", "w", resume=True) as file:
        x = dataset(file)
        ask(x)
        x.append(row(6))
    with h5py.File(tmp_path / "run.h5") as found:
        np.testing.assert_array_equal(found["x"][:, 0], np.arange(7))


def test_rows_of_the_file_and_rows_that_were_set_again_are_not_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with streamh5.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(4), chunks=(2,), maxshape=(None,))
    for is_closed in (False, True):
        file = streamh5.File(path, "a", resume=True)
        y = file.create_dataset("y", data=np.arange(4), chunks=(2,), maxshape=(None,))
        if is_closed:
            dataset(file).append(np.array([4]))
            y.append(np.array([4]))
            file.close()
        file.suspend()
    with h5py.File(path) as found:
        np.testing.assert_array_equal(found["x"], np.arange(5))
        np.testing.assert_array_equal(found["y"], np.arange(5))


@pytest.mark.parametrize("is_resumed", [True, False])
def test_new_file_over_a_flushed_one_names_the_interrupted_write(is_resumed: bool, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    interrupted(path, "x", GROWING, flushed=4)
    with pytest.raises(
        InterruptedWriteError, match=r"mode 'a' and resume=True, or .*mode 'w' \(overwrite=True\)"
    ):
        streamh5.File(path, "x", resume=is_resumed)
    with streamh5.File(path, "a", resume=True) as file:
        assert dataset(file).n_appended == 6
    with pytest.raises(DestinationExistsError, match=r"run\.h5 exists; pass overwrite=True"):
        streamh5.File(path, "x", resume=is_resumed)


def test_advice_to_drop_names_the_mode_of_file_and_the_keyword_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    interrupted(path, "x", GROWING)
    with pytest.raises(InterruptedWriteError, match=r"drop it with mode 'w' \(overwrite=True\), or turn"):
        streamh5.File(path)
    with (
        pytest.raises(ResumeError, match=r"start again with mode 'w' \(overwrite=True\), without resume"),
        streamh5.File(path, resume=True) as file,
    ):
        dataset(file, {**GROWING, "dtype": "f8"})
    file.abort()


def test_salvage_beside_a_salvaged_file_names_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, salvaged = tmp_path / "run.h5", tmp_path / "run.salvaged.h5"
    interrupted(path, "x", GROWING)
    salvaged.write_bytes(b"mine")
    with pytest.raises(
        DestinationExistsError, match=r"exists: choose another name .* \(output=\), or remove it"
    ):
        streamh5.salvage(path)
    with pytest.raises(SpecError, match="output names another file"):
        streamh5.salvage(path, overwrite=True)
    assert main(["salvage", str(path)]) != 0
    assert "(--output), or remove it" in capsys.readouterr().err
    assert salvaged.read_bytes() == b"mine"
    assert streamh5.salvage(path, output=tmp_path / "other.h5").datasets[0].n_rows == 6
