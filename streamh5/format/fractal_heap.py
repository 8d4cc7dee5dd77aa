"""Fractal heap with one direct block as its root: links or attributes of dense storage (specification III.G).

One block as large as its content is all that a writer needs which knows every object. The library goes on
from it: it puts an indirect block on top when more objects come. What is too large for the block stands outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamh5.format.checksum import SIZEOF_CHECKSUM, append_checksum, lookup3
from streamh5.format.primitives import (
    SIZEOF_ADDRESS,
    UNDEFINED_ADDRESS,
    address,
    encoded_length,
    length,
    uint,
)

SIZEOF_FRACTAL_HEAP_HEADER = 146
_CHECKSUM_DIRECT_BLOCKS = 0x02
_MAX_HEAP_BITS = 32
_SIZEOF_OFFSET = _MAX_HEAP_BITS // 8
_SIZEOF_BLOCK_PREFIX = 4 + 1 + SIZEOF_ADDRESS + _SIZEOF_OFFSET + SIZEOF_CHECKSUM
_MIN_BLOCK_NBYTES = 512
_MAX_BLOCK_NBYTES = 1 << 24  # the next power of two fails an assertion of the library (H5C_MAX_ENTRY_SIZE)
MAX_MANAGED_NBYTES = _MAX_BLOCK_NBYTES - _SIZEOF_BLOCK_PREFIX
"""Bytes that all objects in the block may have together; what is more stands outside, as huge objects."""
_HUGE_OBJECT = 0x10


@dataclass(frozen=True, slots=True)
class FractalHeap:
    """The sizes of a heap.

    Parameters
    ----------
    id_nbytes
        Bytes of a heap ID: 7 for links, 8 for attributes.
    max_object_nbytes
        Largest object in the block, one less than a power of two: so many bits has the length in a heap ID.
    n_objects, objects_nbytes
        Number of objects in the block, and bytes of all together.
    n_huge, huge_nbytes
        Number of objects outside of it, and bytes of all together.
    """

    id_nbytes: int
    max_object_nbytes: int
    n_objects: int
    objects_nbytes: int
    n_huge: int = 0
    huge_nbytes: int = 0

    @classmethod
    def of(cls, id_nbytes: int, max_object_nbytes: int, object_nbytes: Sequence[int]) -> FractalHeap:
        """Return the heap of objects of so many bytes: the smaller ones in the block, as many as it holds."""
        sizes = np.array(object_nbytes, np.int64)
        is_managed = sizes <= max_object_nbytes
        while int(sizes[is_managed].sum()) > MAX_MANAGED_NBYTES:
            max_object_nbytes >>= 1
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
        """Bytes of the direct block, a power of two."""
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
    n_free = heap.block_nbytes - _SIZEOF_BLOCK_PREFIX - heap.objects_nbytes
    return append_checksum(
        b"".join(
            (
                b"FRHP",
                uint(0, 1, "fractal heap version"),
                uint(heap.id_nbytes, 2, "heap ID length"),
                uint(0, 2, "I/O filters' encoded length"),
                uint(_CHECKSUM_DIRECT_BLOCKS, 1, "flags"),
                uint(heap.max_object_nbytes, 4, "maximum size of managed objects"),
                length(heap.n_huge, "next huge object ID"),  # the last one, in fact (H5HF__huge_new_id)
                address(huge_index_address, "v2 B-tree address of huge objects"),
                length(n_free, "amount of free space in managed blocks"),
                address(UNDEFINED_ADDRESS, "address of managed block free space manager"),
                length(heap.block_nbytes, "amount of managed space in heap"),
                length(heap.block_nbytes, "amount of allocated managed space in heap"),
                length(0, "offset of direct block allocation iterator"),
                length(heap.n_objects, "number of managed objects"),
                length(heap.huge_nbytes, "size of huge objects"),
                length(heap.n_huge, "number of huge objects"),
                length(0, "size of tiny objects"),
                length(0, "number of tiny objects"),
                uint(4, 2, "table width"),
                length(heap.block_nbytes, "starting block size"),
                length(heap.max_block_nbytes, "maximum direct block size"),
                uint(_MAX_HEAP_BITS, 2, "maximum heap size"),
                uint(1, 2, "starting number of rows in root indirect block"),
                address(block_address, "address of root block"),
                uint(0, 2, "current number of rows in root indirect block"),  # 0: the root is a direct block
            )
        )
    )


def encode_fractal_heap_block(heap: FractalHeap, header_address: int, objects: Sequence[bytes]) -> bytes:
    """Encode the direct block; its checksum covers the whole block with the checksum as 0.

    `objects` are those that stand in it.
    """
    head = b"".join(
        (
            b"FHDB",
            uint(0, 1, "direct block version"),
            address(header_address, "heap header address"),
            uint(0, _SIZEOF_OFFSET, "block offset"),
        )
    )
    block = b"".join((head, bytes(SIZEOF_CHECKSUM), *objects)).ljust(heap.block_nbytes, b"\0")
    checksum = uint(lookup3(block), SIZEOF_CHECKSUM, "checksum")
    return head + checksum + block[len(head) + SIZEOF_CHECKSUM :]


def encode_heap_ids(heap: FractalHeap, object_nbytes: Sequence[int]) -> NDArray[np.uint8]:
    """Return the heap IDs of objects that stand in the order of `object_nbytes`.

    Returns
    -------
    ``(n, id_nbytes) uint8``
    """
    sizes = np.array(object_nbytes, np.uint64)
    length_width = encoded_length(heap.max_object_nbytes)
    is_huge = sizes > heap.max_object_nbytes
    in_block = np.where(is_huge, np.uint64(0), sizes)
    positions = np.uint64(_SIZEOF_BLOCK_PREFIX) + np.cumsum(in_block, dtype=np.uint64) - in_block
    ids = np.zeros((len(sizes), heap.id_nbytes), np.uint8)  # first byte 0: version 0, a managed object
    ids[:, 1 : 1 + _SIZEOF_OFFSET] = positions.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :_SIZEOF_OFFSET]
    end = 1 + _SIZEOF_OFFSET + length_width
    ids[:, 1 + _SIZEOF_OFFSET : end] = sizes.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :length_width]
    # An ID has no room for address and length: it holds the key of a record in the B-tree (H5HF__huge_init).
    ids[is_huge] = 0
    ids[is_huge, 0] = _HUGE_OBJECT
    keys = np.arange(1, heap.n_huge + 1, dtype="<u8").view(np.uint8).reshape(-1, 8)
    ids[is_huge, 1:] = keys[:, : heap.id_nbytes - 1]
    return ids
