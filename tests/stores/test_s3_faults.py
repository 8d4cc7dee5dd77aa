"""Every request of a write to S3 fails once, and from then on; a proxy between client and server makes it fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from streamh5.errors import DestinationExistsError, SinkError, StoreError
from streamh5.stores import attempts
from streamh5.stores.open_store import open_store
from streamh5.stores.upload import Upload
from tests.stores.proxy import Fault, Proxy, Seen
from tests.stores.servers import SECRET, S3Server, missing_moto, moto_server

MINIMUM = 20_000
PARTS = {1: b"a" * MINIMUM, 2: b"b" * MINIMUM, 4: b"end"}


def error_body(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code} says the server</Message></Error>".encode()


def with_other_tag(headers: dict[str, str]) -> dict[str, str]:
    return {name: f'"{"0" * 32}"' if name.lower() == "etag" else value for name, value in headers.items()}


PASSING = {
    "500": Fault(500),
    "500 after it": Fault(500, has_effect=True),
    "SlowDown": Fault(503, error_body("SlowDown")),
    "RequestTimeout": Fault(400, error_body("RequestTimeout")),
    "no request": Fault(request_nbytes=0),
    "half a line": Fault(request_nbytes=20),
    "part of the body": Fault(request_nbytes=5000),
    "no answer": Fault(answer_nbytes=0),
    "part of the answer": Fault(answer_nbytes=60),
}
STALLING = {"never": Fault(stalls=True), "never, after it": Fault(stalls=True, has_effect=True)}
EXPIRED = Fault(400, error_body("ExpiredToken"))
OPERATIONS = [
    "ListMultipartUploads",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
]


def operation(seen: Seen) -> str:
    """Return what AWS calls a request."""
    query = seen.query
    if "uploadId" in query:
        names = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
        return names.get(seen.method, "ListParts")
    if "uploads" in query:
        return "CreateMultipartUpload" if seen.method == "POST" else "ListMultipartUploads"
    return {"PUT": "PutObject", "HEAD": "HeadObject", "GET": "GetObject"}[seen.method]


def fails(name: str, fault: Fault, *, once: bool) -> Callable[[Seen], Fault | None]:
    """Return the `Proxy.fault` that lets an operation fail: of the parts the second one."""
    left = [1] if once else [1] * 1000

    def find(seen: Seen) -> Fault | None:
        is_meant = operation(seen) == name and seen.query.get("partNumber", "2") == "2"
        return fault if is_meant and left and left.pop() else None

    return find


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "ATTEMPTS", attempts.Attempts(3, 0.001, 0.002))


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    reason = missing_moto()
    if reason is not None:
        pytest.skip(f"server missing: {reason}")
    with moto_server(min_part_nbytes=MINIMUM) as server:
        yield server


@pytest.fixture(scope="module")
def one_proxy(server: S3Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def proxy(one_proxy: Proxy) -> Proxy:
    one_proxy.forget()
    return one_proxy


class Place:
    """An object with former content; `upload` writes it through the proxy."""

    def __init__(
        self, server: S3Server, proxy: Proxy, *, read_timeout: float = 60, exists: bool = True
    ) -> None:
        url = server.url()
        self.direct = open_store(url, server.options())
        if exists:
            self.direct.put(memoryview(b"old"), token="old", if_absent=False)
        self.proxy = proxy
        config = {"read_timeout": read_timeout}
        self.store = open_store(url, server.options(endpoint_url=proxy.endpoint, config_kwargs=config))

    def upload(self, *, if_absent: bool = False) -> Upload:
        return Upload(self.store, token="new", if_absent=if_absent)

    def content(self) -> bytes | None:
        found = self.direct.head()
        return None if found is None else self.direct.read(0, found.nbytes, found.version)

    def write(self, upload: Upload) -> None:
        upload.begin()
        upload.complete([upload.send(number, memoryview(part)) for number, part in PARTS.items()])

    def write_or_abort(self, upload: Upload) -> None:
        try:
            self.write(upload)
        except SinkError:
            upload.abort()
            raise


NEW = b"".join(PARTS.values())


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("name", OPERATIONS)
def test_request_that_fails_once_is_repeated(server: S3Server, proxy: Proxy, name: str, fault: Fault) -> None:
    place = Place(server, proxy)
    proxy.fault = fails(name, fault, once=True)
    place.write(place.upload())
    assert place.content() == NEW
    assert place.direct.list_uploads() == []


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("name", OPERATIONS)
def test_request_that_always_fails_leaves_nothing(
    server: S3Server, proxy: Proxy, name: str, fault: Fault
) -> None:
    place = Place(server, proxy)
    proxy.fault = fails(name, fault, once=False)
    try:
        place.write_or_abort(place.upload())
    except SinkError:
        # parts that were stored, and whose tags were never seen, make no object
        assert place.content() == b"old"
    else:
        assert name == "CompleteMultipartUpload"
        assert place.content() == NEW
    assert place.direct.list_uploads() == []


@pytest.mark.parametrize("fault", STALLING.values(), ids=STALLING)
@pytest.mark.parametrize("name", OPERATIONS)
def test_request_without_answer_is_repeated(server: S3Server, proxy: Proxy, name: str, fault: Fault) -> None:
    place = Place(server, proxy, read_timeout=2)
    proxy.fault = fails(name, fault, once=True)
    place.write(place.upload())
    assert place.content() == NEW
    assert place.direct.list_uploads() == []


@pytest.mark.parametrize("name", OPERATIONS[1:])
def test_expired_credentials_end_the_write(server: S3Server, proxy: Proxy, name: str) -> None:
    place = Place(server, proxy)
    proxy.fault = fails(name, EXPIRED, once=True)
    with pytest.raises(SinkError, match="ExpiredToken says the server"):
        place.write_or_abort(place.upload())
    assert place.content() == b"old"
    assert place.direct.list_uploads() == []
    assert sum(operation(one) == name for one in proxy.seen) <= (2 if name == "UploadPart" else 1)


def test_store_that_is_gone_names_the_upload_that_is_left(server: S3Server, proxy: Proxy) -> None:
    place = Place(server, proxy)
    upload = place.upload()
    upload.send(1, memoryview(PARTS[1]))
    proxy.fault = lambda seen: Fault(request_nbytes=0)
    with pytest.raises(SinkError, match="part 2 of 20,000 bytes could not be sent") as caught:
        upload.send(2, memoryview(PARTS[2]))
    assert SECRET not in str(caught.value)
    with pytest.raises(
        SinkError, match=f"upload {upload.upload} of {place.store.url} may be left.*abort-upload"
    ):
        upload.abort()
    assert place.content() == b"old"
    proxy.fault = lambda seen: None
    upload.abort()
    assert place.direct.list_uploads() == []


@pytest.mark.parametrize("once", [True, False])
def test_part_whose_tag_is_of_other_bytes_is_sent_again(server: S3Server, proxy: Proxy, once: bool) -> None:
    place = Place(server, proxy)
    proxy.fault = fails("UploadPart", Fault(changed=with_other_tag), once=once)
    if once:
        place.write(place.upload())
        assert place.content() == NEW
    else:
        with pytest.raises(SinkError, match="part 2 has not been stored as it was sent"):
            place.write_or_abort(place.upload())
        assert place.content() == b"old"
    assert place.direct.list_uploads() == []


@pytest.mark.parametrize(
    "body", [error_body("InternalError"), b"<?xml version='1.0'?><CompleteMulti", b"", b"   \n"]
)
@pytest.mark.parametrize("has_effect", [True, False])
def test_completion_of_status_200_that_is_none_is_repeated(
    server: S3Server, proxy: Proxy, body: bytes, has_effect: bool
) -> None:
    place = Place(server, proxy)
    proxy.fault = fails("CompleteMultipartUpload", Fault(200, body, has_effect=has_effect), once=True)
    place.write(place.upload())
    assert place.content() == NEW
    names = [operation(one) for one in proxy.seen]
    assert names.count("CompleteMultipartUpload") == (1 if has_effect else 2)


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("if_absent", [False, True])
@pytest.mark.parametrize("once", [False, True])
def test_object_of_one_request_is_made_whatever_happens(
    server: S3Server, proxy: Proxy, fault: Fault, if_absent: bool, once: bool
) -> None:
    place = Place(server, proxy, exists=not if_absent)
    proxy.fault = fails("PutObject", fault, once=once)
    old = None if if_absent else b"old"
    try:
        place.upload(if_absent=if_absent).put(memoryview(b"new" * 5000))
    except SinkError:
        assert not once
        assert place.content() == old
    else:
        assert place.content() == b"new" * 5000


@pytest.mark.parametrize(
    "fault", [PASSING["no answer"], PASSING["500 after it"], STALLING["never, after it"]]
)
def test_lost_answer_to_a_completion_is_not_taken_for_an_object_of_others(
    server: S3Server, proxy: Proxy, fault: Fault
) -> None:
    place = Place(server, proxy, exists=False, read_timeout=2)
    head = fails(
        "HeadObject", Fault(503), once=True
    )  # the first look fails as well: the completion is repeated
    complete = fails("CompleteMultipartUpload", fault, once=True)
    proxy.fault = lambda seen: head(seen) or complete(seen)
    place.write(place.upload(if_absent=True))
    assert place.content() == NEW


@pytest.mark.parametrize("in_parts", [True, False])
def test_object_that_appears_meanwhile_is_not_replaced(
    server: S3Server, proxy: Proxy, in_parts: bool
) -> None:
    place = Place(server, proxy, exists=False)
    upload = place.upload(if_absent=True)
    if in_parts:
        parts = [upload.send(number, memoryview(part)) for number, part in PARTS.items()]
        write = partial(upload.complete, parts)
    else:
        write = partial(upload.put, memoryview(b"new"))
    place.direct.put(memoryview(b"of another"), token="another", if_absent=True)
    with pytest.raises(DestinationExistsError, match="exists; pass overwrite=True"):
        write()
    upload.abort()
    assert place.content() == b"of another"
    assert place.direct.list_uploads() == []


def test_two_writers_of_one_key_do_not_mix(server: S3Server, proxy: Proxy) -> None:
    place = Place(server, proxy)
    ours, theirs = place.upload(), Upload(place.direct, token="theirs", if_absent=False)
    theirs.begin()
    proxy.fault = fails("CreateMultipartUpload", PASSING["no answer"], once=True)
    ours.begin()
    proxy.fault = lambda seen: None
    mine = [ours.send(1, memoryview(PARTS[1]))]
    other = [theirs.send(number, memoryview(part[::-1])) for number, part in PARTS.items()]
    ours.complete(mine)
    assert place.content() == PARTS[1]
    theirs.complete(other)
    assert place.content() == PARTS[1] + PARTS[2] + b"dne"
    assert place.direct.list_uploads() == []


def test_upload_that_another_writer_has_begun_meanwhile_is_left_alone(server: S3Server, proxy: Proxy) -> None:
    place = Place(server, proxy)
    theirs = Upload(place.direct, token="theirs", if_absent=False)
    lost = fails("CreateMultipartUpload", PASSING["no answer"], once=True)

    def fault(seen: Seen) -> Fault | None:
        if operation(seen) == "CreateMultipartUpload":
            theirs.begin()  # between our two looks
        return lost(seen)

    proxy.fault = fault
    ours = place.upload()
    ours.begin()
    parts = [theirs.send(1, memoryview(b"theirs"))]
    ours.abort()
    assert [one.upload for one in place.direct.list_uploads()] == [theirs.upload]
    theirs.complete(parts)
    assert place.content() == b"theirs"
    assert place.direct.list_uploads() == []


def test_user_who_may_not_list_uploads_writes(server: S3Server, proxy: Proxy) -> None:
    place = Place(server, proxy)
    denied = Fault(403, error_body("AccessDenied"))
    listing = ("ListMultipartUploads", "ListParts")
    proxy.fault = lambda seen: denied if operation(seen) in listing else None
    place.write(place.upload())
    assert place.content() == NEW
    other = place.upload()
    other.send(1, memoryview(b"x"))
    other.abort()
    assert place.direct.list_uploads() == []


def test_part_that_comes_after_the_abort_is_removed(server: S3Server, proxy: Proxy) -> None:
    place = Place(server, proxy)
    upload = place.upload()
    upload.send(1, memoryview(b"part"))
    # what AWS tells of a part that was on its way: the upload lives on
    proxy.fault = fails("AbortMultipartUpload", Fault(204), once=True)
    upload.abort()
    assert [operation(one) for one in proxy.seen][-4:] == [
        "AbortMultipartUpload",
        "ListParts",
        "AbortMultipartUpload",
        "ListParts",
    ]
    assert place.direct.list_uploads() == []


@pytest.mark.parametrize("answer_nbytes", [0, 60, 600, 100_000])
def test_read_that_is_cut_is_no_shorter_content(server: S3Server, proxy: Proxy, answer_nbytes: int) -> None:
    place = Place(server, proxy)
    place.direct.put(memoryview(b"0123456789" * 50_000), token="t", if_absent=False)
    proxy.fault = fails("GetObject", Fault(answer_nbytes=answer_nbytes), once=False)
    for read in (lambda: place.store.read(10, 400_000), lambda: place.store.read_start(400_000)):
        with pytest.raises(StoreError) as caught:
            read()
        assert caught.value.reason == "transient"
