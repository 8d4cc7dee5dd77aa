"""The names beside a destination under which a write works, whatever the length of the destination's own.

============================ =======================================================
``OUT.partial``              the new file while it is written
``OUT.partial.journal``      its journal, always named after the partial file
``OUT.snapshot``             the default name of a checkpoint
``.NAME.streamh5``           a checkpoint ``NAME`` for the moment in which it is made
============================ =======================================================

Where the name of the destination leaves no room for that, ``OUT`` is its beginning, 16 hexadecimal digits
of the SHA-256 of the whole name, and its suffix.
"""

from __future__ import annotations

import os
from pathlib import Path

PARTIAL_SUFFIX = ".partial"
JOURNAL_SUFFIX = ".journal"
SNAPSHOT_SUFFIX = ".snapshot"

ROOM_NBYTES = 24
"""What is added to a name at most: ``.`` and ``.snapshot.streamh5`` are 19 bytes."""

MAX_NAME_NBYTES = 255
"""Of a file system that does not say how long a name may be."""

MAX_SUFFIX_NBYTES = 16
N_DIGITS = 16


def partial_path(destination: Path) -> Path:
    """Return the name of the file while it is written."""
    return destination.with_name(_stem(destination) + PARTIAL_SUFFIX)


def journal_path(partial: Path) -> Path:
    """Return the name of the journal of a partial file."""
    return partial.with_name(partial.name + JOURNAL_SUFFIX)


def snapshot_path(destination: Path) -> Path:
    """Return the name of a checkpoint that was given none."""
    return destination.with_name(_stem(destination) + SNAPSHOT_SUFFIX)


def temporary_path(snapshot: Path) -> Path:
    """Return the name that a checkpoint has before it replaces the last one."""
    return snapshot.with_name(f".{_stem(snapshot)}.streamh5")


def _stem(path: Path) -> str:
    """Name of a file, shortened where `ROOM_NBYTES` do not fit behind it."""
    name = os.fsencode(path.name)
    room = _max_name_nbytes(path.parent) - ROOM_NBYTES
    if len(name) <= room:
        return path.name
    import hashlib  # here: it loads OpenSSL, and few names are so long

    suffix = path.suffix if len(os.fsencode(path.suffix)) <= MAX_SUFFIX_NBYTES else ""
    ending = f"-{hashlib.sha256(name).hexdigest()[:N_DIGITS]}{suffix}"
    # not within a character: there are file systems that take UTF-8 only
    beginning = name[: max(room - len(os.fsencode(ending)), 0)].decode("utf-8", "ignore")
    return beginning + ending


def _max_name_nbytes(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return MAX_NAME_NBYTES
