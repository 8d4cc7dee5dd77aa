"""A filter that only the reader has: chunks come through it already, by ``write_direct_chunk``."""

from __future__ import annotations

from dataclasses import dataclass

from streamh5.errors import FilterError
from streamh5.filters.base import Buffer

__all__ = ["UnknownFilter"]


@dataclass(frozen=True, slots=True)
class UnknownFilter:
    """A number of the registry and its client values, as they were given."""

    filter_id: int
    client_values: tuple[int, ...]

    def encode(self, chunk: Buffer) -> Buffer:
        """Refuse to encode.

        Raises
        ------
        FilterError
            Always.
        """
        raise FilterError(
            f"streamh5 has no filter number {self.filter_id}; give chunks that have been through it to "
            "write_direct_chunk, or choose another compression",
            filter_id=self.filter_id,
        )
