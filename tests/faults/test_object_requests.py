"""Every request of a write to an object store fails in turn: once, or from then on, with or without its effect.

The object is afterwards the old one or the complete new one, and no upload is left that the error does not name.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import dask.array as da
import fsspec
import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.errors import StoreError
from streamh5.sinks import part_sizes
from streamh5.stores import attempts, memory
from streamh5.stores.memory import MemoryStore

URL = "memory://bucket/out.h5"
REQUESTS = (
    "head",
    "put",
    "begin_upload",
    "send_part",
    "list_parts",
    "complete",
    "abort_upload",
    "list_uploads",
)
OLD = b"the old object"
VALUES = np.arange(3_000_000, dtype="f4").reshape(300, 10_000)


class Failing:
    """Counts the requests of a store, and lets some fail: see `install`."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fails: Callable[[int], bool] = lambda i: False
        self.reason = "transient"
        self.has_effect = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in REQUESTS:
            monkeypatch.setattr(MemoryStore, name, self._failing(name, getattr(MemoryStore, name)))

    def _failing(self, name: str, request: Callable[..., Any]) -> Callable[..., Any]:
        def call(store: MemoryStore, *args: Any, **kwargs: Any) -> Any:
            if self._is_inside:  # the store calls itself
                return request(store, *args, **kwargs)
            self.names.append(name)
            if not self.fails(len(self.names) - 1):
                return self._whole(request, store, *args, **kwargs)
            if self.has_effect:
                self._whole(request, store, *args, **kwargs)
            raise StoreError(f"{name} failed", reason=self.reason)

        return call

    _is_inside = False

    def _whole(self, request: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._is_inside = True
        try:
            return request(*args, **kwargs)
        finally:
            self._is_inside = False


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    store = fsspec.filesystem("memory").store
    store.clear()
    memory._UPLOADS.clear()
    monkeypatch.setattr(part_sizes, "PART_NBYTES", 4 << 20)
    monkeypatch.setattr(
        "streamh5.sinks.part_sender.N_SENDERS", 1
    )  # the order of the requests is always the same
    monkeypatch.setattr(attempts, "ATTEMPTS", attempts.Attempts(3, 0.0001, 0.0002))
    made = Failing()
    made.install(monkeypatch)
    yield made
    store.clear()
    memory._UPLOADS.clear()


def parts(*, overwrite: bool) -> None:
    """Write 12 MB in parts of 4 MiB."""
    with streamh5.File(URL, "w" if overwrite else "x", threads=1) as f:
        d = f.create_dataset("x", shape=(None, 10_000), dtype="f4", chunks=(20, 10_000), compression=None)
        d.append(VALUES)


def one_request(*, overwrite: bool) -> None:
    """Write 0.4 MB."""
    da.from_array(VALUES[:10], chunks=(5, 10_000)).to_fixed_h5(
        URL, "/x", overwrite=overwrite, compression=None, scheduler="synchronous"
    )


WRITES = [(parts, VALUES), (one_request, VALUES[:10])]
WRITE_IDS = ["parts", "one request"]


def content() -> Any:
    system = fsspec.filesystem("memory")
    return system.cat_file(URL) if system.exists(URL) else None


def check_right(values: Any) -> None:
    with h5py.File(io.BytesIO(content()), "r") as f:
        np.testing.assert_array_equal(f["x"][...], values)
    assert not memory._UPLOADS


def begin(*, overwrite: bool) -> None:
    """Make the store what it is before a write."""
    memory._UPLOADS.clear()
    fsspec.filesystem("memory").store.clear()
    if overwrite:
        fsspec.filesystem("memory").pipe_file(URL, OLD)


def requests_of(write: Callable[..., None], failing: Failing, *, overwrite: bool) -> list[str]:
    begin(overwrite=overwrite)
    write(overwrite=overwrite)
    names, failing.names = failing.names, []
    assert len(names) >= 3
    return names


@pytest.mark.parametrize("overwrite", [True, False], ids=["replace", "new"])
@pytest.mark.parametrize("has_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("write", "values"), WRITES, ids=WRITE_IDS)
def test_request_that_fails_once_costs_nothing(
    write: Callable[..., None], values: Any, has_effect: bool, overwrite: bool, failing: Failing
) -> None:
    names = requests_of(write, failing, overwrite=overwrite)
    failing.has_effect = has_effect
    for k in range(len(names)):
        begin(overwrite=overwrite)
        failing.names, failing.fails = [], lambda i, k=k: i == k  # type: ignore[misc]
        write(overwrite=overwrite)
        failing.fails = lambda i: False
        check_right(values)


@pytest.mark.parametrize("reason", ["transient", "denied"])
@pytest.mark.parametrize("overwrite", [True, False], ids=["replace", "new"])
@pytest.mark.parametrize("has_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("write", "values"), WRITES, ids=WRITE_IDS)
def test_store_that_is_lost_leaves_the_old_object_or_the_new_one(
    write: Callable[..., None], values: Any, has_effect: bool, overwrite: bool, reason: str, failing: Failing
) -> None:
    names = requests_of(write, failing, overwrite=overwrite)
    failing.has_effect, failing.reason = has_effect, reason
    old = OLD if overwrite else None
    for k in range(len(names)):
        begin(overwrite=overwrite)
        failing.names, failing.fails = [], lambda i, k=k: i >= k  # type: ignore[misc]
        with pytest.raises(errors.SinkError) as caught:
            write(overwrite=overwrite)
        if content() != old:
            assert has_effect
            memory._UPLOADS.clear()
            check_right(values)
        told = " ".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
        for (_, upload), parts_left in memory._UPLOADS.items():
            # an upload of which nobody knows the id has no parts, which cost money
            assert upload in told or not parts_left, names[k]
        failing.fails = lambda i: False


@pytest.mark.parametrize("reason", ["transient", "denied", "no upload", "part differs", "refused"])
@pytest.mark.parametrize(("write", "values"), WRITES, ids=WRITE_IDS)
def test_request_that_never_succeeds_leaves_nothing(
    write: Callable[..., None], values: Any, reason: str, failing: Failing
) -> None:
    names = requests_of(write, failing, overwrite=True)
    failing.reason = reason
    for name in sorted(set(names)):
        begin(overwrite=True)
        failing.names, failing.fails = [], lambda i, name=name: failing.names[i] == name  # type: ignore[misc]
        if name == "list_uploads" and reason != "transient":  # who may write may not be allowed to list
            write(overwrite=True)
            failing.fails = lambda i: False
            check_right(values)
            continue
        with pytest.raises(errors.SinkError):
            write(overwrite=True)
        assert content() == OLD
        assert not memory._UPLOADS, name
        failing.fails = lambda i: False
