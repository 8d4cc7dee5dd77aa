"""Ceph's S3 server on 127.0.0.1: a monitor, one OSD whose objects lie in memory, and the gateway, without any rights.

Debian's packages need not be installed: ``STREAMH5_CEPH`` names the folder into which they were unpacked, see
docs/testing.md.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

from tests.stores.servers import KEY, SECRET, S3Server

START_SECONDS = 120

_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon}]
auth cluster required = none
auth service required = none
auth client required = none
auth supported = none
keyring = /dev/null
ms bind ipv6 = false
ms bind msgr1 = false
ms mon cluster mode = crc
ms mon service mode = crc
ms mon client mode = crc
ms cluster mode = crc
ms service mode = crc
ms client mode = crc
run dir = {folder}
admin socket =
log file = {folder}/$name.log
pid file =
crash dir = {folder}
plugin dir = {lib}
erasure code dir = {lib}/ceph/erasure-code
osd class dir = {lib}/rados-classes
compressor dir = {lib}/ceph/compressor
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000
mon osd max initial pgs = 2000
mon data avail warn = 1
mon data avail crit = 0
mon data = {folder}/mon
osd data = {folder}/osd
osd max object name len = 256
osd max object namespace len = 64
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{gateway}
rgw enable ops log = false
rgw enable usage log = false
rgw run sync thread = false
rgw bucket index max aio = 4
"""

_NEW_OSD = """\
import json, sys
import rados
with rados.Rados(conffile=sys.argv[1], name="client.admin") as cluster:
    code, _, said = cluster.mon_command(json.dumps({"prefix": "osd new", "uuid": sys.argv[2]}), b"")
    sys.exit(said if code else None)
"""


def missing_radosgw() -> str | None:
    """Return what is missing for Ceph's server here, None if nothing."""
    root = os.environ.get("STREAMH5_CEPH", "")
    if not root:
        return "radosgw (STREAMH5_CEPH is not set)"
    missing = [
        name for name in ("ceph-mon", "ceph-osd", "radosgw") if not (Path(root) / "usr/bin" / name).exists()
    ]
    return f"{', '.join(missing)} in {root}" if missing else None


def _free_port() -> int:
    """Return a port that the system would choose: Ceph's daemons cannot bind to 0 and tell."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class _Ceph:
    """The programs of Ceph, with their libraries and configuration."""

    def __init__(self, root: Path, folder: Path, gateway: int) -> None:
        self.folder, self.fsid, self.mon = folder, str(uuid.uuid4()), _free_port()
        self._bin, lib = root / "usr/bin", root / "usr/lib/x86_64-linux-gnu"
        packages = root / "usr/lib/python3/dist-packages"
        self._environment = {
            **os.environ,
            "LD_LIBRARY_PATH": f"{lib}:{lib}/ceph:{root}/lib/x86_64-linux-gnu",
            "PYTHONPATH": str(packages),
            "CEPH_CONF": str(folder / "ceph.conf"),
        }
        (folder / "ceph.conf").write_text(
            _CONFIGURATION.format(fsid=self.fsid, mon=self.mon, gateway=gateway, folder=folder, lib=lib)
        )
        for name in ("mon", "osd", "rgw"):
            (folder / name).mkdir()

    def run(self, program: str, *arguments: str) -> None:
        """Run a program to its end."""
        self._call([str(self._bin / program), "-c", str(self.folder / "ceph.conf"), *arguments])

    def new_osd(self, osd: str) -> None:
        """Tell the monitor of an OSD, by Ceph's binding for Python 3.11."""
        self._call([sys.executable, "-c", _NEW_OSD, str(self.folder / "ceph.conf"), osd])

    def _call(self, command: list[str]) -> None:
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=START_SECONDS, check=False
        )
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])

    @contextmanager
    def daemon(self, program: str, *arguments: str) -> Iterator[None]:
        """Run a program until the block ends."""
        command = [str(self._bin / program), "-c", str(self.folder / "ceph.conf"), "-f", *arguments]
        with (self.folder / f"{program}.out").open("w") as out:
            process = subprocess.Popen(command, env=self._environment, stdout=out, stderr=out)
        try:
            yield
        finally:
            process.kill()
            process.wait()


@contextmanager
def radosgw_server() -> Iterator[S3Server]:
    """Start Ceph's S3 server; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="ceph-") as temporary, ExitStack() as stack:
        folder, gateway, osd = Path(temporary), _free_port(), str(uuid.uuid4())
        ceph = _Ceph(Path(os.environ["STREAMH5_CEPH"]), folder, gateway)
        monmap = str(folder / "monmap")
        address = f"[v2:127.0.0.1:{ceph.mon}]"
        ceph.run("monmaptool", "--create", "--fsid", ceph.fsid, "--addv", "a", address, monmap)
        ceph.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        stack.enter_context(ceph.daemon("ceph-mon", "-i", "a"))
        ceph.new_osd(osd)
        ceph.run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd)
        stack.enter_context(ceph.daemon("ceph-osd", "-i", "0"))
        ceph.run(
            "radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests",
            f"--access-key={KEY}", f"--secret={SECRET}",
        )  # fmt: skip
        stack.enter_context(ceph.daemon("radosgw", "-n", "client.rgw"))
        _wait_for(gateway)
        server = S3Server(gateway, "bucket")
        _new_bucket(server)
        yield server


def _wait_for(port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/")
            connection.getresponse().read()
        except OSError:
            assert time.monotonic() < end, "radosgw does not answer"
            time.sleep(0.2)
        else:
            return
        finally:
            connection.close()


def _new_bucket(server: S3Server) -> None:
    import s3fs

    s3fs.S3FileSystem(**server.options()).call_s3("create_bucket", Bucket=server.bucket)
