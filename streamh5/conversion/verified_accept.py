"""Copied chunks that are also decoded, as an HDF5 reader will do: ``verify=True``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.errors import FormatError, SourceError
from streamh5.filters.base import byte_view
from streamh5.filters.chunk_decoder import ChunkDecoder, chunk_decoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.filters import Buffer
    from streamh5.format.filter_pipeline import FilterRecord


@dataclass(frozen=True, slots=True)
class VerifiedAccept:
    """Accepts chunks that also decode."""

    accept: Callable[[Buffer], Buffer | None] | None
    decoder: ChunkDecoder

    @classmethod
    def of(
        cls,
        filters: tuple[FilterRecord, ...],
        chunk_nbytes: int,
        accept: Callable[[Buffer], Buffer | None] | None,
    ) -> VerifiedAccept:
        """Return what also decodes each chunk that `accept` takes; None takes each.

        Raises
        ------
        SourceError
            streamh5 does not know a filter.
        """
        decoder = chunk_decoder(filters, 0, chunk_nbytes)
        if decoder.unknown_filters:
            raise SourceError(
                f"filters {decoder.unknown_filters} cannot be undone here, so copied chunks cannot be verified; leave "
                "verify out"
            )
        return cls(accept, decoder)

    def __call__(self, data: Buffer) -> Buffer | None:
        """Return the bytes to store, or None for a chunk that is not copied."""
        taken = data if self.accept is None else self.accept(data)
        if taken is not None:
            try:
                self.decoder.check(byte_view(taken))
            except FormatError:
                return None
        return taken
