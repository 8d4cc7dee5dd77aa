"""The walk over the objects of a file: from the root group along hard links, each object once, without recursion.

::

    root ──▶ header ──▶ messages ──▶ links ─┐       the caller reads as much of each object as it needs,
               ▲                            │       and decides which links are followed and in which order
               └──────── next place ◀───────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.format.character_set import printable_text
from streamh5.format.link import HardLink
from streamh5.reader.file_map import FileMap, Kind, StructureReader
from streamh5.reader.object_content import (
    DatasetMessages,
    DatatypeMessages,
    GroupMessages,
    decode_object,
)
from streamh5.reader.object_header import SharedMessages
from streamh5.reader.object_storage import ObjectStorage
from streamh5.reader.superblock import read_superblock, read_superblock_extension

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamh5.format.link import Link
    from streamh5.format.superblock import Superblock
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.object_header import ObjectHeader

MAX_PATH_LENGTH = 4096
"""Longest path of a group whose links are followed, so that paths do not need more memory than the file."""


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """Path of an object, with surrogates for bytes that are not UTF-8, and address of its object header."""

    path: str
    address: int

    @property
    def shown(self) -> str:
        """The path with replacement characters instead of surrogates."""
        return printable_text(self.path)


class ObjectWalk:
    """Yields the places of objects: the root group, then all objects that calls of `follow` lead to, depth first.

    Parameters
    ----------
    file, file_map
        The file, and the map in which structures are entered.
    shared
        Shared messages of the file; by default those of a file without superblock extension.

    Attributes
    ----------
    file_map
        The map with all structures that were read.
    places
        First place of each object by the address of its header, in the order of the walk.
    """

    def __init__(self, file: FileBytes, file_map: FileMap, shared: SharedMessages | None = None) -> None:
        self._file = file
        self.file_map = file_map
        self._shared = shared or SharedMessages(file, file_map)
        self._pending: list[ObjectPlace] = []
        self.places: dict[int, ObjectPlace] = {}

    def over(self, root_address: int) -> Iterator[ObjectPlace]:
        """Yield the root group, then the objects that `follow` was called for until then."""
        self._pending.append(ObjectPlace("/", root_address))
        while self._pending:
            place = self._pending.pop()
            if place.address not in self.places:
                self.places[place.address] = place
                yield place

    def header(self, place: ObjectPlace) -> ObjectHeader:
        """Read the header of an object."""
        return self._shared.header(place.path, place.address)

    def messages(
        self, place: ObjectPlace, header: ObjectHeader
    ) -> GroupMessages | DatasetMessages | DatatypeMessages:
        """Decode the messages of an object, and read what it stores outside its header."""
        reader = StructureReader(self._file, self.file_map, Kind.HEAP, place.path)
        return decode_object(header, ObjectStorage(reader, self._shared))

    def follow(self, place: ObjectPlace, links: Iterable[Link]) -> bool:
        """Continue the walk with the targets of hard links of a group, in the given order.

        Returns False, and follows no link, if the path of the group is longer than `MAX_PATH_LENGTH`.
        """
        parent = place.path.rstrip("/")
        inside = [
            ObjectPlace(f"{parent}/{link.name}", link.target.address)
            for link in links
            if isinstance(link.target, HardLink)
        ]
        if inside and len(parent) > MAX_PATH_LENGTH:
            return False
        self._pending += reversed(inside)
        return True


def read_object(file: FileBytes, place: ObjectPlace) -> GroupMessages | DatasetMessages | DatatypeMessages:
    """Read a single object of a file, outside of a walk."""
    walk = ObjectWalk(file, FileMap(file.nbytes))
    return walk.messages(place, walk.header(place))


def open_walk(file: FileBytes) -> tuple[Superblock, ObjectWalk]:
    """Read the superblock and its extension; return the superblock, and a walk over the objects of the file.

    Raises
    ------
    FormatError
        There is no superblock, or a structure is damaged.
    ForeignStructureError
        The reader does not know a structure, or the objects are not where their addresses say.
    """
    superblock = read_superblock(file)
    file.limit(superblock.span)
    file_map = FileMap(file.nbytes)
    shared = SharedMessages(file, file_map)
    read_superblock_extension(file, file_map, superblock, shared)
    return superblock, ObjectWalk(file, file_map, shared)
