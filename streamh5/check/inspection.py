"""The result of `inspect`: what a file contains and where it lies, as values and as text."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.memory_size import format_nbytes
from streamh5.check.report import counted
from streamh5.errors import printable
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from streamh5.check.cloud_report import CloudReport
    from streamh5.reader.file_content import Finding


CELL_LETTERS = {
    Kind.SUPERBLOCK: "S",
    Kind.HEADER: "H",
    Kind.INDEX: "I",
    Kind.HEAP: "V",
    Kind.DATA: "█",
    Kind.UNUSED: "·",
}
USER_BLOCK, USER_BLOCK_LETTER = "user block", "U"


@dataclass(frozen=True, slots=True)
class DatasetInspection:
    """One dataset of a file.

    Attributes
    ----------
    path, shape, maxshape, chunks
        As stored. ``shape`` is None for a null dataspace, ``chunks`` is None for a dataset without chunks, and None in
        ``maxshape`` means unlimited.
    dtype
        Name of the datatype.
    storage
        Name of the chunk index, or ``contiguous``, ``compact``, ``virtual`` or ``external files``.
    filters
        Names of the filters with their client values, in the order in which they encode.
    n_chunks, n_missing
        Numbers of stored chunks, and of chunks that were never written.
    nbytes, stored_nbytes
        Size of the array in bytes, and size of its stored data.
    n_attributes
        Number of attributes.
    chunk_nbytes, largest_chunk_nbytes
        Size of a chunk in bytes before the filters (None for a dataset without chunks), and size of the largest stored
        chunk, 0 if there is none.
    is_variable_length, heap_nbytes
        Whether elements refer to heaps, as text of variable length does, and the size of their heaps in bytes.
    header_address, index_address
        Positions of the object header and the chunk index in the file; None without an index.
    data_start, data_stop
        Range of positions in which the data lies; None if nothing is stored.

    Examples
    --------
    >>> summary = streamh5.to_fixed_h5("x.h5", "/x", np.ones((1000, 1000)), chunks=(500, 500))
    >>> x = streamh5.inspect("x.h5").datasets[0]
    >>> x.filters, x.n_chunks, x.ratio > 100, x.to_dict()["storage"]
    (('shuffle(8)', 'gzip(4)'), 4, True, 'Fixed Array')
    """

    path: str
    shape: tuple[int, ...] | None
    maxshape: tuple[int | None, ...] | None
    dtype: str
    chunks: tuple[int, ...] | None
    storage: str
    filters: tuple[str, ...]
    n_chunks: int
    n_missing: int
    nbytes: int
    stored_nbytes: int
    n_attributes: int
    chunk_nbytes: int | None
    largest_chunk_nbytes: int
    is_variable_length: bool
    heap_nbytes: int
    header_address: int
    index_address: int | None
    data_start: int | None
    data_stop: int | None

    @property
    def ratio(self) -> float | None:
        """Size of the array divided by the size of its stored data; None if nothing is stored."""
        return self.nbytes / self.stored_nbytes if self.stored_nbytes else None

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GroupInspection:
    """One group of a file.

    Attributes
    ----------
    path, header_address
        Path, and position of its object header in the file.
    n_links, n_attributes
        Numbers of its links and attributes.

    Examples
    --------
    >>> with streamh5.File("x.h5", "w") as f:
    ...     f["x"] = np.zeros(10)
    >>> streamh5.inspect("x.h5").groups[0].to_dict()["n_links"]
    1
    """

    path: str
    header_address: int
    n_links: int
    n_attributes: int

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Region:
    """All parts of a file of one kind.

    Attributes
    ----------
    kind
        ``"superblock"``, ``"object headers"``, ``"data"`` and so on.
    n_extents, nbytes
        Number of parts, and total size in bytes.
    start, stop
        Range of positions in which they lie.
    """

    kind: str
    n_extents: int
    nbytes: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class MetadataPlaces:
    """Where the metadata of a file lies: all structures but data, and heaps with the elements of datasets.

    Attributes
    ----------
    starts, stops
        Positions in the file, ``(n,) int64``.
    """

    starts: NDArray[np.int64] = field(repr=False)
    stops: NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FileInspection:
    """What a file contains, and where it lies. All addresses are positions in the file.

    Attributes
    ----------
    path, file_nbytes, superblock_version
        Path of the file, its size in bytes, and the version of its superblock.
    page_nbytes, is_open_for_writing
        Size of the pages of a file with the PAGE file space strategy, 0 without; whether the file is marked as open.
    groups, datasets
        All groups, including the root group, and all datasets, in the order in which links lead to them.
    regions
        User block, superblock, object headers, chunk indexes, heaps, data, and bytes to which nothing refers.
    cells
        A map of the file, which is divided into 72 equal cells with one character each: ``S`` superblock, ``H`` object
        headers, ``I`` chunk indexes, ``V`` heaps, ``█`` data, ``·`` unused, ``U`` user block. A cell with any metadata
        shows the kind of most of its metadata.
    damaged, unchecked
        The first 1,000 structures that are damaged, and the first 1,000 that streamh5 does not know. Their content is
        missing from the other fields.
    metadata
        Where each structure lies, for `cloud`; not in `to_dict`.

    Examples
    --------
    >>> import json
    >>> summary = streamh5.to_fixed_h5("x.h5", "/x", np.ones((1000, 1000)), chunks=(500, 500), compression=None)
    >>> found = streamh5.inspect("x.h5")
    >>> found.datasets[0].n_chunks, found.datasets[0].ratio, found.groups[0].to_dict()["path"]
    (4, 1.0, '/')
    >>> text = json.dumps(found.to_dict())
    >>> print(found.render(width=80))
    x.h5  7.6 MiB, superblock version 3
    ...
    """

    path: str
    file_nbytes: int
    superblock_version: int
    page_nbytes: int
    is_open_for_writing: bool
    groups: tuple[GroupInspection, ...]
    datasets: tuple[DatasetInspection, ...]
    regions: tuple[Region, ...]
    cells: str
    damaged: tuple[Finding, ...]
    unchecked: tuple[Finding, ...]
    metadata: MetadataPlaces = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values for JSON."""
        found = asdict(self)
        del found["metadata"]
        return found

    def cloud(self) -> CloudReport:
        """Tell whether the file is right for object stores, and what would make it better.

        Use it before a file is published: a reader of an object store waits for every request, so that metadata that is
        scattered, and chunks that are small, make a file slow which is fast on a disk.

        Returns
        -------
        CloudReport
            One check for each thing that data providers ask for, with figures and advice.

        Examples
        --------
        >>> summary = streamh5.to_fixed_h5("x.h5", "/x", np.ones((1000, 1000)), chunks=(500, 500))
        >>> report = streamh5.inspect("x.h5").cloud()
        >>> report.ok, report.requests.n_1mib_blocks
        (True, 1)
        """
        from streamh5.check.cloud import judge  # most inspections do not ask

        return judge(self)

    @check_keywords
    def render(self, width: int = 100) -> str:
        """Return what was found as text.

        Parameters
        ----------
        width
            Most characters of a line, except for longer words.
        """
        return printable("\n".join(self._lines(width)))

    def __repr__(self) -> str:
        return self.render()

    def _lines(self, width: int) -> Iterator[str]:
        yield f"{self.path}  {format_nbytes(self.file_nbytes)}, superblock version {self.superblock_version}"
        yield ""
        yield self.cells
        yield from textwrap.wrap(_legend(self.cells, self.file_nbytes), width)
        yield ""
        yield from _region_table(self.regions)
        yield ""
        yield f"{counted(len(self.groups), 'group')}, {counted(len(self.datasets), 'dataset')}"
        for dataset in self.datasets:
            yield ""
            yield from _dataset_lines(dataset, width)
        for title, findings in (("damaged", self.damaged), ("not checked", self.unchecked)):
            for finding in findings:
                line = f"{title}: {finding.path} (header at {finding.address:,}): {finding.problem}"
                yield from textwrap.wrap(line, width, subsequent_indent="    ")


