"""A whole file: the walk from the superblock over all groups to every chunk index."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.data_layout import (
    ChunkedLayout,
    ChunkedLayoutV3,
    CompactLayout,
    ContiguousLayout,
    VirtualLayout,
)
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.superblock import Superblock
from streamh5.format.virtual_mapping import check_virtual_mappings
from streamh5.reader.chunk_index.chunk_frame import impossible_chunks
from streamh5.reader.chunk_index.read_index import read_chunk_map
from streamh5.reader.elements import check_elements, refers_elsewhere, stored_chunks
from streamh5.reader.file_map import FileMap, Kind
from streamh5.reader.global_heap import GlobalHeap
from streamh5.reader.object_content import DatasetMessages, DatatypeMessages, GroupMessages
from streamh5.reader.object_header import SharedMessages
from streamh5.reader.object_walk import MAX_PATH_LENGTH, ObjectWalk
from streamh5.reader.superblock import read_superblock, read_superblock_extension

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.format.datatype_class import DatatypeClass
    from streamh5.model.chunk_map import ChunkMap
    from streamh5.reader.chunk_index.chunk_frame import ChunkFrame
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.object_walk import Place

MAX_FINDINGS = 1000
"""Findings that are kept; more are counted."""

_PIECE_NBYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, or not checked: the object, the position of its header in the file, and what it is."""

    path: str
    address: int
    problem: str


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """A group of the file."""

    path: str
    address: int
    messages: GroupMessages


@dataclass(frozen=True, slots=True)
class StoredDatatype:
    """A named datatype of the file."""

    path: str
    address: int
    messages: DatatypeMessages


@dataclass(frozen=True, slots=True)
class StoredDataset:
    """A dataset of the file; without chunks, or with a damaged index, `frame` and `chunk_map` are None."""

    path: str
    address: int
    messages: DatasetMessages
    frame: ChunkFrame | None
    chunk_map: ChunkMap | None

    @property
    def n_missing_chunks(self) -> int:
        """Chunks of the current shape that were never written."""
        if self.frame is None or self.chunk_map is None:
            return 0
        return max(0, (self.frame.grid.n_chunks or 0) - int(np.count_nonzero(self.chunk_map.is_present())))


@dataclass(slots=True)
class FileContent:
    """What the walk has found.

    All addresses are those that stand in the file: `superblock.base_address` has to be added to get a position.

    Attributes
    ----------
    superblock
        Of the file.
    file_nbytes
        Size of the file, user block included; what is behind the superblock's end of file is in no extent.
    file_map
        Extents of everything that was reached.
    groups, datasets, datatypes
        In the order in which they were reached, each once, under the first path that leads to it.
    n_damages, damages
        How many damaged structures, and the first of them.
    n_unchecked, unchecked
        How many structures the reader does not know, and the first of them.
    """

    superblock: Superblock
    file_nbytes: int
    file_map: FileMap
    groups: list[StoredGroup] = field(default_factory=list)
    datasets: list[StoredDataset] = field(default_factory=list)
    datatypes: list[StoredDatatype] = field(default_factory=list)
    n_damages: int = 0
    damages: list[Finding] = field(default_factory=list)
    n_unchecked: int = 0
    unchecked: list[Finding] = field(default_factory=list)

    def add(self, path: str, address: int, error: FormatError) -> None:
        """Enter an error of a decoder as damage, or as not checked if it is a foreign structure."""
        if isinstance(error, ForeignStructureError):
            self.add_unchecked(path, address, str(error))
            return
        self.n_damages += 1
        if len(self.damages) < MAX_FINDINGS:
            self.damages.append(Finding(path, address + self.superblock.base_address, str(error)))

    def add_unchecked(self, path: str, address: int, problem: str) -> None:
        """Enter something that was not checked."""
        self.n_unchecked += 1
        if len(self.unchecked) < MAX_FINDINGS:
            self.unchecked.append(Finding(path, address + self.superblock.base_address, problem))


def read_file_content(file: FileBytes) -> FileContent:
    """Walk over a file of any origin.

    Time and memory are bounded by a multiple of the size of the file. Afterwards `file` is read by the addresses
    that stand in it.

    Raises
    ------
    FormatError
        There is no superblock, or it is damaged: nothing can be found without it.
    ForeignStructureError
        A superblock of another version, or a file whose objects are not where their addresses say (a part of a
        family, a metadata cache image).
    """
    file_nbytes = file.nbytes
    superblock = read_superblock(file)
    there = file.nbytes
    if (
        not superblock.is_open_for_writing
    ):  # a writer brings the superblock up to date when it closes the file
        file.limit(superblock.span)
    content = FileContent(superblock, file_nbytes, FileMap(file.nbytes))
    if superblock.span > there:
        problem = f"superblock: the file must have {superblock.span:,} bytes, but it has {there:,}"
        content.add("/", 0, FormatError(problem))
    content.file_map.claim(Kind.SUPERBLOCK, "/", 0, min(superblock.nbytes, file.nbytes))
    if superblock.is_open_for_writing:
        content.add_unchecked(
            "/", 0, "superblock: marked as open for writing, so that the file may be changing"
        )
    shared = SharedMessages(file, content.file_map)
    try:
        for problem in read_superblock_extension(file, content.file_map, superblock, shared):
            content.add_unchecked("/", superblock.extension_address, problem)
    except ForeignStructureError:
        raise
    except FormatError as error:
        content.add("/", superblock.extension_address, error)
    _Visitor(file, content, ObjectWalk(file, content.file_map, shared)).run()
    return content


