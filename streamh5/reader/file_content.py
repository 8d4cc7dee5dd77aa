"""A whole file: the walk from the superblock over all groups to every chunk index."""

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
    VirtualLayout,
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


Messages = TypeVar("Messages", GroupMessages, DatasetMessages, DatatypeMessages)


@dataclass(frozen=True, slots=True)
class ObjectContent(Generic[Messages]):
    """One object of the file.

    Attributes
    ----------
    path, address
        The first path that leads to it, and the address of its object header.
    messages
        What its header says.
    chunks
        The chunks of a dataset; None without chunks, or where their index is damaged.
    """

    path: str
    address: int
    messages: Messages
    chunks: StoredChunks | None = None


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
    groups: list[ObjectContent[GroupMessages]] = field(default_factory=list)
    datasets: list[ObjectContent[DatasetMessages]] = field(default_factory=list)
    datatypes: list[ObjectContent[DatatypeMessages]] = field(default_factory=list)
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
        """Read an object, and follow its links."""
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

    def _visit_dataset(self, place: Place, messages: DatasetMessages) -> None:
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
                case VirtualLayout(address, index) if address != UNDEFINED_ADDRESS:
                    check_virtual_mappings(self._heap.content(address, index, path))
                case CompactLayout(data):
                    self._check_elements(place, "", datatype, data)
        except FormatError as error:
            self._content.add(path, place.address, error)
        self._content.datasets.append(ObjectContent(path, place.address, messages, chunks))

    def _visit_chunks(self, place: Place, datatype: DatatypeClass, chunks: StoredChunks) -> None:
        chunk_map = chunks.chunk_map
        impossible = impossible_chunks(chunks.frame, chunk_map, self._file.nbytes)
        addresses, stored_nbytes = chunk_map.addresses, chunk_map.stored_nbytes
        if (
            impossible.any()
        ):  # rows of the map stay: such a chunk is claimed as no bytes at the end of the file
            addresses = np.where(impossible, np.uint64(self._map.file_nbytes), addresses)
            stored_nbytes = np.where(impossible, np.uint64(0), stored_nbytes)
        self._map.claim_chunks(place.path, addresses, stored_nbytes)
        if refers_elsewhere(datatype):
            for coords, decoder, stored in chunks.take(~impossible).read_each(self._file):
                with suppress(FormatError):  # what decodes all chunks reports those that cannot be decoded
                    self._check_elements(place, f"chunk {coords}: ", datatype, decoder.decode(stored))

    def _check_contiguous(self, place: Place, datatype: DatatypeClass, address: int, nbytes: int) -> None:
        """Check the elements of contiguous data piece by piece, up to the first damaged one."""
        if refers_elsewhere(datatype):
            step = max(1, _PIECE_NBYTES // datatype.nbytes) * datatype.nbytes
            for start in range(0, nbytes, step):
                piece = self._file.read(address + start, min(step, nbytes - start), "contiguous data")
                if not self._check_elements(place, "", datatype, piece):
                    break

    def _check_elements(self, place: Place, where: str, datatype: DatatypeClass, data: Bytes) -> bool:
        """Check what elements refer to; return whether it is good, otherwise enter the damage."""
        if refers_elsewhere(datatype):
            elements = np.frombuffer(data, np.uint8).reshape(-1, datatype.nbytes)
            try:
                for address in check_elements(elements, datatype, self._heap, place.path).tolist():
                    self._referenced.setdefault(address, place.path)
            except FormatError as error:
                self._content.add(place.path, place.address, FormatError(f"{where}{error}"))
                return False
        return True
