"""Global heap collections from bytes (specification III.E), and the variable-length elements that use them.

A collection has no checksum: only its structure, and that objects are as long as the elements that refer to
them, can be checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.errors import FormatError
from streamh5.format.global_heap import MIN_COLLECTION_NBYTES
from streamh5.reader.fields import Fields
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["GlobalHeap", "HeapObject", "decode_global_heap_collection"]

_STRUCTURE = "global heap collection"
_SIZEOF_COLLECTION_HEADER = 16
_SIZEOF_OBJECT_HEADER = 16
_ALIGNMENT = 8


def decode_global_heap_collection(block: bytes) -> dict[int, bytes]:
    """Decode a whole collection: its objects by index.

    Raises
    ------
    FormatError
        A field is wrong, or the objects do not tile the collection.
    """
    fields = Fields(block, _STRUCTURE)
    fields.expect_signature(b"GCOL")
    fields.expect(1, 1, "version")
    fields.expect(0, 3, "reserved bytes")
    fields.expect(len(block), 8, "collection size")
    objects: dict[int, bytes] = {}
    while fields.n_left >= _SIZEOF_OBJECT_HEADER:
        index = fields.uint(2, "object index")
        fields.uint(2, "reference count")
        fields.expect(0, 4, "reserved bytes of an object")
        nbytes = fields.length("object size")
        if index == 0:  # free space, which counts its own header
            if nbytes != fields.n_left + _SIZEOF_OBJECT_HEADER:
                raise fields.error(
                    f"free space of {nbytes:,} bytes, where {fields.n_left + _SIZEOF_OBJECT_HEADER:,} are left"
                )
            return objects
        if index in objects:
            raise fields.error(f"two objects have index {index}")
        objects[index] = fields.take(nbytes, f"object {index}")
        fields.take(-nbytes % _ALIGNMENT, f"padding of object {index}")
    if fields.n_left % _ALIGNMENT:
        raise fields.error(f"{fields.n_left} bytes are left behind its last object")
    return objects


@dataclass(frozen=True, slots=True)
class HeapObject:
    """What is remembered of an object: its size, and whether it is UTF-8."""

    nbytes: int
    is_utf8: bool


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
        self._collections: dict[int, dict[int, HeapObject] | FormatError] = {}

    def find(self, collection_address: int, index: int, owner: str) -> HeapObject:
        """Return what is known of one object, to which `owner` refers.

        Raises
        ------
        FormatError
            The collection is damaged or has no such object.
        """
        if collection_address not in self._collections:
            try:
                self._collections[collection_address] = self._read(collection_address, owner)
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

    def _read(self, address: int, owner: str) -> dict[int, HeapObject]:
        prefix = Fields(self._file.read(address, _SIZEOF_COLLECTION_HEADER, _STRUCTURE), _STRUCTURE)
        prefix.expect_signature(b"GCOL")
        prefix.take(4, "version")
        nbytes = prefix.length("collection size")
        if nbytes < MIN_COLLECTION_NBYTES:
            raise prefix.error(
                f"collection size is {nbytes:,}; HDF5 takes at least {MIN_COLLECTION_NBYTES:,}"
            )
        self._file.check_range(address, nbytes, _STRUCTURE)
        self._map.claim(Kind.HEAP, owner, address, nbytes)
        block = self._file.read(address, nbytes, _STRUCTURE)
        return {
            index: HeapObject(len(content), _is_utf8(content))
            for index, content in decode_global_heap_collection(block).items()
        }


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
