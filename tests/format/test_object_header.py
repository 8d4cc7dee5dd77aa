from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamh5.errors import LimitError
from streamh5.format.attribute import Attribute
from streamh5.format.dataspace import Dataspace
from streamh5.format.datatype import datatype_class
from streamh5.format.object_header import (
    Message,
    MessageType,
    pack_messages,
    position_of_messages,
)
from tests.format.conftest import attribute_body

if TYPE_CHECKING:
    from tests.format.conftest import FileBuilder

AddDataset = Callable[..., "FileBuilder"]


def _nil(nbytes: int) -> Message:
    return Message(MessageType.NIL, bytes(nbytes))


def _attribute(name: str, nbytes: int = 4) -> Message:
    data = np.arange(nbytes, dtype=np.uint8)
    attribute = Attribute(name, datatype_class(data.dtype), Dataspace((nbytes,)), data.tobytes())
    return Message(MessageType.ATTRIBUTE, attribute_body(attribute))


@given(st.lists(st.integers(0, 300), max_size=6), st.integers(0, 400), st.booleans())
def test_object_header_any_reserved_size_exact(body_sizes: list[int], spare: int, order: bool) -> None:
    messages = [_nil(size) for size in body_sizes]
    size = len(pack_messages(messages, attribute_order=order).encode()) + spare
    assert len(pack_messages(messages, attribute_order=order).encode(size=size)) == size


@pytest.mark.parametrize("n_body", [*range(246, 256), *range(65_525, 65_536)])
@pytest.mark.parametrize("spare", range(6))
def test_object_header_around_width_of_size_field_exact(n_body: int, spare: int) -> None:
    messages = [_nil(n_body)]
    size = len(pack_messages(messages).encode()) + spare
    assert len(pack_messages(messages).encode(size=size)) == size


@given(st.lists(st.integers(1, 300), min_size=1, max_size=6), st.integers(0, 400), st.booleans())
def test_position_of_messages_finds_each_message(body_sizes: list[int], spare: int, order: bool) -> None:
    messages = [Message(MessageType.NIL, bytes([i + 1]) * n) for i, n in enumerate(body_sizes)]
    size = len(pack_messages(messages, attribute_order=order).encode()) + spare
    encoded = pack_messages(messages, attribute_order=order).encode(size=size)
    for i, message in enumerate(messages):
        stop = position_of_messages(size) + len(
            pack_messages(messages[: i + 1], attribute_order=order).content
        )
        assert encoded[stop - len(message.body) : stop] == message.body


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("spare", [0, 1, 3, 4, 5, 6, 7, 300, 65_535, 65_540, 65_541])
def test_object_header_padded_read_by_readers(one_value_dataset: AddDataset, spare: int, order: bool) -> None:
    extra = [_attribute("b"), _attribute("a")]
    builder = one_value_dataset("small", extra, attribute_order=order)
    small = len(builder.content) - 48
    builder = one_value_dataset("x", extra, attribute_order=order, size=small + spare)
    path = builder.write()
    with h5py.File(path) as file:
        assert file["x"][()] == 7
        assert list(file["x"].attrs["a"]) == [0, 1, 2, 3]
        order_flags = file["x"].id.get_create_plist().get_attr_creation_order()
        assert order_flags == (3 if order else 0)
        assert list(file["x"].attrs) == (["b", "a"] if order else ["a", "b"])
    dump = subprocess.run(["h5dump", str(path)], capture_output=True, text=True, check=True).stdout
    assert dump.count("(0): 7") == 2
    with h5py.File(path, "r+") as file:
        del file["x"].attrs["a"]
        file["x"].attrs["added"] = 5
        file["x"][()] = 9
    with h5py.File(path) as file:
        assert set(file["x"].attrs) == {"b", "added"}
        assert file["x"].attrs["added"] == 5
        assert file["x"][()] == 9


def test_object_header_size_too_small_limit_error() -> None:
    needed = len(pack_messages([_nil(10)]).encode())
    with pytest.raises(LimitError, match=f"reserve at least {needed}"):
        pack_messages([_nil(10)]).encode(size=needed - 1)


@pytest.mark.parametrize(("order", "most"), [(False, 65_539), (True, 65_541)])
def test_object_header_more_free_space_than_one_message_limit_error(order: bool, most: int) -> None:
    needed = len(pack_messages([_nil(70)], attribute_order=order).encode())
    # The field for the size of chunk 0 takes 3 bytes more than in the smallest header.
    pack_messages([_nil(70)], attribute_order=order).encode(size=needed + most + 3)
    with pytest.raises(LimitError, match=f"allows {most:,}"):
        pack_messages([_nil(70)], attribute_order=order).encode(size=needed + most + 4)


def test_object_header_largest_message_read(one_value_dataset: AddDataset) -> None:
    overhead = len(_attribute("big", 0).body)
    path = one_value_dataset("x", [_attribute("big", 65_535 - overhead)]).write()
    with h5py.File(path) as file:
        assert file["x"].attrs["big"].shape == (65_535 - overhead,)


def test_object_header_message_above_limit_limit_error() -> None:
    with pytest.raises(LimitError, match="65536 bytes"):
        pack_messages([_nil(65_536)])
