"""Local heap (specification III.D): names of links in old groups, and of external files; without a checksum."""

from __future__ import annotations

from dataclasses import dataclass

from streamh5.format.fields import ENCODING, Encoding, Fields

_STRUCTURE = "local heap"
_NO_FREE_BLOCK = 1  # H5HL_FREE_NULL


@dataclass(frozen=True, slots=True)
class LocalHeapHeader:
    """Size and address of the data segment, and the head of its list of free blocks."""

    data_nbytes: int
    first_free: int
    data_address: int


def sizeof_local_heap_header(encoding: Encoding = ENCODING) -> int:
    """Return the size of a header in bytes."""
    return 4 + 4 + 2 * encoding.sizeof_length + encoding.sizeof_address


def decode_local_heap_header(block: bytes, encoding: Encoding = ENCODING) -> LocalHeapHeader:
    """Decode a header.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(block, _STRUCTURE, encoding)
    fields.expect_signature(b"HEAP")
    fields.expect(0, 1, "version")
    fields.take(3, "reserved bytes")
    return LocalHeapHeader(
        fields.length("data segment size"),
        fields.length("offset to head of free list"),
        fields.address("address of data segment"),
    )


@dataclass(frozen=True, slots=True)
class LocalHeap:
    """The data segment of a heap."""

    data: bytes

    def text(self, offset: int) -> str:
        """Return the text at `offset` up to its NUL; bytes that are not UTF-8 become surrogates.

        Raises
        ------
        FormatError
            The offset is outside of the heap, or the text has no NUL.
        """
        fields = Fields(self.data, _STRUCTURE)
        fields.skip_to(offset, "offset of a name")
        return fields.terminated_text("name")


def decode_local_heap(data: bytes, first_free: int, encoding: Encoding = ENCODING) -> LocalHeap:
    """Return the heap of a data segment after checking its list of free blocks.

    Raises
    ------
    FormatError
        A free block is outside of the heap, or the list is circular.
    """
    fields = Fields(data, "local heap free block", encoding)
    offset = first_free
    n_left = len(data)
    while offset not in (_NO_FREE_BLOCK, 256**encoding.sizeof_length - 1):
        fields.skip_to(offset, "offset")
        following, nbytes = fields.length("offset of next free block"), fields.length("size")
        n_left -= max(nbytes, 1)  # terminates a circular list
        if offset + nbytes > len(data) or n_left < 0:
            raise fields.error(f"{nbytes:,} bytes at offset {offset:,} of a heap of {len(data):,}")
        offset = following
    return LocalHeap(data)
