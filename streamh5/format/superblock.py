"""Superblock: versions 0 to 3 are read, 2 and 3 are written (specification II.A)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from streamh5.errors import ForeignStructureError
from streamh5.format.checksum import append_checksum
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.primitives import SIZEOF_ADDRESS, SIZEOF_LENGTH, UNDEFINED_ADDRESS, address, uint

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SIZEOF_SUPERBLOCK = 48

SIZEOF_LONGEST_SUPERBLOCK = 100
"""Size in bytes of version 1 with addresses and lengths of 8 bytes."""

_SIZES = (2, 4, 8)
_SIZEOF_SCRATCH_PAD = 16
_SIZEOF_ROOT_ENTRY = SIZEOF_LENGTH + SIZEOF_ADDRESS + 4 + 4 + _SIZEOF_SCRATCH_PAD


class _ConsistencyFlag(IntEnum):
    WRITE_ACCESS = 0x01
    SWMR_ACCESS = 0x04


@dataclass(frozen=True, slots=True)
class Superblock:
    """The superblock, with which a file begins.

    Parameters
    ----------
    end_of_file
        Absolute end: base address plus the size of the HDF5 data. Readers refuse a file that is shorter.
    root_address
        Address of the object header of the root group, relative to `base_address`.
    base_address
        Size of the user block before the superblock: 0, 512, 1024, 2048 and so on.
    extension_address
        Address of the object header of the superblock extension, if any.
    version
        3 requires HDF5 1.10; HDF5 1.8 can also open version 2.
    encoding
        Sizes of addresses and lengths, and of the nodes of old B-trees; only `ENCODING` is written.
    driver_address
        Address of the driver information block of versions 0 and 1, if any.
    consistency_flags
        Bit 0: a writer has opened and not closed the file; bit 2: it allows concurrent readers (SWMR). Never
        written.
    """

    end_of_file: int
    root_address: int
    base_address: int = 0
    extension_address: int = UNDEFINED_ADDRESS
    version: int = 3
    encoding: Encoding = ENCODING
    driver_address: int = UNDEFINED_ADDRESS
    consistency_flags: int = 0

    @property
    def nbytes(self) -> int:
        """Size of the superblock in bytes."""
        return _sizeof(self.version, self.encoding)

    @property
    def span(self) -> int:
        """Size in bytes from the base address to the end of the file; negative if they contradict each other."""
        return self.end_of_file - self.base_address

    @property
    def is_open_for_writing(self) -> bool:
        """Whether the file is marked as open for writing."""
        flags = _ConsistencyFlag.WRITE_ACCESS | _ConsistencyFlag.SWMR_ACCESS
        return self.version >= 2 and bool(self.consistency_flags & flags)


def encode_superblock(superblock: Superblock) -> bytes:
    """Return the `SIZEOF_SUPERBLOCK` bytes of a superblock whose file is not open for writing."""
    return append_checksum(
        SIGNATURE,
        uint(superblock.version, 1, "superblock version"),
        uint(SIZEOF_ADDRESS, 1, "size of offsets"),
        uint(SIZEOF_LENGTH, 1, "size of lengths"),
        uint(0, 1, "file consistency flags"),
        address(superblock.base_address, "base address"),
        address(superblock.extension_address, "superblock extension address"),
        address(superblock.end_of_file, "end of file address"),
        address(superblock.root_address, "root group object header address"),
    )


def renewed_superblock(block: bytes, *, end_of_file: int, root_address: int) -> bytes:
    """Return the superblock of the next generation of a file; its version and everything else stay.

    Parameters
    ----------
    block
        The superblock of the file, whose addresses and lengths have 8 bytes.
    end_of_file
        End of the file, relative to its base address.
    root_address
        Address of the object header of the root group, relative to the base address.
    """
    found = decode_superblock(block)
    end_of_file += found.base_address
    if found.version >= 2:
        return encode_superblock(replace(found, end_of_file=end_of_file, root_address=root_address))
    # The group has no symbol table any more, so the entry caches none (H5G_NOTHING_CACHED).
    entry = found.nbytes - _SIZEOF_ROOT_ENTRY
    new = bytearray(block[: found.nbytes])
    end_position = entry - 2 * SIZEOF_ADDRESS  # followed by the address of the driver information block
    new[end_position : end_position + SIZEOF_ADDRESS] = address(end_of_file, "end of file address")
    new[entry + SIZEOF_LENGTH :] = address(root_address, "root group object header address") + bytes(
        4 + 4 + _SIZEOF_SCRATCH_PAD
    )
    return bytes(new)


def decode_superblock(block: bytes) -> Superblock:
    """Decode a superblock of any version.

    Parameters
    ----------
    block
        The first `SIZEOF_LONGEST_SUPERBLOCK` bytes of the file, or the complete file if it is shorter.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    ForeignStructureError
        The version or a size is not known.
    """
    fields = Fields(block, "superblock")
    fields.expect_signature(SIGNATURE)
    version = fields.uint(1, "version")
    if version in (0, 1):
        return _decode_old(fields, version)
    if version not in (2, 3):
        raise ForeignStructureError(f"superblock: version {version} is not known", version=version)
    fields.encoding = _decode_sizes(fields)
    Fields(block[: _sizeof(version, fields.encoding)], "superblock").check_checksum()
    flags = fields.uint(1, "file consistency flags")
    base_address = fields.address("base address")
    extension_address = fields.address("superblock extension address")
    end_of_file = fields.address("end of file address")
    root_address = fields.address("root group object header address")
    return Superblock(
        end_of_file, root_address, base_address, extension_address, version, fields.encoding,
        consistency_flags=flags,
    )  # fmt: skip


def _sizeof(version: int, encoding: Encoding) -> int:
    address, length = encoding.sizeof_address, encoding.sizeof_length
    if version >= 2:
        return SIZEOF_SUPERBLOCK - 4 * (SIZEOF_ADDRESS - address)  # it has four addresses
    sizeof_chunk_k = 4 if version == 1 else 0
    return 24 + sizeof_chunk_k + 5 * address + length + 8 + _SIZEOF_SCRATCH_PAD


def _decode_old(fields: Fields, version: int) -> Superblock:
    """Decode the fields after the version in versions 0 and 1, which have no checksum."""
    fields.expect(0, 1, "version of the free-space information")
    fields.expect(0, 1, "version of the root group symbol table entry")
    fields.uint(1, "reserved byte")
    fields.expect(0, 1, "version of the shared header message format")
    encoding = _decode_sizes(fields)
    fields.uint(1, "reserved byte")
    leaf_k, internal_k = fields.uint(2, "group leaf node K"), fields.uint(2, "group internal node K")
    flags = fields.uint(4, "file consistency flags")
    chunk_k = encoding.chunk_k
    if version == 1:
        chunk_k = fields.uint(2, "indexed storage internal node K")
        fields.uint(2, "reserved bytes")
    if flags > 0xFF:
        raise fields.error(f"file consistency flags are {flags:#x}")
    fields.encoding = with_node_sizes(fields, encoding, leaf_k, internal_k, chunk_k)
    base_address = fields.address("base address")
    fields.address("address of file free space information")
    end_of_file = fields.address("end of file address")
    driver_address = fields.address("driver information block address")
    fields.length("link name offset of the root group")
    root_address = fields.address("root group object header address")
    fields.take(4 + 4 + _SIZEOF_SCRATCH_PAD, "cache of the root group symbol table entry")
    return Superblock(
        end_of_file, root_address, base_address, UNDEFINED_ADDRESS, version, fields.encoding, driver_address, flags
    )  # fmt: skip


def with_node_sizes(
    fields: Fields, encoding: Encoding, leaf_k: int, internal_k: int, chunk_k: int
) -> Encoding:
    """Return `encoding` with K values that were read from the structure of `fields`.

    Raises
    ------
    FormatError
        One of them is 0.
    """
    if not (leaf_k and internal_k and chunk_k):
        raise fields.error(f"K values {leaf_k}, {internal_k}, {chunk_k} of nodes, which cannot be 0")
    return replace(encoding, group_leaf_k=leaf_k, group_internal_k=internal_k, chunk_k=chunk_k)


def _decode_sizes(fields: Fields) -> Encoding:
    address, length = fields.uint(1, "size of offsets"), fields.uint(1, "size of lengths")
    if address not in _SIZES or length not in _SIZES:
        raise ForeignStructureError(f"superblock: addresses of {address} bytes and lengths of {length}")
    return Encoding(address, length)
