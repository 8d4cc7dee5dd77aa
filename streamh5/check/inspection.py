"""`inspect`: what a file contains and where it lies, without its data."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.arguments.keywords import check_keywords
from streamh5.arguments.memory_size import format_nbytes
from streamh5.arguments.paths import LocalPath
from streamh5.check.report import counted
from streamh5.errors import printable
from streamh5.filters.registry import filter_name
from streamh5.format.data_layout import (
    ChunkedLayout,
    CompactLayout,
    ContiguousLayout,
    ImplicitIndex,
    SingleChunkIndex,
    VirtualDatasetLayout,
)
from streamh5.format.datatype_class import datatype_name
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_content import read_file_content
from streamh5.reader.file_map import Kind
from streamh5.stores.open_store import open_readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamh5.format.filter_pipeline import FilterRecord
    from streamh5.reader.file_content import Finding, ObjectContent
    from streamh5.reader.file_map import FileMap
    from streamh5.reader.object_content import DatasetMessages


_N_CELLS = 72  # of the map: a line of a terminal
_LETTERS = {
    Kind.SUPERBLOCK: "S",
    Kind.HEADER: "H",
    Kind.INDEX: "I",
    Kind.HEAP: "V",
    Kind.DATA: "█",
    Kind.UNUSED: "·",
}
_USER_BLOCK, _USER_BLOCK_LETTER = "user block", "U"
_METADATA = (Kind.SUPERBLOCK, Kind.HEADER, Kind.INDEX, Kind.HEAP)


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
    header_address, index_address
        Positions of the object header and the chunk index in the file; None without an index.
    data_start, data_stop
        Range of positions in which the data lies; None if nothing is stored.
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
    """One group of a file: its path, the position of its object header, and numbers of its links and attributes."""

    path: str
    header_address: int
    n_links: int
    n_attributes: int

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Region:
    """All parts of a file of one kind: their number, total size in bytes, and the range of positions they lie in."""

    kind: str
    n_extents: int
    nbytes: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class FileInspection:
    """What a file contains, and where it lies. All addresses are positions in the file.

    Attributes
    ----------
    path, file_nbytes, superblock_version
        Path of the file, its size in bytes, and the version of its superblock.
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
    """

    path: str
    file_nbytes: int
    superblock_version: int
    groups: tuple[GroupInspection, ...]
    datasets: tuple[DatasetInspection, ...]
    regions: tuple[Region, ...]
    cells: str
    damaged: tuple[Finding, ...]
    unchecked: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values for JSON."""
        return asdict(self)

    @check_keywords
    def render(self, width: int = 100) -> str:
        """Return a text whose lines have at most `width` characters, except for longer words."""
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


@check_keywords
def inspect(path: LocalPath, *, storage_options: Mapping[str, Any] | None = None) -> FileInspection:
    """List the objects of a file, and where they lie, without reading its data.

    Use it to see how a file is stored: chunk indexes, filters, compression ratios, and space to which nothing refers.

    Parameters
    ----------
    path
        Path or URL of the file, which may have been written by any program. A damaged file is shown as far as it can be
        read. Of an object in a store, only the metadata is requested; for a file of streamh5 that is one request, of
        1 MiB, unless it has more metadata than that.
    storage_options
        For a URL: credentials and the like, as for fsspec's file system of its protocol.

    Returns
    -------
    FileInspection
        Its `repr` is a page of text with a map of the file.

    Raises
    ------
    FormatError
        The file has no readable superblock.
    UnreadableError
        The file does not exist or cannot be read.
    """
    with FileBytes(open_readable(path, storage_options)) as file:
        content = read_file_content(file)
    base = content.superblock.base_address
    return FileInspection(
        path=file.name,
        file_nbytes=content.file_nbytes,
        superblock_version=content.superblock.version,
        groups=tuple(
            GroupInspection(
                group.path,
                group.address + base,
                len(group.messages.links),
                len(group.messages.common.attributes),
            )
            for group in content.groups
        ),
        datasets=tuple(_inspect_dataset(dataset, base) for dataset in content.datasets),
        regions=tuple(_regions(content.file_map, base)),
        cells=_cells(content.file_map, base),
        damaged=tuple(content.damages),
        unchecked=tuple(content.unchecked),
    )


