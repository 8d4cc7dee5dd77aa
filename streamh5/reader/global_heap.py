"""Global heap collections of a file (specification III.E), each checked once."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from streamh5.errors import FormatError
from streamh5.format.global_heap import (
    SIZEOF_COLLECTION_HEADER,
    STRUCTURE,
    decode_global_heap_collection,
    decode_sizeof_global_heap_collection,
)
from streamh5.reader.file_map import Kind, StructureReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

_N_RECENT = 16


def read_global_heap_collection(
    file: FileBytes, address: int, read: Callable[[int, int, str], bytes] | None = None
) -> dict[int, bytes]:
    """Read a collection: its objects by index.

    Parameters
    ----------
    file, address
        The file, and the address of the collection.
    read
        Reads the collection, given its address, its size and what it is: `StructureReader.read` to enter it in a file
        map. By default the `read` of the file.

    Raises
    ------
    FormatError
        A field is wrong, or the collection does not fit the file or the map.
    """
    head = file.read(address, SIZEOF_COLLECTION_HEADER, STRUCTURE)
    nbytes = decode_sizeof_global_heap_collection(head, file.encoding)
    return decode_global_heap_collection((read or file.read)(address, nbytes, STRUCTURE), file.encoding)


class GlobalHeap:
    """The collections of a file: each is entered in the file map and checked once.

    The sizes of all objects stay in memory, and the contents of the `_N_RECENT` collections used last: elements that
    follow each other have their objects in the same collections.

    Parameters
    ----------
    file, file_map
        The file, and the map in which collections are entered.
    """

    def __init__(self, file: FileBytes, file_map: FileMap) -> None:
        self._file = file
        self._map = file_map
        self._sizes: dict[int, dict[int, int] | FormatError] = {}
        self._objects = lru_cache(_N_RECENT)(partial(read_global_heap_collection, file))

    def object_nbytes(self, collection_address: int, index: int, owner: str) -> int:
        """Return the size in bytes of one object, to which `owner` refers.

        Raises
        ------
        FormatError
            The collection is damaged or has no such object.
        """
        if collection_address not in self._sizes:
            reader = StructureReader(self._file, self._map, Kind.HEAP, owner)
            try:
                found = read_global_heap_collection(self._file, collection_address, reader.read)
                self._sizes[collection_address] = {i: len(content) for i, content in found.items()}
            except FormatError as error:
                self._sizes[collection_address] = error
        sizes = self._sizes[collection_address]
        if isinstance(sizes, FormatError):
            raise sizes
        if index not in sizes:
            raise FormatError(
                f"global heap collection at address {collection_address:,} has no object {index}",
                address=collection_address,
                index=index,
            )
        return sizes[index]

    def content(self, collection_address: int, index: int, owner: str) -> bytes:
        """Read one object.

        Raises
        ------
        FormatError
            The collection is damaged or has no such object.
        """
        self.object_nbytes(collection_address, index, owner)
        return self._objects(collection_address)[index]
