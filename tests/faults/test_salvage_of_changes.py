"""Interrupted writes of new files whose datasets grow, move or are deleted: resumed and salvaged."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import streamh5

if TYPE_CHECKING:
    from pathlib import Path


class Stop(Exception):
    """Ends a write."""


@pytest.mark.parametrize("is_salvaged", [False, True], ids=["resumed", "salvaged"])
@pytest.mark.parametrize("way", ["append", "resize"])
def test_dataset_that_began_empty_is_resumed_and_salvaged(
    way: str, is_salvaged: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"

    def write(file: streamh5.File) -> int:
        dataset = file.create_dataset("d", (0, 10), "i4", maxshape=(None, 10), chunks=(4, 10))
        n = dataset.n_appended
        for i in range(n, 30):
            if way == "append":
                dataset.append(np.full((1, 10), i + 1))
            else:
                dataset.resize(i + 1, 0)
                dataset[i] = i + 1
        return n

    with suppress(Stop), streamh5.File(path, "w") as file:
        write(file)
        raise Stop
    if is_salvaged:
        streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5") as found:
            assert found["d"][:28, 0].tolist() == list(range(1, 29))
        return
    with streamh5.File(path, "w", resume=True) as file:
        n = write(file)
    assert n == (28 if way == "append" else 0)
    with h5py.File(path) as found:
        assert found["d"][:, 0].tolist() == list(range(1, 31))


def test_moved_and_deleted_datasets_of_a_new_file_are_salvaged(tmp_path: Path) -> None:
    with suppress(Stop), streamh5.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("g/x", data=np.arange(100), chunks=(10,))
        file["g/value"] = 1.5
        file.move("g", "h")
        file.create_dataset("g/x", data=np.ones(50), chunks=(10,))
        file.attrs["to"] = streamh5.Reference("/h/x")
        file["k"] = file["h"]
        del file["h"]
        file.create_dataset("z", data=np.ones(50), chunks=(10,))
        del file["z"]
        raise Stop
    streamh5.salvage(tmp_path / "a.h5.partial", output=tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as found:
        assert sorted(found) == ["g", "k"]
        assert found["k/x"][:].tolist() == list(range(100))
        assert found["k/value"][()] == 1.5
        assert found["g/x"][:].tolist() == [1] * 50
        assert found[found.attrs["to"]].name == "/k/x"
