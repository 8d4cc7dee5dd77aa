"""What every object store does, whichever it is: one test, one store of each kind."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from streamh5.errors import StoreError
from streamh5.stores.base import ObjectStore, PartReceipt
from streamh5.stores.open_store import open_store
from tests.stores.azurite import AzuriteServer
from tests.stores.gcs_mock import GCSMock
from tests.stores.servers import SECRET, S3Server

Opener = Callable[[str], ObjectStore]
"""Opens an object by the last part of its name; nobody else has it."""


def _memory(request: pytest.FixtureRequest) -> Opener:
    folder = request.node.name.replace("/", "-")
    return lambda name: open_store(f"memory://{folder}/{name}")


def _s3(request: pytest.FixtureRequest, fixture: str = "s3_server") -> Opener:
    server: S3Server = request.getfixturevalue(fixture)
    base = server.url("")
    return lambda name: open_store(base + name, server.options())


def _azure(request: pytest.FixtureRequest) -> Opener:
    server: AzuriteServer = request.getfixturevalue("azurite")
    base = server.url("")
    return lambda name: open_store(base + name, server.options())


def _gcs(request: pytest.FixtureRequest) -> Opener:
    server: GCSMock = request.getfixturevalue("gcs")
    base = server.url("")
    return lambda name: open_store(base + name, server.options())


def _radosgw(request: pytest.FixtureRequest) -> Opener:
    return _s3(request, "radosgw")


KINDS: dict[str, Callable[[pytest.FixtureRequest], Opener]] = {
    "memory": _memory,
    "s3": _s3,
    "azure": _azure,
    "gcs": _gcs,
    "radosgw": _radosgw,
}


PARAMETERS = {kind: pytest.param(kind, marks=[pytest.mark.campaign] * (kind == "radosgw")) for kind in KINDS}

uploads_are_things = pytest.mark.parametrize(
    "new_store", [PARAMETERS[kind] for kind in sorted(KINDS.keys() - {"azure"})], indirect=True
)
"""Not of Azure, which has blocks that belong to a name only: `test_azure.py` says what it does instead."""


@pytest.fixture(params=PARAMETERS.values())
def new_store(request: pytest.FixtureRequest) -> Opener:
    return KINDS[request.param](request)


@pytest.fixture
def store(new_store: Opener) -> ObjectStore:
    return new_store("out.h5")


def part(store: ObjectStore, letter: str) -> memoryview:
    """Return the smallest part that the store takes, all of one letter."""
    return memoryview(letter.encode() * store.limits.min_nbytes)


def content_of(store: ObjectStore) -> bytes:
    found = store.head()
    assert found is not None
    return store.read(0, found.nbytes, found.version)


def reason_of(request: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as caught:
        request()
    assert store_message_is_clean(str(caught.value))
    return caught.value.reason


def store_message_is_clean(message: str) -> bool:
    return len(message) <= 300 and SECRET not in message


def test_object_that_is_missing_is_none(store: ObjectStore) -> None:
    assert store.head() is None
    assert store.list_uploads() == []
    assert reason_of(lambda: store.read(0, 5)) == "missing"
    assert reason_of(lambda: store.read_start(5)) == "missing"


@pytest.mark.parametrize("content", [b"", b"x", b"0123456789" * 1000])
def test_object_of_one_request_is_what_was_sent(store: ObjectStore, content: bytes) -> None:
    store.put(memoryview(content), token="t1", if_absent=True)
    found = store.head()
    assert found is not None
    assert (found.nbytes, found.token) == (len(content), "t1")
    assert store.read_start(7) == (found, content[:7])
    assert store.read(0, 1 << 30, found.version) == content


def test_ranges_end_where_the_object_does(store: ObjectStore) -> None:
    store.put(memoryview(b"0123456789"), token="t", if_absent=False)
    ranges = [(0, 10), (2, 5), (9, 12), (10, 12), (30, 40), (4, 4)]
    assert [store.read(*one) for one in ranges] == [b"0123456789"[a:b] for a, b in ranges]


def test_object_that_was_replaced_while_it_is_read_is_noticed(store: ObjectStore) -> None:
    store.put(memoryview(b"former"), token="t1", if_absent=False)
    former, _ = store.read_start(3)
    store.put(memoryview(b"latter"), token="t2", if_absent=False)
    latter = store.head()
    assert latter is not None
    assert (latter.token, latter.version == former.version) == ("t2", False)
    assert reason_of(lambda: store.read(0, 3, former.version)) == "changed"
    assert store.read(0, 3, latter.version) == b"lat"


def test_parts_in_any_order_with_gaps_are_joined_by_number(store: ObjectStore) -> None:
    upload = store.begin_upload("token")
    numbers = {9: part(store, "c"), 4: part(store, "b"), 10: memoryview(b"end"), 1: part(store, "a")}
    receipts = sorted(store.send_part(upload, number, content) for number, content in numbers.items())
    assert [(one.number, one.nbytes) for one in receipts] == [(n, len(numbers[n])) for n in (1, 4, 9, 10)]
    assert store.list_parts(upload) == receipts
    assert store.head() is None  # nothing is seen before it is complete
    assert [one.upload for one in store.list_uploads()] == [upload]
    store.complete(upload, receipts, token="token", if_absent=True)
    found = store.head()
    assert found is not None
    assert found.token == "token"
    assert content_of(store) == b"".join(bytes(numbers[n]) for n in (1, 4, 9, 10))
    assert store.list_uploads() == []


@uploads_are_things
def test_part_that_was_sent_again_replaces_the_former(store: ObjectStore) -> None:
    upload = store.begin_upload("token")
    former = store.send_part(upload, 1, part(store, "a"))
    latter = store.send_part(upload, 1, part(store, "b"))
    same = store.send_part(upload, 2, memoryview(b"end"))
    assert store.send_part(upload, 2, memoryview(b"end")) == same
    assert store.list_parts(upload) == [latter, same]
    assert former != latter
    store.complete(upload, [latter, same], token="token", if_absent=False)
    assert content_of(store) == bytes(part(store, "b")) + b"end"


@uploads_are_things
def test_parts_that_the_store_does_not_have_are_no_object(store: ObjectStore) -> None:
    store.put(memoryview(b"old"), token="old", if_absent=False)
    upload = store.begin_upload("token")
    former = store.send_part(upload, 1, part(store, "a"))
    latter = store.send_part(upload, 1, part(store, "b"))
    for parts in ([former], [latter, PartReceipt(2, latter.etag, latter.nbytes)]):
        complete = lambda parts=parts: store.complete(upload, parts, token="token", if_absent=False)  # noqa: E731
        assert reason_of(complete) == "part differs"
    assert content_of(store) == b"old"
    store.abort_upload(upload)
    assert store.list_uploads() == []


def test_part_that_is_too_small_is_refused(store: ObjectStore) -> None:
    if store.limits.min_nbytes == 1:
        pytest.skip("parts of this store have any size")
    upload = store.begin_upload("token")
    small = store.send_part(upload, 1, part(store, "a")[1:])
    last = store.send_part(upload, 2, memoryview(b"end"))
    assert reason_of(lambda: store.complete(upload, [small, last], token="", if_absent=False)) == "refused"
    assert store.head() is None
    store.abort_upload(upload)


def test_object_that_exists_is_not_replaced_unasked_by_one_request(store: ObjectStore) -> None:
    store.put(memoryview(b"old"), token="old", if_absent=True)
    assert reason_of(lambda: store.put(memoryview(b"new"), token="new", if_absent=True)) == "exists"
    assert content_of(store) == b"old"


@uploads_are_things
def test_object_that_exists_is_not_replaced_unasked_by_parts(
    store: ObjectStore, request: pytest.FixtureRequest
) -> None:
    if request.node.callspec.params["new_store"] == "radosgw":
        pytest.skip("Ceph 16 ignores If-None-Match where parts are joined")
    store.put(memoryview(b"old"), token="old", if_absent=True)
    upload = store.begin_upload("new")
    parts = [store.send_part(upload, 1, memoryview(b"new"))]
    assert reason_of(lambda: store.complete(upload, parts, token="new", if_absent=True)) == "exists"
    assert content_of(store) == b"old"
    store.abort_upload(upload)
    assert content_of(store) == b"old"
    assert store.list_uploads() == []


@uploads_are_things
def test_upload_that_was_aborted_is_gone(store: ObjectStore) -> None:
    store.put(memoryview(b"old"), token="old", if_absent=True)
    upload = store.begin_upload("token")
    store.send_part(upload, 1, memoryview(b"part"))
    for _ in range(2):
        store.abort_upload(upload)
        assert reason_of(lambda: store.list_parts(upload)) == "no upload"
    assert store.list_uploads() == []
    assert content_of(store) == b"old"


def test_uploads_of_longer_names_are_not_those_of_this_one(new_store: Opener) -> None:
    names = ["a.h5", "a.h5.json", "a.h", "a.h5/b"]
    uploads = {name: new_store(name).begin_upload("token") for name in names}
    for name in names:
        new_store(name).send_part(uploads[name], 1, memoryview(b"part"))
    try:
        assert {name: [one.upload for one in new_store(name).list_uploads()] for name in names} == {
            name: [upload] for name, upload in uploads.items()
        }
    finally:
        for name in names:
            new_store(name).abort_upload(uploads[name])


def test_store_goes_to_other_processes(store: ObjectStore) -> None:
    if store.url.startswith("memory:"):
        with pytest.raises(StoreError, match="memory of one process"):
            pickle.dumps(store)
        return
    other: ObjectStore = pickle.loads(pickle.dumps(store))
    upload = store.begin_upload("token")
    parts = [store.send_part(upload, 1, part(store, "a")), other.send_part(upload, 2, memoryview(b"end"))]
    other.complete(upload, parts, token="token", if_absent=True)
    assert content_of(store) == bytes(part(store, "a")) + b"end"


def test_store_shows_no_secret(store: ObjectStore) -> None:
    assert SECRET not in f"{store!r} {store}"
    assert store.url in repr(store) or repr(store).startswith("<")
