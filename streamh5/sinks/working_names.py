"""The working names of a write, in the directory of the destination.

============================ =======================================================
``OUT.partial``              the new file while it is written
``OUT.partial.journal``      its journal, always named after the partial file
``OUT.partial.leases``       the folder of its leases, while several processes write
``OUT.partial.leases.old``   that folder while it is removed; after an aborted addition
                             until the next one
``OUT.upload.journal``       the journal of an object ``OUT``, in the working directory
``OUT.snapshot``             the default name of a snapshot
``.NAME.streamh5``           a snapshot or a journal ``NAME`` while it is made
============================ =======================================================

If the destination's name is too long to be extended, ``OUT`` consists of its beginning, 16 hexadecimal digits of the
SHA-256 of the full name, and its suffix.

Apart from `destination_path`, because ``import streamh5`` needs these names and not the checks.
"""

from __future__ import annotations

import os
from pathlib import Path

from streamh5.arguments.paths import JOURNAL_SUFFIX, PARTIAL_SUFFIX

SNAPSHOT_SUFFIX = ".snapshot"
UPLOAD_SUFFIX = ".upload"
LEASES_SUFFIX = ".leases"

ROOM_NBYTES = 24
"""Bytes reserved for what is added to a name: ``.`` and ``.snapshot.streamh5``, and ``.partial.leases.old``, are 19
bytes."""

MAX_NAME_NBYTES = 255
"""Assumed for a file system that does not report its limit."""

MAX_SUFFIX_NBYTES = 16
"""A longer suffix is not a file type, and would leave no room for the beginning of the name."""

N_DIGITS = 16
"""Hexadecimal digits of the hash: with 64 bits, two long names in one directory do not collide by chance."""


def partial_path(destination: Path) -> Path:
    """Return the name of the file while it is being written."""
    return destination.with_name(_stem(destination) + PARTIAL_SUFFIX)


def journal_path(partial: Path) -> Path:
    """Return the name of the journal of a partial file."""
    return partial.with_name(partial.name + JOURNAL_SUFFIX)


def upload_journal_path(url: str) -> Path:
    """Return the default name of the journal of an object, in the working directory."""
    name = Path.cwd() / url.rpartition("/")[2]
    return name.with_name(_stem(name) + UPLOAD_SUFFIX + JOURNAL_SUFFIX)


def leases_path(partial: Path) -> Path:
    """Return the name of the folder with the leases of a partial file."""
    return partial.with_name(partial.name + LEASES_SUFFIX)


def snapshot_path(destination: Path) -> Path:
    """Return the default name of a snapshot."""
    return destination.with_name(_stem(destination) + SNAPSHOT_SUFFIX)


def temporary_path(path: Path) -> Path:
    """Return the name of a snapshot, or of a journal, before it replaces the previous one."""
    return path.with_name(f".{_stem(path)}.streamh5")


def _stem(path: Path) -> str:
    """Return the name of a file, shortened if `ROOM_NBYTES` more would not fit."""
    name = os.fsencode(path.name)
    room = _max_name_nbytes(path.parent) - ROOM_NBYTES
    if len(name) <= room:
        return path.name
    import hashlib  # here, because it loads OpenSSL and few names are that long

    suffix = path.suffix if len(os.fsencode(path.suffix)) <= MAX_SUFFIX_NBYTES else ""
    ending = f"-{hashlib.sha256(name).hexdigest()[:N_DIGITS]}{suffix}"
    # not cut within a character: some file systems accept only UTF-8
    beginning = name[: max(room - len(os.fsencode(ending)), 0)].decode("utf-8", "ignore")
    return beginning + ending


def _max_name_nbytes(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return MAX_NAME_NBYTES
