"""The verification of a file, from its superblock to its last chunk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.paths import LocalPath, local_path
from streamh5.check.chunk_check import DamagedChunk, check_chunks, n_threads
from streamh5.check.report import VerifyReport
from streamh5.errors import ForeignStructureError, FormatError, SpecError, UnreadableError
from streamh5.filters.chunk_decoder import chunk_decoder, is_checksummed
from streamh5.format.data_layout import ChunkedLayoutV3, ContiguousLayout
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.chunk_index.chunk_frame import impossible_chunks
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_content import StoredDataset, StoredGroup, read_file_content
from streamh5.reader.file_map import Kind
from streamh5.write.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from streamh5.check.h5py_view import H5pyView
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.chunk_index.chunk_frame import ChunkFrame
    from streamh5.reader.file_content import FileContent
    from streamh5.reader.file_map import Overlaps


_MAX_DAMAGED_CHUNKS = 100
"""Damaged chunks that a report describes; more are counted."""


@check_keywords
def verify(
    path: LocalPath,
    *,
    data: bool = True,
    jobs: int | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
    with_h5py: bool = True,
    safe: bool = False,
) -> VerifyReport:
    """Check a file: superblock, object headers, chunk indexes, checksums, and every chunk.

    What is stored where is read by streamh5's own reader, which checks every length and checksum, that
    everything lies inside the file, and that nothing overlaps. Chunks are decoded in threads, and must
    give exactly the bytes of a chunk. Memory is bounded by a few chunks, and by the chunk indexes.

    Any HDF5 file can be given, whoever wrote it: superblocks 0 to 3, old groups and object headers, user blocks. What
    the reader does not know (filtered heaps, indexes of shared messages) is named in the report, which then is not
    `ok`: not checked is not good. Chunk maps of very sparse datasets are not compared with h5py's.

    Parameters
    ----------
    path
        The file.
    data
        Read and decode the chunks; False checks all metadata only, in a time that does not depend on the
        size of the data.
    jobs
        Threads that decode; by default one for each processor.
    progress
        True for a bar on stderr; False for none; None for a bar when a person is looking; or a function
        of the stored bytes done and in all.
    with_h5py
        Compare the chunk maps with those that h5py sees, and let it decode what streamh5 cannot. It is
        asked only if no structure is damaged. False for hostile files: libhdf5 is not made for them.
    safe
        Check in a child process, so that a file by which libhdf5 ends is an error: `UnreadableError`.

    Returns
    -------
    VerifyReport

    Raises
    ------
    FormatError
        The file has no superblock that can be read: it is not an HDF5 file, or its first bytes are damaged.
    UnreadableError
        The file does not exist or cannot be read.
    SpecError
        `jobs` is below 1.
    """
    if jobs is not None and jobs < 1:
        raise SpecError(f"jobs must be at least 1, not {jobs}", jobs=jobs)
    name = local_path(path)
    if safe:
        return _verify_in_child(name, progress, data=data, jobs=jobs, with_h5py=with_h5py)
    with FileBytes(name) as file:
        return Verification(file, name).run(
            data=data, jobs=n_threads(jobs), progress=progress, with_h5py=with_h5py
        )


def _verify_in_child(
    path: str, progress: bool | Callable[[int, int], object] | None, **asked: Any
) -> VerifyReport:
    from streamh5.processes.child_process import call_in_child  # 3 ms that only `safe` needs

    def died(how: str) -> UnreadableError:
        return UnreadableError(
            f"{path}: the HDF5 library ended by {how} while it read the file, in which streamh5 has found no damage; "
            "leave it out: with_h5py=False (--no-h5py)",
            path=path,
            signal=how,
        )

    report: VerifyReport = call_in_child(verify, path, died=died, progress=progress, **asked)
    return report


class Verification:
    """One verification of one file.

    Parameters
    ----------
    file
        The file, open.
    path
        Its name, for the report and for h5py.
    """

    def __init__(self, file: FileBytes, path: str) -> None:
        self._started = time.perf_counter()
        self._file = file
        self._path = path
        self._content: FileContent = read_file_content(file)
        self._damaged: list[DamagedChunk] = []
        self._n_damaged = 0
        self._n_decoded = 0
        self._n_undecoded = 0
        self._view: H5pyView | None = None
        self._compared_with: str | None = None

    def run(
        self,
        *,
        data: bool = True,
        jobs: int = 1,
        progress: bool | Callable[[int, int], object] | None = False,
        with_h5py: bool = True,
    ) -> VerifyReport:
        """Check everything and report; see `verify`."""
        overlaps = self._content.file_map.overlaps()
        self._report_overlaps(overlaps)
        rows = {
            dataset.path: self._sound_rows(dataset.path, dataset.frame, dataset.chunk_map, overlaps)
            for dataset in self._content.datasets
            if dataset.frame is not None and dataset.chunk_map is not None
        }
        try:
            if with_h5py:
                self._compare()
            if data:
                self._check_data(rows, jobs, progress)
        finally:
            if self._view is not None:
                self._view.close()
        return self._report(checked_data=data)

    def _report_overlaps(self, overlaps: Overlaps) -> None:
        """Report structures that overlap; where one of two is a chunk, the chunk is reported."""
        for first, second in overlaps.pairs:
            if first.row is None and second.row is None:
                problem = (
                    f"{second.nbytes:,} bytes of {second.kind.value} at address {second.address:,} overlap "
                    f"{first.nbytes:,} bytes of {first.kind.value} of {first.owner} at {first.address:,}"
                )
                self._content.add(second.owner, second.address, FormatError(problem))

    def _sound_rows(
        self, path: str, frame: ChunkFrame, chunks: ChunkMap, overlaps: Overlaps
    ) -> NDArray[np.int64]:
        """Report chunks that cannot be where the index says; return the rows of the others."""
        is_sound = ~impossible_chunks(frame, chunks, self._file.nbytes)
        impossible = np.flatnonzero(~is_sound)
        stops = chunks.addresses[impossible] + chunks.stored_nbytes[impossible]
        is_behind = stops > self._file.nbytes
        problem = f"it reaches behind the end of the file at {self._file.nbytes:,}"
        self._add_damaged(path, chunks, impossible[is_behind], problem)
        problem = "the index gives it a size that cannot be, or lets it skip a filter that does not exist"
        self._add_damaged(path, chunks, impossible[~is_behind], problem)
        overlapping = overlaps.chunk_rows.get(path)
        if overlapping is not None:
            self._add_damaged(path, chunks, overlapping, "overlaps something else")
            is_sound[overlapping] = False
        return np.flatnonzero(is_sound)

    def _add_damaged(self, path: str, chunks: ChunkMap, rows: NDArray[np.int64], problem: str) -> None:
        self._n_damaged += len(rows)
        for row in rows[: _MAX_DAMAGED_CHUNKS - len(self._damaged)].tolist():
            address = int(chunks.addresses[row]) + self._file.base_address
            nbytes = int(chunks.stored_nbytes[row])
            place = chunks.coords_at(row), chunks.origin_at(row)
            self._damaged.append(DamagedChunk(path, *place, address, nbytes, problem))

    def _compare(self) -> None:
        """Let h5py look at the file, if it is one that h5py can be trusted with."""
        from streamh5.check.h5py_view import H5pyView, h5py_version

        if self._content.n_damages or self._n_damaged or self._content.superblock.is_open_for_writing:
            return
        try:
            self._view = H5pyView(self._path)
        except FormatError as error:
            self._content.add("/", 0, error)
            return
        for different in self._view.compare(self._content):
            self._content.add(*different)
        self._compared_with = h5py_version()

    def _check_data(
        self,
        rows: dict[str, NDArray[np.int64]],
        jobs: int,
        show: bool | Callable[[int, int], object] | None,
    ) -> None:
        datasets = [dataset for dataset in self._content.datasets if dataset.path in rows]
        total = sum(int(_chunk_map(dataset).stored_nbytes[rows[dataset.path]].sum()) for dataset in datasets)
        progress = Progress(total, show, "verify")
        from concurrent.futures import ThreadPoolExecutor  # 5 ms that `--no-data` does not need

        pool = ThreadPoolExecutor(jobs, "streamh5-verify")
        try:
            for dataset in datasets:
                known, foreign = _split_by_decoder(dataset, rows[dataset.path])
                found = check_chunks(
                    self._file, dataset, known, pool=pool, n_in_flight=2 * jobs, progress=progress.add
                )
                self._count(dataset, len(known), found)
                self._check_with_h5py(dataset, foreign, progress)
        finally:
            pool.shutdown(cancel_futures=True)
            progress.close()

    def _count(self, dataset: StoredDataset, n_chunks: int, damaged: Iterator[tuple[int, str]]) -> None:
        self._n_decoded += n_chunks
        for row, problem in damaged:
            self._add_damaged(dataset.path, _chunk_map(dataset), np.array([row]), problem)

    def _check_with_h5py(self, dataset: StoredDataset, rows: NDArray[np.int64], progress: Progress) -> None:
        """Let HDF5 decode what has a filter that is not known here; its lock lets one chunk at a time."""
        from streamh5.check.h5py_view import has_filters

        if not len(rows):
            return
        ids = [record.filter_id for record in dataset.messages.filters]
        view = self._view
        if view is None or not has_filters(ids):
            self._n_undecoded += len(rows)
            progress.add(int(_chunk_map(dataset).stored_nbytes[rows].sum()))
            return
        try:
            self._count(dataset, len(rows), _decode_each(view, dataset, rows, progress))
        except ForeignStructureError:
            self._n_decoded -= len(rows)
            self._n_undecoded += len(rows)

    def _report(self, *, checked_data: bool) -> VerifyReport:
        content = self._content
        objects: list[StoredGroup | StoredDataset] = [*content.groups, *content.datasets]
        maps = [_chunk_map(dataset) for dataset in content.datasets if dataset.chunk_map is not None]
        return VerifyReport(
            path=self._path,
            file_nbytes=content.file_nbytes,
            n_groups=len(content.groups),
            n_datasets=len(content.datasets),
            n_attributes=sum(len(one.messages.common.attributes) for one in objects),
            n_structures=content.file_map.n_structures,
            n_chunks=sum(len(chunks) for chunks in maps),
            n_missing_chunks=sum(dataset.n_missing_chunks for dataset in content.datasets),
            checked_data=checked_data,
            n_decoded_chunks=self._n_decoded,
            n_undecoded_chunks=self._n_undecoded,
            n_damaged_chunks=self._n_damaged,
            damaged_chunks=tuple(self._damaged),
            n_damaged_structures=content.n_damages,
            damaged_structures=tuple(content.damages),
            n_unchecked=content.n_unchecked,
            unchecked=tuple(content.unchecked),
            unprotected_nbytes=_unprotected_nbytes(content),
            compared_with=self._compared_with,
            seconds=time.perf_counter() - self._started,
        )


def _chunk_map(dataset: StoredDataset) -> ChunkMap:
    if dataset.chunk_map is None:
        raise FormatError(f"{dataset.path} has no chunk map", path=dataset.path)
    return dataset.chunk_map


def _split_by_decoder(
    dataset: StoredDataset, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows that can be decoded here, and the others."""
    chunks, filters = _chunk_map(dataset), dataset.messages.filters
    masks = chunks.filter_masks[rows]
    is_known = np.ones(len(rows), bool)
    for mask in np.unique(masks).tolist():
        if chunk_decoder(filters, mask, 1).unknown_filters:
            is_known[masks == mask] = False
    return rows[is_known], rows[~is_known]


