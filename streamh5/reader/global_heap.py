"""Global heap collections of a file (specification III.E)."""

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

_N_RECENT = 16  # a collection usually has 4 KiB, or the size of its only object


def read_global_heap_collection(
    file: FileBytes, address: int, read: Callable[[int, int, str], bytes] | None = None
) -> dict[int, bytes]:
    """Read a collection, and return its objects by index.

    Parameters
    ----------
    file, address
        The file, and the address of the collection.
    read
        `StructureReader.read`, to enter the collection in a file map; by default, `FileBytes.read` of the file.

    Raises
    ------
    FormatError
        A field is wrong, or the collection does not fit the file or the map.
    """
    head = file.read(address, SIZEOF_COLLECTION_HEADER, STRUCTURE)
    nbytes = decode_sizeof_global_heap_collection(head, file.encoding)
    return decode_global_heap_collection((read or file.read)(address, nbytes, STRUCTURE), file.encoding)


class GlobalHeap:
    """The collections of a file. Each is entered in the file map and checked when it is first used.

    The sizes of all objects stay in memory, but the contents only of the last 16 collections: consecutive elements have
    their objects in the same collection.

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
        """Return the size in bytes of an object to which `owner` refers.

        Raises
        ------
        FormatError
            The collection is damaged or has no such object.
        """
        if collection_address not in self._sizes:
            reader = StructureReader(self._file, self._map, Kind.HEAP, owner)
            try:
                # which the library reads as data (H5F_block_read)
                read = partial(reader.read, pages=())
                found = read_global_heap_collection(self._file, collection_address, read)
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
        """Return an object to which `owner` refers.

        Raises
        ------
        FormatError
            The collection is damaged or has no such object.
        """
        self.object_nbytes(collection_address, index, owner)
        return self._objects(collection_address)[index]
