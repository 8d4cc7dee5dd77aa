"""Fractal heap from bytes (specification III.G): managed and tiny objects, blocks of any arrangement."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM, lookup3
from streamh5.format.fractal_heap import SIZEOF_FRACTAL_HEAP_HEADER
from streamh5.format.primitives import SIZEOF_ADDRESS, UNDEFINED_ADDRESS, encoded_length
from streamh5.reader.fields import Fields, check_checksum
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["FractalHeapReader"]

_CHECKSUM_DIRECT_BLOCKS = 0x02
_KNOWN_FLAGS = 0x03
_MANAGED, _HUGE, _TINY = range(3)
_MAX_TABLE_WIDTH = 1 << 16
_MAX_HEAP_BITS = 64


@dataclass(frozen=True, slots=True)
class _Header:
    """What blocks and heap IDs depend on."""

    address: int
    id_nbytes: int
    checksums: bool
    max_object_nbytes: int
    width: int
    start_nbytes: int
    max_direct_nbytes: int
    heap_bits: int
    root_address: int
    n_root_rows: int

    @property
    def sizeof_offset(self) -> int:
        return -(-self.heap_bits // 8)

    @property
    def sizeof_length(self) -> int:
        """Width of an object's length in a heap ID (H5HF__hdr_finish_init_phase1)."""
        direct = -(-(self.max_direct_nbytes.bit_length() - 1) // 8)
        return min(direct, encoded_length(self.max_object_nbytes))

    @property
    def n_direct_rows(self) -> int:
        return self.max_direct_nbytes.bit_length() - self.start_nbytes.bit_length() + 2

    def row_nbytes(self, row: int) -> int:
        """Heap space of one block in a row of the doubling table."""
        return self.start_nbytes << max(0, row - 1)

    def n_rows_of(self, nbytes: int) -> int:
        """Rows of an indirect block that spans `nbytes` of heap space."""
        return nbytes.bit_length() - (self.start_nbytes * self.width).bit_length() + 1


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
        self._file = file
        self._map = file_map
        self._owner = owner
        self._header = self._read_header(address)
        self._blocks: dict[int, bytes] = {}
        header = self._header
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
        ForeignStructureError
            A huge object, which stands outside the heap.
        """
        structure = "fractal heap ID"
        fields = Fields(heap_id, structure)
        flags = fields.uint(1, "version and type")
        kind = flags >> 4
        if kind == _TINY and self._header.id_nbytes <= 18:
            return fields.take((flags & 0x0F) + 1, "tiny object")
        if kind in (_HUGE, _TINY):
            raise ForeignStructureError("a huge object of a fractal heap")
        if kind != _MANAGED:
            raise fields.error(f"version and type are {flags:#04x}")
        offset = fields.uint(self._header.sizeof_offset, "offset")
        nbytes = fields.uint(self._header.sizeof_length, "length")
        at = bisect_right(self._offsets, offset) - 1
        block = self._blocks[self._offsets[at]] if at >= 0 else b""
        position = offset - self._offsets[at] if at >= 0 else 0
        prefix = 5 + SIZEOF_ADDRESS + self._header.sizeof_offset
        if position < prefix or not nbytes or position + nbytes > len(block):
            raise fields.error(f"{nbytes:,} bytes at offset {offset:,} are in no block of the heap")
        return block[position : position + nbytes]

    def _read_header(self, address: int) -> _Header:
        structure = "fractal heap header"
        self._file.check_range(address, SIZEOF_FRACTAL_HEAP_HEADER, structure)
        fields = Fields(self._file.read(address, SIZEOF_FRACTAL_HEAP_HEADER, structure), structure)
        block = self._file.read(address, SIZEOF_FRACTAL_HEAP_HEADER, structure)
        fields.expect_signature(b"FRHP")
        fields.expect(0, 1, "version")
        id_nbytes = fields.uint(2, "heap ID length")
        if fields.uint(2, "I/O filters' encoded length"):
            raise ForeignStructureError("a fractal heap with filters")
        self._map.claim(Kind.HEAP, self._owner, address, SIZEOF_FRACTAL_HEAP_HEADER)
        check_checksum(block, structure)
        flags = fields.uint(1, "flags")
        max_object_nbytes = fields.uint(4, "maximum size of managed objects")
        fields.take(12 * 8, "statistics")
        width = fields.uint(2, "table width")
        start_nbytes, max_direct_nbytes = (
            fields.length("starting block size"),
            fields.length("maximum direct block size"),
        )
        heap_bits = fields.uint(2, "maximum heap size")
        fields.uint(2, "starting number of rows in root indirect block")
        root_address = fields.address("address of root block")
        n_root_rows = fields.uint(2, "current number of rows in root indirect block")
        powers = all(one and not one & (one - 1) for one in (width, start_nbytes, max_direct_nbytes))
        if (
            flags & ~_KNOWN_FLAGS
            or not powers
            or start_nbytes > max_direct_nbytes
            or not 0 < heap_bits <= _MAX_HEAP_BITS
            or start_nbytes * width > 1 << heap_bits
        ):
            raise fields.error("its sizes do not go together")
        checksums = bool(flags & _CHECKSUM_DIRECT_BLOCKS)
        return _Header(
            address, id_nbytes, checksums, max_object_nbytes, width, start_nbytes, max_direct_nbytes,
            heap_bits, root_address, n_root_rows,
        )  # fmt: skip

    def _read_indirect_blocks(self, root_address: int, n_root_rows: int) -> None:
        """Read the indirect block at `root_address` and all below it, without recursion."""
        header = self._header
        pending = [(root_address, 0, n_root_rows)]
        while pending:
            address, start, n_rows = pending.pop()
            offset = start
            for i, child in enumerate(self._read_indirect_block(address, start, n_rows)):
                row = i // header.width
                nbytes = header.row_nbytes(row)
                if child != UNDEFINED_ADDRESS and row < header.n_direct_rows:
                    self._read_direct_block(child, offset, nbytes)
                elif child != UNDEFINED_ADDRESS:
                    pending.append((child, offset, header.n_rows_of(nbytes)))
                offset += nbytes

    def _read_indirect_block(self, address: int, offset: int, n_rows: int) -> list[int]:
        structure = "fractal heap indirect block"
        header = self._header
        n_children = n_rows * header.width
        nbytes = 5 + SIZEOF_ADDRESS + header.sizeof_offset + n_children * SIZEOF_ADDRESS + SIZEOF_CHECKSUM
        if n_rows < 1 or n_rows > header.heap_bits:
            raise FormatError(f"{structure}: {n_rows} rows")
        self._file.check_range(address, nbytes, structure)
        self._map.claim(Kind.HEAP, self._owner, address, nbytes)
        block = self._file.read(address, nbytes, structure)
        fields = Fields(block, structure)
        fields.expect_signature(b"FHIB")
        check_checksum(block, structure)
        fields.expect(0, 1, "version")
        fields.expect(header.address, 8, "heap header address")
        fields.expect(offset, header.sizeof_offset, "block offset")
        return [fields.address("child block address") for _ in range(n_children)]

    def _read_direct_block(self, address: int, offset: int, nbytes: int) -> None:
        structure = "fractal heap direct block"
        self._file.check_range(address, nbytes, structure)
        self._map.claim(Kind.HEAP, self._owner, address, nbytes)
        block = self._file.read(address, nbytes, structure)
        fields = Fields(block, structure)
        fields.expect_signature(b"FHDB")
        if self._header.checksums:
            start = 5 + SIZEOF_ADDRESS + self._header.sizeof_offset
            stop = start + SIZEOF_CHECKSUM
            computed = lookup3(block[:start] + bytes(SIZEOF_CHECKSUM) + block[stop:])
            if computed != int.from_bytes(block[start:stop], "little"):
                raise fields.error(f"its checksum is wrong, its bytes have {computed:#010x}")
        fields.expect(0, 1, "version")
        fields.expect(self._header.address, 8, "heap header address")
        fields.expect(offset, self._header.sizeof_offset, "block offset")
        self._blocks[offset] = block
