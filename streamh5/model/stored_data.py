"""What an existing file has of an object and the model does not express: kept byte for byte when a header moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from streamh5.model.chunk_map import ChunkMap
    from streamh5.model.chunk_table import ChunkTable
    from streamh5.model.reference import Parts


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A header message of the existing file: the parts of its body, with addresses of other objects in between."""

    type_id: int
    body: Parts
    flags: int = 0


@dataclass(frozen=True, slots=True)
class StoredData:
    """The data of a dataset of the existing file.

    Attributes
    ----------
    layout
        Its data layout message, which is kept while its data does not change.
    read_table
        Reads its chunk index; returns the chunk table, and the size of the index in bytes.
    read_value
        Reads its data without chunks, as `DatasetNode.value` has it.
    read_references
        Reads all its elements as parts; None if they have no references to objects, or are in chunks.
    read_chunk_references
        Reads the elements of its chunks as parts, by the addresses of the chunks; None if they have no references.
    problem
        Why blocks cannot be written to it; None if they can.
    is_virtual
        Whether its data is in other datasets.
    """

    layout: StoredMessage
    read_table: Callable[[], tuple[ChunkTable, int]]
    read_value: Callable[[], np.ndarray[Any, Any]]
    read_references: Callable[[], Parts] | None = None
    read_chunk_references: Callable[[ChunkMap], dict[int, Parts]] | None = None
    problem: str | None = None
    is_virtual: bool = False
