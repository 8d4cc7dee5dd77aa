"""The filters of one dataset, run over whole batches of chunks.

A batch is shuffled in groups that fit the cache, each group in one pass of numpy; behind that every
filter is one list comprehension over the group, so that Python costs well under a microsecond a
chunk. The shuffled bytes live in scratch memory of the thread: whatever leaves is new memory.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamh5.errors import BlockError, FilterError
from streamh5.filters.base import Buffer, Bytes
from streamh5.filters.chunk_decoder import chunk_decoder
from streamh5.filters.registry import REGISTRY, Filter
from streamh5.filters.shuffle import ROW as SHUFFLE_ROW
from streamh5.filters.shuffle import shuffle_rows
from streamh5.format.filter_pipeline import FilterRecord
from streamh5.format.primitives import MAX_CHUNK_NBYTES

# Raw bytes of one group of small chunks: about a level-2 cache (tests/benchmarks/shuffle.py).
GROUP_NBYTES = 1024 * 1024
# Scratch above this size is not kept between calls.
MAX_KEPT_SCRATCH_NBYTES = 16 * 1024 * 1024

SHUFFLE = SHUFFLE_ROW.filter_id

_per_thread = threading.local()


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """What one batch of chunks became.

    Attributes
    ----------
    buffers
        Stored bytes, one buffer a chunk, in the order of the rows.
    stored_nbytes
        `(n_chunks,) uint64`: size of each buffer.
    filter_masks
        `(n_chunks,) uint32`: bit i set where filter i was skipped. None where none was.
    """

    buffers: list[Buffer]
    stored_nbytes: npt.NDArray[np.uint64]
    filter_masks: npt.NDArray[np.uint32] | None


@dataclass(frozen=True, slots=True)
class FilterChain:
    """Filters in the order of writing, for chunks of one raw size.

    Immutable; one chain is used from many threads at once.

    Attributes
    ----------
    filters
        May be empty: chunks are then stored as they are.
    chunk_nbytes
        Raw size of a chunk in bytes.
    """

    filters: tuple[Filter, ...]
    chunk_nbytes: int

    @property
    def records(self) -> tuple[FilterRecord, ...]:
        """Records for the filter pipeline message, in the order of writing."""
        return tuple(one.record for one in self.filters)

    def check_encodes(self) -> None:
        """Refuse chunks that have not been through the filters, where one of them is not known here.

        Raises
        ------
        FilterError
            One is not.
        """
        for one in self.filters:
            if one.filter_id not in REGISTRY:
                one.encode(b"")

    def encode_rows(self, rows: npt.NDArray[np.uint8]) -> EncodedRows:
        """Encode a batch of chunks.

        Parameters
        ----------
        rows
            `(n_chunks, chunk_nbytes) uint8`, C-contiguous: one raw chunk a row.

        Returns
        -------
        EncodedRows
            With an empty chain the buffers are views of ``rows``: nothing is copied. Otherwise they are
            memory of their own.

        Raises
        ------
        BlockError
            If ``rows`` is not a C-contiguous array of that shape.

        Notes
        -----
        A chunk goes through every filter, also where that makes it a little larger: gzip, zstd and all others
        can hold what does not compress, and many readers do not look at the filter mask. Only what would be
        more than HDF5 can record (4 GiB - 1 bytes) skips an optional filter, as ``H5Z_pipeline`` lets it: its
        bit in the mask is set and the bytes before it are kept.
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
            return EncodedRows(list(rows), np.full(n_chunks, self.chunk_nbytes, np.uint64), None)
        buffers: list[Buffer] = []
        filter_masks = np.zeros(n_chunks, np.uint32)
        rows_per_group = max(1, GROUP_NBYTES // self.chunk_nbytes)
        for first in range(0, n_chunks, rows_per_group):
            group = np.s_[first : first + rows_per_group]
            buffers += self._encode_group(rows[group], filter_masks[group])
        stored_nbytes = np.fromiter(map(len, buffers), np.uint64, n_chunks)
        return EncodedRows(buffers, stored_nbytes, filter_masks if filter_masks.any() else None)

    def decode(self, stored: Bytes, filter_mask: int = 0) -> Bytes:
        """Return the raw bytes of one stored chunk.

        Parameters
        ----------
        stored
            As `encode_rows` gives it.
        filter_mask
            Bit i set: filter i was skipped.

        Raises
        ------
        FilterError
            A filter cannot be undone here; only HDF5 has its decoder.
        FormatError
            The bytes are not a whole chunk of ``chunk_nbytes`` that went through the filters.
        """
        decoder = chunk_decoder(self.records, filter_mask, self.chunk_nbytes)
        if decoder.unknown_filters:
            raise FilterError(
                f"filters {decoder.unknown_filters} cannot be undone here; read the chunk with h5py"
            )
        return decoder.decode(stored)

    def _encode_group(
        self, rows: npt.NDArray[np.uint8], filter_masks: npt.NDArray[np.uint32]
    ) -> list[Buffer]:
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
                        filter_masks[i] |= 1 << index
            chunks = encoded
        if len(self.filters) == 1 and self.filters[0].filter_id == SHUFFLE:
            return chunks
        # What no filter changed is still the caller's memory or the thread's scratch.
        return [bytes(chunk) if chunk is old else chunk for chunk, old in zip(chunks, before, strict=True)]


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
