"""Whether a file is right for object stores: the checks of `FileInspection.cloud`.

They are those of NSIDC, ESIP's cluster for cloud computing, the Cloud-Native Geospatial guide and The HDF Group:
metadata together, best in pages; chunks neither small nor large; little data of variable length. Nothing that slows a
reader down without making many requests is *bad*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.arguments.memory_size import format_nbytes
from streamh5.check.cloud_report import CloudCheck, CloudReport, CloudRequests
from streamh5.errors import counted, listed
from streamh5.format.data_layout import ChunkIndexKind
from streamh5.model.cloud_chunks import MAX_CLOUD_NBYTES, MIN_CLOUD_NBYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamh5.check.cloud_report import Grade
    from streamh5.check.inspection import DatasetInspection, FileInspection, MetadataPlaces

_MIB = 1 << 20
_SMALLEST_NBYTES, _LARGEST_NBYTES = 100_000, 16_000_000
"""Raw sizes of chunks that the Cloud-Native Geospatial guide still accepts."""

_MANY_CHUNKS_NBYTES = MAX_CLOUD_NBYTES
"""A dataset of less has at most some hundred requests, however small its chunks are."""

_MAX_INDEXED = 100_000  # chunks of a file whose indexes take some MB
_MAX_UNUSED = 0.05  # growth that NSIDC accepts for pages
_MAX_PAGE_NBYTES = 16 << 20  # what the HDF5 library caches of an object in ROS3
_MAX_PAGES = 4
_N_SHOWN = 3  # datasets with other chunks
_IN_LIBRARY = {"gzip", "shuffle", "fletcher32", "szip", "nbit", "scaleoffset"}
_CONVERT = "streamh5 convert --cloud IN OUT"


def judge(found: FileInspection) -> CloudReport:
    """Return the verdict on an inspected file."""
    requests = _requests(found)
    metadata = _check_metadata(requests, found)
    checks = (
        _check_file(found),
        metadata,
        _check_pages(requests, found),
        _check_chunks(found.datasets),
        _check_indexes(found.datasets, metadata.grade),
        _check_variable_length(found.datasets),
        _check_filters(found.datasets),
        _check_elsewhere(found.datasets),
        _check_unused(found),
    )
    return CloudReport(found.path, found.file_nbytes, requests, checks)


def _requests(found: FileInspection) -> CloudRequests:
    places = found.metadata
    return CloudRequests(
        metadata_nbytes=int((places.stops - places.starts).sum()),
        n_structures=len(places.starts),
        metadata_stop=int(places.stops.max(initial=0)),
        n_1mib_blocks=_n_blocks(places, _MIB),
        n_8mib_blocks=_n_blocks(places, 8 * _MIB),
        n_pages=_n_blocks(places, found.page_nbytes) if found.page_nbytes else None,
    )


def _n_blocks(places: MetadataPlaces, nbytes: int) -> int:
    """Return how many blocks of a size have metadata in them."""
    first, last = places.starts // nbytes, (places.stops - 1) // nbytes
    order = np.argsort(first, kind="stable")
    first, last = first[order], last[order]
    before = np.maximum.accumulate(np.concatenate([[-1], last]))[:-1]
    return int(np.maximum(last - np.maximum(first - 1, before), 0).sum())


def _check_file(found: FileInspection) -> CloudCheck:
    user_block = next((one.nbytes for one in found.regions if one.kind == "user block"), 0)
    figures = {
        "superblock_version": found.superblock_version,
        "user_block_nbytes": user_block,
        "n_damaged": len(found.damaged),
        "is_open_for_writing": found.is_open_for_writing,
    }
    text = f"superblock version {found.superblock_version}"
    if found.damaged:
        first = found.damaged[0]
        text = f"{counted(len(found.damaged), 'structure')} damaged, {first.path}: {first.problem:.100}"
        return CloudCheck("file", "bad", text, "streamh5 verify FILE", figures)
    if found.is_open_for_writing:
        text += ", marked as open for writing: HDF5 refuses to read it"
        return CloudCheck("file", "bad", text, "close it; after a crash: h5clear -s FILE", figures)
    if user_block:
        text += f", behind a user block of {user_block:,} bytes, for which a reader has to look"
        return CloudCheck("file", "could be better", text, "h5unjam removes it", figures)
    return CloudCheck("file", "good", text, figures=figures)


def _check_metadata(requests: CloudRequests, found: FileInspection) -> CloudCheck:
    needed = -(-requests.metadata_nbytes // _MIB)
    n_more = requests.n_1mib_blocks - needed
    if requests.n_pages is not None:
        n_more = min(n_more, requests.n_pages - -(-requests.metadata_nbytes // found.page_nbytes))
    grade: Grade = "good" if n_more <= 2 else "could be better" if n_more <= 8 else "bad"
    text = (
        f"{format_nbytes(requests.metadata_nbytes)} in {counted(requests.n_structures, 'structure')}, the last ends at "
        f"{format_nbytes(requests.metadata_stop)}; {requests}"
    )
    advice = "" if grade == "good" else f"{_CONVERT} puts it together, at the beginning"
    figures = {
        "nbytes": requests.metadata_nbytes,
        "stop": requests.metadata_stop,
        "n_1mib_blocks_needed": needed,
        "n_1mib_blocks": requests.n_1mib_blocks,
    }
    return CloudCheck("metadata", grade, text, advice, figures)


def _check_pages(requests: CloudRequests, found: FileInspection) -> CloudCheck:
    page, metadata = found.page_nbytes, requests.metadata_nbytes
    right = max(_MIB, -(-metadata // _MIB) * _MIB)
    largest = max((one.largest_chunk_nbytes for one in found.datasets), default=0)
    figures = {"page_nbytes": page, "n_pages": requests.n_pages, "largest_chunk_nbytes": largest}
    if not page:
        if found.file_nbytes <= _MIB:
            return CloudCheck("pages", "good", "none, in a file of one request", figures=figures)
        advice = f"page=True when it is written; {_CONVERT}; h5repack -S PAGE -G {right} IN OUT"
        text = "none: HDF5's page buffer (page_buf_size, ROS3) cannot be used"
        return CloudCheck("pages", "could be better", text, advice, figures)
    text = (
        f"of {format_nbytes(page)}; metadata in {counted(requests.n_pages or 0, 'page')}; the largest stored chunk has "
        f"{format_nbytes(largest)}"
    )
    if page > _MAX_PAGE_NBYTES:
        advice = f"smaller pages: each is read as a whole; h5repack -S PAGE -G {right} IN OUT"
    elif (requests.n_pages or 0) > _MAX_PAGES:
        advice = f"larger pages: page={right} when it is written; h5repack -S PAGE -G {right} IN OUT"
    else:
        return CloudCheck("pages", "good", text, figures=figures)
    return CloudCheck("pages", "could be better", text, advice, figures)


def _check_chunks(datasets: Iterable[DatasetInspection]) -> CloudCheck:
    figures: list[dict[str, Any]] = []
    worst: Grade = "good"
    n_right, lines = 0, []
    for one in datasets:
        grade, problem = _chunk_grade(one)
        mean = one.stored_nbytes / one.n_chunks if one.n_chunks else one.stored_nbytes
        figures.append(
            {
                "path": one.path,
                "grade": grade,
                "chunks": one.chunks,
                "chunk_nbytes": one.chunk_nbytes,
                "mean_stored_nbytes": mean,
                "n_chunks": one.n_chunks,
            }
        )
        n_right += grade == "good"
        if grade != "good":
            lines.append((grade, f"{one.path}: {problem}, stored as {format_nbytes(mean)}"))
            worst = "bad" if "bad" in (grade, worst) else "could be better"
    lines.sort(key=lambda line: line[0] != "bad")
    shown = [line for _, line in lines[:_N_SHOWN]]
    shown += [f"and {len(lines) - _N_SHOWN:,} more"] if len(lines) > _N_SHOWN else []
    text = "; ".join([f"right in {n_right:,} of {counted(len(figures), 'dataset')}", *shown])
    advice = "" if worst == "good" else f"chunks of 1 to 9.5 MiB: chunks= when it is written; {_CONVERT}"
    return CloudCheck("chunks", worst, text, advice, {"datasets": figures})


def _chunk_grade(one: DatasetInspection) -> tuple[Grade, str]:
    """Return the grade of the chunks of a dataset, and what is wrong with them."""
    if one.chunk_nbytes is None:  # readers of zarr take contiguous data as one chunk
        nbytes, n, what = one.stored_nbytes, 1, f"{format_nbytes(one.stored_nbytes)} without chunks"
    else:
        # text and sequences of a chunk are read with it
        nbytes, n = one.chunk_nbytes + one.heap_nbytes // max(1, one.n_chunks), one.n_chunks + one.n_missing
        what = f"{counted(n, 'chunk')} of {format_nbytes(nbytes)}"
    if n <= 1 and nbytes < MIN_CLOUD_NBYTES:
        return "good", what
    if MIN_CLOUD_NBYTES <= nbytes <= MAX_CLOUD_NBYTES:
        return "good", what
    is_accepted = _SMALLEST_NBYTES <= nbytes <= _LARGEST_NBYTES
    if is_accepted or (nbytes < MIN_CLOUD_NBYTES and one.nbytes + one.heap_nbytes < _MANY_CHUNKS_NBYTES):
        return "could be better", what
    return "bad", what


def _check_indexes(datasets: Iterable[DatasetInspection], metadata: Grade) -> CloudCheck:
    trees = [
        one.path for one in datasets if one.storage == ChunkIndexKind.V1_BTREE.value and one.n_chunks > 1
    ]
    n_chunks = sum(one.n_chunks for one in datasets)
    figures = {"n_chunks": n_chunks, "n_v1_btrees": len(trees)}
    text, advice = counted(n_chunks, "chunk"), []
    if trees:
        text += f"; old indexes (v1 B-trees) in {counted(len(trees), 'dataset')}"
        if metadata != "good":
            text += ", whose nodes lie all over the file"
            advice.append(f"libver='v110' or later writes indexes of one block; {_CONVERT}")
    if n_chunks > _MAX_INDEXED:
        advice.append("larger chunks: an index this large is a download of its own")
    grade: Grade = "could be better" if advice else "good"
    return CloudCheck("chunk indexes", grade, text, "; ".join(advice), figures)


def _check_variable_length(datasets: Iterable[DatasetInspection]) -> CloudCheck:
    those = [one for one in datasets if one.is_variable_length and one.heap_nbytes]
    nbytes = sum(one.heap_nbytes for one in those)
    figures = {"n_datasets": len(those), "heap_nbytes": nbytes}
    if not those:
        return CloudCheck(
            "variable length", "good", "no dataset has elements of variable length", figures=figures
        )
    text = f"{listed(one.path for one in those)}: {format_nbytes(nbytes)} in heaps, behind an address for each element"
    if nbytes <= _MIB:
        return CloudCheck("variable length", "good", text, figures=figures)
    return CloudCheck(
        "variable length", "could be better", text, "text of fixed length, dtype='S20'", figures
    )


def _check_filters(datasets: Iterable[DatasetInspection]) -> CloudCheck:
    plugins: dict[str, str] = {}
    plain = []
    for one in datasets:
        for text_of_filter in one.filters:
            name, _, number = text_of_filter.partition("(")
            name = name.strip()
            if name == "filter":  # without a name in the file
                name = f"filter {number.partition(')')[0]}"
            if name not in _IN_LIBRARY:
                plugins.setdefault(name, one.path)
        if not one.filters and one.stored_nbytes > MAX_CLOUD_NBYTES:
            plain.append(one.path)
    figures = {"plugins": sorted(plugins), "not_compressed": plain}
    text, advice = [], []
    if plugins:
        text.append("plugins needed: " + ", ".join(f"{name} ({path})" for name, path in plugins.items()))
        advice.append(f"compression='gzip' is in every reader: {_CONVERT} --compression gzip")
    if plain:
        text.append(f"not compressed: {listed(plain)}")
        advice.append(f"compression='gzip' for less to transfer: {_CONVERT} --compression gzip")
    if not text:
        return CloudCheck("filters", "good", "every reader has them", figures=figures)
    return CloudCheck("filters", "could be better", "; ".join(text), "; ".join(advice), figures)


def _check_elsewhere(datasets: Iterable[DatasetInspection]) -> CloudCheck:
    external = [one.path for one in datasets if one.storage == "external files"]
    virtual = [one.path for one in datasets if one.storage == "virtual"]
    figures = {"external": external, "virtual": virtual}
    advice = "streamh5 convert IN OUT copies the data into the file"
    if external:
        text = f"in other files: {listed(external)}, which no reader finds beside an object"
        return CloudCheck("data", "bad", text, advice, figures)
    if virtual:
        text = f"virtual: {listed(virtual)}, whose sources may be in other files"
        return CloudCheck("data", "could be better", text, advice, figures)
    return CloudCheck("data", "good", "in the file", figures=figures)


def _check_unused(found: FileInspection) -> CloudCheck:
    nbytes = sum(one.nbytes for one in found.regions if one.kind == "unused")
    share = nbytes / max(1, found.file_nbytes)
    text = f"{format_nbytes(nbytes)}, {share:.1%} of the file"
    figures = {"nbytes": nbytes, "share": share}
    if share <= _MAX_UNUSED or nbytes <= _MIB:
        return CloudCheck("unused bytes", "good", text, figures=figures)
    return CloudCheck(
        "unused bytes", "could be better", text, "streamh5 convert IN OUT leaves them out", figures
    )
