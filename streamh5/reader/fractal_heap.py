"""Fractal heap from bytes (specification III.G): managed, huge and tiny objects, blocks of any arrangement."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM, lookup3
from streamh5.format.fields import Fields, check_checksum
from streamh5.format.primitives import UNDEFINED_ADDRESS, encoded_length
from streamh5.reader.file_map import Kind
from streamh5.reader.v2_btree import V2BTreeReader, decode_uints

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["FractalHeapReader"]

_CHECKSUM_DIRECT_BLOCKS = 0x02
_KNOWN_FLAGS = 0x03
_MANAGED, _HUGE, _TINY = range(3)
_HUGE_OBJECT_RECORD = 1
_LONGEST_ID_OF_SHORT_TINY_OBJECTS = 18
_SIZEOF_FIXED_PART = 4 + 1 + 2 + 2 + 1 + 4 + 2 + 2 + 2 + 2 + SIZEOF_CHECKSUM
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
    huge_address: int

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
        self._huge: dict[int, tuple[int, int]] | None = None
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
        """
        structure = "fractal heap ID"
        fields = Fields(heap_id, structure)
        flags = fields.uint(1, "version and type")
        kind = flags >> 4
        if kind == _TINY:
            nbytes = flags & 0x0F
            if self._header.id_nbytes > _LONGEST_ID_OF_SHORT_TINY_OBJECTS:
                nbytes = nbytes << 8 | fields.uint(1, "extended length")
            return fields.take(nbytes + 1, "tiny object")
        if kind == _HUGE:
            return self._huge_object(fields)
        if kind != _MANAGED:
            raise fields.error(f"version and type are {flags:#04x}")
        offset = fields.uint(self._header.sizeof_offset, "offset")
        nbytes = fields.uint(self._header.sizeof_length, "length")
        at = bisect_right(self._offsets, offset) - 1
        block = self._blocks[self._offsets[at]] if at >= 0 else b""
        position = offset - self._offsets[at] if at >= 0 else 0
        prefix = 5 + self._file.encoding.sizeof_address + self._header.sizeof_offset
        if position < prefix or not nbytes or position + nbytes > len(block):
            raise fields.error(f"{nbytes:,} bytes at offset {offset:,} are in no block of the heap")
        return block[position : position + nbytes]

    def _huge_object(self, fields: Fields) -> bytes:
        """Return an object that stands outside of the heap, by the rest of its heap ID."""
        encoding = self._file.encoding
        if encoding.sizeof_address + encoding.sizeof_length < self._header.id_nbytes:
            address, nbytes = fields.address("address"), fields.length("length")
        else:
            width = min(encoding.sizeof_length, self._header.id_nbytes - 1)
            number = fields.uint(width, "B-tree key")
            if self._huge is None:
                self._huge = self._read_huge_objects()
            if number not in self._huge:
                raise fields.error(f"the heap has no huge object {number:,}")
            address, nbytes = self._huge[number]
        structure = "huge object of a fractal heap"
        self._file.check_range(address, nbytes, structure)
        self._map.claim(Kind.HEAP, self._owner, address, nbytes)
        return self._file.read(address, nbytes, structure)

    def _read_huge_objects(self) -> dict[int, tuple[int, int]]:
        """Return address and size of each huge object by its number."""
        encoding = self._file.encoding
        widths = (encoding.sizeof_address, encoding.sizeof_length, encoding.sizeof_length)
        trees = V2BTreeReader(self._file, self._map, Kind.HEAP, self._owner)
        records = trees.read(self._header.huge_address, _HUGE_OBJECT_RECORD, sum(widths))
        starts = (0, widths[0], widths[0] + widths[1])
        columns = [
            decode_uints(records[:, start : start + width]).tolist()
            for start, width in zip(starts, widths, strict=True)
        ]
        return {number: (address, nbytes) for address, nbytes, number in zip(*columns, strict=True)}

    def _read_header(self, address: int) -> _Header:
        structure = "fractal heap header"
        encoding = self._file.encoding
        n_header = _SIZEOF_FIXED_PART + 12 * encoding.sizeof_length + 3 * encoding.sizeof_address
        self._file.check_range(address, n_header, structure)
        block = self._file.read(address, n_header, structure)
        fields = Fields(block, structure, encoding)
        fields.expect_signature(b"FRHP")
        fields.expect(0, 1, "version")
        id_nbytes = fields.uint(2, "heap ID length")
        if fields.uint(2, "I/O filters' encoded length"):
            raise ForeignStructureError("a fractal heap with filters")
        self._map.claim(Kind.HEAP, self._owner, address, n_header)
        check_checksum(block, structure)
        flags = fields.uint(1, "flags")
        max_object_nbytes = fields.uint(4, "maximum size of managed objects")
        fields.length("next huge object ID")
        huge_address = fields.address("v2 B-tree address of huge objects")
        fields.length("amount of free space")
        fields.address("address of managed block free space manager")
        fields.take(8 * encoding.sizeof_length, "statistics")
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
            heap_bits, root_address, n_root_rows, huge_address,
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
        sizeof_address = self._file.encoding.sizeof_address
        nbytes = 5 + (1 + n_children) * sizeof_address + header.sizeof_offset + SIZEOF_CHECKSUM
        if n_rows < 1 or n_rows > header.heap_bits:
            raise FormatError(f"{structure}: {n_rows} rows")
        self._file.check_range(address, nbytes, structure)
        self._map.claim(Kind.HEAP, self._owner, address, nbytes)
        block = self._file.read(address, nbytes, structure)
        fields = Fields(block, structure, self._file.encoding)
        fields.expect_signature(b"FHIB")
        check_checksum(block, structure)
        fields.expect(0, 1, "version")
        fields.expect(header.address, sizeof_address, "heap header address")
        fields.expect(offset, header.sizeof_offset, "block offset")
        return [fields.address("child block address") for _ in range(n_children)]

    def _read_direct_block(self, address: int, offset: int, nbytes: int) -> None:
        structure = "fractal heap direct block"
        self._file.check_range(address, nbytes, structure)
        self._map.claim(Kind.HEAP, self._owner, address, nbytes)
        block = self._file.read(address, nbytes, structure)
        fields = Fields(block, structure, self._file.encoding)
        sizeof_address = self._file.encoding.sizeof_address
        fields.expect_signature(b"FHDB")
        if self._header.checksums:
            start = 5 + sizeof_address + self._header.sizeof_offset
            stop = start + SIZEOF_CHECKSUM
            computed = lookup3(block[:start] + bytes(SIZEOF_CHECKSUM) + block[stop:])
            if computed != int.from_bytes(block[start:stop], "little"):
                raise fields.error(f"its checksum is wrong, its bytes have {computed:#010x}")
        fields.expect(0, 1, "version")
        fields.expect(self._header.address, sizeof_address, "heap header address")
        fields.expect(offset, self._header.sizeof_offset, "block offset")
        self._blocks[offset] = block