def _decode_each(
    view: H5pyView, dataset: StoredDataset, rows: NDArray[np.int64], progress: Progress
) -> Iterator[tuple[int, str]]:
    chunks = _chunk_map(dataset)
    for row in rows.tolist():
        try:
            view.decode(dataset.path, chunks.origin_at(row))
        except ForeignStructureError:
            raise
        except FormatError as error:
            yield row, str(error)
        progress.add(int(chunks.stored_nbytes[row]))


def _unprotected_nbytes(content: FileContent) -> int:
    """Bytes of data, heaps and version 1 B-trees that no checksum covers."""
    nbytes = sum(total.nbytes for total in content.file_map.totals() if total.kind is Kind.HEAP)
    has_old_index = {
        dataset.path for dataset in content.datasets if isinstance(dataset.messages.layout, ChunkedLayoutV3)
    }
    for extent in content.file_map.structures():
        if extent.kind is Kind.INDEX and extent.owner in has_old_index:
            nbytes += extent.nbytes
    for dataset in content.datasets:
        layout = dataset.messages.layout
        if isinstance(layout, ContiguousLayout) and layout.address != UNDEFINED_ADDRESS:
            nbytes += layout.nbytes
        elif dataset.chunk_map is not None:
            chunks = dataset.chunk_map
            for mask in np.unique(chunks.filter_masks, return_counts=True)[0].tolist():
                if not is_checksummed(dataset.messages.filters, mask):
                    nbytes += int(chunks.stored_nbytes[chunks.filter_masks == mask].sum())
    return nbytes
