"""Addresses, lengths and unsigned integers, from which all structures are packed, and limits of the format."""

from __future__ import annotations

from streamh5.errors import LimitError

SIZEOF_ADDRESS = 8
"""The "size of offsets" of files that are written."""

SIZEOF_LENGTH = 8
"""The "size of lengths" of files that are written."""

UNDEFINED_ADDRESS = 0xFFFF_FFFF_FFFF_FFFF
"""An address that points nowhere (section I, "undefined address")."""

UNLIMITED = 0xFFFF_FFFF_FFFF_FFFF
"""An unlimited maximum dimension, as the dataspace message stores it."""

MAX_RANK = 32
"""H5S_MAX_RANK."""

N_CACHED = 256
"""Distinct datatypes and dataspaces whose records are kept: most objects of a file have one of a few."""

MAX_MESSAGE_NBYTES = 65_535
"""Largest body of an object header message: its size field has 2 bytes."""

MAX_COMPACT_NBYTES = MAX_MESSAGE_NBYTES - 4
"""Largest raw data of a compact layout: the other fields of its message have 4 bytes."""

MAX_CHUNK_NBYTES = 0xFFFF_FFFF
"""Largest chunk that readers before HDF5 2.0 open (layout message version 4)."""

MAX_FILTERS = 32
"""H5Z_MAX_NFILTERS."""


def encoded_length(value: int) -> int:
    """Return the smallest number of bytes that can store `value`, at least 1.

    This is H5VM_limit_enc_size of the library: 255 needs 1 byte, 256 needs 2. HDF5 2.0 and 2.1 refuse
    layout messages whose width is not exactly this.
    """
    return max(1, (value.bit_length() + 7) // 8)


def concat(*parts: bytes) -> bytes:
    """Join encoded fields, given in the order of their structure."""
    return b"".join(parts)


def uint(value: int, nbytes: int, field: str) -> bytes:
    """Pack `value` as a little-endian unsigned integer of `nbytes` bytes.

    Parameters
    ----------
    value, nbytes
        The number and its width.
    field
        The specification's name of the field, for the error.

    Raises
    ------
    LimitError
        `value` is negative or needs more bytes.
    """
    try:
        return value.to_bytes(nbytes, "little")
    except OverflowError:
        raise LimitError(
            f"{field} is {value}, but its HDF5 field of {nbytes} bytes can store 0 to {256**nbytes - 1}",
            field=field,
            value=value,
            nbytes=nbytes,
        ) from None


def address(value: int, field: str = "address") -> bytes:
    """Pack a file address (`UNDEFINED_ADDRESS` for none)."""
    return uint(value, SIZEOF_ADDRESS, field)


def length(value: int, field: str = "length") -> bytes:
    """Pack a length, size or count of the superblock's "size of lengths"."""
    return uint(value, SIZEOF_LENGTH, field)
