"""Read a local heap of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.format.local_heap import (
    LocalHeap,
    decode_local_heap,
    decode_local_heap_header,
    sizeof_local_heap_header,
)

if TYPE_CHECKING:
    from streamh5.reader.structure_reader import StructureReader

__all__ = ["read_local_heap"]


def read_local_heap(reader: StructureReader, address: int) -> LocalHeap:
    """Read the heap whose header is at `address`.

    Raises
    ------
    FormatError
        A field is wrong, or a free block is outside of the heap.
    """
    nbytes = sizeof_local_heap_header(reader.encoding)
    header = decode_local_heap_header(reader.read(address, nbytes, "local heap"), reader.encoding)
    data = reader.read(header.data_address, header.data_nbytes, "local heap data segment")
    return decode_local_heap(data, header.first_free, reader.encoding)
