"""Sizes of memory as text: ``"512MiB"``, ``"1 GB"``; and the memory of this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from numbers import Real
from typing import TypeAlias

from streamh5.errors import LimitError, SpecError

MemorySize: TypeAlias = int | float | str


def read_memory_size(size: MemorySize | None, name: str) -> int | None:
    """Return a size in bytes, parsed as dask does; None stays None.

    Parameters
    ----------
    size
        A number of bytes, or text such as ``"512MiB"`` (1024) or ``"1 GB"`` (1000).
    name
        The name of the argument, for the message.

    Raises
    ------
    SpecError
        It is not a size, or less than one byte.
    """
    if size is None:
        return None
    nbytes = 0
    with suppress(ValueError, OverflowError):  # no such unit; infinity
        if isinstance(size, str) and size.strip():  # dask parses blank text as 1
            from dask.utils import parse_bytes  # here: importing dask takes longer than most commands

            nbytes = int(parse_bytes(size))
        elif isinstance(size, Real) and not isinstance(size, bool):
            nbytes = int(size)
    if nbytes < 1:
        raise SpecError(
            f"{name} must be a number of bytes, at least 1, or text such as '512MiB' or '1 GB', not {size!r:.80}",
            **{name: size},
        )
    return nbytes


def format_nbytes(nbytes: float) -> str:
    """Format a size with a binary prefix: ``8.0 GiB``."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while abs(nbytes) >= 1024 and len(units) > 1:
        nbytes /= 1024
        del units[0]
    return f"{nbytes:,.0f} B" if units[0] == "B" else f"{nbytes:,.1f} {units[0]}"


def check_held(path: str, nbytes: int) -> None:
    """Refuse data without chunks that are larger than the memory of this machine.

    Such data stay in memory until the file is closed.

    Raises
    ------
    LimitError
        `nbytes` is more than the machine has.
    """
    most = memory_nbytes()
    if nbytes > most:
        raise LimitError(
            f"{path}: chunks=False keeps {nbytes:,} bytes in memory until the file is closed, and this machine "
            f"has {most:,}; leave chunks out, or give a chunk shape",
            path=path,
            nbytes=nbytes,
        )


def memory_nbytes() -> int:
    """Return the size of this machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