def _legend(cells: str, file_nbytes: int) -> str:
    letters = {USER_BLOCK: USER_BLOCK_LETTER} | {kind.value: letter for kind, letter in CELL_LETTERS.items()}
    parts = [f"{letter} {name}" for name, letter in letters.items() if letter in cells]
    return f"one block: {format_nbytes(file_nbytes / len(cells))}   " + "   ".join(parts)


def _region_table(regions: tuple[Region, ...]) -> Iterator[str]:
    yield f"{'what':<16}{'number':>12}{'size':>12}   addresses"
    for region in regions:
        size = format_nbytes(region.nbytes)
        yield (f"{region.kind:<16}{region.n_extents:>12,}{size:>12}   {region.start:,} to {region.stop:,}")


def _dataset_lines(dataset: DatasetInspection, width: int) -> Iterator[str]:
    shape = "null" if dataset.shape is None else str(dataset.shape)
    yield f"{dataset.path}  {shape} {dataset.dtype}"
    for facts in (_size_facts(dataset), _storage_facts(dataset), _place_facts(dataset)):
        line = ", ".join(facts)
        yield from textwrap.wrap(line, width, initial_indent="    ", subsequent_indent="      ")


def _size_facts(dataset: DatasetInspection) -> Iterator[str]:
    yield f"{format_nbytes(dataset.nbytes)} stored as {format_nbytes(dataset.stored_nbytes)}"
    if dataset.ratio is not None:
        yield f"ratio {dataset.ratio:.2f}"
    if dataset.filters:
        yield " > ".join(dataset.filters)
    if dataset.n_attributes:
        yield counted(dataset.n_attributes, "attribute")


def _storage_facts(dataset: DatasetInspection) -> Iterator[str]:
    if dataset.chunks is None:
        yield dataset.storage
    else:
        yield f"{counted(dataset.n_chunks, 'chunk')} of {dataset.chunks}"
        yield f"{dataset.storage} index"
    if dataset.n_missing:
        yield f"{dataset.n_missing:,} never written"
    if dataset.maxshape not in (None, dataset.shape):
        yield f"grows to {dataset.maxshape}".replace("None", "unlimited")


def _place_facts(dataset: DatasetInspection) -> Iterator[str]:
    yield f"header at {dataset.header_address:,}"
    if dataset.index_address is not None:
        yield f"index at {dataset.index_address:,}"
    if dataset.data_start is not None:
        yield f"data from {dataset.data_start:,} to {dataset.data_stop:,}"
