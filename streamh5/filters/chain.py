"""The filters of one dataset, applied to batches of chunks.

A batch is shuffled in groups that fit the cache, each group in one pass of numpy; every later filter is one list
comprehension over the group, so that Python costs well under a microsecond per chunk. The shuffled bytes are in
scratch memory of the thread, so results are always new memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamh5.errors import BlockError, FilterError
from streamh5.filters.base import Buffer, Bytes, RawChunk
from streamh5.filters.chunk_decoder import chunk_decoder
from streamh5.filters.registry import Filter, restored_filter
from streamh5.filters.shuffle import ROW as SHUFFLE_ROW
from streamh5.filters.shuffle import shuffle_rows
from streamh5.format.filter_pipeline import FilterRecord
from streamh5.format.primitives import MAX_CHUNK_NBYTES

# Raw bytes of one group of small chunks: about a level-2 cache (tests/benchmarks/shuffle.py).
GROUP_NBYTES = 1024 * 1024
# Larger scratch memory is not kept between calls.
MAX_KEPT_SCRATCH_NBYTES = 16 * 1024 * 1024

SHUFFLE = SHUFFLE_ROW.filter_id

_per_thread = threading.local()


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """One encoded batch of chunks.

    Attributes
    ----------
    buffers
        Stored bytes, one buffer for each chunk, in the order of the rows.
    filter_masks
        `(n_chunks,) uint32`: bit i is set if filter i was skipped. None if no filter was skipped.
    """

    buffers: list[Buffer]
    filter_masks: npt.NDArray[np.uint32] | None


def restored_chain(records: Iterable[FilterRecord], chunk: RawChunk) -> FilterChain:
    """Return the filters of a dataset of an existing file, for more of its chunks."""
    return FilterChain(tuple(restored_filter(one, chunk) for one in records), chunk.nbytes)


@dataclass(frozen=True, slots=True)
class FilterChain:
    """Filters in the order in which they encode, for chunks of one raw size.

    Immutable; many threads use one chain at the same time.

    Attributes
    ----------
    filters
        May be empty: chunks are then stored unchanged.
    chunk_nbytes
        Raw size of a chunk in bytes.
    """

    filters: tuple[Filter, ...]
    chunk_nbytes: int

    @property
    def records(self) -> tuple[FilterRecord, ...]:
        """Records for the filter pipeline message, in the order in which the filters encode."""
        return tuple(one.record for one in self.filters)

    def check_encodes(self) -> None:
        """Refuse raw chunks if one of the filters cannot encode, so that only encoded chunks can be written.

        Raises
        ------
        FilterError
            streamh5 does not have the filter, or cannot encode with its client values.
        """
        for one in self.filters:
            if not one.can_encode:
                one.encode(b"")  # raises the error

    def encode_rows(self, rows: npt.NDArray[np.uint8]) -> EncodedRows:
        """Encode a batch of chunks.

        Parameters
        ----------
        rows
            `(n_chunks, chunk_nbytes) uint8`, C-contiguous: one raw chunk a row.

        Returns
        -------
        EncodedRows
            With an empty chain the buffers are views of ``rows``: nothing is copied. Otherwise they are new
            memory.

        Raises
        ------
        BlockError
            If ``rows`` is not a C-contiguous array of that shape.

        Notes
        -----
        Every filter encodes every chunk, even if that makes the chunk a little larger: gzip, zstd and all others
        can store data that does not compress, and many readers ignore the filter mask. A chunk skips an optional
        filter only if the result would be larger than HDF5 can record (4 GiB - 1 bytes), as in ``H5Z_pipeline``:
        the bit in the mask is set and the bytes before the filter are kept.
        """
        if rows.ndim != 2 or rows.shape[1] != self.chunk_nbytes or not rows.flags.c_contiguous:
            raise BlockError(
                f"a batch of chunks must be a C-contiguous (n, {self.chunk_nbytes}) array of uint8,"
                f" not {rows.shape} with strides {rows.strides}",
                shape=rows.shape,
                chunk_nbytes=self.chunk_nbytes,
            )
        n_chunks = rows.shape[0]
        if not self.filters:
            return EncodedRows(list(rows), None)
        buffers: list[Buffer] = []
        skipped: list[tuple[int, int]] = []
        rows_per_group = max(1, GROUP_NBYTES // self.chunk_nbytes)
        for first in range(0, n_chunks, rows_per_group):
            group, in_group = self._encode_group(rows[first : first + rows_per_group])
            buffers += group
            skipped += [(first + i, index) for i, index in in_group]
        if not skipped:
            return EncodedRows(buffers, None)
        filter_masks = np.zeros(n_chunks, np.uint32)
        for i, index in skipped:
            filter_masks[i] |= 1 << index
        return EncodedRows(buffers, filter_masks)

    def decode(self, stored: Bytes, filter_mask: int = 0) -> Bytes:
        """Return the raw bytes of one stored chunk.

        Parameters
        ----------
        stored
            A buffer that `encode_rows` returned.
        filter_mask
            Bit i is set if filter i was skipped.

        Raises
        ------
        FilterError
            A filter cannot be decoded by streamh5; only HDF5 has its decoder.
        FormatError
            The bytes do not decode to a chunk of ``chunk_nbytes``.
        """
        decoder = chunk_decoder(self.records, filter_mask, self.chunk_nbytes)
        if decoder.unknown_filters:
            raise FilterError(
                f"filters {decoder.unknown_filters} cannot be decoded by streamh5; read the chunk with h5py"
            )
        return decoder.decode(stored)

    def _encode_group(self, rows: npt.NDArray[np.uint8]) -> tuple[list[Buffer], list[tuple[int, int]]]:
        """Return the stored bytes of each row, and the row and index of each filter that was skipped."""
        skipped: list[tuple[int, int]] = []
        before: list[Buffer] = list(rows)
        chunks = before
        for index, one in enumerate(self.filters):
            if one.filter_id == SHUFFLE and index == 0:
                if one.client_values != (1,):
                    before = list(_shuffled(rows, *one.client_values, is_last=len(self.filters) == 1))
                    chunks = before
                continue
            encode = one.encode
            encoded = [encode(chunk) for chunk in chunks]
            if one.optional and max(map(len, encoded)) > MAX_CHUNK_NBYTES:
                for i, (chunk, larger) in enumerate(zip(chunks, encoded, strict=True)):
                    if len(larger) > MAX_CHUNK_NBYTES:
                        encoded[i] = chunk
                        skipped.append((i, index))
            chunks = encoded
        if len(self.filters) == 1 and self.filters[0].filter_id == SHUFFLE:
            return chunks, skipped
        # Chunks that no filter changed are still in the caller's memory or the thread's scratch memory: copy them.
        buffers = [bytes(chunk) if chunk is old else chunk for chunk, old in zip(chunks, before, strict=True)]
        return buffers, skipped


def _shuffled(rows: npt.NDArray[np.uint8], element_nbytes: int, *, is_last: bool) -> npt.NDArray[np.uint8]:
    out = np.empty(rows.size, np.uint8) if is_last else _scratch(rows.size)
    planes = out.reshape(rows.shape)
    shuffle_rows(rows, planes, element_nbytes)
    return planes


def _scratch(nbytes: int) -> npt.NDArray[np.uint8]:
    kept: npt.NDArray[np.uint8] | None = getattr(_per_thread, "scratch", None)
    if kept is not None and kept.size >= nbytes:
        return kept[:nbytes]
    fresh = np.empty(nbytes, np.uint8)
    if nbytes <= MAX_KEPT_SCRATCH_NBYTES:
        _per_thread.scratch = fresh
    return fresh
