"""A small S3-compatible server that costs little beside its clients: a process of its own, objects in its memory.

It implements what uploads and readers of the benchmarks request, checks no signatures and computes no checksums: an
entity tag is a number. It is a floor for the cost of a server; `moto` computes MD5 and copies each body several times.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["object_server"]

RANGE = re.compile(r"bytes=(\d+)-(\d*)")
PART = re.compile(rb"<PartNumber>(\d+)</PartNumber>")

objects: dict[str, list[bytearray]] = {}
tokens: dict[str, dict[str, str]] = {}
uploads: dict[str, dict[int, tuple[str, bytearray]]] = {}
metadata: dict[str, dict[str, str]] = {}
numbers = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def body(self) -> bytearray:
        """Read the body of the request; frames of chunked signatures are taken off."""
        content = bytearray(int(self.headers.get("Content-Length", 0)))
        view, n = memoryview(content), 0
        while n < len(content):
            n += self.rfile.readinto1(view[n:])
        if "x-amz-decoded-content-length" not in self.headers:
            return content
        decoded, at = bytearray(), 0
        while True:
            end = content.index(b"\r\n", at)
            size = int(content[at:end].split(b";")[0], 16)
            if not size:
                return decoded
            decoded += view[end + 2 : end + 2 + size]
            at = end + 2 + size + 2

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if headers is None or "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def target(self) -> tuple[str, dict[str, str]]:
        """Return key and query."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return unquote(parts.path).strip("/"), query

    def user_metadata(self) -> dict[str, str]:
        """Return the headers that belong to the object."""
        return {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}

    def do_POST(self) -> None:
        """Begin or complete an upload, or delete several objects."""
        key, query = self.target()
        body = self.body()
        if "uploads" in query:
            upload = f"upload{next(numbers)}"
            uploads[upload], metadata[upload] = {}, self.user_metadata()
            self.answer(200, document("InitiateMultipartUploadResult", UploadId=upload))
        elif "uploadId" in query:
            parts = uploads.pop(query["uploadId"])
            objects[key] = [parts[int(n)][1] for n in PART.findall(body)]
            tokens[key] = metadata.pop(query["uploadId"]) | {"ETag": f'"{next(numbers)}"'}
            self.answer(200, document("CompleteMultipartUploadResult", ETag="&quot;1&quot;"))
        else:
            objects.clear()
            self.answer(200, document("DeleteResult"))

    def do_PUT(self) -> None:
        """Take a part or an object, or make a bucket."""
        key, query = self.target()
        content = self.body()
        tag = f'"{next(numbers)}"'
        if "uploadId" in query:
            uploads[query["uploadId"]][int(query["partNumber"])] = tag, content
        elif "/" in key:
            objects[key], tokens[key] = [content], self.user_metadata() | {"ETag": tag}
        self.answer(200, headers={"ETag": tag})

    def do_DELETE(self) -> None:
        """Remove an object or an upload."""
        key, query = self.target()
        uploads.pop(query.get("uploadId", ""), None)
        if "uploadId" not in query:
            objects.pop(key, None)
        self.answer(204)

    def do_HEAD(self) -> None:
        """Tell size and entity tag."""
        key, _ = self.target()
        if "/" not in key:
            self.answer(200)
        elif key in objects:
            self.answer(200, headers={"Content-Length": str(sum(map(len, objects[key]))), **self.fixed(key)})
        else:
            self.answer(404)

    def do_GET(self) -> None:
        """Send bytes of an object, or a list."""
        key, query = self.target()
        if "uploads" in query:
            self.answer(200, document("ListMultipartUploadsResult", IsTruncated="false"))
        elif "uploadId" in query:
            self.list_parts(query["uploadId"])
        elif "/" not in key:
            self.answer(200, document("ListBucketResult", IsTruncated="false", KeyCount="0"))
        elif key not in objects:
            self.answer(404, document("Error", Code="NoSuchKey", Message="none"))
        else:
            self.send_range(key)

    def list_parts(self, upload: str) -> None:
        """Send the list of parts, on one page."""
        if upload not in uploads:
            self.answer(404, document("Error", Code="NoSuchUpload", Message="none"))
            return
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag><Size>{len(content)}</Size></Part>"
            for number, (tag, content) in sorted(uploads[upload].items())
        )
        self.answer(
            200, f"<ListPartsResult><IsTruncated>false</IsTruncated>{listed}</ListPartsResult>".encode()
        )

    def send_range(self, key: str) -> None:
        """Send a range of an object."""
        total = sum(map(len, objects[key]))
        asked = RANGE.match(self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2]), total - 1) if asked and asked[2] else total - 1
        found, start = [], 0
        for piece in objects[key]:
            found.append(bytes(memoryview(piece)[max(0, first - start) : max(0, last + 1 - start)]))
            start += len(piece)
        where = {"Content-Range": f"bytes {first}-{last}/{total}"} if asked else {}
        self.answer(206 if asked else 200, b"".join(found), {**where, **self.fixed(key)})

    def fixed(self, key: str) -> dict[str, str]:
        """Return the headers of an object."""
        return {**tokens[key], "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}


def document(root: str, **values: str) -> bytes:
    """Return a small XML document."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
    return f'<?xml version="1.0"?><{root}>{inner}</{root}>'.encode()


@contextmanager
def object_server() -> Iterator[str]:
    """Start the server in a process of its own; gives its ``endpoint_url``. It ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.object_server"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def main() -> None:
    """Serve until the process that has started this one closes its end of the pipe."""
    import threading

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_port, flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    main()