def _regions(file_map: FileMap, base_address: int) -> Iterator[Region]:
    if base_address:
        yield Region(_USER_BLOCK, 1, base_address, 0, base_address)
    for total in file_map.totals():
        start, stop = total.start + base_address, total.stop + base_address
        yield Region(total.kind.value, total.n_extents, total.nbytes, start, stop)


def _inspect_dataset(dataset: ObjectContent[DatasetMessages], base_address: int) -> DatasetInspection:
    messages = dataset.messages
    chunks, index_address, storage = None, None, "contiguous"
    n_chunks = n_missing = stored_nbytes = 0
    data: tuple[int | None, int | None] = (None, None)
    match messages.layout:
        case CompactLayout(content):
            storage, stored_nbytes = "compact", len(content)
        case ContiguousLayout(address, nbytes) if address != UNDEFINED_ADDRESS:
            stored_nbytes, data = nbytes, (address, address + nbytes)
        case ContiguousLayout() if messages.external_files:
            storage = "external files"
        case VirtualDatasetLayout():
            storage = "virtual"
        case ChunkedLayout() as layout:
            chunks, storage = layout.chunks, layout.index_kind.value
            # these have no block of their own
            if not isinstance(layout.index, (SingleChunkIndex, ImplicitIndex)):
                index_address = layout.index.address
    if dataset.chunks is not None:
        n_missing, stored_nbytes = dataset.chunks.n_missing, dataset.chunks.nbytes
        found = dataset.chunks.chunk_map
        n_chunks = len(found)
        if n_chunks:
            data = int(found.addresses.min()), int((found.addresses + found.stored_nbytes).max())
    return DatasetInspection(
        path=dataset.path,
        shape=messages.dataspace.shape,
        maxshape=messages.dataspace.maxshape,
        dtype=datatype_name(messages.datatype),
        chunks=chunks,
        storage=storage,
        filters=tuple(map(_filter_name, messages.filters)),
        n_chunks=n_chunks,
        n_missing=n_missing,
        nbytes=messages.nbytes,
        stored_nbytes=stored_nbytes,
        n_attributes=len(messages.common.attributes),
        header_address=dataset.address + base_address,
        index_address=_position(index_address, base_address),
        data_start=_position(data[0], base_address),
        data_stop=_position(data[1], base_address),
    )


def _position(address: int | None, base_address: int) -> int | None:
    return None if address in (None, UNDEFINED_ADDRESS) else address + base_address


def _filter_name(record: FilterRecord) -> str:
    name = filter_name(record)
    return f"{name}({', '.join(map(str, record.client_values))})" if record.client_values else name


def _cells(file_map: FileMap, base_address: int) -> str:
    n_user_block = round(_N_CELLS * base_address / max(1, base_address + file_map.file_nbytes))
    n_cells = _N_CELLS - n_user_block
    coverage = file_map.coverage(n_cells)
    metadata = np.stack([coverage[kind] for kind in _METADATA])
    letters = np.array([_LETTERS[kind] for kind in _METADATA])[metadata.argmax(axis=0)]
    has_data = coverage[Kind.DATA] >= coverage[Kind.UNUSED]
    others = np.where(has_data, _LETTERS[Kind.DATA], _LETTERS[Kind.UNUSED])
    return _USER_BLOCK_LETTER * n_user_block + "".join(np.where(metadata.sum(axis=0) > 0, letters, others))


def _legend(cells: str, file_nbytes: int) -> str:
    letters = {_USER_BLOCK: _USER_BLOCK_LETTER} | {kind.value: letter for kind, letter in _LETTERS.items()}
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
