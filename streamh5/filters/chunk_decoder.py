"""Stored chunks back to raw bytes, as far as that is needed to say whether they are good.

Undoing the filters that were applied first checks nothing where they only move bytes, so that is left
out; where the last filter to be undone can say how much it gives without giving it, it is not decoded. What a
filter may give is bounded by the raw size of the chunk, whatever the stored bytes claim.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from streamh5.errors import FormatError
from streamh5.filters.registry import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from streamh5.filters.base import Bytes, FilterRow, Values
    from streamh5.format.filter_pipeline import FilterRecord

T = TypeVar("T")

# What zlib, struct, bz2 and numcodecs raise for bytes that they cannot decode.
_CODEC_ERRORS = (zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError)

# No compressor lets a chunk grow by more than a sixteenth of it and this.
_SLACK_NBYTES = 1 << 20


def is_checksummed(filters: Iterable[FilterRecord], filter_mask: int) -> bool:
    """Whether a chunk that went through `filters` carries a checksum of its bytes."""
    rows = (REGISTRY.get(record.filter_id) for record in _applied(filters, filter_mask))
    return any(row is not None and row.is_checksummed for row in rows)


@dataclass(frozen=True, slots=True)
class ChunkDecoder:
    """What undoes the filters of chunks.

    Attributes
    ----------
    chunk_nbytes
        Raw bytes of a chunk.
    steps
        What undoes each filter, in the order of undoing.
    moves
        What undoes the filters after these that only move bytes.
    count
        What gives the size that the last of `steps` would give; None where it has to be decoded for it.
    unknown_filters
        Numbers of filters that cannot be undone here; then nothing can be checked or decoded.
    """

    chunk_nbytes: int
    steps: tuple[Callable[[Bytes], Bytes], ...]
    moves: tuple[Callable[[Bytes], Bytes], ...]
    count: Callable[[Bytes], int] | None
    unknown_filters: tuple[int, ...]

    def check(self, stored: Bytes) -> None:
        """Undo the filters of one chunk.

        Raises
        ------
        FormatError
            A checksum or a stream is wrong, or the raw chunk has not the size that it must have.
        """
        for move in self.moves:
            move(b"")  # client values that HDF5 refuses are wrong whatever the bytes are
        if self.count is None:
            self._check_size(len(_undo(self.steps, stored)))
        else:
            self._check_size(self.count(_undo(self.steps[:-1], stored)))

    def decode(self, stored: Bytes) -> Bytes:
        """Return the raw bytes of one chunk.

        Raises
        ------
        FormatError
            As for `check`.
        """
        data = _undo(self.steps, stored)
        self._check_size(len(data))
        return _undo(self.moves, data)

    def _check_size(self, nbytes: int) -> None:
        if nbytes != self.chunk_nbytes:
            raise FormatError(f"decodes to {nbytes:,} bytes instead of {self.chunk_nbytes:,}", nbytes=nbytes)


def _undo(steps: Iterable[Callable[[Bytes], Bytes]], data: Bytes) -> Bytes:
    for step in steps:
        data = step(data)
    return data


def chunk_decoder(filters: Iterable[FilterRecord], filter_mask: int, chunk_nbytes: int) -> ChunkDecoder:
    """Set up the undoing of `filters` but for those in `filter_mask`.

    Parameters
    ----------
    filters
        The pipeline, in the order of writing.
    filter_mask
        Bit i set: filter i was skipped.
    chunk_nbytes
        Raw bytes of a chunk.
    """
    steps: list[Callable[[Bytes], Bytes]] = []
    moves: list[Callable[[Bytes], Bytes]] = []
    count = None
    unknown = []
    most = chunk_nbytes
    for record in _applied(filters, filter_mask):
        row = REGISTRY.get(record.filter_id)
        if row is None or row.decode is None:
            unknown.append(record.filter_id)
            continue
        if row.added_nbytes == 0 and not steps:
            moves.insert(0, _bound(row, row.decode, most, record.client_values))
            continue
        if row.decoded_nbytes is not None and not steps:
            count = _bound(row, row.decoded_nbytes, most, record.client_values)
        steps.insert(0, _bound(row, row.decode, most, record.client_values))
        most += most // 16 + _SLACK_NBYTES if row.added_nbytes is None else row.added_nbytes
    return ChunkDecoder(chunk_nbytes, tuple(steps), tuple(moves), count, tuple(unknown))


def _bound(
    row: FilterRow, function: Callable[[Bytes, int, Values], T], most: int, values: Values
) -> Callable[[Bytes], T]:
    def undo(data: Bytes) -> T:
        try:
            return function(data, most, values)
        except FormatError:
            raise
        except _CODEC_ERRORS as error:
            raise FormatError(f"its {row.keyword} data is damaged: {error}") from error

    return undo


def _applied(filters: Iterable[FilterRecord], filter_mask: int) -> Iterator[FilterRecord]:
    return (record for i, record in enumerate(filters) if not filter_mask >> i & 1)
