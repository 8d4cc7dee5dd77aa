"""A write to S3 whose connections are cut at random bytes: the old object or the complete new one, nothing else.

Each run lets about one request in three end after a random number of bytes, of the request or of its answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from io import BytesIO

import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from streamh5.sinks import part_sizes
from streamh5.stores import attempts
from streamh5.stores.open_store import open_store
from tests.stores.proxy import Fault, Proxy, Seen
from tests.stores.servers import S3Server, missing_moto, moto_server

PART_NBYTES = 64 << 10
VALUES = np.arange(60_000, dtype="f8").reshape(600, 100)
OLD = b"the old object"
N_RUNS, N_CAMPAIGN_RUNS = 12, 400


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    reason = missing_moto()
    if reason is not None:
        pytest.skip(f"server missing: {reason}")
    with moto_server(min_part_nbytes=20_000) as server:
        yield server


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_sizes, "PART_NBYTES", PART_NBYTES)
    monkeypatch.setattr(attempts, "ATTEMPTS", attempts.Attempts(5, 0.001, 0.002))


def cuts(seed: int) -> Callable[[Seen], Fault | None]:
    chance = random.Random(seed)
    share = chance.choice([0.1, 0.3, 0.6])

    def find(seen: Seen) -> Fault | None:
        if chance.random() >= share:
            return None
        # as many cuts in the first bytes, where the head is, as in all others
        at = int((400 if chance.random() < 0.5 else PART_NBYTES) * chance.random())
        return Fault(request_nbytes=at) if chance.random() < 0.5 else Fault(answer_nbytes=min(at, 400))

    return find


def write(url: str, options: dict[str, object]) -> None:
    with streamh5.File(url, "w", storage_options=options, threads=2) as f:
        d = f.create_dataset("x", shape=(None, 100), dtype="f8", chunks=(20, 100), compression=None)
        for i in range(0, 600, 60):
            d.append(VALUES[i : i + 60])


def run(server: S3Server, seed: int) -> bool:
    """Write once with cuts; return whether it succeeded."""
    url = server.url()
    store = open_store(url, server.options())
    store.put(memoryview(OLD), token="old", if_absent=False)
    told = ""
    with Proxy(server.port) as proxy:
        proxy.fault = cuts(seed)
        try:
            write(url, server.options(endpoint_url=proxy.endpoint))
        except errors.SinkError as error:
            told = " ".join([str(error), *getattr(error, "__notes__", ())])
    found = store.head()
    assert found is not None
    content = store.read(0, found.nbytes)
    if content != OLD:
        with h5py.File(BytesIO(content), "r") as f:
            np.testing.assert_array_equal(f["x"][...], VALUES)
    assert told or content != OLD
    for one in store.list_uploads():
        # an upload whose id never arrived can have no parts, which cost money
        assert one.upload in told or not store.list_parts(one.upload)
    return not told


def test_connections_that_are_cut_change_nothing(server: S3Server) -> None:
    done = [run(server, seed) for seed in range(N_RUNS)]
    assert any(done)


@pytest.mark.campaign
def test_campaign_of_connections_that_are_cut(server: S3Server) -> None:
    done = [run(server, seed) for seed in range(N_CAMPAIGN_RUNS)]
    print(f"{sum(done)} of {len(done)} writes succeeded")
    assert any(done)
    assert not all(done)
