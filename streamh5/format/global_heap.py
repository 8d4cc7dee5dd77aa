"""Global heap: the collections that store variable-length data (specification III.E).

A collection has no checksum. The only possible checks are that its objects fill it exactly, and that each object is as
long as the element that refers to it requires.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamh5.errors import over_limit
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.primitives import address, concat, length, uint

STRUCTURE = "global heap collection"
_SIGNATURE = b"GCOL"
SIZEOF_COLLECTION_HEADER = 16
_VERSION = 1
_SIZEOF_OBJECT_HEADER = 16
_ALIGNMENT = 8  # H5HG_ALIGNMENT
MIN_COLLECTION_NBYTES = 4096
"""H5HG_MINSIZE: readers refuse smaller collections."""

MAX_COLLECTION_OBJECTS = 65_535
"""Object indexes have 2 bytes, and index 0 is the free space."""

_HEAP_ID_FIELDS = [("address", "<u8"), ("index", "<u4")]
GLOBAL_HEAP_ID = np.dtype(_HEAP_ID_FIELDS)
"""Collection address and object index, as in region references and variable-length elements."""

VARIABLE_LENGTH_ELEMENT = np.dtype([("length", "<u4"), *_HEAP_ID_FIELDS])
"""Number of elements of the base type, and their global heap ID."""

SIZEOF_GLOBAL_HEAP_ID = GLOBAL_HEAP_ID.itemsize
SIZEOF_VARIABLE_LENGTH_ELEMENT = VARIABLE_LENGTH_ELEMENT.itemsize


def sizeof_global_heap_collection(object_nbytes: Sequence[int]) -> int:
    """Return the size in bytes of a collection of objects with the sizes `object_nbytes`."""
    used = sum(_SIZEOF_OBJECT_HEADER + _padded(nbytes) for nbytes in object_nbytes)
    return max(MIN_COLLECTION_NBYTES, SIZEOF_COLLECTION_HEADER + used)


def encode_global_heap_collection(objects: Sequence[bytes]) -> bytes:
    """Encode a collection, filled up to the smallest allowed size with its free-space object.

    Parameters
    ----------
    objects
        Object i gets index ``i + 1``.

    Raises
    ------
    LimitError
        More than 65,535 objects.
    """
    if len(objects) > MAX_COLLECTION_OBJECTS:
        subject = f"a global heap collection of {len(objects):,} objects"
        raise over_limit(subject, MAX_COLLECTION_OBJECTS, n_objects=len(objects))
    size = sizeof_global_heap_collection([len(data) for data in objects])
    parts = [
        _SIGNATURE,
        uint(_VERSION, 1, "global heap version"),
        bytes(3),
        length(size, "collection size"),
    ]
    for index, data in enumerate(objects, start=1):
        parts.append(_encode_object_header(index, len(data)))
        parts.append(data)
        parts.append(bytes(_padded(len(data)) - len(data)))
    n_free = size - sum(map(len, parts))
    if n_free >= _SIZEOF_OBJECT_HEADER:  # unlike other sizes, that of free space includes its header
        parts.append(_encode_object_header(0, n_free))
        n_free -= _SIZEOF_OBJECT_HEADER
    parts.append(bytes(n_free))
    return b"".join(parts)


def decode_sizeof_global_heap_collection(head: bytes, encoding: Encoding = ENCODING) -> int:
    """Return the size in bytes of a collection whose first `SIZEOF_COLLECTION_HEADER` bytes are `head`.

    Raises
    ------
    FormatError
        The signature is wrong, or the size is smaller than the header.
    """
    prefix = Fields(head, STRUCTURE, encoding)
    prefix.expect_signature(_SIGNATURE)
    prefix.take(4, "version")
    nbytes = prefix.length("collection size")
    if nbytes < SIZEOF_COLLECTION_HEADER:
        raise prefix.error(f"collection size is {nbytes:,}")
    return nbytes


def decode_global_heap_collection(block: bytes, encoding: Encoding = ENCODING) -> dict[int, bytes]:
    """Decode a collection; return its objects by index.

    Raises
    ------
    FormatError
        A field is wrong, or the objects do not tile the collection.
    """
    fields = Fields(block, STRUCTURE, encoding)
    # Headers are padded to 16 bytes for any size of lengths (H5HG_SIZEOF_HDR, H5HG_SIZEOF_OBJHDR).
    sizeof_gap = _SIZEOF_OBJECT_HEADER - 8 - encoding.sizeof_length
    fields.expect_signature(_SIGNATURE)
    fields.expect(_VERSION, 1, "version")
    fields.expect(0, 3, "reserved bytes")
    fields.expect(len(block), encoding.sizeof_length, "collection size")
    fields.take(sizeof_gap, "padding of the header")
    objects: dict[int, bytes] = {}
    while fields.n_left >= _SIZEOF_OBJECT_HEADER:
        index = fields.uint(2, "object index")
        fields.uint(2, "reference count")
        fields.expect(0, 4, "reserved bytes of an object")
        nbytes = fields.length("object size")
        fields.take(sizeof_gap, "padding of the object header")
        if index == 0:  # free space, whose size includes its header
            n_left = fields.n_left + _SIZEOF_OBJECT_HEADER
            if not _SIZEOF_OBJECT_HEADER <= nbytes <= n_left:
                raise fields.error(f"free space of {nbytes:,} bytes, but {n_left:,} are left")
            fields.take(nbytes - _SIZEOF_OBJECT_HEADER, "free space")
            continue
        if index in objects:
            raise fields.error(f"two objects have index {index}")
        objects[index] = fields.take(nbytes, f"object {index}")
        fields.take(_padded(nbytes) - nbytes, f"padding of object {index}")
    if fields.n_left % _ALIGNMENT:
        raise fields.error(f"{fields.n_left} bytes are left after its last object")
    return objects


def split_into_collections(object_nbytes: Sequence[int], max_nbytes: int) -> list[slice]:
    """Group consecutive objects into collections of at most `max_nbytes`; a larger object gets its own collection.

    Readers keep the complete collection of an element in memory, so collections should be small.
    """
    groups: list[slice] = []
    start, used = 0, SIZEOF_COLLECTION_HEADER
    for i, nbytes in enumerate(object_nbytes):
        needed = _SIZEOF_OBJECT_HEADER + _padded(nbytes)
        if i > start and (used + needed > max_nbytes or i - start == MAX_COLLECTION_OBJECTS):
            groups.append(slice(start, i))
            start, used = i, SIZEOF_COLLECTION_HEADER
        used += needed
    if start < len(object_nbytes):
        groups.append(slice(start, len(object_nbytes)))
    return groups


def encode_variable_length_elements(
    lengths: NDArray[np.uint32], collection_addresses: NDArray[np.uint64], indices: NDArray[np.uint32]
) -> bytes:
    """Encode elements of variable length, 16 bytes each.

    Parameters
    ----------
    lengths
        ``(n,) uint32``, in elements of the base type: bytes for strings, without NUL.
    collection_addresses, indices
        ``(n,) uint64`` and ``(n,) uint32``: location of the value; 0 and 0 for an empty one.
    """
    elements = np.empty(len(lengths), VARIABLE_LENGTH_ELEMENT)
    elements["length"] = lengths
    elements["address"] = collection_addresses
    elements["index"] = indices
    return elements.tobytes()


def encode_global_heap_id(collection_address: int, index: int) -> bytes:
    """Encode a pointer to one object, as in region references."""
    return address(collection_address, "global heap collection address") + uint(index, 4, "object index")


def _encode_object_header(index: int, nbytes: int) -> bytes:
    return concat(
        uint(index, 2, "heap object index"),
        uint(0, 2, "reference count"),
        bytes(4),
        length(nbytes, "object size"),
    )


def _padded(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT
