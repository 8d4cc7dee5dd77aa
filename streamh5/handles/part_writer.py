"""``PartWriter``: the handle with which another process writes blocks of a dataset.

::

    owner of the File                                another process
    part = dataset.part_writer() ── pickled ───────▶ records = part.write(block, origin)
                                                        as_block, split, encode       no lock, no message
                                                        write, in leases of its own   `write.part_file`
    dataset.record_part(records) ◀── a few hundred bytes ──┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.handles.given_data import direct_chunk
from streamh5.write.chunk_checksums import checksums_of
from streamh5.write.chunk_writer import joined
from streamh5.write.part_records import NO_CHECKSUMS, NO_NUMBERS, NO_RECORDS, PartRecords
from streamh5.write.place import Place
from streamh5.write.read_back import StoredChunkSource, whole_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from streamh5.filters import Buffer
    from streamh5.model.chunk_records import ChunkRecords
    from streamh5.write.chunk_writer import ChunkWriter, EncodedChunks, RawChunks
    from streamh5.write.part_file import PartFile, SharedFile
    from streamh5.write.shared_upload import MemoryPart, SharedUpload


class PartWriter:
    """Writes blocks of one dataset of an open `File` from another process; made by `Dataset.part_writer`.

    It can be pickled (about 1 KiB), and used by any number of processes and threads at the same time, on any machine
    that sees the folder of the file. What was written counts once the process that has the file open has passed
    the returned records to `Dataset.record_part`, before it closes the file. When the file is closed, aborted or lost
    with its process, calls raise a `StateError`.

    Examples
    --------
    >>> import multiprocessing
    >>> with streamh5.File("run.h5", "w") as f:
    ...     x = f.create_dataset("x", (4, 512, 512), "u2", chunks=(1, 512, 512), compression="gzip")
    ...     blocks = [(np.full((1, 512, 512), row), (row, 0, 0)) for row in range(4)]
    ...     with multiprocessing.get_context("spawn").Pool(2) as pool:
    ...         for records in pool.starmap(x.part_writer().write, blocks):
    ...             x.record_part(records)
    >>> f.summary.datasets[0].n_missing
    0
    """

    __slots__ = ("_chunks", "_is_flushing", "_shared", "_writes_empty")

    def __init__(
        self,
        shared: SharedFile | SharedUpload,
        chunks: ChunkWriter,
        *,
        writes_empty: bool,
        is_flushing: bool,
    ) -> None:
        self._shared = shared
        self._chunks = chunks
        self._writes_empty = writes_empty
        self._is_flushing = is_flushing

    def __reduce__(self) -> tuple[Any, ...]:
        # the shared file first: it checks the version before anything else is read
        return _part_writer, (self._shared, self._chunks, self._writes_empty, self._is_flushing)

    def __repr__(self) -> str:
        return f"<streamh5.PartWriter of {self._chunks.spec.path} in {self._shared.name}>"

    def write(self, block: Any, origin: Sequence[int]) -> PartRecords:
        """Write a block of whole chunks.

        On another machine than that of the owner, the block is on the disk of the file system when this returns
        (``sync="none"`` of the file leaves that out).

        Parameters
        ----------
        block
            Array-like; it begins on chunk boundaries and ends on them or at the end of the dataset.
        origin
            Index of its first element in the dataset.

        Returns
        -------
        PartRecords
            To be passed to `Dataset.record_part` of the owner.

        Raises
        ------
        BlockError
            The block does not consist of whole chunks, or has values that the dtype cannot hold.
        SinkError
            This process does not see the file, or cannot write to it: the message names the host.
        StateError
            The file was closed.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (100, 10), chunks=(10, 10))
        ...     records = x.part_writer().write(np.ones((20, 10)), (50, 0))
        ...     x.record_part(records)
        """
        one = self.begin()
        one.write_block(block, tuple(origin))
        return one.result()

    def write_direct_chunk(self, offsets: Sequence[int], data: Buffer, filter_mask: int = 0) -> PartRecords:
        """Write one chunk that is already filtered: see `write` for what it raises.

        Parameters
        ----------
        offsets, data, filter_mask
            See `Dataset.write_direct_chunk`.

        Returns
        -------
        PartRecords
            To be passed to `Dataset.record_part` of the owner.

        Examples
        --------
        >>> with streamh5.File("x.h5", "w") as f:
        ...     x = f.create_dataset("x", (2, 1000), "u1", chunks=(1, 1000))
        ...     x.record_part(x.part_writer().write_direct_chunk((1, 0), bytes(1000)))
        """
        box, encoded = direct_chunk(self._chunks, offsets, data, filter_mask)
        one = self.begin()
        one.write_encoded(encoded)
        start, stop = (coord * self._chunks.grid.chunks[0] for coord in box[0])
        bound = (self._chunks.spec.maxshape or (None,))[0]
        one.stop = max(start + 1, min(stop, bound or 2**64))
        return one.result()

    def begin(self, stored: ChunkRecords | None = None) -> PartBlock:
        """Return what writes one block, in one thread.

        Parameters
        ----------
        stored
            Records of stored chunks, ``(n,)`` with ascending numbers, of which the block may fill only a part: their
            other elements are kept. None for blocks of whole chunks.
        """
        return PartBlock(
            self._chunks,
            self._shared.open(),
            stored,
            writes_empty=self._writes_empty,
            is_flushing=self._is_flushing,
        )


def _part_writer(
    shared: SharedFile | SharedUpload, chunks: ChunkWriter, writes_empty: bool, is_flushing: bool
) -> PartWriter:
    return PartWriter(shared, chunks, writes_empty=writes_empty, is_flushing=is_flushing)


GATHERED_NBYTES = 32 << 20
"""Filtered bytes of a block that are held until they are written with one call. Each call needs an address range and a
look at the folder of the leases, which cost milliseconds on a network file system (tests/benchmarks, cluster)."""


class PartBlock:
    """Writes one block of a dataset and collects what was written; for one thread.

    It has the methods of `Dataset` with which a block is written.
    """

    def __init__(
        self,
        chunks: ChunkWriter,
        file: PartFile | MemoryPart,
        stored: ChunkRecords | None,
        *,
        writes_empty: bool,
        is_flushing: bool,
    ) -> None:
        self._chunks = chunks
        self._file = file
        self._stored = stored
        self.place = Place(file.place.reserve, self._write_bytes)
        self._writes_empty = writes_empty
        self._is_flushing = is_flushing
        self._records: list[ChunkRecords] = []
        self._checksums: list[NDArray[np.uint32]] = []
        self._skipped: list[NDArray[np.uint64]] = []
        self._nbytes = 0
        self.stop = 0

    def are_stored(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which of the chunks are stored already: none, as far as this process knows."""
        return np.zeros(len(numbers), bool)

    def write_block(self, block: Any, origin: tuple[int, ...]) -> ChunkRecords:
        """Encode and write a block; return its records."""
        values = self._chunks.as_block(block)
        if self._stored is None:
            self._chunks.check(values, origin)
        else:
            self._chunks.check_inside(values, origin)
        elements = self._chunks.elements(values, self.place)
        self.stop = max(self.stop, origin[0] + len(values))
        records, gathered, nbytes = [NO_RECORDS], [], 0
        for raw in self._split(elements, origin):
            encoded = self._encode(raw)
            gathered.append(encoded)
            nbytes += sum(map(len, encoded.buffers))
            if nbytes >= GATHERED_NBYTES:
                records.append(self.write_encoded(joined(gathered)))
                gathered, nbytes = [], 0
        if gathered:
            records.append(self.write_encoded(joined(gathered)))
        return np.concatenate(records)

    def _split(self, elements: NDArray[Any], origin: tuple[int, ...]) -> Iterator[RawChunks]:
        """Cut a block into chunks; those that it fills in part get their other elements from the file."""
        source = StoredChunkSource(self._find, self._file.read)
        for piece, first, _ in whole_pieces(self._chunks, elements, origin, source, self.place):
            yield from self._chunks.split(piece, first, self.place)

    def _find(self, numbers: NDArray[np.uint64]) -> ChunkRecords:
        return NO_RECORDS if self._stored is None else self._stored[np.isin(self._stored["number"], numbers)]

    def _write_bytes(self, address: int, buffers: Sequence[Buffer]) -> None:
        self._file.write(address, buffers)
        self._nbytes += sum(map(len, buffers))

    def _encode(self, raw: RawChunks) -> EncodedChunks:
        """Encode a batch, except for empty chunks that are to be left out."""
        if self._writes_empty:
            return self._chunks.encode(raw)
        is_empty = self._chunks.are_empty(raw.rows)
        if not is_empty.any():
            return self._chunks.encode(raw)
        self._skipped.append(self._chunks.grid.numbers(raw.box)[is_empty])
        return self._chunks.encode(raw, ~is_empty)

    def write_encoded(self, encoded: EncodedChunks) -> ChunkRecords:
        """Write filtered chunks, unchecked; return their records."""
        if not encoded.buffers:
            return NO_RECORDS
        records = self._chunks.write(encoded, self.place)
        self._records.append(records)
        self._checksums.append(checksums_of(encoded.buffers))
        return records

    @property
    def content(self) -> Buffer:
        """What was written, if it is to be sent to an object store; records then have offsets in it."""
        return self._file.content

    def result(self) -> PartRecords:
        """Return what was written, once it is as durable as was asked for."""
        file = self._file
        is_batch = file.shared.sync == "batch"
        if is_batch or (self._is_flushing and not file.is_with_owner):
            file.flush()
        return PartRecords(
            token=file.shared.token,
            writer=file.writer,
            path=self._chunks.spec.path,
            records=np.concatenate([NO_RECORDS, *self._records]),
            checksums=np.concatenate([NO_CHECKSUMS, *self._checksums]),
            skipped=np.concatenate([NO_NUMBERS, *self._skipped]),
            nbytes=self._nbytes,
            stop=self.stop,
            is_safe=is_batch or self._is_flushing,
        )
