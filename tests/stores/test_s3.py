"""What is S3's own: its options, checksums, pages, errors, and how requests go in parallel."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamh5.errors import SpecError, StoreError
from streamh5.stores.base import TOKEN_KEY
from streamh5.stores.open_store import open_store
from tests.deadlock import DEADLOCK_SECONDS
from tests.stores.proxy import Fault, Proxy
from tests.stores.servers import KEY, SECRET, S3Server, missing_moto
from tests.stores.test_s3_faults import EXPIRED, error_body, operation

if missing_moto() is None:
    from streamh5.stores.s3 import S3Store
    from streamh5.stores.s3_errors import store_error

pytestmark = pytest.mark.skipif(missing_moto() is not None, reason=f"server missing: {missing_moto()}")


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    with Proxy(s3_server.port) as proxy:
        yield proxy


def opened(server: S3Server, proxy: Proxy, **options: Any) -> S3Store:
    store = open_store(server.url(), server.options(endpoint_url=proxy.endpoint, **options))
    assert isinstance(store, S3Store)
    return store


def write_everything(store: S3Store, *, if_absent: bool = False) -> None:
    """Make each kind of request once."""
    store.put(memoryview(b"one request"), token="tok1", if_absent=False)
    store.head()
    store.read(0, 5)
    store.abort_upload(store.begin_upload("tok2"))
    upload = store.begin_upload("tok3")
    part = store.send_part(upload, 1, memoryview(b"part"))
    store.list_parts(upload)
    store.list_uploads()
    if if_absent:
        with pytest.raises(StoreError):
            store.complete(upload, [part], token="tok3", if_absent=True)
    store.complete(upload, [part], token="tok3", if_absent=False)


def headers(proxy: Proxy, name: str) -> dict[str, str]:
    """Return the headers of the first request of an operation."""
    return next(one.headers for one in proxy.seen if operation(one) == name)


def test_options_of_the_user_reach_the_requests_that_know_them(s3_server: S3Server, proxy: Proxy) -> None:
    asked = {
        "ServerSideEncryption": "AES256",
        "ACL": "bucket-owner-full-control",
        "StorageClass": "STANDARD_IA",
        "Metadata": {"campaign": "north"},
    }
    store = opened(s3_server, proxy, s3_additional_kwargs=asked, requester_pays=True)
    write_everything(store)
    for name, token in (("PutObject", "tok1"), ("CreateMultipartUpload", "tok2")):
        sent = headers(proxy, name)
        assert {key: sent.get(key) for key in sent if key.startswith("x-amz-") and "date" not in key} | {
            "content-type": sent["content-type"]
        } == {
            "x-amz-server-side-encryption": "AES256",
            "x-amz-acl": "bucket-owner-full-control",
            "x-amz-storage-class": "STANDARD_IA",
            "x-amz-meta-campaign": "north",
            f"x-amz-meta-{TOKEN_KEY}": token,
            "x-amz-request-payer": "requester",
            "x-amz-content-sha256": sent["x-amz-content-sha256"],
            "content-type": "application/x-hdf5",
        }
    assert all(one.headers["x-amz-request-payer"] == "requester" for one in proxy.seen)
    found = store.head()
    assert found is not None
    assert found.token == "tok3"


def test_type_of_content_that_the_user_gives_is_kept(s3_server: S3Server, proxy: Proxy) -> None:
    store = opened(s3_server, proxy, s3_additional_kwargs={"ContentType": "application/netcdf"})
    write_everything(store)
    sent = [headers(proxy, name)["content-type"] for name in ("PutObject", "CreateMultipartUpload")]
    assert sent == ["application/netcdf"] * 2


def test_key_of_the_user_encrypts_every_part_and_reads_it(s3_server: S3Server, proxy: Proxy) -> None:
    key = "k" * 32
    store = opened(
        s3_server, proxy, s3_additional_kwargs={"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
    )
    write_everything(store)
    names = {"PutObject", "CreateMultipartUpload", "UploadPart", "HeadObject", "GetObject"}
    given = {
        operation(one): one.headers.get("x-amz-server-side-encryption-customer-key") for one in proxy.seen
    }
    assert {given[name] for name in names} == {b64encode(key.encode()).decode()}


@pytest.mark.parametrize("profile", ["given", "by environment"])
def test_credentials_come_by_the_libraries_own_chain(
    s3_server: S3Server, proxy: Proxy, profile: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "credentials"
    path.write_text(f"[ocean]\naws_access_key_id = AKIDOCEAN\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    options: dict[str, Any] = {"endpoint_url": proxy.endpoint, "client_kwargs": {"region_name": "eu-west-1"}}
    if profile == "given":
        options["profile"] = "ocean"
    else:
        monkeypatch.setenv("AWS_PROFILE", "ocean")
    open_store(s3_server.url(), options).head()
    assert "Credential=AKIDOCEAN/" in proxy.seen[0].headers["authorization"]
    assert "/eu-west-1/s3/" in proxy.seen[0].headers["authorization"]


def test_credentials_that_expire_are_read_again(
    s3_server: S3Server, proxy: Proxy, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    text = f"[ocean]\naws_access_key_id = %s\naws_secret_access_key = {SECRET}\naws_session_token = t\n"
    path.write_text(text % "AKIDFORMER")
    store = open_store(s3_server.url(), {"endpoint_url": proxy.endpoint, "profile": "ocean"})
    upload = store.begin_upload("token")
    proxy.fault = lambda seen: EXPIRED if "AKIDFORMER" in seen.headers["authorization"] else None
    with pytest.raises(StoreError) as caught:  # nobody has renewed it
        store.send_part(upload, 1, memoryview(b"part"))
    assert caught.value.reason == "denied"
    path.write_text(text % "AKIDLATTER")
    proxy.seen.clear()
    parts = [store.send_part(upload, number, memoryview(b"part")) for number in (1, 2)]
    assert [one.headers["authorization"][28:38] for one in proxy.seen] == [
        "AKIDFORMER",
        "AKIDLATTER",
        "AKIDLATTER",
    ]
    assert store.list_parts(upload) == parts
    store.abort_upload(upload)


def test_anonymous_requests_are_not_signed(s3_server: S3Server, proxy: Proxy) -> None:
    open_store(s3_server.url(), {"anon": True, "endpoint_url": proxy.endpoint}).head()
    assert "authorization" not in proxy.seen[0].headers


def test_body_has_one_checksum_that_servers_verify(s3_server: S3Server, proxy: Proxy) -> None:
    write_everything(opened(s3_server, proxy))
    for name, body in (("PutObject", b"one request"), ("UploadPart", b"part")):
        sent = headers(proxy, name)
        assert sent["content-md5"] == b64encode(hashlib.md5(body).digest()).decode()
        assert not [key for key in sent if "checksum" in key or "trailer" in key]


@pytest.mark.parametrize(
    ("header", "is_md5"),
    [
        (("x-amz-server-side-encryption", "AES256"), True),
        (("x-amz-server-side-encryption", "aws:kms"), False),
        (("x-amz-server-side-encryption-customer-algorithm", "AES256"), False),
    ],
)
def test_tag_is_compared_where_it_is_an_md5(
    s3_server: S3Server, proxy: Proxy, header: tuple[str, str], is_md5: bool
) -> None:
    store = opened(s3_server, proxy)
    upload = store.begin_upload("token")
    other = {"ETag": f'"{"0" * 32}"', header[0]: header[1]}
    proxy.fault = lambda seen: Fault(
        changed=lambda sent: {k: v for k, v in sent.items() if k != "ETag"} | other
    )
    try:
        if is_md5:
            with pytest.raises(StoreError, match="part 1 has not been stored as it was sent"):
                store.send_part(upload, 1, memoryview(b"part"))
        else:
            assert store.send_part(upload, 1, memoryview(b"part")).etag == "0" * 32
    finally:
        proxy.fault = lambda seen: None
        store.abort_upload(upload)


def test_body_is_sent_without_waiting_for_leave(s3_server: S3Server, proxy: Proxy) -> None:
    # aiohttp measures `read_timeout` from that answer on: a slow line would never send a large part
    write_everything(opened(s3_server, proxy))
    assert [operation(one) for one in proxy.seen if "expect" in one.headers] == []


def test_body_that_nobody_takes_is_given_up(
    s3_server: S3Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(s3_server, proxy)
    upload = store.begin_upload("token")
    monkeypatch.setattr("streamh5.stores.s3.MIN_SPEED", 1 << 30)
    monkeypatch.setattr(type(store._system), "read_timeout", 2)
    ends = threading.Event()
    proxy.fault = lambda seen: Fault(before=ends.wait)
    try:
        with pytest.raises(StoreError) as caught:
            store.send_part(upload, 1, memoryview(bytes(64 << 20)))  # more than the buffers of the system
        assert caught.value.reason == "transient"
    finally:
        ends.set()
        proxy.fault = lambda seen: None
        store.abort_upload(upload)


def test_parts_go_at_the_same_time(s3_server: S3Server, proxy: Proxy) -> None:
    store = opened(s3_server, proxy)
    upload = store.begin_upload("token")
    meeting = threading.Barrier(6, timeout=DEADLOCK_SECONDS)  # broken unless all are on their way
    proxy.fault = lambda seen: Fault(before=meeting.wait)
    senders = [
        threading.Thread(target=store.send_part, args=(upload, number, memoryview(b"x" * 100_000)))
        for number in range(1, 7)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    proxy.fault = lambda seen: None
    assert [one.number for one in store.list_parts(upload)] == list(range(1, 7))
    store.abort_upload(upload)


def test_1100_parts_are_listed_in_pages(s3_server: S3Server, proxy: Proxy) -> None:
    store = open_store(s3_server.url(), s3_server.options())
    upload = store.begin_upload("token")
    sent = [store.send_part(upload, number, memoryview(b"%d" % number)) for number in range(1, 1101)]
    other = opened(s3_server, proxy)
    other._bucket, other._key = store._bucket, store._key  # type: ignore[attr-defined]
    assert other.list_parts(upload) == sent
    assert len(proxy.seen) == 2
    store.abort_upload(upload)


def test_uploads_are_listed_in_pages(s3_server: S3Server, proxy: Proxy) -> None:
    store = opened(s3_server, proxy)
    key = store.url.partition("bucket/")[2]

    def page(uploads: str, last: str, following: str) -> Fault:
        items = "".join(
            f"<Upload><Key>{key}{name[1:]}</Key><UploadId>{name}</UploadId>"
            "<Initiated>2026-05-03T12:00:00.000Z</Initiated></Upload>"
            for name in uploads.split()
        )
        return Fault(
            200,
            f"<ListMultipartUploadsResult><IsTruncated>{last}</IsTruncated>{following}{items}"
            "</ListMultipartUploadsResult>".encode(),
        )

    pages = [
        page(
            "A B", "true", f"<NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>B</NextUploadIdMarker>"
        ),
        page("C D.json", "false", ""),
    ]
    proxy.fault = lambda seen: pages[seen.number - 1]
    found = store.list_uploads()
    assert [one.upload for one in found] == ["A", "B", "C"]  # D is one of a longer name
    assert found[0].began == "2026-05-03T12:00:00+00:00"
    asked = [(one.query.get("key-marker"), one.query.get("upload-id-marker")) for one in proxy.seen]
    assert asked == [(None, None), (key, "B")]


REQUESTS: dict[str, Callable[[S3Store], object]] = {
    "head": lambda store: store.head(),
    "read": lambda store: store.read(0, 5),
    "read_start": lambda store: store.read_start(5),
    "put": lambda store: store.put(memoryview(b"x"), token="t", if_absent=False),
    "put if absent": lambda store: store.put(memoryview(b"x"), token="t", if_absent=True),
    "begin": lambda store: store.begin_upload("t"),
    "send": lambda store: store.send_part("u", 1, memoryview(b"x")),
    "list_parts": lambda store: store.list_parts("u"),
    "complete": lambda store: store.complete("u", [], token="t", if_absent=True),
    "abort": lambda store: store.abort_upload("u"),
    "list_uploads": lambda store: store.list_uploads(),
}
FAULTS = {
    "busy": (Fault(503, error_body("SlowDown")), "transient"),
    "reset": (Fault(request_nbytes=0), "transient"),
    "expired": (EXPIRED, "denied"),
    "denied": (Fault(403, error_body("AccessDenied")), "denied"),
    "no bucket": (Fault(400, error_body("NoSuchBucket")), "refused"),
}


@pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=FAULTS)
def test_method_makes_one_request_and_tells_the_reason(
    s3_server: S3Server, proxy: Proxy, fault: Fault, reason: str
) -> None:
    store = opened(s3_server, proxy)
    proxy.fault = lambda seen: fault
    for request in REQUESTS.values():
        proxy.seen.clear()
        with pytest.raises(StoreError) as caught:
            request(store)
        one, *others = proxy.seen
        if (
            one.method == "HEAD" and fault.status == 400
        ):  # botocore asks whether the bucket is in another region
            assert all(other.path == "/bucket" for other in others)
            continue
        assert caught.value.reason == reason
        # aiohttp repeats what may be repeated, once
        assert len(others) <= (1 if fault.status is None and one.method != "POST" else 0)


@pytest.mark.parametrize(
    ("code", "status", "operation", "reason"),
    [
        ("ConditionalRequestConflict", 409, "complete_multipart_upload", "exists"),
        ("ConditionalRequestConflict", 409, "put_object", "transient"),
        ("PreconditionFailed", 412, "put_object", "exists"),
        ("412", 412, "get_object", "changed"),
        ("404", 404, "head_object", "missing"),
        ("NoSuchKey", 404, "get_object", "missing"),
        ("NoSuchBucket", 404, "get_object", "refused"),
        ("NoSuchUpload", 404, "upload_part", "no upload"),
        ("InvalidPartOrder", 400, "complete_multipart_upload", "part differs"),
        ("OperationAborted", 409, "put_object", "transient"),
        ("BadDigest", 400, "upload_part", "transient"),
        ("Unheard", 504, "upload_part", "transient"),
        ("Unheard", 501, "put_object", "refused"),
        ("Unheard", 429, "put_object", "transient"),
        ("Unheard", 400, "put_object", "refused"),
        ("InvalidAccessKeyId", 403, "head_object", "denied"),
        ("SignatureDoesNotMatch", 403, "put_object", "denied"),
        ("RequestTimeTooSkewed", 403, "put_object", "denied"),
        ("AllAccessDisabled", 403, "put_object", "denied"),
    ],
)
def test_code_of_an_answer_has_its_reason(code: str, status: int, operation: str, reason: str) -> None:
    from botocore.exceptions import ClientError

    answer = {"Error": {"Code": code, "Message": "said"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = store_error(ClientError(answer, operation), "s3://b/k", operation, ())
    assert (error.reason, str(error)) == (reason, f"s3://b/k: {code}: said")


def test_message_of_the_server_with_secrets_loses_them(s3_server: S3Server, proxy: Proxy) -> None:
    echo = (
        f"<Error><Code>SignatureDoesNotMatch</Code><Message>{KEY} {SECRET} sessiontoken "
        "http://h/k?X-Amz-Credential=AKIA1234567890ABCDEF%2F2026&amp;X-Amz-Signature=abcdef0123</Message></Error>"
    )
    store = opened(s3_server, proxy, token="sessiontoken")
    proxy.fault = lambda seen: Fault(403, echo.encode())
    with pytest.raises(StoreError) as caught:
        store.begin_upload("token")
    assert str(caught.value) == f"{store.url}: SignatureDoesNotMatch: ... ... ... http://h/k?...&..."


def test_endpoint_with_a_password_loses_it(s3_server: S3Server) -> None:
    with Proxy(s3_server.port) as proxy:
        endpoint = proxy.endpoint.replace("://", "://me:hidden@")
    store = open_store(s3_server.url(), s3_server.options(endpoint_url=endpoint))
    with pytest.raises(StoreError) as caught:
        store.head()
    assert "hidden" not in str(caught.value)
    assert caught.value.reason == "transient"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"nonsense": "hidden"}, "names that its file system does not know: .*'nonsense'"),
        ({"username": "hidden"}, "either key or username"),
        ({"s3_additional_kwargs": {"ChecksumAlgorithm": "SHA256"}}, "ChecksumAlgorithm"),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_request(options: dict[str, Any], match: str) -> None:
    with pytest.raises(SpecError, match=match) as caught:
        open_store("s3://bucket/x", {"key": KEY, "secret": SECRET, **options})
    assert "hidden" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_server_that_ignores_ranges_is_read_rightly(s3_server: S3Server, proxy: Proxy) -> None:
    store = opened(s3_server, proxy)
    whole = Fault(200, b"0123456789", (("ETag", '"v1"'), ("Content-Length", "10")))
    proxy.fault = lambda seen: whole
    assert store.read(3, 6) == b"345"
    found, start = store.read_start(4)
    assert (found.nbytes, found.version, start) == (10, "v1", b"0123")
    with pytest.raises(StoreError, match="has been replaced"):
        store.read(3, 6, "v0")


def test_large_range_of_a_server_that_ignores_ranges_is_whole(s3_server: S3Server, proxy: Proxy) -> None:
    content = bytes(range(256)) * 8192  # more than arrives at once
    whole = Fault(200, content, (("ETag", '"v1"'), ("Content-Length", str(len(content)))))
    proxy.fault = lambda seen: whole
    assert opened(s3_server, proxy).read(1_000, 2_000_000) == content[1_000:2_000_000]


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("stranger", ["server", "botocore"])
def test_condition_that_nobody_knows_is_looked_for(
    s3_server: S3Server, proxy: Proxy, exists: bool, stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(s3_server, proxy)
    if exists:
        store.put(memoryview(b"old"), token="old", if_absent=False)
    if stranger == "botocore":
        monkeypatch.setattr(S3Store, "_knows", lambda self, operation, parameter: False)
    else:
        refused = Fault(501, error_body("NotImplemented"))
        proxy.fault = lambda seen: refused if "if-none-match" in seen.headers else None
    if exists:
        with pytest.raises(StoreError) as caught:
            store.put(memoryview(b"new"), token="new", if_absent=True)
        assert caught.value.reason == "exists"
    else:
        store.put(memoryview(b"new"), token="new", if_absent=True)
    assert store.read(0, 9) == (b"old" if exists else b"new")


def test_installed_botocore_knows_the_condition(s3_server: S3Server, proxy: Proxy) -> None:
    store = opened(s3_server, proxy)
    write_everything(store, if_absent=True)
    asked = [one for one in proxy.seen if "if-none-match" in one.headers]
    assert [(operation(one), one.headers["if-none-match"]) for one in asked] == [
        ("CompleteMultipartUpload", "*")
    ]


def test_store_works_in_a_forked_process(s3_server: S3Server) -> None:
    script = """
        import os, sys
        from streamh5.stores.open_store import open_store
        store = open_store(sys.argv[1], {"key": "k", "secret": "s", "endpoint_url": sys.argv[2]})
        store.put(memoryview(b"parent"), token="t", if_absent=False)
        child = os.fork()
        if not child:
            store.put(memoryview(store.read(0, 9) + b" and child"), token="t", if_absent=False)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        print(status, store.read(0, 99).decode())
    """
    endpoint = s3_server.options()["endpoint_url"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), s3_server.url(), endpoint],
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "0 parent and child\n", done.stderr


def test_settings_of_the_users_own_file_system_stay(s3_server: S3Server) -> None:
    import s3fs

    own = s3fs.S3FileSystem(**s3_server.options())
    before = own.retries, own.read_timeout, dict(own.config_kwargs)
    store = open_store(s3_server.url(), s3_server.options())
    assert store.head() is None
    assert (own.retries, own.read_timeout, own.config_kwargs) == before
