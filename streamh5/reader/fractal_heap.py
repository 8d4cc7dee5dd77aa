"""Fractal heaps of a file (specification III.G), read block by block."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from streamh5.errors import FormatError
from streamh5.format.fractal_heap import (
    DIRECT_BLOCK,
    INDIRECT_BLOCK,
    FractalHeapHeader,
    HugeObject,
    HugeObjectKey,
    ManagedObject,
    check_direct_block,
    decode_fractal_heap_header,
    decode_heap_id,
    decode_indirect_block,
    huge_object_record,
)
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.v2_btree_sizes import RecordType
from streamh5.reader.file_map import Kind, StructureReader
from streamh5.reader.v2_btree import read_v2_btree

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap


class FractalHeapReader:
    """One heap, all blocks of which are read when it is made.

    Parameters
    ----------
    file, file_map
        The file, and the map in which blocks are entered.
    owner
        Object that has the heap.
    address
        Of the heap's header.

    Raises
    ------
    FormatError
        A field or a checksum is wrong.
    ForeignStructureError
        A heap with filters.
    """

    def __init__(self, file: FileBytes, file_map: FileMap, owner: str, address: int) -> None:
        self._reader = StructureReader(file, file_map, Kind.HEAP, owner)
        self._address = address
        self._encoding = file.encoding
        nbytes = FractalHeapHeader.sizeof(file.encoding)
        block = self._reader.read(address, nbytes, FractalHeapHeader.structure)
        self._header = header = decode_fractal_heap_header(block, file.encoding)
        self._blocks: dict[int, bytes] = {}
        self._huge: dict[int, HugeObject] | None = None
        if header.root_address != UNDEFINED_ADDRESS:
            if header.n_root_rows:
                self._read_indirect_blocks(header.root_address, header.n_root_rows)
            else:
                self._read_direct_block(header.root_address, 0, header.start_nbytes)
        self._offsets = sorted(self._blocks)

    @property
    def id_nbytes(self) -> int:
        """Bytes of a heap ID."""
        return self._header.id_nbytes

    def object(self, heap_id: bytes) -> bytes:
        """Return the object of a heap ID.

        Raises
        ------
        FormatError
            There is no such object.
        """
        match decode_heap_id(self._header, heap_id, self._encoding):
            case ManagedObject(offset, nbytes):
                return self._managed_object(offset, nbytes)
            case HugeObject() as found:
                return self._huge_object(found)
            case HugeObjectKey(key):
                if self._huge is None:
                    self._huge = self._read_huge_objects()
                if key not in self._huge:
                    raise FormatError(f"fractal heap ID: the heap has no huge object {key:,}")
                return self._huge_object(self._huge[key])
            case bytes() as tiny:
                return tiny

    def _managed_object(self, offset: int, nbytes: int) -> bytes:
        at = bisect_right(self._offsets, offset) - 1
        block = self._blocks[self._offsets[at]] if at >= 0 else b""
        position = offset - self._offsets[at] if at >= 0 else 0
        prefix = self._header.sizeof_block_prefix(self._encoding)
        if position < prefix or not nbytes or position + nbytes > len(block):
            raise FormatError(
                f"fractal heap ID: {nbytes:,} bytes at offset {offset:,} are in no block of the heap"
            )
        return block[position : position + nbytes]

    def _huge_object(self, found: HugeObject) -> bytes:
        return self._reader.read(found.address, found.nbytes, "huge object of a fractal heap")

    def _read_huge_objects(self) -> dict[int, HugeObject]:
        """Return place and size of each huge object by its key."""
        record = huge_object_record(self._encoding)
        records = read_v2_btree(self._reader, self._header.huge_address, RecordType.HUGE_OBJECT, record)
        return {key: HugeObject(address, nbytes) for address, nbytes, key in records.tolist()}

    def _read_indirect_blocks(self, root_address: int, n_root_rows: int) -> None:
        """Read the indirect block at `root_address` and all below it, without recursion."""
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
