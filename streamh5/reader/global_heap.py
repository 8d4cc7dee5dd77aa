"""Global heap collections of a file (specification III.E), each checked once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.errors import FormatError
from streamh5.format.global_heap import (
    SIZEOF_COLLECTION_HEADER,
    STRUCTURE,
    decode_global_heap_collection,
    decode_sizeof_global_heap_collection,
)
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap


def read_global_heap_collection(
    file: FileBytes, address: int, file_map: FileMap | None = None, owner: str = ""
) -> dict[int, bytes]:
    """Read a whole collection: its objects by index.

    Parameters
    ----------
    file, address
        The file, and where the collection is.
    file_map, owner
        Map to enter the collection in, and the object that refers to it.

    Raises
    ------
    FormatError
        A field is wrong, or the collection does not fit the file or the map.
    """
    head = file.read(address, SIZEOF_COLLECTION_HEADER, STRUCTURE)
    nbytes = decode_sizeof_global_heap_collection(head, file.encoding)
    file.check_range(address, nbytes, STRUCTURE)
    if file_map is not None:
        file_map.claim(Kind.HEAP, owner, address, nbytes)
    return decode_global_heap_collection(file.read(address, nbytes, STRUCTURE), file.encoding)


class GlobalHeap:
    """The collections of a file, each read once; contents are not kept.

    Parameters
    ----------
    file, file_map
        The file, and the map in which collections are entered.
    """

    def __init__(self, file: FileBytes, file_map: FileMap) -> None:
        self._file = file
        self._map = file_map
        self._collections: dict[int, dict[int, int] | FormatError] = {}

    def object_nbytes(self, collection_address: int, index: int, owner: str) -> int:
        """Return the size of one object, to which `owner` refers.

        Raises
        ------
        FormatError
            The collection is damaged or has no such object.
        """
        if collection_address not in self._collections:
            try:
                found = read_global_heap_collection(self._file, collection_address, self._map, owner)
                self._collections[collection_address] = {i: len(content) for i, content in found.items()}
            except FormatError as error:
                self._collections[collection_address] = error
        objects = self._collections[collection_address]
        if isinstance(objects, FormatError):
            raise objects
        if index not in objects:
            raise FormatError(
                f"global heap collection at address {collection_address:,} has no object {index}",
                address=collection_address,
                index=index,
            )
        return objects[index]

    def content(self, collection_address: int, index: int, owner: str) -> bytes:
        """Read one object.

        Raises
        ------
        FormatError
            The collection is damaged or has no such object.
        """
        self.object_nbytes(collection_address, index, owner)
        return read_global_heap_collection(self._file, collection_address)[index]
