"""Part numbers, sizes and addresses of an upload by many workers, with a store that keeps nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streamh5.dask.store_task import Stored
from streamh5.dask.stored_chunks import CopyCounts
from streamh5.dask.upload_tasks import N_JOINED, SentPart, group_size, join_levels, send_blocks
from streamh5.errors import LimitError, StateError
from streamh5.model.chunk_records import chunk_records
from streamh5.sinks.object_sink import ObjectSink
from streamh5.stores.base import PartLimits, PartReceipt
from streamh5.write.part_records import NO_CHECKSUMS, NO_NUMBERS, PartRecords

MIB = 1 << 20


class Content:
    """Bytes that are not there."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    def __len__(self) -> int:
        return self.nbytes


class CountingUpload:
    """Parts that are counted and not kept."""

    min_nbytes = 5 * MIB

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}

    def check(self, nbytes: int) -> None:
        """Take parts of any size."""

    def send(self, number: int, contents: list[Content]) -> PartReceipt:
        assert number not in self.sizes
        self.sizes[number] = sum(map(len, contents))
        return PartReceipt(number, "", self.sizes[number])


def stored(block: int, nbytes: int) -> Stored:
    records = chunk_records(np.array([block], np.uint64), 0, np.array([nbytes], np.uint64), None)
    part = PartRecords("t", f"w:{block % 1000}:", "/x", records, NO_CHECKSUMS, NO_NUMBERS, nbytes, 0, True)
    return Stored("/x", [(block,)], part, CopyCounts(), content=Content(nbytes))  # type: ignore[arg-type]


def sent(
    size_of: Callable[[int], int], n_blocks: int, *, n_fused: int = 1
) -> tuple[CountingUpload, list[Any]]:
    """Send blocks as the tasks of a cluster do; return the results that reach the client."""
    upload: Any = CountingUpload()
    n_each = group_size(n_blocks, 9000, n_fused)
    groups = [range(i, min(i + n_each, n_blocks)) for i in range(0, n_blocks, n_each)]
    assert len(groups) <= 9000
    kept = 5 * MIB
    results = [
        send_blocks(upload, 2 + i, 0 if i else kept, [[stored(b, size_of(b))] for b in group])
        for i, group in enumerate(groups)
    ]
    for n in join_levels(len(results)):
        parts = [results[i : i + n] for i in range(0, len(results), n)]
        results = [send_blocks(upload, None, 0 if i else kept, part) for i, part in enumerate(parts)]
    return upload, results


def check(upload: CountingUpload, results: list[Any], size_of: Callable[[int], int], n_blocks: int) -> int:
    """Check that each byte is in a part once, or with the client; return how much is with the client."""
    ones = [one for result in results for one in result]
    parts = {one.receipt.number: one for one in ones if isinstance(one, SentPart)}
    rest = [one for one in ones if isinstance(one, Stored)]
    assert parts.keys() == upload.sizes.keys()
    assert min(upload.sizes.values(), default=upload.min_nbytes) >= upload.min_nbytes
    assert all(2 <= number <= 9001 for number in parts)
    found = np.concatenate(
        [s.part.records["number"] for p in parts.values() for s in p.stored if s.part]
        + [s.part.records["number"] for s in rest if s.part]
    )
    assert np.array_equal(np.sort(found), np.arange(n_blocks))
    for number, part in parts.items():  # no gap, no overlap
        records = np.sort(
            np.concatenate([s.part.records for s in part.stored if s.part is not None]), order="address"
        )
        ends = np.cumsum(records["stored_nbytes"], dtype=np.uint64)
        assert np.array_equal(records["address"], ends - records["stored_nbytes"])
        assert int(ends[-1]) == upload.sizes[number]
    assert sum(upload.sizes.values()) + sum(len(s.content) for s in rest) == sum(
        map(size_of, range(n_blocks))
    )
    return sum(len(s.content) for s in rest)


