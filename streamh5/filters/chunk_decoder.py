"""Decode stored chunks of any file, or decode only as much as is needed to check them.

A check omits the filters that only reorder bytes and were applied first: undoing them checks nothing. It also does
not decode the last compressor if that can tell the size of its result. The raw size of the chunk limits what a filter
may return, whatever the stored bytes claim.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from streamh5.errors import FormatError
from streamh5.filters.registry import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamh5.filters.base import Bytes, FilterRow, Values
    from streamh5.format.filter_pipeline import FilterRecord

T = TypeVar("T")

# What zlib, struct, bz2 and numcodecs raise for bytes that they cannot decode.
_CODEC_ERRORS = (zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError)

# No compressor makes a chunk larger by more than a sixteenth of its size plus this.
_SLACK_NBYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ChunkDecoder:
    """Decodes the chunks of one dataset that have one filter mask.

    Attributes
    ----------
    chunk_nbytes
        Raw bytes of a chunk.
    steps
        A function to undo each filter, in the order of decoding.
    moves
        Functions to undo the filters that only reorder bytes, which are undone after `steps`.
    count
        A function that returns the size of the result of the last of `steps`; None if that must be decoded.
    unknown_filters
        Numbers of filters that streamh5 cannot undo; if there are any, nothing can be checked or decoded.
    is_checksummed
        Whether a stored chunk contains a checksum of its bytes.
    given
        The filters and the filter mask. A decoder pickles as these: each machine uses its own codecs.
    """

    chunk_nbytes: int
    steps: tuple[Callable[[Bytes], Bytes], ...]
    moves: tuple[Callable[[Bytes], Bytes], ...]
    count: Callable[[Bytes], int] | None
    unknown_filters: tuple[int, ...]
    is_checksummed: bool
    given: tuple[tuple[FilterRecord, ...], int]

    def __reduce__(self) -> tuple[object, ...]:
        return chunk_decoder, (*self.given, self.chunk_nbytes)

    def check(self, stored: Bytes) -> None:
        """Check one chunk by undoing its filters.

        Raises
        ------
        FormatError
            A checksum or a stream is wrong, or the raw chunk does not have the right size.
        """
        for move in self.moves:
            move(b"")  # client values that HDF5 refuses are wrong for any bytes, also for none
        if self.count is None:
            self._check_size(len(_undo(self.steps, stored)))
        else:
            self._check_size(self.count(_undo(self.steps[:-1], stored)))

    def decode(self, stored: Bytes) -> Bytes:
        """Return the raw bytes of one chunk.

        Raises
        ------
        FormatError
            See `check`.
        """
        return self.undo_moves(self.decompress(stored))

    def decompress(self, stored: Bytes) -> Bytes:
        """Return the bytes of one chunk to which only `moves` were applied.

        Raises
        ------
        FormatError
            See `check`.
        """
        data = _undo(self.steps, stored)
        self._check_size(len(data))
        return data

    def undo_moves(self, data: Bytes) -> Bytes:
        """Return the raw bytes of a chunk that `decompress` returned."""
        return _undo(self.moves, data)

    def _check_size(self, nbytes: int) -> None:
        if nbytes != self.chunk_nbytes:
            raise FormatError(f"decodes to {nbytes:,} bytes instead of {self.chunk_nbytes:,}", nbytes=nbytes)


def _undo(steps: Iterable[Callable[[Bytes], Bytes]], data: Bytes) -> Bytes:
    for step in steps:
        data = step(data)
    return data


def chunk_decoder(filters: Iterable[FilterRecord], filter_mask: int, chunk_nbytes: int) -> ChunkDecoder:
    """Return the decoder for `filters`, without those in `filter_mask`.

    Parameters
    ----------
    filters
        The pipeline, in the order in which the filters encode.
    filter_mask
        Bit i is set if filter i was skipped.
    chunk_nbytes
        Raw bytes of a chunk.
    """
    filters = tuple(filters)
    steps: list[Callable[[Bytes], Bytes]] = []
    moves: list[Callable[[Bytes], Bytes]] = []
    count = None
    unknown = []
    most = chunk_nbytes
    is_checksummed = False
    for i, record in enumerate(filters):
        if filter_mask >> i & 1:
            continue
        row = REGISTRY.get(record.filter_id)
        is_checksummed |= row is not None and row.is_checksummed
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
    given = (filters, filter_mask)
    return ChunkDecoder(
        chunk_nbytes, tuple(steps), tuple(moves), count, tuple(unknown), is_checksummed, given
    )


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
