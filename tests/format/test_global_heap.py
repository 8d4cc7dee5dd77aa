from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamh5.errors import LimitError
from streamh5.format.data_layout import ContiguousLayout
from streamh5.format.dataspace import Dataspace
from streamh5.format.datatype_class import VariableLengthString
from streamh5.format.global_heap import (
    encode_global_heap_collection,
    encode_variable_length_elements,
    sizeof_global_heap_collection,
    split_into_collections,
)

if TYPE_CHECKING:
    from tests.format.conftest import FileBuilder


def test_collection_of_few_strings_equals_libhdf5(tmp_path: Path) -> None:
    texts = [b"a", b"12345678", b"longer than sixteen bytes"]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (3,), h5py.string_dtype())
        for i, text in enumerate(texts):
            x[i] = text
    content = (tmp_path / "a.h5").read_bytes()
    address = content.index(b"GCOL")
    ours = encode_global_heap_collection(texts)
    assert ours == content[address : address + 4096]


def _write_strings(builder: FileBuilder, texts: list[bytes], max_nbytes: int) -> Path:
    """Write `texts` as the dataset "x" in collections of at most `max_nbytes`."""
    addresses = np.zeros(len(texts), np.uint64)
    indices = np.zeros(len(texts), np.uint32)
    for group in split_into_collections([len(text) for text in texts], max_nbytes):
        block = encode_global_heap_collection(texts[group])
        addresses[group] = builder.add(block)
        indices[group] = np.arange(1, group.stop - group.start + 1)
    lengths = np.array([len(text) for text in texts], np.uint32)
    elements = encode_variable_length_elements(lengths, addresses, indices)
    layout = ContiguousLayout(builder.add(elements), len(elements))
    builder.add_dataset("x", layout, dtype=VariableLengthString(), space=Dataspace((len(texts),)))
    return builder.write()


@pytest.mark.parametrize("max_nbytes", [4096, 65_536])
@pytest.mark.parametrize("n_spare", [0, 8, 15, 16, 17, 24, 4000])
def test_collection_with_any_rest_read_by_h5py(builder: FileBuilder, n_spare: int, max_nbytes: int) -> None:
    fits = 4096 - 16 - 16 - n_spare
    texts = [b"x" * fits, b"y", b"", b"z" * 300_000, "ü".encode() * 50]
    with h5py.File(_write_strings(builder, texts, max_nbytes)) as file:
        assert file["x"].asstr()[:].tolist() == [text.decode() for text in texts]


def test_collections_of_many_strings_read_by_h5py(builder: FileBuilder) -> None:
    texts = [str(i).encode() for i in range(70_000)]
    with h5py.File(_write_strings(builder, texts, 1 << 30)) as file:
        assert file["x"][:].tolist() == texts


@given(st.lists(st.integers(0, 5000), max_size=40))
def test_collection_size_known_before_bytes(sizes: list[int]) -> None:
    collection = [bytes(n) for n in sizes]
    assert len(encode_global_heap_collection(collection)) == sizeof_global_heap_collection(sizes)


@given(st.lists(st.integers(0, 5000), max_size=40), st.integers(4096, 20_000))
def test_split_into_collections_covers_all_below_limit(sizes: list[int], most: int) -> None:
    groups = split_into_collections(sizes, most)
    assert [i for group in groups for i in range(group.start, group.stop)] == list(range(len(sizes)))
    for group in groups:
        one = group.stop - group.start == 1
        assert one or sizeof_global_heap_collection(sizes[group]) <= most


def test_collection_of_65536_objects_limit_error() -> None:
    encode_global_heap_collection((b"",) * 65_535)
    with pytest.raises(LimitError):
        encode_global_heap_collection((b"",) * 65_536)