@pytest.mark.parametrize(
    ("n_blocks", "nbytes"),
    [
        (8999, 610 * MIB),  # 5.2 TiB, a part each
        (9000, 8 * MIB),
        (9001, 8 * MIB),
        (90_000, 60 * MIB),  # 5 TiB
        (30_000, 100_000),
        (20_000, 5 * MIB - 1),
        (3, 1000),
    ],
)
def test_blocks_of_one_size_are_in_few_enough_parts(n_blocks: int, nbytes: int) -> None:
    upload, results = sent(lambda block: nbytes, n_blocks)
    rest = check(upload, results, lambda block: nbytes, n_blocks)
    assert rest >= min(5 * MIB, n_blocks * nbytes)  # for the beginning of the object
    assert rest <= 5 * MIB + nbytes + 128 * 5 * MIB


@pytest.mark.parametrize("n_fused", [1, 7])
@pytest.mark.parametrize("seed", range(5))
def test_blocks_of_any_size(seed: int, n_fused: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(0, math.log(30 * MIB), rng.integers(1, 3000))).astype(int).tolist()
    check(*sent(sizes.__getitem__, len(sizes), n_fused=n_fused), sizes.__getitem__, len(sizes))


@pytest.mark.parametrize("n_groups", [1, 2, 16, 17, 128, 129, 9000])
def test_few_results_reach_the_client(n_groups: int) -> None:
    n = n_groups
    for some in join_levels(n_groups):
        assert some == N_JOINED
        n = -(-n // some)
    assert n <= 128


def test_objects_in_the_heap_cannot_be_sent() -> None:
    one = stored(1, 10)
    with pytest.raises(StateError, match="global heap"):
        send_blocks(CountingUpload(), 2, 0, [[one._replace(content=bytes(20))]])  # type: ignore[arg-type]


class CountingStore:
    """A store that keeps the sizes of parts only."""

    url = "s3://bucket/large.h5"
    limits = PartLimits()

    def __init__(self) -> None:
        self.parts: dict[int, PartReceipt] = {}
        self.completed: list[PartReceipt] = []

    def list_uploads(self) -> list[Any]:
        return []

    def begin_upload(self, token: str) -> str:
        return "u"

    def send_part(self, upload: str, number: int, content: memoryview) -> PartReceipt:
        self.parts[number] = PartReceipt(number, "", len(content))
        return self.parts[number]

    def complete(self, upload: str, parts: list[PartReceipt], **_: Any) -> None:
        self.completed = list(parts)


def test_object_of_five_tebibytes_has_ten_thousand_parts_without_gap() -> None:
    store: Any = CountingStore()
    sink = ObjectSink(store, overwrite=True)
    sink.bound = lambda: 5 << 40
    front = 3_000_000
    opened = sink.share(front)
    assert (opened.first_number, opened.n_numbers) == (2, 9000)
    assert opened.missing_nbytes == 5 * MIB - front
    receipts = [PartReceipt(number, "", 580 * MIB + number) for number in range(2, 9002)]
    stop = 5 * MIB + 17
    sink.take_parts(stop, receipts)
    end = stop + sum(one.nbytes for one in receipts)
    tail = 40 * MIB + 5
    sink.write(front, [bytes(stop - front)])
    sink.write(end, [bytes(tail)])
    sink.write(0, [bytes(front)])
    sink.commit(end + tail)
    sizes = [one.nbytes for one in store.completed]
    assert [one.number for one in store.completed] == list(range(1, 9005))
    assert sum(sizes) == end + tail
    assert sizes[0] == stop
    assert min(sizes[:-1]) >= 5 * MIB
    sink.abort()


def test_no_numbers_are_left_for_other_processes() -> None:
    store: Any = CountingStore()
    store.limits = PartLimits(max_number=2)
    with pytest.raises(LimitError, match="part numbers"):
        ObjectSink(store, overwrite=True).share(20 * MIB)
