"""Check a file from its superblock to its last chunk.

::

    read_file_content ──▶ overlaps ──▶ chunk maps against the file ──▶ h5py's view ──▶ decode the sound chunks
    all metadata                       damaged chunks are left out     if nothing     known filters: threads;
                                       from here on                    is damaged     others: h5py
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.paths import LocalPath
from streamh5.check.chunk_check import DamagedChunk, check_stored_chunks
from streamh5.check.page_blocks import unbuffered_blocks, unsafe_blocks
from streamh5.check.report import VerifyReport
from streamh5.errors import ForeignStructureError, FormatError, SpecError, UnreadableError
from streamh5.format.data_layout import ChunkedLayout, ContiguousLayout, V1BTreeIndex
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.processes.cpus import available_cpus
from streamh5.reader.chunk_index.chunk_frame import impossible_chunks
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_content import MAX_FINDINGS, read_file_content
from streamh5.reader.file_map import Kind
from streamh5.stores.open_store import open_readable
from streamh5.write.progress import Progress, progress_of_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from streamh5.check.h5py_view import H5pyView
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.chunk_index.chunk_frame import ChunkFrame
    from streamh5.reader.file_content import FileContent, ObjectContent
    from streamh5.reader.file_map import Overlaps
    from streamh5.reader.stored_chunks import StoredChunks
    from streamh5.stores.base import ReadableObject


_MAX_DAMAGED_CHUNKS = 100
"""Damaged chunks that a report describes; others are only counted."""

N_REQUESTS = 8
"""Fewest threads for an object in a store: they wait for answers more than they compute (`object_reads`)."""


@check_keywords
def verify(
    path: LocalPath,
    *,
    data: bool = True,
    jobs: int | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
    with_h5py: bool = True,
    checksum: bool = True,
    safe: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> VerifyReport:
    """Check a file: superblock, object headers, chunk indexes, checksums, and every chunk.

    Use it after a transfer, before the source of a conversion is deleted, or to find out how much of a damaged file is
    intact. streamh5's own reader checks all lengths and checksums, and that everything lies inside the file and nothing
    overlaps. Chunks are decoded in threads and must have exactly the size of a chunk. Memory is limited to a few chunks
    and the chunk indexes.

    The file may have been written by any program: superblocks 0 to 3, old groups and object headers, and user blocks
    are supported. Structures that the reader does not know (filtered heaps, indexes of shared messages) are listed in
    the report, which is not `ok` then. Chunk maps of very sparse datasets are not compared with those of h5py.

    Parameters
    ----------
    path
        Path or URL of the file.
    data
        Read and decode the chunks. False checks only the metadata, in a time that does not depend on the size of the
        data.
    jobs
        Number of threads that read and decode chunks. By default, one for each processor, and at least 8 for a URL:
        that many requests run at the same time.
    progress
        True for a bar on stderr; False for none; None for a bar if stderr is a terminal or the code runs in a notebook;
        or a function of the checked and the total number of stored bytes.
    with_h5py
        Compare the chunk maps with those that h5py sees, and let h5py decode chunks with filters that streamh5 does not
        have. h5py opens the file only if no structure is damaged. Use False for files that may be malicious: libhdf5 is
        not made for them.
    checksum
        Compare an object with the checksum that its store has of it, which is that of what was uploaded: on S3 the MD5,
        also of parts. The object is read once more for it; not with ``data=False``.
    safe
        Check in a child process, so that a crash of libhdf5 becomes an `UnreadableError`.
    storage_options
        For a URL: credentials and the like, as for fsspec's file system of its protocol.

    Returns
    -------
    VerifyReport
        What was checked, and what is damaged; its `repr` is a few lines.

    Raises
    ------
    FormatError
        The file has no readable superblock: it is not an HDF5 file, or its first bytes are damaged. Other damage is in
        the report.
    UnreadableError
        The file does not exist or cannot be read, or there is not enough memory to decode a chunk; an object was
        replaced while it was read.
    SpecError
        `jobs` is below 1.

    Examples
    --------
    >>> with streamh5.File("out.h5", "w") as f:
    ...     f["x"] = np.zeros((1000, 1000))
    >>> report = streamh5.verify("out.h5")
    >>> report.ok, report.n_decoded_chunks
    (True, 1)
    >>> print(report)
    out.h5: good
      7.6 MiB: 1 group, 1 dataset, 0 attributes, 3 blocks of metadata
      1 chunk, 1 decoded (... s)
      h5py ... (HDF5 ...) sees the same chunks
      7.6 MiB have no checksum in the file: flipped bits there cannot be detected
    """
    if jobs is not None and jobs < 1:
        raise SpecError(f"jobs must be at least 1, not {jobs}", jobs=jobs)
    source = open_readable(path, storage_options)
    if jobs is None:
        jobs = max(available_cpus(), 1 if isinstance(source, str) else N_REQUESTS)
    if safe:
        return _verify_in_child(
            source, progress, data=data, jobs=jobs, with_h5py=with_h5py, checksum=checksum
        )
    return verify_source(
        source, data=data, jobs=jobs, progress=progress, with_h5py=with_h5py, checksum=checksum
    )


def verify_source(source: str | ReadableObject, *, checksum: bool, **asked: Any) -> VerifyReport:
    """Check a local file or an object; see `Verification.run`."""
    store = None if isinstance(source, str) or not checksum else source
    with FileBytes(source) as file:
        return Verification(file).run(store=store, **asked)


def _verify_in_child(
    source: str | ReadableObject, progress: bool | Callable[[int, int], object] | None, **asked: Any
) -> VerifyReport:
    from streamh5.processes.child_process import call_in_child  # imported here: 3 ms

    path = source if isinstance(source, str) else source.url

    def died(how: str) -> UnreadableError:
        return UnreadableError(
            f"{path}: the HDF5 library crashed ({how}) while it read the file, in which streamh5 has found no damage; "
            "check it without the library: with_h5py=False (--no-h5py)",
            path=path,
            signal=how,
        )

    with progress_of_child(progress, "verify") as shown:
        report: VerifyReport = call_in_child(verify_source, source, died=died, progress=shown, **asked)
    return report


class Verification:
    """One verification of one file.

    Parameters
    ----------
    file
        The open file. The caller closes it.
    """

    def __init__(self, file: FileBytes) -> None:
        self._started = time.perf_counter()
        self._file = file
        self._content: FileContent = read_file_content(file)
        self._damaged: list[DamagedChunk] = []
        self._n_damaged = 0
        self._n_decoded = self._n_undecoded = 0
        self._why_undecoded: dict[str, None] = {}
        self._view: H5pyView | None = None
        self._compared_with: str | None = None
        self._object_checksum: str | None = None

    def run(
        self,
        *,
        data: bool = True,
        jobs: int = 1,
        progress: bool | Callable[[int, int], object] | None = False,
        with_h5py: bool = True,
        store: ReadableObject | None = None,
    ) -> VerifyReport:
        """Check the file; see `verify` for the parameters. `store` has a checksum of the object to compare it with."""
        overlaps = self._content.file_map.overlaps()
        self._report_overlaps(overlaps)
        sound = [
            self._sound(dataset.chunks, overlaps.chunk_rows.get(dataset.path))
            for dataset in self._content.datasets
            if dataset.chunks is not None
        ]
        try:
            if with_h5py:
                self._compare()
            if data:
                self._check_data(sound, jobs, progress)
            if data and store is not None:
                self._compare_object(store, jobs, progress)
        finally:
            if self._view is not None:
                self._view.close()
        return self._report(checked_data=data)

    def _report_overlaps(self, overlaps: Overlaps) -> None:
        """Report structures that overlap other structures; chunks that overlap anything are reported by `_sound`."""
        for first, second in overlaps.pairs:
            if first.row is None and second.row is None:
                problem = (
                    f"{second.nbytes:,} bytes of {second.kind.value} at address {second.address:,} overlap "
                    f"{first.nbytes:,} bytes of {first.kind.value} of {first.owner} at {first.address:,}"
                )
                self._content.add(second.owner, second.address, FormatError(problem))

    def _sound(self, chunks: StoredChunks, overlapping: NDArray[np.int64] | None) -> StoredChunks:
        """Report the chunks that cannot be stored where their index says, and return the others."""
        path, chunk_map, file_nbytes = chunks.frame.owner, chunks.chunk_map, self._file.nbytes
        is_impossible = impossible_chunks(chunks.frame, chunk_map, file_nbytes)
        is_beyond_end = chunk_map.addresses + chunk_map.stored_nbytes > file_nbytes
        problem = f"it extends beyond the end of the file at {file_nbytes:,}"
        self._add_damaged(path, chunk_map.take(is_impossible & is_beyond_end), problem)
        problem = "its index gives it an impossible size, or a filter mask with a filter that does not exist"
        self._add_damaged(path, chunk_map.take(is_impossible & ~is_beyond_end), problem)
        if overlapping is not None:
            self._add_damaged(path, chunk_map.take(overlapping), "it overlaps other data")
            is_impossible[overlapping] = True
        return chunks.take(~is_impossible)

    def _add_damaged(self, path: str, chunks: ChunkMap, problem: str) -> None:
        n_described = min(len(chunks), _MAX_DAMAGED_CHUNKS - len(self._damaged))
        self._n_damaged += len(chunks)
        for row in range(n_described):
            address = int(chunks.addresses[row]) + self._file.base_address
            nbytes = int(chunks.stored_nbytes[row])
            place = chunks.coords_at(row), chunks.origin_at(row)
            self._damaged.append(DamagedChunk(path, *place, address, nbytes, problem))

    def _compare(self) -> None:
        """Compare the file with h5py's view of it, unless it is damaged or may be changing."""
        from streamh5.check.h5py_view import H5pyView, h5py_version

        if self._content.n_damages or self._n_damaged or self._content.superblock.is_open_for_writing:
            return
        try:
            self._view = H5pyView(self._file.for_h5py())
        except FormatError as error:
            self._content.add("/", 0, error)
            return
        for different in self._view.compare(self._content):
            self._content.add(*different)
        self._compared_with = h5py_version()

    def _check_data(
        self, sound: list[StoredChunks], jobs: int, show: bool | Callable[[int, int], object] | None
    ) -> None:
        progress = Progress(sum(chunks.nbytes for chunks in sound), show, "verify")
        # Imported here: 5 ms that `--no-data` does not need.
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(jobs, "streamh5-verify")
        try:
            for chunks in sound:
                for decoder, part in chunks.by_decoder():
                    if decoder.unknown_filters:
                        self._check_with_h5py(chunks.frame, part, decoder.unknown_filters, progress)
                    else:
                        found = check_stored_chunks(
                            self._file, part, decoder, pool=pool, n_in_flight=2 * jobs, progress=progress.add
                        )
                        self._count(chunks.frame, part, found)
        finally:
            pool.shutdown(cancel_futures=True)
            progress.close()

    def _compare_object(
        self, store: ReadableObject, jobs: int, show: bool | Callable[[int, int], object] | None
    ) -> None:
        from streamh5.check.object_checksum import compare_object

        # a function is told of the chunks only
        progress = Progress(self._content.file_nbytes, False if callable(show) else show, "checksum")
        try:
            self._object_checksum = compare_object(
                store, self._file.version, jobs=jobs, progress=progress.add
            )
        except UnreadableError:
            raise
        except FormatError as error:
            self._content.add("/", -self._content.superblock.base_address, error)
        finally:
            progress.close()

    def _count(self, frame: ChunkFrame, chunks: ChunkMap, damaged: Iterator[tuple[int, str]]) -> None:
        for row, problem in damaged:
            self._add_damaged(frame.owner, chunks.take(np.array([row])), problem)
        self._n_decoded += len(chunks)

    def _check_with_h5py(
        self, frame: ChunkFrame, chunks: ChunkMap, unknown: tuple[int, ...], progress: Progress
    ) -> None:
        """Let HDF5 decode chunks with filters that streamh5 does not have, or count them as not decoded."""
        from streamh5.check.h5py_view import why_not_decoded

        reason = why_not_decoded(frame.filters, unknown, self._view)
        if self._view is not None and not reason:
            try:
                self._count(frame, chunks, self._view.decode_each(frame.owner, chunks, progress.add))
                return
            except ForeignStructureError as error:
                reason = str(error)
        self._why_undecoded[reason] = None
        self._n_undecoded += len(chunks)
        progress.add(int(chunks.stored_nbytes.sum()))

    def _report(self, *, checked_data: bool) -> VerifyReport:
        content = self._content
        objects: list[ObjectContent[Any]] = [*content.groups, *content.datasets]
        stored = [dataset.chunks for dataset in content.datasets if dataset.chunks is not None]
        unbuffered, unsafe = list(unbuffered_blocks(content)), list(unsafe_blocks(content))
        return VerifyReport(
            path=self._file.name,
            file_nbytes=content.file_nbytes,
            n_groups=len(content.groups),
            n_datasets=len(content.datasets),
            n_attributes=sum(len(one.messages.common.attributes) for one in objects),
            n_structures=content.file_map.n_structures,
            n_chunks=sum(len(chunks.chunk_map) for chunks in stored),
            n_missing_chunks=sum(chunks.n_missing for chunks in stored),
            checked_data=checked_data,
            n_decoded_chunks=self._n_decoded,
            n_undecoded_chunks=self._n_undecoded,
            why_undecoded=tuple(self._why_undecoded),
            n_damaged_chunks=self._n_damaged,
            damaged_chunks=tuple(self._damaged),
            n_damaged_structures=content.n_damages,
            damaged_structures=tuple(content.damages),
            n_unchecked=content.n_unchecked,
            unchecked=tuple(content.unchecked),
            page_nbytes=content.page_nbytes,
            n_unbuffered=len(unbuffered),
            unbuffered=tuple(unbuffered[:MAX_FINDINGS]),
            n_unsafe=len(unsafe),
            unsafe=tuple(unsafe[:MAX_FINDINGS]),
            unprotected_nbytes=_unprotected_nbytes(content),
            compared_with=self._compared_with,
            object_checksum=self._object_checksum,
            seconds=time.perf_counter() - self._started,
        )


def _unprotected_nbytes(content: FileContent) -> int:
    """Return the bytes of data, heaps and version 1 B-trees that no checksum covers."""
    nbytes = sum(total.nbytes for total in content.file_map.totals() if total.kind is Kind.HEAP)
    has_old_index = set()
    for dataset in content.datasets:
        match dataset.messages.layout:
            case ContiguousLayout(address, data_nbytes) if address != UNDEFINED_ADDRESS:
                nbytes += data_nbytes
            case ChunkedLayout(index=V1BTreeIndex()):
                has_old_index.add(dataset.path)
        if dataset.chunks is not None:
            for decoder, chunks in dataset.chunks.by_decoder():
                if not decoder.is_checksummed:
                    nbytes += int(chunks.stored_nbytes.sum())
    for extent in content.file_map.structures():
        if extent.kind is Kind.INDEX and extent.owner in has_old_index:
            nbytes += extent.nbytes
    return nbytes
