"""Fractal heaps of a file (specification III.G), which are read block by block."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING

from streamh5.errors import FormatError
from streamh5.format.fractal_heap import (
    DIRECT_BLOCK,
    INDIRECT_BLOCK,
    FractalHeapHeader,
    HugeObject,
    ManagedObject,
    check_direct_block,
    decode_fractal_heap_header,
    decode_heap_id,
    decode_indirect_block,
    huge_object_record,
)
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.v2_btree_sizes import RecordType
from streamh5.reader.v2_btree import read_v2_btree

if TYPE_CHECKING:
    from streamh5.reader.file_map import StructureReader

_HUGE_OBJECT = "huge object of a fractal heap"


class FractalHeapReader:
    """One heap, whose blocks are all read and checked when it is opened.

    Parameters
    ----------
    reader
        Reads the structures of the object that has the heap.
    address
        Address of the heap's header.

    Raises
    ------
    FormatError
        A field or a checksum is wrong.
    ForeignStructureError
        The heap has filters.
    """

    def __init__(self, reader: StructureReader, address: int) -> None:
        self._reader = reader
        self._address = address
        self._encoding = reader.encoding
        block = reader.read(address, FractalHeapHeader.sizeof(self._encoding), FractalHeapHeader.structure)
        self._header = header = decode_fractal_heap_header(block, self._encoding)
        self._blocks: dict[int, bytes] = {0: b""}  # by offset in the heap; an empty heap has no block
        if header.root_address != UNDEFINED_ADDRESS:
            if header.n_root_rows:
                self._read_indirect_blocks(header.root_address, header.n_root_rows)
            else:
                self._read_direct_block(header.root_address, 0, header.start_nbytes)
        self._offsets = sorted(self._blocks)

    @property
    def id_nbytes(self) -> int:
        """Size of a heap ID in bytes."""
        return self._header.id_nbytes

    def object(self, heap_id: bytes) -> bytes:
        """Return the object that a heap ID names.

        Raises
        ------
        FormatError
            There is no such object.
        """
        match decode_heap_id(self._header, heap_id, self._encoding):
            case ManagedObject(offset, nbytes):
                return self._managed_object(offset, nbytes)
            case HugeObject(address, nbytes):
                return self._reader.read(address, nbytes, _HUGE_OBJECT, pages=())
            case int() as key:
                if key not in self._huge_objects:
                    raise FormatError(f"fractal heap ID: the heap has no huge object {key:,}")
                return self._reader.read(*self._huge_objects[key], _HUGE_OBJECT, pages=())
            case tiny:
                return tiny

    def _managed_object(self, offset: int, nbytes: int) -> bytes:
        start = self._offsets[bisect_right(self._offsets, offset) - 1]
        block, position = self._blocks[start], offset - start
        prefix = self._header.sizeof_block_prefix(self._encoding)
        if position < prefix or not nbytes or position + nbytes > len(block):
            raise FormatError(
                f"fractal heap ID: {nbytes:,} bytes at offset {offset:,} are in no block of the heap"
            )
        return block[position : position + nbytes]

    @cached_property
    def _huge_objects(self) -> dict[int, tuple[int, int]]:
        """Address and size of each huge object by its key; most heaps have none, and no B-tree of them."""
        record = huge_object_record(self._encoding)
        records = read_v2_btree(self._reader, self._header.huge_address, RecordType.HUGE_OBJECT, record)
        return {key: (address, nbytes) for address, nbytes, key in records.tolist()}

    def _read_indirect_blocks(self, root_address: int, n_root_rows: int) -> None:
        """Read the indirect block at `root_address` and all blocks below it, without recursion."""
        header = self._header
        pending = [(root_address, 0, n_root_rows)]
        while pending:
            address, offset, n_rows = pending.pop()
            nbytes = header.sizeof_indirect_block(n_rows, self._encoding)
            block = self._reader.read(address, nbytes, INDIRECT_BLOCK)
            children = decode_indirect_block(header, self._address, offset, block, self._encoding)
            for i, child in enumerate(children):
                row = i // header.width
                nbytes = header.row_nbytes(row)
                if child != UNDEFINED_ADDRESS and row < header.n_direct_rows:
                    self._read_direct_block(child, offset, nbytes)
                elif child != UNDEFINED_ADDRESS:
                    pending.append((child, offset, header.n_rows_of(nbytes)))
                offset += nbytes

    def _read_direct_block(self, address: int, offset: int, nbytes: int) -> None:
        block = self._reader.read(address, nbytes, DIRECT_BLOCK)
        check_direct_block(self._header, self._address, offset, block, self._encoding)
        self._blocks[offset] = block