class _Visitor:
    """Enters every object of one file, and checks what its elements refer to."""

    def __init__(self, file: FileBytes, content: FileContent, walk: ObjectWalk) -> None:
        self._file = file
        self._content = content
        self._walk = walk
        self._map = content.file_map
        self._heap = GlobalHeap(file, content.file_map)
        self._referenced: dict[int, str] = {}

    def run(self) -> None:
        for place in self._walk.over(self._content.superblock.root_address):
            try:
                self._visit(place)
            except FormatError as error:
                self._content.add(place.path, place.address, error)
        for address, path in self._referenced.items():
            if address not in self._walk.places:
                problem = f"an object reference points to address {address:,}, where no path leads to"
                self._content.add_unchecked(path, address, problem)

    def _visit(self, place: Place) -> None:
        """Read an object, and go on with those that it links to."""
        path, address = place.path, place.address
        messages = self._walk.messages(place, self._walk.header(place))
        for problem in messages.common.unchecked:
            self._content.add_unchecked(path, address, problem)
        for attribute in messages.common.attributes:
            if refers_elsewhere(attribute.datatype):
                elements = np.frombuffer(attribute.data, np.uint8).reshape(-1, attribute.datatype.nbytes)
                try:
                    self._check_elements(path, elements, attribute.datatype)
                except FormatError as error:
                    self._content.add(path, address, FormatError(f"attribute {attribute.name!r}: {error}"))
        match messages:
            case DatasetMessages():
                self._visit_dataset(path, address, messages)
            case DatatypeMessages():
                self._content.datatypes.append(StoredDatatype(path, address, messages))
            case GroupMessages():
                self._content.groups.append(StoredGroup(path, address, messages))
                if not self._walk.follow(place, messages.links):
                    self._content.add_unchecked(
                        path, address, f"objects with paths over {MAX_PATH_LENGTH} characters"
                    )

    def _check_elements(self, path: str, elements: NDArray[np.uint8], datatype: DatatypeClass) -> None:
        for address in check_elements(elements, datatype, self._heap, path).tolist():
            self._referenced.setdefault(address, path)

    def _visit_dataset(self, path: str, address: int, messages: DatasetMessages) -> None:
        frame = messages.frame(path)
        chunk_map: ChunkMap | None = None
        try:
            match messages.layout:
                case ChunkedLayout() | ChunkedLayoutV3() if frame is not None:
                    chunk_map = read_chunk_map(self._file, self._map, frame)
                    impossible = impossible_chunks(frame, chunk_map, self._file.nbytes)
                    self._claim_chunks(path, chunk_map, impossible)
                    if refers_elsewhere(messages.datatype):
                        self._check_chunked(path, address, messages, frame, chunk_map.take(~impossible))
                case ContiguousLayout() as layout if layout.address != UNDEFINED_ADDRESS:
                    self._file.check_range(layout.address, layout.nbytes, "contiguous data")
                    self._map.claim(Kind.DATA, path, layout.address, layout.nbytes)
                    if refers_elsewhere(messages.datatype):
                        self._check_contiguous(path, layout, messages.datatype)
                case VirtualLayout() as layout if layout.collection_address != UNDEFINED_ADDRESS:
                    check_virtual_mappings(self._heap.content(layout.collection_address, layout.index, path))
                case CompactLayout() as layout if refers_elsewhere(messages.datatype):
                    elements = np.frombuffer(layout.data, np.uint8).reshape(-1, messages.datatype.nbytes)
                    self._check_elements(path, elements, messages.datatype)
        except FormatError as error:
            self._content.add(path, address, error)
        self._content.datasets.append(StoredDataset(path, address, messages, frame, chunk_map))

    def _claim_chunks(self, path: str, chunk_map: ChunkMap, impossible: NDArray[np.bool_]) -> None:
        addresses, nbytes = chunk_map.addresses, chunk_map.stored_nbytes
        if (
            impossible.any()
        ):  # rows stay those of the chunk map: such a chunk is claimed as nothing at the end
            addresses = np.where(impossible, np.uint64(self._map.file_nbytes), addresses)
            nbytes = np.where(impossible, np.uint64(0), nbytes)
        self._map.claim_chunks(path, addresses, nbytes)

    def _check_contiguous(self, path: str, layout: ContiguousLayout, datatype: DatatypeClass) -> None:
        """Check the elements of contiguous data, some at a time."""
        step = max(1, _PIECE_NBYTES // datatype.nbytes) * datatype.nbytes
        for start in range(0, layout.nbytes, step):
            nbytes = min(step, layout.nbytes - start)
            raw = self._file.read(layout.address + start, nbytes, "contiguous data")
            self._check_elements(path, np.frombuffer(raw, np.uint8).reshape(-1, datatype.nbytes), datatype)

    def _check_chunked(
        self, path: str, address: int, messages: DatasetMessages, frame: ChunkFrame, chunk_map: ChunkMap
    ) -> None:
        """Check the elements of chunks that can be, one at a time; a chunk that cannot be decoded is left out.

        Who decodes all chunks will report it.
        """
        for row, decoder, stored in stored_chunks(self._file, messages.filters, frame, chunk_map):
            with suppress(FormatError):
                raw = np.frombuffer(decoder.decode(stored), np.uint8)
                self._check_elements_of_chunk(path, address, raw, messages.datatype, chunk_map.coords_at(row))

    def _check_elements_of_chunk(
        self,
        path: str,
        address: int,
        raw: NDArray[np.uint8],
        datatype: DatatypeClass,
        coords: tuple[int, ...],
    ) -> None:
        try:
            self._check_elements(path, raw.reshape(-1, datatype.nbytes), datatype)
        except FormatError as error:
            self._content.add(path, address, FormatError(f"chunk {coords}: {error}"))
