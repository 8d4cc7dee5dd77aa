"""Objects whose creation fails at their journal entries: they are in the file and in its journal, or in neither."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import streamh5
from streamh5.engine.gathered_pieces import MAX_GATHERED_NBYTES
from streamh5.errors import SinkError
from streamh5.recovery import entry_kinds
from streamh5.recovery.entry_kinds import EntryKind
from streamh5.sinks.journaled_sink import JournaledSink
from tests.faults.systems import WRITES, Calls, copy_folder, installed


def content(name: str, arguments: tuple[Any, ...]) -> bytes:
    """The bytes of a write."""
    return b"".join(arguments[1]) if name == "pwritev" else bytes(arguments[1])


class FullDisk(Calls):
    """No room for the next write with an entry of this kind, once it is set."""

    def __init__(self) -> None:
        self.kind: EntryKind[Any] | None = None
        super().__init__(self._refuse)

    def _refuse(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if self.kind is not None and name in WRITES and self.kind.magic in content(name, arguments):
            self.kind = None
            raise OSError(errno.ENOSPC, "no room for a moment")


@contextmanager
def interrupted_encoder(kind: EntryKind[Any]) -> Iterator[None]:
    """A Ctrl-C arrives while an entry of this kind is encoded."""
    payload = kind.payload

    def interrupt(*args: Any, **kwargs: Any) -> Any:
        object.__setattr__(kind, "payload", payload)
        raise KeyboardInterrupt

    object.__setattr__(kind, "payload", interrupt)
    try:
        yield
    finally:
        object.__setattr__(kind, "payload", payload)


Fault = Callable[[FullDisk], AbstractContextManager[None]]


@contextmanager
def no_room(system: FullDisk) -> Iterator[None]:
    system.kind = entry_kinds.DATASET
    yield
    assert system.kind is None


def interrupted_append(*, is_taken: bool) -> Fault:
    """A Ctrl-C arrives just before the journal takes entries, or just after."""

    @contextmanager
    def interrupted(system: FullDisk) -> Iterator[None]:
        append = JournaledSink.append_log

        def interrupt(*args: Any, **kwargs: Any) -> None:
            patch.undo()
            if is_taken:
                append(*args, **kwargs)
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(JournaledSink, "append_log", interrupt)
            yield

    return interrupted


FAULTS: dict[str, Fault] = {
    "ctrl-c before the journal": interrupted_append(is_taken=False),
    "ctrl-c behind the journal": interrupted_append(is_taken=True),
    "ctrl-c": lambda _: interrupted_encoder(entry_kinds.ELEMENTS),
    "full disk": no_room,
}


@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_dataset_whose_entries_fail_is_not_there_and_can_be_created_again(
    fault: str, is_killed: bool, tmp_path: Path
) -> None:
    path, system = tmp_path / "a.h5", FullDisk()
    with installed(system):
        file = streamh5.File(path)
        file.create_dataset("first", data=np.arange(3))
        for name in ("again", "never"):
            with FAULTS[fault](system), pytest.raises((KeyboardInterrupt, SinkError)):
                file.create_dataset(name, data=np.arange(4))
            assert name not in file
        file.create_dataset("again", data=np.arange(4) * 2)
        file.create_dataset("chunks", data=np.arange(100), chunks=(10,))
        if is_killed:
            path = copy_folder(tmp_path, tmp_path.with_name(f"{tmp_path.name} killed")) / "a.h5"
            streamh5.salvage(f"{path}.partial", output=path)
            file.abort()
        else:
            file.close()
    with h5py.File(path) as found:
        assert sorted(found) == ["again", "chunks", "first"]
        assert found["again"][...].tolist() == [0, 2, 4, 6]
        assert found["chunks"][...].tolist() == list(range(100))


def test_dataset_whose_entries_fail_at_a_resume_is_created_again(tmp_path: Path) -> None:
    path, system = tmp_path / "a.h5", FullDisk()
    with streamh5.File(path) as file:
        file.create_dataset("x", data=np.arange(4))
        file.suspend()
    with installed(system), streamh5.File(path, resume=True) as file:
        system.kind = entry_kinds.ELEMENTS
        with pytest.raises(SinkError):
            file.create_dataset("x", data=np.arange(4) + 1)
        assert "x" not in file
        file.create_dataset("x", data=np.arange(4) + 2)
        file.suspend()
    streamh5.salvage(f"{path}.partial", output=path)
    with h5py.File(path) as found:
        assert found["x"][...].tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("is_taken", [False, True])
@pytest.mark.parametrize("goes_on", [False, True])
def test_value_of_the_interrupted_write_stays_until_there_is_a_new_one(
    goes_on: bool, is_taken: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    with streamh5.File(path) as file:
        file.create_dataset("chunks", data=np.arange(20), chunks=(10,))
        file.create_dataset("x", data=np.arange(4)).attrs["units"] = "m"
        file.suspend()
    with streamh5.File(path, resume=True) as file:
        with interrupted_append(is_taken=is_taken)(FullDisk()), pytest.raises(KeyboardInterrupt):
            file.create_dataset("x", data=np.arange(4))
        if goes_on:
            file.create_dataset("y", data=np.arange(2))
            file.create_dataset("x", data=np.arange(4) + 2).attrs["units"] = "s"
        file.suspend()
    streamh5.salvage(f"{path}.partial", output=path)
    with h5py.File(path) as found:
        assert found["x"][...].tolist() == ([2, 3, 4, 5] if goes_on else [0, 1, 2, 3])
        assert found["x"].attrs["units"] == ("s" if goes_on else "m")
        assert ("y" in found) == goes_on


def test_ctrl_c_in_the_entry_of_an_opened_dataset_leaves_no_gap_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as made:
        made.create_dataset("x", data=np.arange(20), chunks=(10,))
        made.create_dataset("small", data=np.arange(4))
    file: Any = streamh5.File(path, "a")
    with interrupted_encoder(entry_kinds.OPENED), pytest.raises(KeyboardInterrupt):
        file["small"][1] = 7
    file["x"][10:] = np.full(10, 5)
    file.create_dataset("new", data=np.arange(3))
    file.suspend()
    streamh5.salvage(path)
    with h5py.File(path) as found:
        assert found["x"][...].tolist() == [*range(10), *[5] * 10]
        assert found["new"][...].tolist() == [0, 1, 2]


def test_flush_that_fails_at_its_entry_changes_nothing(tmp_path: Path) -> None:
    path, system = tmp_path / "a.h5", FullDisk()
    with h5py.File(path, "w") as made:
        made.create_dataset("x", data=np.arange(100), chunks=(10,), maxshape=(None,))
        made.create_dataset("small", data=np.arange(5))
    with installed(system):
        file: Any = streamh5.File(path, "a")
        file["x"][:10] = np.full(10, 7)
        file["small"][0] = 99
        system.kind = entry_kinds.PUBLIC
        with pytest.raises(SinkError):
            file.flush()
        file["x"].resize((30,))
        file["x"][10:20] = np.full(10, 8)
        file["small"][1] = 98
        path = copy_folder(tmp_path, tmp_path.with_name(f"{tmp_path.name} killed")) / "a.h5"
        file.abort()
    streamh5.salvage(path)
    with h5py.File(path) as found:
        assert found["x"][...].tolist() == [*[7] * 10, *[8] * 10, *range(20, 30)]
        assert found["small"][...].tolist() == [99, 98, 2, 3, 4]


def test_large_attributes_of_one_object_are_not_one_write_to_the_journal(tmp_path: Path) -> None:
    sizes: Counter[int] = Counter()

    def count(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name in WRITES and (entries := content(name, arguments)).startswith(entry_kinds.ATTRIBUTE.magic):
            sizes[len(entries)] += 1

    quarter = np.zeros(MAX_GATHERED_NBYTES // 4, "u1")
    dataset = xr.Dataset(attrs={f"a{i}": quarter + i for i in range(20)})
    with installed(Calls(count)):
        streamh5.to_netcdf(dataset, tmp_path / "a.h5", progress=False)
    assert max(sizes) < 2 * MAX_GATHERED_NBYTES
    with h5py.File(tmp_path / "a.h5") as found:
        assert all((found.attrs[f"a{i}"] == i).all() for i in range(20))
