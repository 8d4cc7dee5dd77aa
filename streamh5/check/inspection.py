"""The result of `inspect`: what a file contains and where it lies."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from streamh5.arguments.keywords import check_keywords
from streamh5.errors import did_you_mean, printable_lines
from streamh5.model.links import MAX_COMPARED
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamh5.check.cloud_report import CloudReport
    from streamh5.model.chunk_cells import ChunkCells
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
NAMES = {USER_BLOCK_LETTER: USER_BLOCK} | {letter: kind.value for kind, letter in CELL_LETTERS.items()}
"""The kind of content for which each letter of a map stands."""


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
    chunk_cells
        Its chunk map in few numbers, for a picture; None without chunks; not in `to_dict`.

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
    chunk_cells: ChunkCells | None = field(default=None, repr=False, compare=False)

    @property
    def ratio(self) -> float | None:
        """Size of the array divided by the size of its stored data; None if nothing is stored."""
        return self.nbytes / self.stored_nbytes if self.stored_nbytes else None

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values for JSON."""
        facts = asdict(replace(self, chunk_cells=None))
        del facts["chunk_cells"]
        return facts

    def _repr_html_(self) -> str:
        from streamh5.check.html_repr import dataset_html  # now: only notebooks need it
        from streamh5.display.document import fragment

        return fragment(dataset_html(self))


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
    metadata: MetadataPlaces = field(repr=False, compare=False)  # numpy columns

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values for JSON."""
        found = asdict(replace(self, datasets=()))
        del found["metadata"]
        return found | {"datasets": tuple(dataset.to_dict() for dataset in self.datasets)}

    def __getitem__(self, path: str) -> DatasetInspection:
        """Return a dataset by its path.

        Parameters
        ----------
        path
            Path of the dataset in the file.

        Raises
        ------
        KeyError
            There is no such dataset; the message suggests one with a similar path.

        Examples
        --------
        >>> summary = streamh5.to_fixed_h5("x.h5", "/run/x", np.ones((100, 100)), chunks=(50, 50))
        >>> streamh5.inspect("x.h5")["/run/x"].n_chunks
        4
        """
        wanted = "/" + path.strip("/")
        for dataset in self.datasets:
            if dataset.path == wanted:
                return dataset
        paths = [dataset.path for dataset in self.datasets[:MAX_COMPARED]]
        raise KeyError(f"{self.path} has no dataset {wanted}{did_you_mean(wanted, paths)}")

    def to_html(self) -> str:
        """Return a page of its own with the map of the file, its tree, and the chunk maps of its datasets.

        It has no scripts and loads nothing, so it can be sent to somebody, or kept beside the file.

        Returns
        -------
        str
            HTML, of less than 1 MB for any file.

        Examples
        --------
        >>> summary = streamh5.to_fixed_h5("x.h5", "/x", np.ones((100, 100)), chunks=(50, 50))
        >>> page = streamh5.inspect("x.h5").to_html()
        >>> "4 of 4 chunks are stored" in page
        True
        """
        from streamh5.check.html_repr import file_parts
        from streamh5.display.document import page

        return page(f"{self.path}: what it holds", *file_parts(self))

    def _repr_html_(self) -> str:
        from streamh5.check.html_repr import file_parts  # now: only notebooks need it
        from streamh5.display.document import fragment

        return fragment(*file_parts(self))

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
        from streamh5.check.text_repr import file_lines

        return printable_lines(file_lines(self, width))

    def __repr__(self) -> str:
        return self.render()
