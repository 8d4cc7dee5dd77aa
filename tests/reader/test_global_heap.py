"""The global heap of a file: each collection is claimed once, and decoded once for consecutive elements."""

from __future__ import annotations

import pytest

from streamh5.errors import FormatError
from streamh5.format.global_heap import encode_global_heap_collection
from streamh5.reader import global_heap
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_map import FileMap
from streamh5.reader.global_heap import GlobalHeap


def test_contents_of_one_collection_are_decoded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"word {i}".encode() for i in range(500)]
    content = encode_global_heap_collection(words)
    n_decoded = 0

    def decode(block: bytes, encoding: object) -> dict[int, bytes]:
        nonlocal n_decoded
        n_decoded += 1
        return dict(enumerate(words, start=1))

    monkeypatch.setattr(global_heap, "decode_global_heap_collection", decode)
    file_map = FileMap(len(content))
    heap = GlobalHeap(FileBytes(content), file_map)
    assert [heap.content(0, i, "/x") for i in range(1, 501)] == words
    assert n_decoded == 2  # once to check it, once for its contents
    assert [(one.owner, one.nbytes) for one in file_map.structures()] == [("/x", len(content))]


def test_damaged_collection_is_the_same_error_for_each_element() -> None:
    content = bytearray(encode_global_heap_collection([b"word"]))
    content[4] = 9
    heap = GlobalHeap(FileBytes(bytes(content)), FileMap(len(content)))
    for _ in range(2):
        with pytest.raises(FormatError, match="version is 9"):
            heap.content(0, 1, "/x")
