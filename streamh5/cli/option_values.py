"""Values of options of the command line, from their text."""

from __future__ import annotations

import argparse
from typing import Any

from streamh5.arguments.memory_size import read_memory_size
from streamh5.errors import ChunkShapeError, SpecError


def read_nbytes(text: str) -> int:
    """Return the bytes of ``512MiB``, ``2GB`` or ``4096``."""
    try:
        return read_memory_size(text, "size") or 0
    except SpecError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 512MiB, 2GB or 4096") from None


def read_n_jobs(text: str) -> int:
    """Return a number of threads."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, not {text!r}")
    return int(text)


def read_chunks(texts: list[str]) -> Any:
    """Return the argument `chunks` of `convert` for all ``--chunks``.

    Raises
    ------
    ChunkShapeError
        Neither ``auto`` nor numbers, or shapes with and without paths.
    """
    shapes: dict[str | None, Any] = {}
    for text in texts:
        path, _, shape = text.rpartition("=")
        try:
            shapes[path or None] = shape if shape == "auto" else tuple(map(int, shape.split(",")))
        except ValueError:
            raise ChunkShapeError(f"--chunks {text}: write 1,256,256, auto or /x=1,256,256") from None
    if len(shapes) > 1 and None in shapes:
        raise ChunkShapeError("--chunks: give one shape for all arrays, or PATH=N,N,... for each")
    return shapes.get(None, shapes or None)


def read_page_option(text: str) -> bool | str:
    """Return the keyword `page` of `convert` for ``auto``, ``none`` or a size, which `convert` checks."""
    return {"auto": True, "none": False}.get(text, text)


def read_compression(text: str) -> dict[str, Any]:
    """Return the keywords of `convert` for ``NAME[=LEVEL]``."""
    name, _, level = text.partition("=")
    options = {} if not level else {"compression_opts": int(level) if level.isdecimal() else level}
    return {"compression": None if name == "none" else name, **options}
