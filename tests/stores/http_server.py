"""An HTTP server on 127.0.0.1 that answers requests for ranges of bytes, and notes them."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class RangeServer:
    """The server: its files, and what it was asked for.

    Attributes
    ----------
    files
        Content by path.
    requests
        Method, path and range of each request.
    statuses
        Statuses with which the next requests are refused.
    knows_ranges
        False for a server that always sends everything.
    """

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.statuses: list[int] = []
        self.knows_ranges = True

    def add(self, name: str, content: bytes) -> str:
        """Add a file, and return its URL."""
        self.files[f"/{name}"] = content
        return f"{self.address}/{name}"


@contextmanager
def range_server() -> Iterator[RangeServer]:
    """Start the server in threads; it ends with the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            found.requests.append((self.command, self.path, asked))
            content = found.files.get(self.path.partition("?")[0])
            status = found.statuses.pop(0) if found.statuses else 200 if content is not None else 404
            body = b""
            headers: dict[str, str] = {}
            if status == 200 and content is not None:
                status, body, headers = self._part(content, asked)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name that the class looks for

        def _part(self, content: bytes, asked: str) -> tuple[int, bytes, dict[str, str]]:
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept-Ranges": "bytes"}
            edges = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
            if edges is None or not found.knows_ranges:
                return 200, content, headers
            start, stop = int(edges[1]), min(int(edges[2]) + 1, len(content))
            if start >= len(content):
                return 416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"}
            return (
                206,
                content[start:stop],
                {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"},
            )

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = RangeServer(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
