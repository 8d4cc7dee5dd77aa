"""How often the parts of many small objects are encoded and read: never more often each, the more there are."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from streamh5.engine import header_plan
from streamh5.model.attribute_spec import AttributeSpec

N = 300
"""More than `MAX_COMPACT_LINKS`, so that the root group has dense storage."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> collections.Counter[str]:
    """Calls of the functions that encode headers, by name."""
    counts: collections.Counter[str] = collections.Counter()

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return call(*args, **kwargs)

        return count

    for name in ("pack_messages", "encode_data_layout", "dense_links"):
        monkeypatch.setattr(header_plan, name, counted(name, getattr(header_plan, name)))
    monkeypatch.setattr(AttributeSpec, "body", counted("attribute", AttributeSpec.body))
    return counts


def _write(path: Path, n: int, *, value: Callable[[int], Any]) -> None:
    with streamh5.File(path, "w") as file:
        for i in range(n):
            file.create_dataset(f"v{i}", data=np.arange(4) + i).attrs["a"] = value(i)


@pytest.mark.parametrize("n", [N, 2 * N])
def test_small_datasets_each_message_encoded_once(
    n: int, calls: collections.Counter[str], tmp_path: Path
) -> None:
    _write(tmp_path / "a.h5", n, value=lambda i: i)
    assert calls["attribute"] == calls["encode_data_layout"] == n
    assert calls["dense_links"] == 1
    assert calls["pack_messages"] == 2 * (n + 1) + 1
    with h5py.File(tmp_path / "a.h5") as file:
        assert [int(file[f"v{i}"].attrs["a"]) for i in range(n)] == list(range(n))
        assert all(list(file[f"v{i}"][:]) == [i, i + 1, i + 2, i + 3] for i in range(n))


def test_attributes_with_references_are_encoded_twice_and_data_once(
    calls: collections.Counter[str], tmp_path: Path
) -> None:
    _write(tmp_path / "a.h5", N, value=lambda i: streamh5.Reference(f"/v{(i + 1) % N}"))
    assert calls["attribute"] == 2 * N
    assert calls["encode_data_layout"] == N
    with h5py.File(tmp_path / "a.h5") as file:
        assert all(file[file[f"v{i}"].attrs["a"]].name == f"/v{(i + 1) % N}" for i in range(N))


def test_front_region_before_data_headers_encoded_once_more(
    calls: collections.Counter[str], tmp_path: Path
) -> None:
    with streamh5.File(tmp_path / "a.h5", "w") as file:
        for i in range(N):
            file.create_dataset(f"v{i}", data=np.arange(4)).attrs["a"] = i
        file.create_dataset("x", data=np.arange(10), chunks=(5,))  # lays out the front region
    assert calls["attribute"] == 2 * N
    assert calls["dense_links"] == 2  # when the front region is laid out, and when it is filled
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["x"][7] == 7
        assert file[f"v{N - 1}"].attrs["a"] == N - 1


def test_one_dataset_added_to_many_only_its_header_and_the_group_are_encoded(
    calls: collections.Counter[str], tmp_path: Path
) -> None:
    _write(tmp_path / "a.h5", N, value=lambda i: i)
    calls.clear()
    with streamh5.File(tmp_path / "a.h5", "a") as file:
        file["new"] = np.arange(3)
    # two of the dataset, two of the group, and one again when the address of its dense storage is known
    assert calls["pack_messages"] == 5
    assert calls["attribute"] == 0
    with h5py.File(tmp_path / "a.h5") as file:
        assert len(file) == N + 1
        assert list(file["new"]) == [0, 1, 2]
        assert file["v7"].attrs["a"] == 7


def test_large_attributes_are_not_kept_until_the_headers_are_written(
    calls: collections.Counter[str], tmp_path: Path
) -> None:
    _write(tmp_path / "a.h5", 10, value=lambda i: np.full(header_plan.MAX_KEPT_NBYTES, i, "u1"))
    assert calls["attribute"] == 2 * 10
    with h5py.File(tmp_path / "a.h5") as file:
        assert all((file[f"v{i}"].attrs["a"] == i).all() for i in range(10))
