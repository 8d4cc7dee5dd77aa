"""An HTTP proxy before a server of the tests: it notes the requests, and lets some of them fail.

with Proxy(server.port) as proxy:
    proxy.fault = lambda seen: Fault(status=503) if seen.number == 2 else None
    ...  # requests to proxy.endpoint
    assert [one.method for one in proxy.seen] == ["PUT", "PUT", "PUT"]
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.deadlock import DEADLOCK_SECONDS

__all__ = ["Fault", "Proxy", "Seen"]


class Seen(NamedTuple):
    """A request: its number from 1 on, in the order in which they came; names of headers in small letters."""

    number: int
    method: str
    target: str
    nbytes: int
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        found = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return {name: values[0] for name, values in found.items()}


class Fault(NamedTuple):
    """What happens to a request.

    Attributes
    ----------
    status, body, headers
        The proxy answers this. With `has_effect` the server has done what it was asked, but its answer is dropped.
    has_effect
        See `status`, `stalls`.
    request_nbytes
        So many bytes of the request, head and body, reach the server, at most all but one; then both connections are
        reset. (A whole request would have an effect, at a moment that nobody knows.)
    answer_nbytes
        So many bytes of the answer reach the client; then its connection is reset.
    stalls
        No answer; the client has to lose its patience.
    before
        Called before the request is passed on, by the thread of the connection.
    changed
        Called with the headers of the answer; returns those that the client gets.
    """

    status: int | None = None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    has_effect: bool = False
    request_nbytes: int | None = None
    answer_nbytes: int | None = None
    stalls: bool = False
    before: Callable[[], object] | None = None
    changed: Callable[[dict[str, str]], dict[str, str]] | None = None


class Proxy:
    """The proxy; `seen` has all requests, `fault` tells what happens to one."""

    def __init__(self, port: int) -> None:
        self.seen: list[Seen] = []
        self.fault: Callable[[Seen], Fault | None] = lambda seen: None
        self.errors: list[BaseException] = []
        self.upstream = port
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(self)

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        if self.errors:
            raise self.errors[0]

    def forget(self) -> None:
        """Begin anew, for another test: nothing was seen, and nothing fails."""
        self.seen.clear()
        self.fault = lambda seen: None

    def note(self, method: str, target: str, nbytes: int, headers: dict[str, str]) -> Seen:
        """Note a request."""
        with self._lock:
            seen = Seen(len(self.seen) + 1, method, target, nbytes, headers)
            self.seen.append(seen)
            return seen


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy
        self._connections: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def close_connections(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def handle_error(self, request: object, address: object) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, (OSError, EOFError)):
            self.proxy.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *arguments: object) -> None:
        pass

    def _handle(self) -> None:
        proxy = self.server.proxy
        nbytes = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = proxy.note(self.command, self.path, nbytes, headers)
        fault = proxy.fault(seen) or Fault()
        if fault.before is not None:
            fault.before()
        if fault.request_nbytes is not None:
            self._cut_request(fault.request_nbytes)
            return
        body = self._body(nbytes)
        if fault.status is not None or fault.stalls:
            if fault.has_effect:
                self._ask(body)
            if fault.stalls:
                self._stall()
            else:
                self._answer(fault.status or 500, dict(fault.headers), fault.body)
            return
        status, headers, content = self._ask(body)
        if fault.changed is not None:
            headers = fault.changed(headers)
        self._answer(status, headers, content, fault.answer_nbytes)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = _handle  # noqa: N815

    def _body(self, nbytes: int) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(nbytes)
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _head(self, nbytes: int) -> dict[str, str]:
        dropped = ("expect", "connection", "transfer-encoding", "content-length")
        kept = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        has_body = nbytes or self.command in ("PUT", "POST", "PATCH")
        return {**kept, "Connection": "close", **({"Content-Length": str(nbytes)} if has_body else {})}

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        with closing(HTTPConnection("127.0.0.1", self.server.proxy.upstream, timeout=DEADLOCK_SECONDS)) as up:
            up.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._head(len(body)).items():
                up.putheader(name, value)
            up.endheaders(body or None)
            response: HTTPResponse = up.getresponse()
            content = response.read()
            headers = dict(response.getheaders())
        dropped = ("connection", "transfer-encoding", "keep-alive")
        headers = {name: value for name, value in headers.items() if name.lower() not in dropped}
        if self.command != "HEAD" and response.status != 204:
            headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
            headers["Content-Length"] = str(len(content))
        return response.status, headers, content

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, answer_nbytes: int | None = None
    ) -> None:
        if not any(name.lower() == "content-length" for name in headers) and status != 204:
            headers = {**headers, "Content-Length": str(len(content))}
        lines = [f"HTTP/1.1 {status} {self.responses.get(status, ('',))[0]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        answer = "\r\n".join([*lines, "", ""]).encode("latin-1")
        answer += content if self.command != "HEAD" else b""
        self.wfile.write(answer[:answer_nbytes])
        if answer_nbytes is not None:
            self._reset()

    def _cut_request(self, nbytes: int) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        lines = [f"{self.command} {self.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self._head(size).items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        nbytes = min(nbytes, len(head) + size - 1)
        part = (head + self.rfile.read(max(0, nbytes - len(head))))[:nbytes]
        with closing(socket.create_connection(("127.0.0.1", self.server.proxy.upstream))) as up:
            up.sendall(part)
        self._reset()

    def _stall(self) -> None:
        """Wait until the client closes the connection."""
        self.connection.settimeout(0.05)
        while not self.server.proxy.stopped.is_set():
            try:
                if not self.connection.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.close_connection = True

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()  # it keeps the connection open: a reset needs that nobody has it
        self.connection.close()
