"""Fractal heap, in which dense storage keeps links and attributes (specification III.G).

A heap is written with a single direct block as its root, as large as its content, as all objects are known; objects
that are too large for it are huge objects outside of the heap. The library can add to such a heap: it makes the block a
child of an indirect block. Heaps that are read may have managed, huge and tiny objects, and any arrangement of blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import ForeignStructureError
from streamh5.format.checksum import SIZEOF_CHECKSUM, lookup3
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.header import ADDRESS, LENGTH, Header, stored
from streamh5.format.primitives import (
    SIZEOF_ADDRESS,
    UNDEFINED_ADDRESS,
    address,
    concat,
    encoded_length,
    uint,
)
from streamh5.format.v2_btree import uint_columns

DIRECT_BLOCK = "fractal heap direct block"
INDIRECT_BLOCK = "fractal heap indirect block"
_DIRECT, _INDIRECT = b"FHDB", b"FHIB"
_HEAP_BITS = 32  # H5G_FHEAP_MAN_MAX_INDEX; more than the block that is written needs
_SIZEOF_OFFSET = _HEAP_BITS // 8
_MAX_HEAP_BITS = 64
_MIN_BLOCK_NBYTES = 512  # H5G_FHEAP_MAN_START_BLOCK_SIZE
_MAX_BLOCK_NBYTES = 1 << 24  # a larger block fails an assertion of the library (H5C_MAX_ENTRY_SIZE)
_TYPE_SHIFT = 4
_LONGEST_ID_OF_SHORT_TINY_OBJECTS = (
    18  # up to it, a length of 16 at most fits the first byte (H5HF__tiny_init)
)


class _Flag(IntFlag):
    HUGE_IDS_WRAPPED = 0x01
    CHECKSUM_DIRECT_BLOCKS = 0x02


class _ObjectType(IntEnum):
    """The upper half of the first byte of a heap ID; its version is 0."""

    MANAGED = 0
    HUGE = 1
    TINY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FractalHeapHeader(Header):
    """The header of a heap without filters, which decides the layout of its blocks and heap IDs."""

    structure: ClassVar[str] = "fractal heap header"
    signature: ClassVar[bytes] = b"FRHP"

    id_nbytes: int = stored(2, "heap ID length")
    filters_nbytes: int = stored(2, "I/O filters' encoded length", 0)
    flags: int = stored(1, "flags", _Flag.CHECKSUM_DIRECT_BLOCKS)
    max_object_nbytes: int = stored(4, "maximum size of managed objects")
    # The specification calls it "next"; it is the ID that was assigned last (H5HF__huge_new_id).
    next_huge_id: int = stored(LENGTH, "next huge object ID")
    huge_address: int = stored(ADDRESS, "v2 B-tree address of huge objects")
    n_free: int = stored(LENGTH, "amount of free space in managed blocks")
    free_space_address: int = stored(
        ADDRESS, "address of managed block free space manager", UNDEFINED_ADDRESS
    )
    managed_nbytes: int = stored(LENGTH, "amount of managed space in heap")
    allocated_nbytes: int = stored(LENGTH, "amount of allocated managed space in heap")
    iterator_offset: int = stored(LENGTH, "offset of direct block allocation iterator", 0)
    n_managed: int = stored(LENGTH, "number of managed objects")
    huge_nbytes: int = stored(LENGTH, "size of huge objects")
    n_huge: int = stored(LENGTH, "number of huge objects")
    tiny_nbytes: int = stored(LENGTH, "size of tiny objects", 0)
    n_tiny: int = stored(LENGTH, "number of tiny objects", 0)
    width: int = stored(2, "table width", 4)
    start_nbytes: int = stored(LENGTH, "starting block size")
    max_direct_nbytes: int = stored(LENGTH, "maximum direct block size")
    heap_bits: int = stored(2, "maximum heap size", _HEAP_BITS)
    n_start_rows: int = stored(2, "starting number of rows in root indirect block", 1)
    root_address: int = stored(ADDRESS, "address of root block")
    # 0: the root is a direct block.
    n_root_rows: int = stored(2, "current number of rows in root indirect block", 0)

    @property
    def sizeof_offset(self) -> int:
        """Width of an offset in the heap."""
        return -(-self.heap_bits // 8)

    @property
    def sizeof_length(self) -> int:
        """Width of an object's length in a heap ID (H5HF__hdr_finish_init_phase1)."""
        direct = -(-(self.max_direct_nbytes.bit_length() - 1) // 8)
        return min(direct, encoded_length(self.max_object_nbytes))

    @property
    def n_direct_rows(self) -> int:
        """Number of rows of direct blocks in the doubling table."""
        return self.max_direct_nbytes.bit_length() - self.start_nbytes.bit_length() + 2

    def row_nbytes(self, row: int) -> int:
        """Return the heap space in bytes of one block in a row of the doubling table."""
        return self.start_nbytes << max(0, row - 1)

    def n_rows_of(self, nbytes: int) -> int:
        """Return the number of rows of an indirect block that spans `nbytes` of heap space."""
        return nbytes.bit_length() - (self.start_nbytes * self.width).bit_length() + 1

    def sizeof_block_prefix(self, encoding: Encoding = ENCODING) -> int:
        """Return the size in bytes of a block's prefix, without the checksum of a direct block."""
        return 4 + 1 + encoding.sizeof_address + self.sizeof_offset

    def sizeof_indirect_block(self, n_rows: int, encoding: Encoding = ENCODING) -> int:
        """Return the size of an indirect block in bytes.

        Raises
        ------
        FormatError
            The number of rows is impossible.
        """
        if not 1 <= n_rows <= self.heap_bits:
            raise self.error(f"an indirect block of {n_rows} rows")
        children = n_rows * self.width * encoding.sizeof_address
        return self.sizeof_block_prefix(encoding) + children + SIZEOF_CHECKSUM


SIZEOF_FRACTAL_HEAP_HEADER = FractalHeapHeader.sizeof()
_SIZEOF_BLOCK_PREFIX = 4 + 1 + SIZEOF_ADDRESS + _SIZEOF_OFFSET + SIZEOF_CHECKSUM
MAX_MANAGED_NBYTES = _MAX_BLOCK_NBYTES - _SIZEOF_BLOCK_PREFIX
"""Largest total size of the objects in the block; the other objects are huge objects outside of it."""


@dataclass(frozen=True, slots=True)
class FractalHeap:
    """The sizes of a heap.

    Parameters
    ----------
    id_nbytes
        Bytes of a heap ID: 7 for links, 8 for attributes.
    max_object_nbytes
        Largest object in the block: one less than a power of two, which decides the width of lengths in heap IDs.
    n_objects, objects_nbytes
        Number of objects in the block, and their total size in bytes.
    n_huge, huge_nbytes
        Number of objects outside of it, and their total size in bytes.
    """

    id_nbytes: int
    max_object_nbytes: int
    n_objects: int
    objects_nbytes: int
    n_huge: int = 0
    huge_nbytes: int = 0

    @classmethod
    def of(cls, id_nbytes: int, max_object_nbytes: int, object_nbytes: Sequence[int]) -> FractalHeap:
        """Return the heap of objects of these sizes: small ones in the block, as far as they fit."""
        sizes = np.array(object_nbytes, np.int64)
        is_managed = sizes <= max_object_nbytes
        while int(sizes[is_managed].sum()) > MAX_MANAGED_NBYTES:
            max_object_nbytes >>= 1  # remains one less than a power of two
            is_managed = sizes <= max_object_nbytes
        n_managed, managed = int(is_managed.sum()), int(sizes[is_managed].sum())
        return cls(
            id_nbytes,
            max_object_nbytes,
            n_managed,
            managed,
            len(sizes) - n_managed,
            int(sizes.sum()) - managed,
        )

    @property
    def block_nbytes(self) -> int:
        """Size of the direct block in bytes, a power of two."""
        needed = _SIZEOF_BLOCK_PREFIX + self.objects_nbytes
        return max(_MIN_BLOCK_NBYTES, 1 << (needed - 1).bit_length())

    @property
    def max_block_nbytes(self) -> int:
        """Largest direct block that the library may add."""
        return max(self.max_object_nbytes + 1, self.block_nbytes)


def encode_fractal_heap_header(
    heap: FractalHeap, block_address: int, huge_index_address: int = UNDEFINED_ADDRESS
) -> bytes:
    """Encode the header, `SIZEOF_FRACTAL_HEAP_HEADER` bytes; huge objects have a B-tree of their own."""
    return FractalHeapHeader(
        id_nbytes=heap.id_nbytes,
        max_object_nbytes=heap.max_object_nbytes,
        next_huge_id=heap.n_huge,
        huge_address=huge_index_address,
        n_free=heap.block_nbytes - _SIZEOF_BLOCK_PREFIX - heap.objects_nbytes,
        managed_nbytes=heap.block_nbytes,
        allocated_nbytes=heap.block_nbytes,
        n_managed=heap.n_objects,
        huge_nbytes=heap.huge_nbytes,
        n_huge=heap.n_huge,
        start_nbytes=heap.block_nbytes,
        max_direct_nbytes=heap.max_block_nbytes,
        root_address=block_address,
    ).encode()


def decode_fractal_heap_header(block: bytes, encoding: Encoding = ENCODING) -> FractalHeapHeader:
    """Decode the header of a heap.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    ForeignStructureError
        The heap has filters, and thus a longer header.
    """
    fields = Fields(block, FractalHeapHeader.structure, encoding)
    fields.expect_signature(FractalHeapHeader.signature)
    fields.expect(0, 1, "version")
    fields.uint(2, "heap ID length")
    if fields.uint(2, "I/O filters' encoded length"):
        raise ForeignStructureError("a fractal heap with filters")
    header = FractalHeapHeader.decode(block, encoding)
    sizes = (header.width, header.start_nbytes, header.max_direct_nbytes)
    if (
        header.flags & ~(_Flag.HUGE_IDS_WRAPPED | _Flag.CHECKSUM_DIRECT_BLOCKS)
        or not all(one and not one & (one - 1) for one in sizes)  # powers of two
        or header.start_nbytes > header.max_direct_nbytes
        or not 0 < header.heap_bits <= _MAX_HEAP_BITS
        or header.start_nbytes * header.width > 1 << header.heap_bits
    ):
        raise header.error("its sizes contradict each other")
    return header


def encode_fractal_heap_block(heap: FractalHeap, header_address: int, objects: Sequence[bytes]) -> bytes:
    """Encode the direct block of `objects`; its checksum is that of the block with a checksum of 0."""
    head = concat(
        _DIRECT,
        uint(0, 1, "direct block version"),
        address(header_address, "heap header address"),
        uint(0, _SIZEOF_OFFSET, "block offset"),
    )
    block = concat(head, bytes(SIZEOF_CHECKSUM), *objects).ljust(heap.block_nbytes, b"\0")
    checksum = uint(lookup3(block), SIZEOF_CHECKSUM, "checksum")
    return head + checksum + block[len(head) + SIZEOF_CHECKSUM :]


def check_direct_block(
    header: FractalHeapHeader,
    header_address: int,
    offset: int,
    block: bytes,
    encoding: Encoding = ENCODING,
) -> None:
    """Check the prefix of the direct block at `offset` of the heap, and its checksum if it has one.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    """
    fields = Fields(block, DIRECT_BLOCK, encoding)
    fields.expect_signature(_DIRECT)
    if header.flags & _Flag.CHECKSUM_DIRECT_BLOCKS:
        start = header.sizeof_block_prefix(encoding)
        stop = start + SIZEOF_CHECKSUM
        computed = lookup3(block[:start] + bytes(SIZEOF_CHECKSUM) + block[stop:])
        if computed != int.from_bytes(block[start:stop], "little"):
            raise fields.error(f"its checksum is wrong; the computed one is {computed:#010x}")
    fields.expect(0, 1, "version")
    fields.expect(header_address, encoding.sizeof_address, "heap header address")
    fields.expect(offset, header.sizeof_offset, "block offset")


def decode_indirect_block(
    header: FractalHeapHeader,
    header_address: int,
    offset: int,
    block: bytes,
    encoding: Encoding = ENCODING,
) -> list[int]:
    """Decode the indirect block at `offset` of the heap: the addresses of its children.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    """
    fields = Fields.of_block(block, INDIRECT_BLOCK, _INDIRECT, encoding)
    fields.expect(header_address, encoding.sizeof_address, "heap header address")
    fields.expect(offset, header.sizeof_offset, "block offset")
    n_children = (fields.n_left - SIZEOF_CHECKSUM) // encoding.sizeof_address
    return [fields.address("child block address") for _ in range(n_children)]


def encode_heap_ids(heap: FractalHeap, object_nbytes: Sequence[int]) -> NDArray[np.uint8]:
    """Return the heap IDs of objects in the order of `object_nbytes`.

    Returns
    -------
    ``(n, id_nbytes) uint8``
    """
    sizes = np.array(object_nbytes, np.uint64)
    length_width = encoded_length(heap.max_object_nbytes)
    is_huge = sizes > heap.max_object_nbytes
    in_block = np.where(is_huge, np.uint64(0), sizes)
    positions = np.uint64(_SIZEOF_BLOCK_PREFIX) + np.cumsum(in_block, dtype=np.uint64) - in_block
    ids = np.zeros((len(sizes), heap.id_nbytes), np.uint8)
    ids[:, 0] = _ObjectType.MANAGED << _TYPE_SHIFT
    end = 1 + _SIZEOF_OFFSET + length_width
    ids[:, 1 : 1 + _SIZEOF_OFFSET] = uint_columns(positions, _SIZEOF_OFFSET)
    ids[:, 1 + _SIZEOF_OFFSET : end] = uint_columns(sizes, length_width)
    # These IDs are too short for address and length: they contain the key of a B-tree record (H5HF__huge_init).
    ids[is_huge] = 0
    ids[is_huge, 0] = _ObjectType.HUGE << _TYPE_SHIFT
    ids[is_huge, 1:] = uint_columns(np.arange(1, heap.n_huge + 1), heap.id_nbytes - 1)
    return ids


@dataclass(frozen=True, slots=True)
class ManagedObject:
    """An object in a direct block, by its offset in the heap."""

    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class HugeObject:
    """An object outside of the heap, by its address in the file."""

    address: int
    nbytes: int


HeapIdTarget: TypeAlias = bytes | ManagedObject | HugeObject | int
"""The object that a heap ID names: a tiny object is in the ID itself, and a number is the key of a huge object in the
B-tree of the heap."""


def decode_heap_id(header: FractalHeapHeader, heap_id: bytes, encoding: Encoding = ENCODING) -> HeapIdTarget:
    """Decode a heap ID.

    Raises
    ------
    FormatError
        The ID is too short, or its version or type is not known.
    """
    fields = Fields(heap_id, "fractal heap ID", encoding)
    first = fields.uint(1, "version and type")
    match first >> _TYPE_SHIFT:
        case _ObjectType.MANAGED:
            return ManagedObject(
                fields.uint(header.sizeof_offset, "offset"), fields.uint(header.sizeof_length, "length")
            )
        case _ObjectType.TINY:
            nbytes = first & 0x0F
            if header.id_nbytes > _LONGEST_ID_OF_SHORT_TINY_OBJECTS:
                nbytes = nbytes << 8 | fields.uint(1, "extended length")
            return fields.take(nbytes + 1, "tiny object")
        case _ObjectType.HUGE if encoding.sizeof_address + encoding.sizeof_length < header.id_nbytes:
            return HugeObject(fields.address("address"), fields.length("length"))
        case _ObjectType.HUGE:
            return fields.uint(min(encoding.sizeof_length, header.id_nbytes - 1), "B-tree key")
        case _:
            raise fields.error(f"version and type are {first:#04x}")


def huge_object_record(encoding: Encoding = ENCODING) -> np.dtype[np.void]:
    """Return the dtype of the B-tree record of a huge object without filters."""
    length = f"<u{encoding.sizeof_length}"
    return np.dtype([("address", f"<u{encoding.sizeof_address}"), ("nbytes", length), ("key", length)])
