"""``convert(cloud=True)``: chunks of 1 to 10 MB for arrays that have others, and what is said about it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from streamh5.arguments.memory_size import format_nbytes
from streamh5.conversion.encoded_blocks import chunk_shape
from streamh5.errors import counted, listed
from streamh5.format.global_heap import SIZEOF_VARIABLE_LENGTH_ELEMENT
from streamh5.model.cloud_chunks import cloud_chunks

if TYPE_CHECKING:
    from streamh5.conversion.array_plan import SourceArray


class CloudChunks:
    """Decides which arrays get other chunks, and remembers why.

    Attributes
    ----------
    reasons
        Of each array whose chunks are changed, by path.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def choose(self, source: SourceArray) -> tuple[int, ...] | None:
        """Return chunks for an array; None where its own are right, or those that it gets without a request."""
        if not source.shape:
            return None
        # text of zarr: as it is stored, with an address for each element
        itemsize = SIZEOF_VARIABLE_LENGTH_ELEMENT if source.dtype.kind in "OUT" else source.element_nbytes
        own = source.chunks or chunk_shape(source, "auto")
        chosen = cloud_chunks(source.shape, own, itemsize)
        if chosen is not None:
            sizes = [format_nbytes(math.prod(one) * itemsize) for one in (own, chosen)]
            self.reasons[source.path] = (
                f"chunks {own} of {sizes[0]} become {chosen} of {sizes[1]} for the cloud"
            )
        return chosen

    def notes(self, *, has_pages: bool) -> list[str]:
        """Return what was changed, and why, for a file with pages or without."""
        n = len(self.reasons)
        notes = ["for the cloud: no chunks had to be changed"]
        if n:
            notes = [f"for the cloud: other chunks for {counted(n, 'array')}: {listed(self.reasons)}"]
        if has_pages:
            notes.append("for the cloud: pages, with which a page buffer reads all metadata at once")
        return notes
