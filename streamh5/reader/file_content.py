"""The content of a file: the walk from the superblock over all objects to each chunk index, without decoding chunks."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.data_layout import (
    ChunkedLayout,
    CompactLayout,
    ContiguousLayout,
    VirtualDatasetLayout,
)
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.superblock import Superblock
from streamh5.format.virtual_mapping import check_virtual_mappings
from streamh5.reader.chunk_index.chunk_frame import impossible_chunks
from streamh5.reader.chunk_index.read_index import read_chunk_map
from streamh5.reader.elements import check_elements, refers_elsewhere
from streamh5.reader.file_map import FileMap, Kind
from streamh5.reader.global_heap import GlobalHeap
from streamh5.reader.object_content import DatasetMessages, DatatypeMessages, GroupMessages
from streamh5.reader.object_header import SharedMessages
from streamh5.reader.object_walk import MAX_PATH_LENGTH, ObjectWalk
from streamh5.reader.stored_chunks import StoredChunks
from streamh5.reader.superblock import read_superblock, read_superblock_extension

if TYPE_CHECKING:
    from streamh5.filters.base import Bytes
    from streamh5.format.datatype_class import DatatypeClass
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.object_walk import ObjectPlace

MAX_FINDINGS = 1000
"""Findings of each kind that are described; others are only counted."""

_PIECE_NBYTES = 1 << 20
"""Bytes of contiguous data that are read at a time to check their elements."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is damaged or not checked.

    Attributes
    ----------
    path, address
        Path of the object, and position of its header in the file.
    problem
        Description.
    """

    path: str
    address: int
    problem: str


Messages = TypeVar("Messages", GroupMessages, DatasetMessages, DatatypeMessages)


@dataclass(frozen=True, slots=True)
class ObjectContent(Generic[Messages]):
    """One object of the file.

    Attributes
    ----------
    path, address
        The first path that leads to the object, and the address of its object header.
    messages
        The decoded messages of its header.
    chunks
        The stored chunks of a dataset; None for other objects, other layouts, and a damaged chunk index.
    """

    path: str
    address: int
    messages: Messages
    chunks: StoredChunks | None = None


@dataclass(slots=True)
class FileContent:
    """The objects of a file, where its structures lie, and what is wrong with them.

    Addresses are those stored in the file, except in findings: position = address + `superblock.base_address`.

    Attributes
    ----------
    superblock
        The superblock.
    file_nbytes
        Size of the file in bytes, including a user block and what follows the end of file of the superblock.
    file_map
        Extents of all structures and chunks that were reached.
    groups, datasets, datatypes
        Each object once, under the first path that leads to it, in the order of the walk.
    n_damages, damages
        Number of damaged structures, and the first of them.
    n_unchecked, unchecked
        Number of structures that the reader does not know, and the first of them.
    page_nbytes
        Size of the pages of a file with paged aggregation; 0 without.
    """

    superblock: Superblock
    file_nbytes: int
    file_map: FileMap
    groups: list[ObjectContent[GroupMessages]] = field(default_factory=list)
    datasets: list[ObjectContent[DatasetMessages]] = field(default_factory=list)
    datatypes: list[ObjectContent[DatatypeMessages]] = field(default_factory=list)
    n_damages: int = 0
    damages: list[Finding] = field(default_factory=list)
    n_unchecked: int = 0
    unchecked: list[Finding] = field(default_factory=list)
    page_nbytes: int = 0

    def add(self, path: str, address: int, error: FormatError) -> None:
        """Add an error of a decoder as damage, or as not checked if it is a `ForeignStructureError`."""
        if isinstance(error, ForeignStructureError):
            self.add_unchecked(path, address, str(error))
            return
        self.n_damages += 1
        if len(self.damages) < MAX_FINDINGS:
            self.damages.append(Finding(path, address + self.superblock.base_address, str(error)))

    def add_unchecked(self, path: str, address: int, problem: str) -> None:
        """Add something that is not checked."""
        self.n_unchecked += 1
        if len(self.unchecked) < MAX_FINDINGS:
            self.unchecked.append(Finding(path, address + self.superblock.base_address, problem))


def read_file_content(file: FileBytes) -> FileContent:
    """Read all metadata of a file, which may have been written by any program.

    Damage is added to the result, and the walk continues. Time and memory are limited to a multiple of the size of the
    file. Afterwards, `file` is read by the addresses stored in it.

    Raises
    ------
    FormatError
        There is no superblock, or it is damaged: nothing can be found without it.
    ForeignStructureError
        The reader does not know the version of the superblock, or objects are not stored at their addresses (one part
        of a family of files, an image of the metadata cache).
    """
    file_nbytes = file.nbytes
    superblock = read_superblock(file)
    there = file.nbytes
    # A writer updates the superblock when it closes the file: until then, the file may be longer.
    if not superblock.is_open_for_writing:
        file.limit(superblock.span)
    content = FileContent(superblock, file_nbytes, FileMap(file.nbytes))
    if superblock.span > there:
        problem = f"superblock: the file has {there:,} bytes instead of {superblock.span:,}: it was truncated"
        content.add("/", 0, FormatError(problem))
    content.file_map.claim(Kind.SUPERBLOCK, "/", 0, min(superblock.nbytes, file.nbytes))
    if superblock.is_open_for_writing:
        content.add_unchecked(
            "/", 0, "superblock: the file is marked as open for writing and may be changing"
        )
    shared = SharedMessages(file, content.file_map)
    try:
        extension = read_superblock_extension(file, content.file_map, superblock, shared)
        content.page_nbytes = extension.page_nbytes
        for problem in extension.unchecked:
            content.add_unchecked("/", superblock.extension_address, problem)
    except ForeignStructureError:
        raise
    except FormatError as error:
        content.add("/", superblock.extension_address, error)
    _Visitor(file, content, ObjectWalk(file, content.file_map, shared)).run()
    return content


class _Visitor:
    """Adds each object of one file to its content, and checks what the elements of the object refer to."""

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
                problem = f"an object reference refers to address {address:,}, to which no path leads"
                self._content.add_unchecked(path, address, problem)

    def _visit(self, place: ObjectPlace) -> None:
        """Add an object, and follow its links."""
        messages = self._walk.messages(place, self._walk.header(place))
        for problem in messages.common.unchecked:
            self._content.add_unchecked(place.path, place.address, problem)
        for attribute in messages.common.attributes:
            self._check_elements(place, f"attribute {attribute.name!r}: ", attribute.datatype, attribute.data)
        match messages:
            case DatasetMessages():
                self._visit_dataset(place, messages)
            case DatatypeMessages():
                self._content.datatypes.append(ObjectContent(place.path, place.address, messages))
            case GroupMessages():
                self._content.groups.append(ObjectContent(place.path, place.address, messages))
                if not self._walk.follow(place, messages.links):
                    problem = f"objects with paths over {MAX_PATH_LENGTH} characters"
                    self._content.add_unchecked(place.path, place.address, problem)

    def _visit_dataset(self, place: ObjectPlace, messages: DatasetMessages) -> None:
        path, datatype = place.path, messages.datatype
        frame = messages.frame(path)
        chunks: StoredChunks | None = None
        try:
            match messages.layout:
                case ChunkedLayout() if frame is not None:
                    chunks = StoredChunks(frame, read_chunk_map(self._file, self._map, frame))
                    self._visit_chunks(place, datatype, chunks)
                case ContiguousLayout(address, nbytes) if address != UNDEFINED_ADDRESS:
                    self._file.check_range(address, nbytes, "contiguous data")
                    self._map.claim(Kind.DATA, path, address, nbytes)
                    self._check_contiguous(place, datatype, address, nbytes)
                case VirtualDatasetLayout(address, index) if address != UNDEFINED_ADDRESS:
                    check_virtual_mappings(self._heap.content(address, index, path))
                case CompactLayout(data):
                    self._check_elements(place, "", datatype, data)
        except FormatError as error:
            self._content.add(path, place.address, error)
        self._content.datasets.append(ObjectContent(path, place.address, messages, chunks))

    def _visit_chunks(self, place: ObjectPlace, datatype: DatatypeClass, chunks: StoredChunks) -> None:
        chunk_map = chunks.chunk_map
        impossible = impossible_chunks(chunks.frame, chunk_map, self._file.nbytes)
        addresses, stored_nbytes = chunk_map.addresses, chunk_map.stored_nbytes
        # claimed as 0 bytes at the end of the file, so that rows stay those of the chunk map
        if impossible.any():
            addresses = np.where(impossible, np.uint64(self._map.file_nbytes), addresses)
            stored_nbytes = np.where(impossible, np.uint64(0), stored_nbytes)
        self._map.claim_chunks(place.path, addresses, stored_nbytes)
        if refers_elsewhere(datatype):
            for coords, decoder, stored in chunks.take(~impossible).read_each(self._file):
                # a chunk that cannot be decoded is reported by the check of all chunks
                with suppress(FormatError):
                    self._check_elements(place, f"chunk {coords}: ", datatype, decoder.decode(stored))

    def _check_contiguous(
        self, place: ObjectPlace, datatype: DatatypeClass, address: int, nbytes: int
    ) -> None:
        """Check the elements of contiguous data piece by piece, until one is damaged."""
        if refers_elsewhere(datatype):
            step = max(1, _PIECE_NBYTES // datatype.nbytes) * datatype.nbytes
            for start in range(0, nbytes, step):
                piece = self._file.read(address + start, min(step, nbytes - start), "contiguous data")
                if not self._check_elements(place, "", datatype, piece):
                    break

    def _check_elements(self, place: ObjectPlace, where: str, datatype: DatatypeClass, data: Bytes) -> bool:
        """Check what elements refer to; add damage, with `where` in front, and return whether there is none."""
        if refers_elsewhere(datatype):
            elements = np.frombuffer(data, np.uint8).reshape(-1, datatype.nbytes)
            try:
                for address in check_elements(elements, datatype, self._heap, place.path).tolist():
                    self._referenced.setdefault(address, place.path)
            except FormatError as error:
                self._content.add(place.path, place.address, FormatError(f"{where}{error}"))
                return False
        return True
