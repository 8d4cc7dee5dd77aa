"""Object stores on 127.0.0.1 for the tests: a child process each, which ends with this one however that ends.

A server listens on a port that the system chooses: several test runs do not meet. Fixtures: `tests/conftest.py`.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, NamedTuple

KEY, SECRET = "AKIDTESTKEYID", "verysecretkeyoftests"

_MOTO = """\
import sys
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # until the process that has started this one closes it, or ends
"""


class S3Server(NamedTuple):
    """An S3 server with a bucket; it takes any credentials."""

    port: int
    bucket: str

    def options(self, **changes: Any) -> dict[str, Any]:
        """Return the ``storage_options``; pass ``endpoint_url`` to go through a proxy."""
        return {"key": KEY, "secret": SECRET, "endpoint_url": f"http://127.0.0.1:{self.port}", **changes}

    def url(self, name: str = "out.h5") -> str:
        """Return the URL of an object that no other test uses."""
        return f"s3://{self.bucket}/{uuid.uuid4().hex}/{name}"

    def new_bucket(self, name: str) -> None:
        """Make another bucket."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("PUT", f"/{name}")
            assert connection.getresponse().status == 200
        finally:
            connection.close()


def missing_moto() -> str | None:
    """Return what is missing for an S3 server here, None if nothing."""
    for package in ("s3fs", "moto", "flask_cors"):
        if importlib.util.find_spec(package) is None:
            return f"{package} (S3 server of the tests)"
    return None


@contextmanager
def moto_server(*, min_part_nbytes: int = 5 << 20) -> Iterator[S3Server]:
    """Start moto's S3 server; it ends with the block. Its smallest part is that of AWS unless another one is given."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "S3_UPLOAD_PART_MIN_SIZE": str(min_part_nbytes)},
    ) as process:
        try:
            assert process.stdout is not None
            server = S3Server(int(process.stdout.readline()), "bucket")
            server.new_bucket(server.bucket)
            yield server
        finally:
            process.kill()
