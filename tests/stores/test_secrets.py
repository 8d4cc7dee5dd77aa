"""What errors of a store keep: `distributed` pickles them with `tblib`, causes and contexts included."""

from __future__ import annotations

import copyreg
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest.mock import patch
from urllib.parse import quote

import pytest

from streamh5.errors import SinkError, SpecError, StoreError
from streamh5.stores import attempts
from streamh5.stores.open_store import open_readable, open_store
from streamh5.stores.upload import Upload
from tests.stores import gcs_mock, servers
from tests.stores.http_server import range_server
from tests.stores.proxy import Fault, Proxy, Seen

NEVER_PORT = 1

_AUTHENTICATION = re.compile(r"(Signature=|SharedKey \w+:|Bearer )(\S+)")


class Guarded(NamedTuple):
    """An object behind a proxy: how it is opened through a port, and its secrets."""

    proxy: Proxy
    opened: Callable[[int], Any]
    secrets: tuple[str, ...]


def _s3(request: pytest.FixtureRequest, proxy: Proxy) -> Guarded:
    server = request.getfixturevalue("s3_server")
    proxy.upstream = server.port
    url = server.url()

    def opened(port: int) -> Any:
        options = server.options(endpoint_url=f"http://127.0.0.1:{port}", token="verysecrettoken")
        return open_store(url, options)

    return Guarded(proxy, opened, (servers.KEY, servers.SECRET, "verysecrettoken"))


def _azure_key(request: pytest.FixtureRequest, proxy: Proxy) -> Guarded:
    pytest.importorskip("adlfs")
    server = request.getfixturevalue("azurite")
    proxy.upstream = server.port
    url = server.url()
    return Guarded(proxy, lambda port: open_store(url, server.options(port=port)), (server.key,))


def _azure_signature(request: pytest.FixtureRequest, proxy: Proxy) -> Guarded:
    client = pytest.importorskip("azure.storage.blob")
    server = request.getfixturevalue("azurite")
    proxy.upstream = server.port
    url = server.url()
    signature = client.generate_account_sas(server.account, server.key, "bo", "rw", "2000-01-01T00:00:00Z")

    def opened(port: int) -> Any:
        endpoint = f"BlobEndpoint=http://127.0.0.1:{port}/{server.account};SharedAccessSignature={signature}"
        return open_store(url, {"connection_string": endpoint})

    return Guarded(proxy, opened, (signature.rpartition("sig=")[2],))


def _gcs(request: pytest.FixtureRequest, proxy: Proxy) -> Guarded:
    server = request.getfixturevalue("gcs")
    credentials = pytest.importorskip("google.oauth2.credentials")
    datetime = pytest.importorskip("datetime").datetime
    proxy.upstream = server.port
    url = server.url()

    def opened(port: int) -> Any:
        token = credentials.Credentials(gcs_mock.TOKEN, expiry=datetime(9999, 1, 1))
        return open_store(url, server.options(token=token, endpoint_url=f"http://127.0.0.1:{port}"))

    return Guarded(proxy, opened, (gcs_mock.TOKEN,))


def _http(request: pytest.FixtureRequest, proxy: Proxy) -> Guarded:
    server = request.getfixturevalue("ranges")
    proxy.upstream = int(server.address.rpartition(":")[2])
    server.add("a.h5", bytes(1000))
    options = {"headers": {"Authorization": "Bearer verysecrettoken"}}

    def opened(port: int) -> Any:
        return open_readable(f"http://127.0.0.1:{port}/a.h5?signature=verysecretsignature", options)

    return Guarded(proxy, opened, ("verysecrettoken", "verysecretsignature"))


KINDS = {"s3": _s3, "azure key": _azure_key, "azure signature": _azure_signature, "gcs": _gcs, "http": _http}

REQUESTS: dict[str, Callable[[Any], object]] = {
    "read": lambda store: store.read_start(100),
    "head": lambda store: store.head(),
    "put": lambda store: store.put(memoryview(b"content"), token="token", if_absent=True),
    "upload": lambda store: Upload(store, token="token", if_absent=True).send(1, memoryview(b"content")),
}


