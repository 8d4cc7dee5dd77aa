"""Azurite, Microsoft's emulator of Azure's blobs, on 127.0.0.1: a child process, which ends with this one.

Its account and key are made for each server; what it stores stays in memory.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import fsspec

from tests.readers.programs import brought

_CONTAINER = "container"

_SCRIPT = """\
process.stdin.on("end", () => process.exit()).resume();  // closed by whoever started this, or by their end
require(process.env.STREAMH5_AZURITE)
"""


class AzuriteServer(NamedTuple):
    """A server with a container."""

    port: int
    account: str
    key: str

    def options(self, *, port: int | None = None) -> dict[str, Any]:
        """Return the ``storage_options``; pass another port to go through a proxy."""
        return {
            "connection_string": f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};"
            f"BlobEndpoint=http://127.0.0.1:{port or self.port}/{self.account};"
        }

    def url(self, name: str = "out.h5") -> str:
        """Return the URL of a blob that no other test uses."""
        return f"az://{_CONTAINER}/{uuid.uuid4().hex}/{name}"


def _program() -> Path:
    return brought("STREAMH5_NODE_MODULES", "node_modules") / "azurite" / "dist" / "src" / "blob" / "main.js"


def missing_azurite() -> str | None:
    """Return what is missing for an Azure server here, None if nothing."""
    if shutil.which("node") is None:
        return "node (for Azurite)"
    return None if _program().is_file() else "azurite (npm ci --prefix .ci)"


@contextmanager
def azurite_server() -> Iterator[AzuriteServer]:
    """Start Azurite; it ends with the block."""
    account, key = "streamh5tests", base64.b64encode(secrets.token_bytes(64)).decode()
    with subprocess.Popen(
        # The client's version of the protocol is newer than the emulator.
        [
            "node",
            "-e",
            _SCRIPT,
            "azurite",
            "--blobPort",
            "0",
            "--inMemoryPersistence",
            "--silent",
            "--skipApiVersionCheck",
        ],
        env={**os.environ, "AZURITE_ACCOUNTS": f"{account}:{key}", "STREAMH5_AZURITE": str(_program())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = next(line for line in process.stdout if "successfully listens on" in line)
            server = AzuriteServer(int(said.rpartition(":")[2]), account, key)
            fsspec.filesystem("az", **server.options()).mkdir(_CONTAINER)
            yield server
        finally:
            process.kill()
