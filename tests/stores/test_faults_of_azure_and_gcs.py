"""Every request of a write to Azure and Google fails once, and from then on; a proxy makes it fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from streamh5.errors import SinkError
from streamh5.stores import attempts
from streamh5.stores.base import ObjectStore
from streamh5.stores.open_store import open_store
from streamh5.stores.upload import Upload
from tests.stores import gcs_mock
from tests.stores.proxy import Fault, Proxy, Seen

MINIMUM = 20_000
PARTS = {1: b"a" * MINIMUM, 2: b"b" * MINIMUM, 4: b"end"}
WHOLE = b"".join(PARTS.values())

FAULTS = {
    "500": Fault(500),
    "503 after it": Fault(503, has_effect=True),
    "no request": Fault(request_nbytes=0),
    "part of the body": Fault(request_nbytes=5000),
    "no answer": Fault(answer_nbytes=0),
    "part of the answer": Fault(answer_nbytes=60),
}


def azure_operation(seen: Seen) -> str:
    of = {("PUT", "block"): "send", ("GET", "blocklist"): "list", ("PUT", "blocklist"): "complete"}
    return of.get((seen.method, seen.query.get("comp", "")), seen.method)


def gcs_operation(seen: Seen) -> str:
    if "uploads" in seen.query:
        return {"GET": "list", "POST": "begin"}[seen.method]
    if "uploadId" in seen.query:
        return {"PUT": "send", "POST": "complete"}.get(seen.method, "end")
    return seen.method


class Place(NamedTuple):
    """An object: its store through the proxy, and directly."""

    proxy: Proxy
    operation: Callable[[Seen], str]
    store: ObjectStore
    direct: ObjectStore

    def fail(self, name: str, fault: Fault, *, once: bool) -> None:
        """Let an operation fail; of the parts the second one that comes."""
        seen_before = [name == "send"]
        left = [1] if once else [1] * 1000

        def find(seen: Seen) -> Fault | None:
            if self.operation(seen) != name or (seen_before and seen_before.pop()):
                return None
            return fault if left and left.pop() else None

        self.proxy.fault = find

    def content(self) -> bytes | None:
        found = self.direct.head()
        return None if found is None else self.direct.read(0, found.nbytes, found.version)

    def write(self, upload: Upload) -> None:
        try:
            upload.begin()
            upload.complete([upload.send(number, memoryview(part)) for number, part in PARTS.items()])
        except SinkError:
            upload.abort()
            raise


@contextmanager
def azure_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    pytest.importorskip("adlfs")
    server = request.getfixturevalue("azurite")
    url = server.url()
    with Proxy(server.port) as proxy:
        through, direct = (open_store(url, server.options(port=port)) for port in (proxy.port, None))
        yield Place(proxy, azure_operation, through, direct)


@contextmanager
def gcs_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    server = request.getfixturevalue("gcs")
    url = server.url()
    with Proxy(server.port) as proxy:
        through = open_store(url, server.options(endpoint_url=proxy.endpoint))
        yield Place(proxy, gcs_operation, through, open_store(url, server.options()))


KINDS: dict[str, Any] = {"azure": azure_place, "gcs": gcs_place}
OPERATIONS = [("azure", name) for name in ("send", "complete")] + [
    ("gcs", name) for name in ("list", "begin", "send", "complete")
]
of_each = pytest.mark.parametrize(("kind", "name"), OPERATIONS)
whole = pytest.mark.parametrize("kind", KINDS)
faults = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(attempts, "ATTEMPTS", attempts.Attempts(3, 0.001, 0.002))
    monkeypatch.setattr(gcs_mock, "MIN_PART", MINIMUM)
    with KINDS[kind](request) as one:
        yield one


@faults
@of_each
def test_request_that_fails_once_is_repeated(place: Place, name: str, fault: Fault) -> None:
    place.fail(name, fault, once=True)
    place.write(Upload(place.store, token="new", if_absent=True))
    assert place.content() == WHOLE
    assert place.direct.list_uploads() == []


@faults
@pytest.mark.parametrize(("kind", "name"), [one for one in OPERATIONS if one != ("azure", "complete")])
def test_request_that_always_fails_leaves_nothing(place: Place, name: str, fault: Fault) -> None:
    # Azure drops blocks by the request that completes: where that always fails they stay
    place.fail(name, fault, once=False)
    try:
        place.write(Upload(place.store, token="new", if_absent=True))
    except SinkError:
        assert place.content() is None
    else:
        assert (name, place.content()) == ("complete", WHOLE)
    assert place.direct.list_uploads() == []


@faults
@whole
@pytest.mark.parametrize("if_absent", [False, True])
@pytest.mark.parametrize("once", [False, True])
def test_object_of_one_request_is_made_or_the_old_one_stays(
    place: Place, fault: Fault, if_absent: bool, once: bool
) -> None:
    if not if_absent:
        place.direct.put(memoryview(b"old"), token="old", if_absent=False)
    place.fail("PUT", fault, once=once)
    try:
        Upload(place.store, token="new", if_absent=if_absent).put(memoryview(WHOLE))
    except SinkError:
        assert not once
        assert place.content() == (None if if_absent else b"old")
    else:
        assert place.content() == WHOLE
    assert place.direct.list_uploads() == []


@faults
@whole
def test_read_that_fails_once_is_repeated(place: Place, fault: Fault) -> None:
    place.direct.put(memoryview(WHOLE), token="new", if_absent=True)
    place.fail("GET", fault, once=True)
    found, start = attempts.ATTEMPTS.run(lambda: place.store.read_start(1000))
    assert (found, start) == (place.direct.head(), WHOLE[:1000])
    place.fail("GET", fault, once=True)
    assert attempts.ATTEMPTS.run(lambda: place.store.read(5, 30_000, found.version)) == WHOLE[5:30_000]
