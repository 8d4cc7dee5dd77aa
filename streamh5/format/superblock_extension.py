"""Messages of the superblock extension: settings of the whole file (specification II.C, IV.A.2.t, u and y)."""

from __future__ import annotations

from streamh5.errors import ForeignStructureError
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.superblock import with_node_sizes

SIZEOF_DRIVER_BLOCK_PREFIX = 16
"""Size in bytes of the driver information block of old superblocks before the driver's own data."""


def decode_btree_k(body: bytes, encoding: Encoding = ENCODING) -> Encoding:
    """Return `encoding` with the node sizes of a B-tree 'K' values message.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "B-tree 'K' values message", encoding)
    fields.expect(0, 1, "version")
    chunk_k = fields.uint(2, "indexed storage internal node K")
    internal_k, leaf_k = fields.uint(2, "group internal node K"), fields.uint(2, "group leaf node K")
    return with_node_sizes(fields, encoding, leaf_k, internal_k, chunk_k)


def decode_driver_info(body: bytes, encoding: Encoding = ENCODING) -> str:
    """Return the name of the driver in a driver info message.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "driver info message", encoding)
    fields.expect(0, 1, "version")
    return fields.text(8, "driver identification")


def decode_driver_block(block: bytes) -> tuple[int, str]:
    """Return the size and the driver of a driver information block with the prefix `block`.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(block, "driver information block")
    fields.expect(0, 1, "version")
    fields.take(3, "reserved bytes")
    nbytes = fields.uint(4, "driver information size")
    return SIZEOF_DRIVER_BLOCK_PREFIX + nbytes, fields.text(8, "driver identification")


def check_cache_image(body: bytes, encoding: Encoding = ENCODING) -> None:
    """Check that a metadata cache image message has no image.

    Raises
    ------
    FormatError
        A field is wrong.
    ForeignStructureError
        There is an image.
    """
    fields = Fields(body, "metadata cache image message", encoding)
    fields.expect(0, 1, "version")
    if fields.address("image address") != UNDEFINED_ADDRESS:
        raise ForeignStructureError(
            "metadata cache image message: the file has its metadata in a cache image; open and close it in mode "
            "'r+' with the HDF5 library, which writes it out"
        )
