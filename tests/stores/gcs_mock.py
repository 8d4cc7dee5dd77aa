"""The part of Google Cloud Storage's XML API that streamh5 asks, and of its JSON API that gcsfs reads with.

No emulator that a registry has knows uploads in parts. This one refuses what Google's documentation says is refused:
a condition in an upload, a wrong checksum, a small part that is not the last, a tag of another part, a parameter that
it does not know. Google's own client uploads to it (`test_gcs_mock.py`).
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import threading
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "bucket"
MIN_PART = 5 << 20
TOKEN = "secret-access-token"

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_GENERATIONS = itertools.count(1_700_000_000_000_000)


class _Refusal(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(status, code)
        self.status, self.code = status, code


class _Object(NamedTuple):
    generation: int
    content: bytes
    metadata: dict[str, str]


class _MockUpload(NamedTuple):
    key: str
    metadata: dict[str, str]
    parts: dict[int, tuple[str, bytes]]


class _Request(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class _Response(NamedTuple):
    status: int
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""


class GCSMock:
    """The state of a server, and its answers.

    Attributes
    ----------
    requests
        Method and path of each request.
    refuse_next
        Statuses with which the next requests are refused; 0 cuts the connection.
    """

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[str] = []
        self.refuse_next: list[int] = []
        self._objects: dict[str, _Object] = {}
        self._uploads: dict[str, _MockUpload] = {}
        self._lock = threading.Lock()

    def options(self, **changes: Any) -> dict[str, Any]:
        """Return the ``storage_options``."""
        return {"token": "anon", "endpoint_url": f"http://127.0.0.1:{self.port}", **changes}

    def url(self, name: str = "out.h5") -> str:
        """Return the URL of an object that no other test uses."""
        return f"gs://{BUCKET}/{uuid.uuid4().hex}/{name}"

    def answer(self, request: _Request) -> _Response:
        """Answer one request."""
        with self._lock:
            self.requests.append(f"{request.method} {request.path}")
            try:
                if self.refuse_next:
                    raise _Refusal(self.refuse_next.pop(0), "Refused")
                if request.headers.get("authorization", f"Bearer {TOKEN}") != f"Bearer {TOKEN}":
                    raise _Refusal(401, "AuthenticationRequired")
                if request.path.startswith(("/storage/v1/", "/download/storage/v1/")):
                    return self._json(request)
                return self._xml(request)
            except _Refusal as refusal:
                body = f"<?xml version='1.0'?><Error><Code>{refusal.code}</Code></Error>".encode()
                return _Response(refusal.status, body=body)

    def _xml(self, request: _Request) -> _Response:
        bucket, _, key = request.path[1:].partition("/")
        if unquote(bucket) != BUCKET:
            raise _Refusal(404, "NoSuchBucket")
        for found in request.headers.get("x-goog-hash", "").split(","):
            name, _, value = found.strip().partition("=")
            if name == "crc32c" and base64.b64decode(value) != _crc32c(request.body):
                raise _Refusal(400, "BadDigest")
        if "uploads" in request.query or "uploadId" in request.query:
            if any(name.startswith("x-goog-if-") for name in request.headers):
                raise _Refusal(400, "NotImplemented")
            return self._part_request(request, unquote(key))
        _check_names(request.query, {"generation"})
        return self._object_request(request, unquote(key))

    def _object_request(self, request: _Request, key: str) -> _Response:
        found = self._objects.get(key)
        if request.method == "PUT":
            match = request.headers.get("x-goog-if-generation-match")
            if match is not None and int(match) != (found.generation if found else 0):
                raise _Refusal(412, "PreconditionFailed")
            self._objects[key] = _Object(next(_GENERATIONS), request.body, _metadata(request.headers))
            return _Response(200)
        if found is None or request.query.get("generation", str(found.generation)) != str(found.generation):
            raise _Refusal(404, "NoSuchKey")
        checksum = base64.b64encode(_crc32c(found.content)).decode()
        md5 = base64.b64encode(hashlib.md5(found.content).digest()).decode()
        headers = {
            "x-goog-generation": str(found.generation),
            "ETag": f'"{found.generation}"',
            "x-goog-hash": f"md5={md5}\ncrc32c={checksum}",  # a line for each
        } | {f"x-goog-meta-{name}": value for name, value in found.metadata.items()}
        return _ranged(found.content, request.headers.get("range"), headers)

    def _part_request(self, request: _Request, key: str) -> _Response:
        query = request.query
        if "uploads" in query:
            if request.method == "POST":
                upload = uuid.uuid4().hex
                self._uploads[upload] = _MockUpload(key, _metadata(request.headers), {})
                return _document(
                    "InitiateMultipartUploadResult", [("Bucket", BUCKET), ("Key", key), ("UploadId", upload)]
                )
            return self._list_uploads(query)
        upload = query["uploadId"]
        if upload not in self._uploads or self._uploads[upload].key != key:
            raise _Refusal(404, "NoSuchUpload")
        if request.method == "PUT":
            return self._put_part(query, self._uploads[upload], request.body)
        if request.method == "GET":
            return self._list_parts(query, self._uploads[upload])
        _check_names(query, {"uploadId"})
        if request.method == "POST":
            self._complete(key, self._uploads[upload], request.body)
        del self._uploads[upload]
        if request.method == "DELETE":
            return _Response(204)
        return _document("CompleteMultipartUploadResult", [("Bucket", BUCKET), ("Key", key)])

    def _put_part(self, query: dict[str, str], upload: _MockUpload, body: bytes) -> _Response:
        _check_names(query, {"uploadId", "partNumber"})
        number = int(query["partNumber"])
        if not 1 <= number <= 10_000:
            raise _Refusal(400, "InvalidArgument")
        etag = hashlib.md5(body).hexdigest()
        upload.parts[number] = (etag, body)
        checksum = base64.b64encode(_crc32c(body)).decode()
        return _Response(200, {"ETag": f'"{etag}"', "x-goog-hash": f"crc32c={checksum}"})

    def _list_parts(self, query: dict[str, str], upload: _MockUpload) -> _Response:
        _check_names(query, {"uploadId", "max-parts", "part-number-marker"})
        after = int(query.get("part-number-marker", 0))
        n_most = min(int(query.get("max-parts", 1000)), 1000)
        left = sorted(number for number in upload.parts if number > after)
        children: list[tuple[str, Any]] = [("IsTruncated", "true" if len(left) > n_most else "false")]
        if left:
            children.append(("NextPartNumberMarker", str(left[:n_most][-1])))
        for number in left[:n_most]:
            etag, body = upload.parts[number]
            children.append(
                ("Part", [("PartNumber", str(number)), ("ETag", f'"{etag}"'), ("Size", str(len(body)))])
            )
        return _document("ListPartsResult", children)

    def _list_uploads(self, query: dict[str, str]) -> _Response:
        _check_names(query, {"uploads", "prefix", "max-uploads", "key-marker", "upload-id-marker"})
        n_most = min(int(query.get("max-uploads", 1000)), 1000)
        after = (query.get("key-marker", ""), query.get("upload-id-marker", "~"))
        left = sorted(
            (one.key, upload)
            for upload, one in self._uploads.items()
            if one.key.startswith(query.get("prefix", "")) and (one.key, upload) > after
        )
        children: list[tuple[str, Any]] = [("IsTruncated", "true" if len(left) > n_most else "false")]
        if len(left) > n_most:
            key, upload = left[n_most - 1]
            children += [("NextKeyMarker", key), ("NextUploadIdMarker", upload)]
        for key, upload in left[:n_most]:
            children.append(
                ("Upload", [("Key", key), ("UploadId", upload), ("Initiated", "2024-01-01T00:00:00.000Z")])
            )
        return _document("ListMultipartUploadsResult", children)

    def _complete(self, key: str, upload: _MockUpload, body: bytes) -> None:
        named = [
            (int(one.findtext("{*}PartNumber") or 0), (one.findtext("{*}ETag") or "").strip('"'))
            for one in ElementTree.fromstring(body).iterfind("{*}Part")
        ]
        if not named:
            raise _Refusal(400, "MalformedCompleteMultipartUploadRequest")
        numbers = [number for number, _ in named]
        if sorted(set(numbers)) != numbers:
            raise _Refusal(400, "InvalidPartOrder")
        if any(upload.parts.get(number, ("", b""))[0] != etag for number, etag in named):
            raise _Refusal(400, "InvalidPart")
        contents = [upload.parts[number][1] for number in numbers]
        if any(len(content) < MIN_PART for content in contents[:-1]):
            raise _Refusal(400, "EntityTooSmall")
        self._objects[key] = _Object(next(_GENERATIONS), b"".join(contents), upload.metadata)

    def _json(self, request: _Request) -> _Response:
        _, _, name = request.path.partition(f"/b/{BUCKET}/o/")
        found = self._objects.get(unquote(name))
        if request.method != "GET" or found is None:
            return _Response(404, body=b'{"error": {"code": 404, "message": "Not Found"}}')
        if request.query.get("alt") == "media":
            return _ranged(found.content, request.headers.get("range"), {})
        fields = {
            "kind": "storage#object",
            "bucket": BUCKET,
            "name": unquote(name),
            "size": str(len(found.content)),
            "generation": str(found.generation),
            "metadata": found.metadata,
            "mediaLink": f"http://127.0.0.1:{self.port}/download{request.path}?alt=media",
            "updated": "2024-01-01T00:00:00.000Z",
            "timeCreated": "2024-01-01T00:00:00.000Z",
        }
        return _Response(200, {"Content-Type": "application/json"}, json.dumps(fields).encode())


def _crc32c(content: bytes) -> bytes:
    import google_crc32c  # conftest.py imports this module where gcsfs is not installed, too

    checksum: int = google_crc32c.value(content)
    return checksum.to_bytes(4, "big")


def _check_names(query: dict[str, str], known: set[str]) -> None:
    if not query.keys() <= known:
        raise _Refusal(400, "InvalidArgument")


def _metadata(headers: dict[str, str]) -> dict[str, str]:
    prefix = "x-goog-meta-"
    return {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)}


def _ranged(content: bytes, wanted: str | None, headers: dict[str, str]) -> _Response:
    if wanted is None:
        return _Response(200, headers, content)
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, stop = int(first), min(int(last) + 1 if last else len(content), len(content))
    if start >= len(content):
        raise _Refusal(416, "InvalidRange")
    return _Response(
        206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}, content[start:stop]
    )


def _document(tag: str, children: list[tuple[str, Any]]) -> _Response:
    def fill(element: ElementTree.Element, inner: list[tuple[str, Any]]) -> ElementTree.Element:
        for name, value in inner:
            child = ElementTree.SubElement(element, name)
            if isinstance(value, str):
                child.text = value
            else:
                fill(child, value)
        return element

    root = fill(ElementTree.Element(tag, {"xmlns": _NAMESPACE}), children)
    return _Response(200, {"Content-Type": "application/xml"}, ElementTree.tostring(root))


@contextmanager
def gcs_mock() -> Iterator[GCSMock]:
    """Start a server in threads of this process; it ends with the block."""
    mock = GCSMock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            query = {
                name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()
            }
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            response = mock.answer(_Request(self.command, parts.path, query, headers, body))
            if not response.status:
                self.close_connection = True
                return
            self.send_response(response.status)
            for name, value in response.headers.items():
                for line in value.split("\n"):
                    self.send_header(name, line)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.handle_any)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        mock.port = server.server_port
        try:
            yield mock
        finally:
            server.shutdown()
            thread.join()
