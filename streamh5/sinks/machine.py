"""Names of the machine and of the process that writes."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def boot_id() -> str | None:
    """Return the identity of this boot of the machine; None if unknown, which never equals another boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def host_name() -> str:
    """Return the name of this machine, for messages."""
    return os.uname().nodename  # the `socket` module would be one more import of each command


def new_writer_name() -> str:
    """Return a name for this process that no other has: host, process number and a random part."""
    return f"{host_name()}:{os.getpid()}:{secrets.token_hex(4)}"
