"""Local heap from bytes (specification III.D): names of links in old groups, and of external files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.format.fields import Fields
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["LocalHeap"]

_STRUCTURE = "local heap"
_NO_FREE_BLOCK = 1


class LocalHeap:
    """One local heap, which is read when it is made. It has no checksum.

    Parameters
    ----------
    file, file_map
        The file, and the map in which the heap is entered.
    owner
        Object that has the heap.
    address
        Of the heap's header.

    Raises
    ------
    FormatError
        A field is wrong, or a free block is outside of the heap.
    """

    def __init__(self, file: FileBytes, file_map: FileMap, owner: str, address: int) -> None:
        encoding = file.encoding
        n_header = 4 + 4 + 2 * encoding.sizeof_length + encoding.sizeof_address
        file.check_range(address, n_header, _STRUCTURE)
        file_map.claim(Kind.HEAP, owner, address, n_header)
        fields = Fields(file.read(address, n_header, _STRUCTURE), _STRUCTURE, encoding)
        fields.expect_signature(b"HEAP")
        fields.expect(0, 1, "version")
        fields.take(3, "reserved bytes")
        nbytes = fields.length("data segment size")
        first_free = fields.length("offset to head of free list")
        data_address = fields.address("address of data segment")
        file.check_range(data_address, nbytes, "local heap data segment")
        file_map.claim(Kind.HEAP, owner, data_address, nbytes)
        self._data = file.read(data_address, nbytes, "local heap data segment")
        self._encoding = encoding
        self._check_free_list(first_free)

    def text(self, offset: int) -> str:
        """Return the text at `offset`, up to its NUL; bytes that are not UTF-8 become surrogates.

        Raises
        ------
        FormatError
            It is not in the heap.
        """
        fields = Fields(self._data, _STRUCTURE)
        fields.skip_to(offset, "offset of a name")
        return fields.terminated_text("name")

    def _check_free_list(self, offset: int) -> None:
        none = (_NO_FREE_BLOCK, 256**self._encoding.sizeof_length - 1)
        fields = Fields(self._data, "local heap free block", self._encoding)
        n_left = len(self._data)
        while offset not in none:
            fields.skip_to(offset, "offset")
            following, nbytes = fields.length("offset of next free block"), fields.length("size")
            n_left -= max(nbytes, 1)
            if offset + nbytes > len(self._data) or n_left < 0:
                raise fields.error(f"{nbytes:,} bytes at offset {offset:,} of a heap of {len(self._data):,}")
            offset = following
