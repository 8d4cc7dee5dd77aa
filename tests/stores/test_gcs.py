"""Google Cloud Storage, judged by a mock of its XML API and by gcsfs reading it: requests, errors, credentials."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from streamh5.errors import DestinationExistsError, SinkError, SpecError, StoreError
from streamh5.stores import attempts
from streamh5.stores.base import PartReceipt
from streamh5.stores.open_store import open_store
from streamh5.stores.upload import Upload
from tests.stores.gcs_mock import MIN_PART, TOKEN, GCSMock
from tests.stores.losing import LosingStore

if TYPE_CHECKING:
    from streamh5.stores.gcs import GCSStore

gcs_module = pytest.importorskip("streamh5.stores.gcs")
gcsfs = pytest.importorskip("gcsfs")
credentials = pytest.importorskip("google.oauth2.credentials")

NEVER = datetime(2999, 1, 1)  # it is not refreshed
WHOLE_PART = bytes(range(256)) * (MIN_PART // 256)


@pytest.fixture
def store(gcs: GCSMock) -> GCSStore:
    one: GCSStore = gcs_module.GCSStore(gcs.url(), gcs.options())
    return one


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "ATTEMPTS", attempts.Attempts(n_attempts=3, first_seconds=0, max_seconds=0))


def send(store: GCSStore, upload: str, number: int, content: bytes) -> PartReceipt:
    return store.send_part(upload, number, memoryview(content))


def put(store: GCSStore, content: bytes, *, if_absent: bool = False) -> None:
    store.put(memoryview(content), token="token", if_absent=if_absent)


def seen_by_gcsfs(store: GCSStore, gcs: GCSMock) -> bytes:
    # not by its protocol: the newer class asks for the kind of bucket by gRPC, which the mock does not speak
    system = gcsfs.core.GCSFileSystem(**gcs.options(), skip_instance_cache=True)
    content: bytes = system.cat_file(store.url)
    return content


def refusal(request: Any) -> StoreError:
    with pytest.raises(StoreError) as caught:
        request()
    return caught.value


def test_parts_out_of_order_with_gaps_make_one_object(store: GCSStore, gcs: GCSMock) -> None:
    rng = np.random.default_rng(1)
    sizes = {9000: 1000, 3: MIN_PART, 7: MIN_PART + 123, 1: MIN_PART}
    parts = {number: rng.bytes(nbytes) for number, nbytes in sizes.items()}
    upload = store.begin_upload("token")
    receipts = sorted(send(store, upload, number, part) for number, part in parts.items())
    assert store.head() is None
    assert store.list_parts(upload) == receipts
    assert [one.upload for one in store.list_uploads()] == [upload]
    store.complete(upload, receipts, token="token", if_absent=True)
    whole = b"".join(part for _, part in sorted(parts.items()))
    assert seen_by_gcsfs(store, gcs) == whole
    found = store.head()
    assert found is not None
    assert (found.nbytes, found.token) == (len(whole), "token")
    assert store.list_uploads() == []
    assert refusal(lambda: send(store, upload, 1, b"late")).reason == "no upload"
    assert refusal(lambda: store.list_parts(upload)).reason == "no upload"


def test_part_sent_again_with_other_content_stale_receipt_refused(store: GCSStore) -> None:
    upload = store.begin_upload("token")
    stale, fresh = (send(store, upload, 1, content) for content in (b"first", b"second"))
    assert store.list_parts(upload) == [fresh]
    error = refusal(lambda: store.complete(upload, [stale], token="token", if_absent=False))
    assert (error.reason, store.head()) == ("part differs", None)
    store.complete(upload, [fresh], token="token", if_absent=False)
    assert store.read(0, 100) == b"second"


def test_small_part_that_is_not_the_last_refused(store: GCSStore) -> None:
    upload = store.begin_upload("token")
    receipts = [send(store, upload, number, b"small") for number in (1, 2)]
    error = refusal(lambda: store.complete(upload, receipts, token="token", if_absent=False))
    assert (error.reason, error.facts["code"]) == ("refused", "EntityTooSmall")


def test_if_absent_object_is_there_refused(store: GCSStore) -> None:
    put(store, b"old", if_absent=True)
    upload = store.begin_upload("token")
    receipt = send(store, upload, 1, b"new")
    assert refusal(lambda: store.complete(upload, [receipt], token="t", if_absent=True)).reason == "exists"
    assert refusal(lambda: put(store, b"new", if_absent=True)).reason == "exists"
    assert store.read(0, 100) == b"old"
    store.complete(upload, [receipt], token="token", if_absent=False)
    assert store.read(0, 100) == b"new"


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("if_absent", [True, False])
def test_answers_that_are_lost_object_is_made_once(store: GCSStore, gcs: GCSMock, if_absent: bool) -> None:
    losing = LosingStore(store, "begin_upload", "send_part", "complete")
    upload = Upload(losing, token="mine", if_absent=if_absent)
    upload.complete([upload.send(2, memoryview(b"b")), upload.send(1, memoryview(WHOLE_PART))])
    assert seen_by_gcsfs(store, gcs) == WHOLE_PART + b"b"
    assert store.list_uploads() == []  # that of the answer that was lost was found, and aborted
    small = LosingStore(open_store(gcs.url(), gcs.options()), "put")
    Upload(small, token="mine", if_absent=if_absent).put(memoryview(b"c"))
    assert small.read(0, 10) == b"c"


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("status", [0, 408, 429, 500, 502, 503])
def test_failure_that_passes_is_repeated(store: GCSStore, gcs: GCSMock, status: int) -> None:
    upload = Upload(store, token="mine", if_absent=True)
    for request in (
        upload.begin,
        lambda: upload.send(1, memoryview(b"part")),
        upload.list_parts,
        lambda: upload.complete(upload.list_parts()),
        upload.abort,
    ):
        gcs.refuse_next[:] = [status]
        request()
        assert gcs.refuse_next == []
    if status:  # aiohttp itself asks again where a connection was cut that it had used before
        gcs.refuse_next[:] = [status]
        assert refusal(store.head).reason == "transient"  # one attempt: repeating is for others
    assert store.read(0, 100) == b"part"


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    ("status", "reason"), [(401, "denied"), (403, "denied"), (400, "refused"), (501, "refused")]
)
def test_failure_that_stays_is_not_repeated(store: GCSStore, gcs: GCSMock, status: int, reason: str) -> None:
    upload = Upload(store, token="mine", if_absent=True)
    upload.begin()
    gcs.refuse_next[:] = [status]
    with pytest.raises(SinkError) as caught:
        upload.send(1, memoryview(b"part"))
    assert isinstance(caught.value.__cause__, StoreError)
    assert caught.value.__cause__.reason == reason
    upload.abort()


@pytest.mark.usefixtures("no_pauses")
def test_object_of_another_write_is_not_taken_for_ours(store: GCSStore) -> None:
    put(store, b"old")
    upload = Upload(store, token="mine", if_absent=True)
    with pytest.raises(DestinationExistsError, match="overwrite=True"):
        upload.complete([upload.send(1, memoryview(b"new"))])
    upload.abort()


def test_abort_removes_the_upload_and_leaves_the_object(store: GCSStore) -> None:
    put(store, b"old")
    ours, theirs = store.begin_upload("a"), store.begin_upload("b")
    for upload in (ours, theirs):
        send(store, upload, 1, b"part")
    Upload(store, token="a", if_absent=True, upload=ours).abort()
    store.abort_upload(ours)
    assert [one.upload for one in store.list_uploads()] == [theirs]
    assert store.read(0, 100) == b"old"
    store.abort_upload(theirs)


def test_read_object_was_replaced_refused(store: GCSStore) -> None:
    put(store, b"0123456789")
    found, start = store.read_start(4)
    assert (found.nbytes, start) == (10, b"0123")
    assert store.head() == found
    assert store.read(4, 1000, found.version) == b"456789"
    assert store.read(10, 20, found.version) == b""
    put(store, b"other")
    assert refusal(lambda: store.read(4, 8, found.version)).reason == "changed"
    assert store.read_start(1000)[1] == b"other"


def test_empty_object_is_read(store: GCSStore) -> None:
    put(store, b"")
    found, start = store.read_start(1000)
    assert (found, start) == (store.head(), b"")
    assert store.read(0, 10, found.version) == b""


def test_object_or_bucket_that_is_not_there_is_missing(store: GCSStore, gcs: GCSMock) -> None:
    for request in (lambda: store.read_start(10), lambda: store.read(0, 10), lambda: store.read(0, 10, "1")):
        assert refusal(request).reason == "missing"
    assert (store.head(), store.list_uploads()) == (None, [])
    other = gcs_module.GCSStore("gs://absent/out.h5", gcs.options())
    for change in (lambda: put(other, b"a"), lambda: other.begin_upload("token")):
        assert "create the bucket" in str(refusal(change))


def test_content_that_is_damaged_on_the_way_refused(store: GCSStore, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = store.begin_upload("token")
    monkeypatch.setattr(gcs_module, "_crc32c", lambda content: bytes(4))
    for request in (lambda: send(store, upload, 1, b"part"), lambda: put(store, b"whole")):
        error = refusal(request)
        assert (error.reason, error.facts["code"]) == ("transient", "BadDigest")
    assert (store.list_parts(upload), store.head()) == ([], None)


def test_1100_parts_and_1100_uploads_are_listed(store: GCSStore, gcs: GCSMock) -> None:
    upload = store.begin_upload("token")
    receipts = [send(store, upload, number, b"%d" % number) for number in range(1100, 0, -1)]
    gcs.requests.clear()
    assert store.list_parts(upload) == sorted(receipts)
    assert len(gcs.requests) == 2
    uploads = {upload, *(store.begin_upload("token") for _ in range(1100))}
    longer = gcs_module.GCSStore(f"{store.url}.json", gcs.options())  # its name begins alike
    other = longer.begin_upload("token")
    listed = store.list_uploads()
    assert {one.upload for one in listed} == uploads
    assert len(listed) == len(uploads)
    assert [one.upload for one in longer.list_uploads()] == [other]


def test_part_from_another_process_belongs_to_the_upload(store: GCSStore) -> None:
    upload = store.begin_upload("token")
    first = send(store, upload, 1, WHOLE_PART)
    code = (
        "import pickle, sys\n"
        "store, upload = pickle.load(sys.stdin.buffer)\n"
        "pickle.dump(store.send_part(upload, 2, memoryview(b'there')), sys.stdout.buffer)\n"
    )
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        input=pickle.dumps((store, upload)),
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    ).stdout
    store.complete(upload, [first, pickle.loads(said)], token="token", if_absent=True)
    assert store.read(MIN_PART - 1, MIN_PART + 100) == WHOLE_PART[-1:] + b"there"


def test_name_with_odd_characters_is_the_name(gcs: GCSMock) -> None:
    store = gcs_module.GCSStore(f"{gcs.url()}/a b+c%20é/../x.h5", gcs.options())
    put(store, b"content")
    assert seen_by_gcsfs(store, gcs) == b"content"


def test_token_is_sent_and_in_no_message(gcs: GCSMock) -> None:
    good = gcs_module.GCSStore(gcs.url(), gcs.options(token=credentials.Credentials(TOKEN, expiry=NEVER)))
    put(good, b"content")
    for secret, port, reason in [("a-wrong-token", gcs.port, "denied"), (TOKEN, 1, "transient")]:
        options = gcs.options(
            token=credentials.Credentials(secret, expiry=NEVER), endpoint_url=f"http://127.0.0.1:{port}"
        )
        store = gcs_module.GCSStore(gcs.url(), options)
        error = refusal(store.head)
        assert error.reason == reason
        told = [
            str(error),
            repr(error),
            repr(error.facts),
            str(error.__cause__),
            repr(store),
            str(pickle.dumps(error)),
        ]
        assert not [text for text in told if secret in text]


def test_requester_pays_names_the_project(gcs: GCSMock, monkeypatch: pytest.MonkeyPatch) -> None:
    store = gcs_module.GCSStore(gcs.url(), gcs.options(requester_pays="payer"))
    sent: list[str | None] = []
    answer = gcs.answer

    def note(request: Any) -> Any:
        sent.append(request.headers.get("x-goog-user-project"))
        return answer(request)

    monkeypatch.setattr(gcs, "answer", note)
    put(store, b"content")
    assert sent == ["payer"]


def test_options_that_do_not_connect_error_repeats_no_value() -> None:
    with pytest.raises(SpecError, match="token") as caught:
        open_store("gs://bucket/out.h5", {"token": {"private_key": "secret"}})
    assert "secret" not in str(caught.value)


def test_url_of_a_version_refused(gcs: GCSMock) -> None:
    with pytest.raises(SpecError, match="version"):
        open_store("gs://bucket/out.h5#123", gcs.options())
