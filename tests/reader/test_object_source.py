"""Bytes of an object in a store: which requests are made, and what becomes of their failures."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamh5.errors import FileMissingError, FormatError, StoreError, UnreadableError
from streamh5.reader import object_source
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.object_source import N_OBJECT_BLOCKS, ObjectSource
from streamh5.stores import attempts
from streamh5.stores.attempts import Attempts
from tests.deadlock import DEADLOCK_SECONDS
from tests.stores.readable import NotedObject

BLOCK = 1 << 16
CONTENT = random.Random(5).randbytes(5 * BLOCK + 7)


@pytest.fixture(autouse=True)
def small_blocks_and_no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_source, "OBJECT_START_NBYTES", BLOCK)
    monkeypatch.setattr(object_source, "OBJECT_BLOCK_NBYTES", BLOCK)
    monkeypatch.setattr(attempts, "ATTEMPTS", Attempts(3, 0.0, 0.0))


def failing(reason: str, numbers: set[int]) -> Callable[[int], None]:
    def before(number: int) -> None:
        if number in numbers:
            raise StoreError(reason, reason=reason)

    return before


@given(st.lists(st.tuples(st.integers(0, len(CONTENT)), st.integers(0, 3 * BLOCK)), max_size=8))
def test_reads_of_an_object_return_its_bytes(reads: list[tuple[int, int]]) -> None:
    with FileBytes(NotedObject(CONTENT)) as file:
        assert file.nbytes == len(CONTENT)
        for start, asked in reads:
            nbytes = min(asked, len(CONTENT) - start)
            assert file.read(start, nbytes, "") == CONTENT[start : start + nbytes]
            memory = bytearray(nbytes)
            file.read_into(start, memoryview(memory), "")
            assert memory == CONTENT[start : start + nbytes]


def test_reads_of_the_first_block_make_no_request() -> None:
    store = NotedObject(CONTENT)
    with FileBytes(store) as file:
        file.read(0, 100, "")
        file.read(BLOCK - 10, 10, "")
    assert store.ranges == [(0, BLOCK)]


def test_small_reads_of_one_block_make_one_request() -> None:
    store = NotedObject(CONTENT)
    with FileBytes(store) as file:
        for start in range(BLOCK, 2 * BLOCK, 1000):
            file.read(start, 100, "")
        file.read(5 * BLOCK, 7, "")
        file.read(3 * BLOCK - 1, 2, "")
    assert store.ranges[1:] == [
        (BLOCK, 2 * BLOCK),
        (5 * BLOCK, len(CONTENT)),
        (2 * BLOCK, 3 * BLOCK),  # the last read crosses the edge of two blocks
        (3 * BLOCK, 4 * BLOCK),
    ]


def test_large_read_is_one_request_of_these_bytes() -> None:
    store = NotedObject(CONTENT)
    with FileBytes(store) as file:
        file.read(BLOCK + 5, 3 * BLOCK, "")
    assert store.ranges[1:] == [(BLOCK + 5, 4 * BLOCK + 5)]


def test_blocks_in_memory_are_limited() -> None:
    store = NotedObject(bytes((N_OBJECT_BLOCKS + 3) * BLOCK))
    with FileBytes(store) as file:
        for number in [*range(1, N_OBJECT_BLOCKS + 2), 1, N_OBJECT_BLOCKS + 1]:
            file.read(number * BLOCK, 1, "")
    # the block that was not used for the longest time was dropped, and read again
    assert [start // BLOCK for start, _ in store.ranges] == [*range(N_OBJECT_BLOCKS + 2), 1]


def test_threads_that_want_the_same_block_share_its_request() -> None:
    store = NotedObject(CONTENT)
    with FileBytes(store) as file, ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(file.read, BLOCK + i, 9, "") for i in range(100)]
        found = [read.result(DEADLOCK_SECONDS) for read in reads]
    assert found == [CONTENT[BLOCK + i :][:9] for i in range(100)]
    assert len(store.ranges) == 2


def test_requests_that_fail_for_a_moment_are_repeated() -> None:
    store = NotedObject(CONTENT)
    store.before = failing("transient", {0, 2, 3})
    with FileBytes(store) as file:
        assert file.read(BLOCK, 9, "") == CONTENT[BLOCK:][:9]
    assert len(store.ranges) == 5


def test_answer_that_is_too_short_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = NotedObject(CONTENT)
    read, answers = store.read, []

    def cut(start: int, stop: int, version: str | None = None) -> bytes:
        answers.append(start)
        return read(start, stop, version)[: 5 if len(answers) == 1 else None]

    monkeypatch.setattr(store, "read", cut)
    with FileBytes(store) as file:
        assert file.read(BLOCK, 9, "") == CONTENT[BLOCK:][:9]
    assert len(answers) == 2


def test_object_that_does_not_exist_is_refused_as_a_file_is() -> None:
    with pytest.raises(FileMissingError, match=r"s3://bucket/out\.h5 does not exist"):
        FileBytes(NotedObject(None))


@pytest.mark.parametrize("reason", ["denied", "refused", "transient"])
def test_object_that_cannot_be_opened_is_unreadable(reason: str) -> None:
    store = NotedObject(CONTENT)
    store.before = failing(reason, set(range(9)))
    with pytest.raises(UnreadableError, match=rf"s3://bucket/out\.h5 cannot be read: {reason}"):
        FileBytes(store)


@pytest.mark.parametrize(
    ("now", "expected"), [(CONTENT[::-1], "has been replaced while"), (None, "has been removed while")]
)
def test_object_that_is_replaced_meanwhile_is_unreadable(now: bytes | None, expected: str) -> None:
    store = NotedObject(CONTENT)
    file = FileBytes(store)
    store.content = now
    with pytest.raises(UnreadableError, match=expected), file:
        file.read(2 * BLOCK, 9, "")


def file_that_has_failed() -> FileBytes:
    store = NotedObject(CONTENT)
    store.before = failing("denied", {1})
    file = FileBytes(store)
    for number in (2, 3):  # the second request would succeed, and is not made
        with pytest.raises(StoreError):
            file.read(number * BLOCK, 9, "")
    assert len(store.ranges) == 2
    return file


def test_failure_that_was_swallowed_is_raised_at_the_end() -> None:
    with pytest.raises(UnreadableError, match="cannot be read: denied"), file_that_has_failed():
        pass


def test_failure_replaces_an_error_that_follows_from_it() -> None:
    with pytest.raises(UnreadableError, match="cannot be read: denied"), file_that_has_failed():
        raise FormatError("what was made of the bytes that are missing")


def test_failure_does_not_replace_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt), file_that_has_failed():
        raise KeyboardInterrupt


def test_file_object_for_h5py_reads_as_a_file_does() -> None:
    source, expected = ObjectSource(NotedObject(CONTENT)), io.BytesIO(CONTENT)
    with source.for_h5py() as file:
        for offset, whence, nbytes in (
            (0, 2, 5),
            (BLOCK - 5, 0, 20),
            (-7, 1, 3 * BLOCK),
            (-9, 2, 30),
        ):
            assert file.seek(offset, whence) == expected.seek(offset, whence)
            assert file.read(nbytes) == expected.read(nbytes)
            assert file.tell() == expected.tell()
