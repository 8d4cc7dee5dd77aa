"""Objects on HTTP servers: what is asked for, and what becomes of the answers."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from streamh5.errors import SpecError, StoreError
from streamh5.stores.http import HttpObject
from streamh5.stores.open_store import open_readable, open_store
from tests.stores.http_server import RangeServer, range_server

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with range_server() as found:
        yield found


def opened(url: str, **options: object) -> HttpObject:
    found = open_readable(url, options)
    assert isinstance(found, HttpObject)
    return found


def test_ranges_are_read_by_one_request_each(server: RangeServer) -> None:
    store = opened(server.add("a.h5", CONTENT))
    found, start = store.read_start(100)
    assert (found.nbytes, start) == (len(CONTENT), CONTENT[:100])
    assert store.read(500, 700, found.version) == CONTENT[500:700]
    assert store.read(len(CONTENT) - 5, len(CONTENT) + 5, found.version) == CONTENT[-5:]
    assert store.read(len(CONTENT), len(CONTENT) + 5) == b""
    assert store.read(7, 7) == b""
    ranges = ["bytes=0-99", "bytes=500-699", "bytes=10235-10244", "bytes=10240-10244"]
    assert server.requests == [("GET", "/a.h5", asked) for asked in ranges]


@pytest.mark.parametrize("content", [b"", b"x"])
@pytest.mark.parametrize("knows_ranges", [True, False])
def test_small_object_is_read_whole(content: bytes, knows_ranges: bool, server: RangeServer) -> None:
    server.knows_ranges = knows_ranges
    found, start = opened(server.add("a.h5", content)).read_start(100)
    assert (found.nbytes, start) == (len(content), content)


def test_server_without_ranges_is_refused(server: RangeServer) -> None:
    server.knows_ranges = False
    store = opened(server.add("a.h5", CONTENT))
    with pytest.raises(StoreError, match="does not send parts of a file; download it") as caught:
        store.read_start(100)
    assert caught.value.reason == "refused"


def test_object_that_is_replaced_is_told(server: RangeServer) -> None:
    store = opened(server.add("a.h5", CONTENT))
    found, _ = store.read_start(100)
    server.add("a.h5", CONTENT[::-1])
    with pytest.raises(StoreError) as caught:
        store.read(0, 9, found.version)
    assert caught.value.reason == "changed"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "denied"),
        (403, "denied"),
        (404, "missing"),
        (408, "transient"),
        (418, "refused"),
        (429, "transient"),
        (500, "transient"),
        (503, "transient"),
    ],
)
def test_status_has_its_reason(status: int, reason: str, server: RangeServer) -> None:
    server.statuses.append(status)
    with pytest.raises(StoreError, match=f"status {status}") as caught:
        opened(server.add("a.h5", CONTENT)).read_start(100)
    assert caught.value.reason == reason


def test_server_that_does_not_answer_is_transient() -> None:
    with range_server() as server:
        address = server.address
    with pytest.raises(StoreError) as caught:
        opened(f"{address}/a.h5").read_start(100)
    assert caught.value.reason == "transient"


def test_signature_and_password_are_sent_and_never_shown(server: RangeServer) -> None:
    server.add("a.h5", CONTENT)
    url = server.address.replace("//", "//name:verysecret@") + "/a.h5?signature=verysecret"
    store = pickle.loads(pickle.dumps(opened(url)))
    assert store.read_start(5)[1] == CONTENT[:5]
    assert server.requests[0][1] == "/a.h5?signature=verysecret"
    server.statuses.append(403)
    with pytest.raises(StoreError) as caught:
        store.read_start(5)
    for shown in (store.url, repr(store), str(caught.value), repr(caught.value.__cause__)):
        assert "secret" not in shown


def test_options_are_those_of_fsspec(server: RangeServer) -> None:
    url = server.add("a.h5", CONTENT)
    assert opened(url, headers={"X-Name": "value"}).read_start(5)[1] == CONTENT[:5]
    with pytest.raises(SpecError, match="must be a dictionary"):
        open_readable(url, 5)  # type: ignore[arg-type]


def test_http_is_not_written() -> None:
    with pytest.raises(SpecError, match="of a kind that streamh5 does not write"):
        open_store("https://host/a.h5")