def _repeats_the_request(seen: Seen) -> Fault:
    """Refuse a request as AWS and Azure do: the answer has what was signed, and the signature."""
    heads = "".join(f"{name}: {value}\n" for name, value in seen.headers.items())
    said = f"{seen.target}\n{heads}".replace("&", "&amp;").replace("<", "&lt;")
    body = f"<Error><Code>SignatureDoesNotMatch</Code><Message>No.</Message><StringToSign>{said}</StringToSign></Error>"
    return Fault(403, body.encode(), (("Content-Type", "application/xml"), ("x-repeated", seen.target)))


FAILURES: dict[str, Callable[[Seen], Fault]] = {
    "refused": _repeats_the_request,
    "busy": lambda seen: Fault(503),
    "request is cut": lambda seen: Fault(request_nbytes=0),
    "answer is cut": lambda seen: Fault(answer_nbytes=30),
    "not HTTP": lambda seen: Fault(200, headers=(("Content-Length", "many"),)),
    "not XML": lambda seen: Fault(400, b"<nothing", (("Content-Type", "application/xml"),)),
}


@pytest.fixture
def ranges() -> Iterator[Any]:
    with range_server() as server:
        yield server


@pytest.fixture
def guarded(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    support = pytest.importorskip("tblib.pickling_support")
    monkeypatch.setattr(attempts, "ATTEMPTS", attempts.Attempts(n_attempts=1))
    with Proxy(0) as proxy, patch.dict(copyreg.dispatch_table):
        made = KINDS[kind](request, proxy)
        made.opened(NEVER_PORT)  # imports its packages: only exceptions that exist are registered
        support.install()
        yield made


def kept(error: BaseException) -> list[BaseException]:
    """Return an error with its causes and contexts."""
    found, left = [], [error]
    while left:
        one = left.pop()
        found.append(one)
        left += [other for other in (one.__cause__, one.__context__) if other is not None]
    return found


def check_keeps_no_secret(error: BaseException, secrets: set[str]) -> None:
    assert {type(one).__module__ for one in kept(error)} == {"streamh5.errors"}
    pickled = pickle.dumps(error)
    assert b"unpickle_exception" in pickled  # tblib has done it
    told = ["".join(traceback.format_exception(error)), repr(error), pickled.decode("latin-1")]
    for secret in secrets:
        assert not [text for text in told if secret in text or quote(secret, safe="") in text]


@pytest.mark.parametrize("failure", [*FAILURES, "nobody listens"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in KINDS for name in REQUESTS if kind != "http" or name == "read"],
)
def test_error_of_a_request_keeps_no_secret(guarded: Guarded, name: str, failure: str) -> None:
    nobody = failure == "nobody listens"
    if not nobody:
        guarded.proxy.fault = FAILURES[failure]
    with pytest.raises((StoreError, SinkError)) as caught:
        REQUESTS[name](guarded.opened(NEVER_PORT if nobody else guarded.proxy.port))
    assert nobody or guarded.proxy.seen
    sent = [seen.headers.get("authorization", "") for seen in guarded.proxy.seen]
    signatures = {found[2] for one in sent for found in _AUTHENTICATION.finditer(one)}
    check_keeps_no_secret(caught.value, {*guarded.secrets, *signatures})


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://bucket/a.h5", {"key": "verysecret", "username": "verysecret", "secret": "a"}),
        ("s3://bucket/a.h5", {"secret": "verysecret", "unknown": "verysecret"}),
        ("az://container/a.h5", {"connection_string": "AccountKey;verysecret"}),
        ("gs://bucket/a.h5", {"token": {"private_key": "verysecret"}}),
    ],
)
def test_error_of_options_keeps_no_secret(url: str, options: dict[str, Any]) -> None:
    support = pytest.importorskip("tblib.pickling_support")
    pytest.importorskip({"s3": "s3fs", "az": "adlfs", "gs": "gcsfs"}[url.partition(":")[0]])
    with pytest.raises(SpecError) as caught:
        open_store(url, options)
    with patch.dict(copyreg.dispatch_table):
        support.install()
        check_keeps_no_secret(caught.value, {"verysecret"})
