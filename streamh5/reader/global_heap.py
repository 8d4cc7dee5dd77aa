"""Global heap collections from bytes (specification III.E), and the variable-length elements that use them.

A collection has no checksum: only its structure, and that objects are as long as the elements that refer to
them, can be checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.errors import FormatError
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["GlobalHeap", "HeapObject", "decode_global_heap_collection"]

_STRUCTURE = "global heap collection"
_SIZEOF_COLLECTION_HEADER = 16
_SIZEOF_OBJECT_HEADER = 16
_ALIGNMENT = 8


def decode_global_heap_collection(block: bytes, encoding: Encoding = ENCODING) -> dict[int, bytes]:
    """Decode a whole collection: its objects by index.

    Raises
    ------
    FormatError
        A field is wrong, or the objects do not tile the collection.
    """
    fields = Fields(block, _STRUCTURE, encoding)
    sizeof_gap = _SIZEOF_OBJECT_HEADER - 8 - encoding.sizeof_length
    fields.expect_signature(b"GCOL")
    fields.expect(1, 1, "version")
    fields.expect(0, 3, "reserved bytes")
    fields.expect(len(block), encoding.sizeof_length, "collection size")
    fields.take(sizeof_gap, "padding of the header")
    objects: dict[int, bytes] = {}
    while fields.n_left >= _SIZEOF_OBJECT_HEADER:
        index = fields.uint(2, "object index")
        fields.uint(2, "reference count")
        fields.expect(0, 4, "reserved bytes of an object")
        nbytes = fields.length("object size")
        fields.take(sizeof_gap, "padding of the object header")
        if index == 0:  # free space, which counts its own header
            n_left = fields.n_left + _SIZEOF_OBJECT_HEADER
            if not _SIZEOF_OBJECT_HEADER <= nbytes <= n_left:
                raise fields.error(f"free space of {nbytes:,} bytes, where {n_left:,} are left")
            fields.take(nbytes - _SIZEOF_OBJECT_HEADER, "free space")
            continue
        if index in objects:
            raise fields.error(f"two objects have index {index}")
        objects[index] = fields.take(nbytes, f"object {index}")
        fields.take(-nbytes % _ALIGNMENT, f"padding of object {index}")
    if fields.n_left % _ALIGNMENT:
        raise fields.error(f"{fields.n_left} bytes are left behind its last object")
    return objects


@dataclass(frozen=True, slots=True)
class HeapObject:
    """What is remembered of an object: its size."""

    nbytes: int


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

    def content(self, collection_address: int, index: int, owner: str) -> bytes:
        """Read one object.

        Raises
        ------
        FormatError
            The collection is damaged or has no such object.
        """
        self.find(collection_address, index, owner)
        return decode_global_heap_collection(self._block(collection_address), self._file.encoding)[index]

    def _read(self, address: int, owner: str) -> dict[int, HeapObject]:
        nbytes = self._sizeof_collection(address)
        self._map.claim(Kind.HEAP, owner, address, nbytes)
        found = decode_global_heap_collection(self._block(address), self._file.encoding)
        return {index: HeapObject(len(content)) for index, content in found.items()}

    def _block(self, address: int) -> bytes:
        return self._file.read(address, self._sizeof_collection(address), _STRUCTURE)

    def _sizeof_collection(self, address: int) -> int:
        start = self._file.read(address, _SIZEOF_COLLECTION_HEADER, _STRUCTURE)
        prefix = Fields(start, _STRUCTURE, self._file.encoding)
        prefix.expect_signature(b"GCOL")
        prefix.take(4, "version")
        nbytes = prefix.length("collection size")
        if nbytes < _SIZEOF_COLLECTION_HEADER:
            raise prefix.error(f"collection size is {nbytes:,}")
        self._file.check_range(address, nbytes, _STRUCTURE)
        return nbytes
