"""Azure, judged by Azurite and by adlfs: what its blocks do, its errors, its credentials."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pytest

from streamh5.errors import DestinationExistsError, SinkError, SpecError, StoreError
from streamh5.stores import attempts
from streamh5.stores.base import PartReceipt
from streamh5.stores.open_store import open_store
from streamh5.stores.upload import Upload
from tests.stores.azurite import AzuriteServer
from tests.stores.losing import LosingStore

if TYPE_CHECKING:
    from streamh5.stores.azure import AzureStore

azure = pytest.importorskip("streamh5.stores.azure")
blob_client = pytest.importorskip("azure.storage.blob")


@pytest.fixture
def store(azurite: AzuriteServer) -> AzureStore:
    one: AzureStore = azure.AzureStore(azurite.url(), azurite.options())
    return one


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "ATTEMPTS", attempts.Attempts(n_attempts=3, first_seconds=0, max_seconds=0))


def send(store: AzureStore, upload: str, number: int, content: bytes) -> PartReceipt:
    return store.send_part(upload, number, memoryview(content))


def put(store: AzureStore, content: bytes, *, if_absent: bool = False) -> None:
    store.put(memoryview(content), token="token", if_absent=if_absent)


def seen_by_adlfs(store: AzureStore, azurite: AzuriteServer) -> bytes:
    with fsspec.open(store.url, "rb", skip_instance_cache=True, **azurite.options()) as file:
        content: bytes = file.read()
        return content


def refusal(request: Any) -> StoreError:
    with pytest.raises(StoreError) as caught:
        request()
    return caught.value


def test_parts_out_of_order_with_gaps_make_one_blob(store: AzureStore, azurite: AzuriteServer) -> None:
    rng = np.random.default_rng(1)
    parts = {number: rng.bytes(int(rng.integers(1, 700_000))) for number in (40_000, 3, 50_000, 7, 1)}
    upload = store.begin_upload("token")
    receipts = sorted(send(store, upload, number, part) for number, part in parts.items())
    assert store.head() is None
    assert store.list_parts(upload) == receipts
    assert [one.upload for one in store.list_uploads()] == [upload]
    store.complete(upload, receipts, token="token", if_absent=True)
    whole = b"".join(part for _, part in sorted(parts.items()))
    assert seen_by_adlfs(store, azurite) == whole
    found = store.head()
    assert found is not None
    assert (found.nbytes, found.token) == (len(whole), "token")
    assert store.list_uploads() == []


def test_part_sent_again_with_other_content_receipt_decides(store: AzureStore) -> None:
    upload = store.begin_upload("token")
    first, second = (send(store, upload, 1, content) for content in (b"first", b"second"))
    assert send(store, upload, 1, b"first") == first
    assert store.list_parts(upload) == sorted([first, second])  # the store does not know which came last
    store.complete(upload, [first], token="token", if_absent=False)
    assert store.read(0, 100) == b"first"


def test_complete_with_a_block_that_was_not_sent_refused_and_old_blob_stays(store: AzureStore) -> None:
    put(store, b"old")
    upload = store.begin_upload("token")
    receipt = send(store, upload, 1, b"new")
    absent = receipt._replace(number=2, etag=receipt.etag.replace(".00001.", ".00002."))
    error = refusal(lambda: store.complete(upload, [receipt, absent], token="token", if_absent=False))
    assert error.reason == "part differs"
    assert store.read(0, 100) == b"old"


def test_commit_of_another_writer_drops_the_blocks_of_all(store: AzureStore) -> None:
    ours, theirs = store.begin_upload("a"), store.begin_upload("b")
    receipt = send(store, ours, 1, b"ours")
    store.complete(theirs, [send(store, theirs, 1, b"theirs")], token="b", if_absent=False)
    error = refusal(lambda: store.complete(ours, [receipt], token="a", if_absent=False))
    assert error.reason == "no upload"
    assert store.read(0, 100) == b"theirs"


@pytest.mark.parametrize("made_by", ["put", "blocks"])
def test_if_absent_blob_is_there_refused(store: AzureStore, made_by: str) -> None:
    if made_by == "put":
        put(store, b"old")
    else:
        other = store.begin_upload("other")
        store.complete(other, [send(store, other, 1, b"old")], token="other", if_absent=True)
    upload = store.begin_upload("token")
    receipt = send(store, upload, 1, b"new")
    assert refusal(lambda: store.complete(upload, [receipt], token="t", if_absent=True)).reason == "exists"
    assert refusal(lambda: put(store, b"new", if_absent=True)).reason == "exists"
    assert store.read(0, 100) == b"old"
    store.complete(upload, [receipt], token="token", if_absent=False)
    assert store.read(0, 100) == b"new"


def test_put_if_absent_blocks_wait_under_the_name_is_made(store: AzureStore) -> None:
    send(store, store.begin_upload("other"), 1, b"of another write")
    put(store, b"content", if_absent=True)
    assert store.read(0, 100) == b"content"


def test_put_above_64_mib_is_one_block(
    store: AzureStore, azurite: AzuriteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure, "_MAX_PUT", 1 << 20)
    content = np.random.default_rng(2).bytes((1 << 20) + 1)
    put(store, content)
    assert seen_by_adlfs(store, azurite) == content


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("if_absent", [True, False])
def test_answers_that_are_lost_object_is_made_once(
    store: AzureStore, azurite: AzuriteServer, if_absent: bool
) -> None:
    losing = LosingStore(store, "send_part", "complete")
    upload = Upload(losing, token="mine", if_absent=if_absent)
    upload.complete([upload.send(2, memoryview(b"b")), upload.send(1, memoryview(b"a"))])
    assert seen_by_adlfs(store, azurite) == b"ab"
    small = LosingStore(open_store(azurite.url(), azurite.options()), "put")
    Upload(small, token="mine", if_absent=if_absent).put(memoryview(b"c"))
    assert small.read(0, 10) == b"c"


@pytest.mark.usefixtures("no_pauses")
def test_object_of_another_write_is_not_taken_for_ours(store: AzureStore) -> None:
    put(store, b"old")
    upload = Upload(store, token="mine", if_absent=True)
    with pytest.raises(DestinationExistsError, match="overwrite=True"):
        upload.complete([upload.send(1, memoryview(b"new"))])


def test_abort_nothing_of_that_name_drops_the_blocks(store: AzureStore) -> None:
    upload = store.begin_upload("token")
    store.abort_upload(upload)
    for number in (1, 2):
        send(store, upload, number, b"part")
    Upload(store, token="token", if_absent=True, upload=upload).abort()
    assert store.list_parts(upload) == []
    assert store.list_uploads() == []
    assert store.head() is None


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("lost", ["_commit", "_request"])
def test_abort_answer_is_lost_leaves_no_empty_blob(
    store: AzureStore, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    upload = store.begin_upload("token")
    send(store, upload, 1, b"part")
    losing = LosingStore(store, lost)
    if lost == "_commit":
        monkeypatch.setattr(store, "_commit", losing._commit)
    else:  # of the blob that was made: list of blocks, look for a blob, make it, look again, delete it
        requests = iter([*[store._request] * 4, losing._request, *[store._request] * 20])

        def request(*arguments: Any, **keywords: Any) -> Any:
            return next(requests)(*arguments, **keywords)

        monkeypatch.setattr(store, "_request", request)
    Upload(store, token="token", if_absent=True, upload=upload).abort()
    assert store.head() is None
    assert store.list_uploads() == []


def test_abort_blob_is_there_is_not_touched(store: AzureStore) -> None:
    put(store, b"old")
    before = store.head()
    upload = store.begin_upload("token")
    receipt = send(store, upload, 1, b"new")
    error = refusal(lambda: store.abort_upload(upload))
    assert error.reason == "refused"
    assert "after a week" in str(error)
    assert store.head() == before
    assert store.list_parts(upload) == [receipt]
    with pytest.raises(SinkError, match=f"upload {upload} of {store.url} may be left.*after a week"):
        Upload(store, token="token", if_absent=True, upload=upload).abort()


def test_abort_another_upload_waits_both_stay(store: AzureStore) -> None:
    ours, theirs = store.begin_upload("a"), store.begin_upload("b")
    receipts = [send(store, one, 1, b"part") for one in (ours, theirs)]
    assert "another upload" in str(refusal(lambda: store.abort_upload(ours)))
    assert [store.list_parts(ours), store.list_parts(theirs)] == [[one] for one in receipts]
    assert store.head() is None
    store.complete(theirs, receipts[1:], token="b", if_absent=True)
    assert store.list_uploads() == []


def test_blocks_of_another_program_are_not_ours(store: AzureStore, azurite: AzuriteServer) -> None:
    system, path = fsspec.core.url_to_fs(store.url, **azurite.options())
    container, _, key = path.partition("/")
    blob = system.service_client.get_blob_client(container, key)
    fsspec.asyn.sync(system.loop, blob.stage_block, "x" * 61, b"theirs")
    assert store.list_uploads() == []
    upload = store.begin_upload("token")
    send(store, upload, 1, b"ours")
    assert refusal(lambda: store.abort_upload(upload)).reason == "refused"
    assert len(fsspec.asyn.sync(system.loop, blob.get_block_list, "uncommitted")[1]) == 2


def test_block_ids_of_another_length_wait_error_says_what_to_do(
    store: AzureStore, azurite: AzuriteServer
) -> None:
    system, path = fsspec.core.url_to_fs(store.url, **azurite.options())
    container, _, key = path.partition("/")
    fsspec.asyn.sync(
        system.loop, system.service_client.get_blob_client(container, key).stage_block, "x", b"theirs"
    )
    error = refusal(lambda: send(store, store.begin_upload("token"), 1, b"ours"))
    assert error.reason == "refused"
    assert "another program" in str(error)


def test_read_blob_was_replaced_refused(store: AzureStore) -> None:
    put(store, b"0123456789")
    found, start = store.read_start(4)
    assert (found.nbytes, start) == (10, b"0123")
    assert store.head() == found
    assert store.read(4, 1000, found.version) == b"456789"
    assert store.read(10, 20, found.version) == b""
    put(store, b"other")
    error = refusal(lambda: store.read(4, 8, found.version))
    assert error.reason == "changed"
    assert store.read_start(1000)[1] == b"other"


def test_empty_blob_is_read(store: AzureStore) -> None:
    put(store, b"")
    found, start = store.read_start(1000)
    assert (found, start) == (store.head(), b"")
    assert store.read(0, 10, found.version) == b""


def test_blob_that_is_not_there_is_missing(store: AzureStore) -> None:
    assert refusal(lambda: store.read_start(10)).reason == "missing"
    assert refusal(lambda: store.read(0, 10)).reason == "missing"
    assert (store.head(), store.list_uploads(), store.list_parts("0" * 32)) == (None, [], [])


def test_content_that_is_damaged_on_the_way_refused(
    store: AzureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure, "_md5", lambda content: bytes(16))
    upload = store.begin_upload("token")
    for request in (lambda: send(store, upload, 1, b"part"), lambda: put(store, b"whole")):
        assert refusal(request).facts["status"] == 400  # Azurite's code is another one than Azure's
    assert store.list_parts(upload) == []
    assert store.head() is None


def test_1100_parts_are_listed(store: AzureStore) -> None:
    upload = store.begin_upload("token")
    numbers = random.Random(3).sample(range(1, 50_001), 1100)

    def send_some(first: int) -> None:
        for number in numbers[first::4]:
            send(store, upload, number, b"%d" % number)

    threads = [threading.Thread(target=send_some, args=(first,)) for first in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    parts = store.list_parts(upload)
    assert [one.number for one in parts] == sorted(numbers)
    store.complete(upload, parts, token="token", if_absent=True)
    assert store.read(0, 10_000) == b"".join(b"%d" % number for number in sorted(numbers))


def test_part_from_another_process_belongs_to_the_upload(store: AzureStore) -> None:
    upload = store.begin_upload("token")
    first = send(store, upload, 1, b"here ")
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
    assert store.read(0, 100) == b"here there"


def test_container_that_is_not_there_error_says_so(azurite: AzuriteServer) -> None:
    store = azure.AzureStore("az://absent/out.h5", azurite.options())
    assert (store.head(), store.list_uploads()) == (None, [])
    for request in (lambda: put(store, b"a"), lambda: send(store, "0" * 32, 1, b"a")):
        error = refusal(request)
        assert (error.reason, error.facts["code"]) == ("missing", "ContainerNotFound")
        assert "create the container" in str(error)


def test_server_that_is_not_there_is_transient(azurite: AzuriteServer) -> None:
    store = azure.AzureStore(azurite.url(), azurite.options(port=1))
    assert refusal(store.head).reason == "transient"


@pytest.mark.parametrize(
    "url", ["az://c/a/b.h5", "abfs://c/a/b.h5", "abfss://c@streamh5tests.dfs.core.windows.net/a/b.h5"]
)
def test_urls_are_read_as_adlfs_reads_them(url: str) -> None:
    store = azure.AzureStore(url, {"account_name": "streamh5tests", "account_key": "a2V5"})
    assert (store._blob.account_name, store._blob.container_name, store._blob.blob_name) == (
        "streamh5tests",
        "c",
        "a/b.h5",
    )


@pytest.mark.parametrize("port", [None, 1])
def test_key_and_signature_are_in_no_message(azurite: AzuriteServer, port: int | None) -> None:
    signature = blob_client.generate_account_sas(
        azurite.account, azurite.key, "b", "r", "2000-01-01T00:00:00Z"
    )
    endpoint = f"BlobEndpoint=http://127.0.0.1:{port or azurite.port}/{azurite.account}"
    other = azurite.options(port=port)["connection_string"].replace(azurite.key, "c2VjcmV0")
    for secret, string in [
        ("c2VjcmV0", other),
        (signature.rpartition("sig=")[2], f"{endpoint};SharedAccessSignature={signature}"),
    ]:
        store = azure.AzureStore("az://container/out.h5", {"connection_string": string})
        error = refusal(store.head)
        assert error.reason == ("denied" if port is None else "transient")
        told = [
            str(error),
            repr(error),
            repr(error.facts),
            str(error.__cause__),
            repr(store),
            str(pickle.dumps(error)),
        ]
        assert not [text for text in told if secret in text]


def test_options_that_do_not_connect_error_repeats_no_value() -> None:
    with pytest.raises(SpecError, match="connection_string") as caught:
        open_store("az://container/out.h5", {"connection_string": "AccountKey;secret"})
    assert "secret" not in str(caught.value)
