"""A dataset, as a handle of a file that is being written and `inspect` show it alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.display.chunk_picture import chunk_picture
from streamh5.display.elements import facts, side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamh5.model.chunk_cells import ChunkCells


def card_body(pairs: Iterable[tuple[str, object]], cells: ChunkCells | None) -> str:
    """Return the facts of a dataset, by name, beside the picture of its chunks, if there is one."""
    return side_by_side(facts(pairs), "" if cells is None else chunk_picture(cells))


def storage_pairs(
    *,
    shape: tuple[int, ...] | None,
    maxshape: tuple[int | None, ...] | None,
    dtype: object,
    chunks: tuple[int, ...] | None,
    filters: Sequence[str],
    storage: str,
) -> list[tuple[str, object]]:
    """Return the names and values of what a dataset is, in the order in which they are shown."""
    grows = maxshape is not None and maxshape != shape
    return [
        ("shape", "null" if shape is None else shape),
        *([("grows to", str(maxshape).replace("None", "unlimited"))] if grows else []),
        ("dtype", dtype),
        ("chunks", "none" if chunks is None else chunks),
        ("filters", " > ".join(filters) or "none"),
        ("index" if chunks else "storage", storage),
    ]
