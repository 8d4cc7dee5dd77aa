"""Fractal heap with one direct block as its root: links or attributes of dense storage (specification III.G).

One block as large as its content is all that a writer needs which knows every object. The library goes on
from it: it puts an indirect block on top when more objects come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import LimitError
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
MAX_OBJECTS_NBYTES = _MAX_BLOCK_NBYTES - _SIZEOF_BLOCK_PREFIX
"""Bytes that all objects of a heap may have together."""


@dataclass(frozen=True, slots=True)
class FractalHeap:
    """The sizes of a heap.

    Parameters
    ----------
    id_nbytes
        Bytes of a heap ID: 7 for links, 8 for attributes.
    max_object_nbytes
        Largest object, one less than a power of two: so many bits has the length in a heap ID.
    n_objects, objects_nbytes
        Number of objects, and bytes of all together.

    Raises
    ------
    LimitError
        The objects have more than 16 MiB together.
    """

    id_nbytes: int
    max_object_nbytes: int
    n_objects: int
    objects_nbytes: int

    def __post_init__(self) -> None:
        if self.block_nbytes > _MAX_BLOCK_NBYTES:
            raise LimitError(
                f"the links or attributes of one object take {self.objects_nbytes} bytes; dense storage "
                f"holds {MAX_OBJECTS_NBYTES}: spread them over several groups, or store values as datasets",
                nbytes=self.objects_nbytes,
                limit=MAX_OBJECTS_NBYTES,
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


def encode_fractal_heap_header(heap: FractalHeap, block_address: int) -> bytes:
    """Encode the header, `SIZEOF_FRACTAL_HEAP_HEADER` bytes."""
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
                length(0, "next huge object ID"),
                address(UNDEFINED_ADDRESS, "v2 B-tree address of huge objects"),
                length(n_free, "amount of free space in managed blocks"),
                address(UNDEFINED_ADDRESS, "address of managed block free space manager"),
                length(heap.block_nbytes, "amount of managed space in heap"),
                length(heap.block_nbytes, "amount of allocated managed space in heap"),
                length(0, "offset of direct block allocation iterator"),
                length(heap.n_objects, "number of managed objects"),
                length(0, "size of huge objects"),
                length(0, "number of huge objects"),
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
    """Encode the direct block; its checksum covers the whole block with the checksum as 0."""
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
    ``(n_objects, id_nbytes) uint8``

    Raises
    ------
    LimitError
        An object is larger than the heap's limit.
    """
    sizes = np.array(object_nbytes, np.uint64)
    largest = int(sizes.max(initial=0))
    if largest > heap.max_object_nbytes:
        raise LimitError(
            f"a link or attribute of {largest} bytes; dense storage holds {heap.max_object_nbytes} each: "
            "store a large value as a dataset",
            nbytes=largest,
            limit=heap.max_object_nbytes,
        )
    length_width = encoded_length(heap.max_object_nbytes)
    positions = np.uint64(_SIZEOF_BLOCK_PREFIX) + np.cumsum(sizes) - sizes
    ids = np.zeros((len(sizes), heap.id_nbytes), np.uint8)  # first byte 0: version 0, a managed object
    ids[:, 1 : 1 + _SIZEOF_OFFSET] = positions.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :_SIZEOF_OFFSET]
    end = 1 + _SIZEOF_OFFSET + length_width
    ids[:, 1 + _SIZEOF_OFFSET : end] = sizes.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :length_width]
    return ids
