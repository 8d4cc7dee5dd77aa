"""An error of a person's own task says which block it was, however dask has fused the tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

import streamh5


def fail(block: np.ndarray[Any, Any], block_info: Any = None) -> np.ndarray[Any, Any]:
    if block_info[None]["chunk-location"] == (2, 1):
        raise RuntimeError("mine")
    return block


def failing() -> da.Array:
    return da.ones((100, 80), chunks=(25, 40)).map_blocks(fail, dtype="f8")


ARRAYS: dict[str, tuple[Callable[[da.Array], da.Array], str]] = {
    "one task": (lambda x: x, "while writing the block at (50, 40) of /x"),
    "fused tasks": (lambda x: (x + 1) * 2, "while writing the block at (50, 40) of /x"),
    "a slice": (lambda x: x[10:], "(2, 1)"),
    "other blocks": (lambda x: x.rechunk((50, 80)), "while computing block (2, 1) of fail-"),
    "a shared block": (lambda x: x - x.mean(axis=0), "while computing block (2, 1) of fail-"),
}


def to_fixed_h5(x: da.Array, path: Path) -> None:
    streamh5.to_fixed_h5(path, "/x", x)


def synchronous(x: da.Array, path: Path) -> None:
    streamh5.to_fixed_h5(path, "/x", x, scheduler="synchronous")


def delayed(x: da.Array, path: Path) -> None:
    streamh5.to_fixed_h5(path, "/x", x, compute=False).compute()  # type: ignore[union-attr]


def to_netcdf(x: da.Array, path: Path) -> None:
    xr = pytest.importorskip("xarray")
    streamh5.to_netcdf(xr.Dataset({"x": (("a", "b"), x)}), path)


@pytest.mark.parametrize(
    "entry", [to_fixed_h5, synchronous, delayed, to_netcdf], ids=lambda entry: entry.__name__
)
@pytest.mark.parametrize("kind", ARRAYS)
def test_error_of_a_task_names_its_block(
    kind: str, entry: Callable[[da.Array, Path], None], tmp_path: Path
) -> None:
    made, expected = ARRAYS[kind]
    with pytest.raises(RuntimeError, match=r"^mine") as caught:
        entry(made(failing()), tmp_path / "a.h5")
    notes = caught.value.__notes__
    assert any(expected in note for note in notes), notes
    assert all(len(note) <= 300 for note in notes)
    assert len(notes) == len(set(notes))


def test_summary_of_many_datasets_says_how_many_more(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        for i in range(23):
            file[f"x{i}"] = [i]
    assert "and 3 more datasets" in repr(file.summary)
    assert file.summary is not None
    assert "and 3 more datasets" in file.summary._repr_html_()
