"""Superblock, versions 0 to 3, from bytes (specification II.A)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.fields import Encoding, Fields, check_checksum
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.superblock import SIGNATURE, SIZEOF_SUPERBLOCK, Superblock

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes

__all__ = ["StoredSuperblock", "decode_superblock", "find_superblock", "read_superblock"]

_FIRST_USER_BLOCK_NBYTES = 512
_SIZES = (2, 4, 8)
_LONGEST_NBYTES = 100
_WRITE_ACCESS, _SWMR_ACCESS = 0x01, 0x04
_SIZEOF_SCRATCH_PAD = 16


@dataclass(frozen=True, slots=True)
class StoredSuperblock:
    """The superblock of any version.

    Attributes
    ----------
    version
        0 to 3.
    nbytes
        Size of the superblock.
    encoding
        Sizes of addresses and lengths, and of the nodes of old B-trees.
    end_of_file
        Where the file ends, relative to `base_address`.
    root_address
        Object header of the root group.
    base_address
        Position of the superblock in the file: the size of the user block before it.
    extension_address, driver_address
        Object header of the superblock extension, and the driver information block; undefined without.
    consistency_flags
        Bit 0: a writer has the file open, or did not close it; bit 2: it writes for readers at the same time (SWMR).
    """

    version: int
    nbytes: int
    encoding: Encoding
    end_of_file: int
    root_address: int
    base_address: int = 0
    extension_address: int = UNDEFINED_ADDRESS
    driver_address: int = UNDEFINED_ADDRESS
    consistency_flags: int = 0

    @property
    def is_open_for_writing(self) -> bool:
        """Whether the file is marked as open for writing."""
        return self.version >= 2 and bool(self.consistency_flags & (_WRITE_ACCESS | _SWMR_ACCESS))


def find_superblock(file: FileBytes) -> int:
    """Return the position of the superblock: 0, or behind a user block of 512, 1024, 2048 ... bytes.

    Raises
    ------
    FormatError
        There is none: the file is not an HDF5 file.
    """
    address = 0
    while address + len(SIGNATURE) <= file.nbytes:
        if file.read(address, len(SIGNATURE), "superblock") == SIGNATURE:
            return address
        address = 2 * address or _FIRST_USER_BLOCK_NBYTES
    raise FormatError(
        f"{file.name} is not an HDF5 file: there is no superblock in its {file.nbytes:,} bytes",
        file_nbytes=file.nbytes,
    )


def read_superblock(file: FileBytes) -> StoredSuperblock:
    """Find and decode the superblock, and let `file` count addresses as the superblock says.

    Raises
    ------
    FormatError
        There is none, or a field or its checksum is wrong.
    ForeignStructureError
        A version or sizes that are not known.
    """
    position = find_superblock(file)
    file.begin_at(position)
    block = file.read(0, min(_LONGEST_NBYTES, file.nbytes), "superblock")
    version = block[len(SIGNATURE)] if len(block) > len(SIGNATURE) else 0
    found = _decode_old(block) if version in (0, 1) else _decode_new(block)
    # H5F__super_read: what was put in front of a finished file (h5jam) moves base address and end alike.
    end_of_file = found.end_of_file - found.base_address
    if end_of_file < 0:
        raise FormatError(
            f"superblock: the file ends at {found.end_of_file:,}, before base address {found.base_address:,}"
        )
    file.encoding = found.encoding
    return replace(found, base_address=position, end_of_file=end_of_file)


def decode_superblock(block: bytes) -> Superblock:
    """Decode the `SIZEOF_SUPERBLOCK` bytes of a superblock as streamh5 writes it.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    ForeignStructureError
        A version other than 2 and 3, other sizes than 8, or a file that is marked as open for writing.
    """
    if len(block) > len(SIGNATURE) and block[len(SIGNATURE)] in (0, 1):
        version = block[len(SIGNATURE)]
        raise ForeignStructureError(
            f"superblock: version {version}, of HDF5 1.6 and the default of h5py; streamh5 writes 2 and 3",
            version=version,
        )
    found = _decode_new(block)
    if found.encoding != Encoding():
        raise ForeignStructureError("superblock: addresses or lengths of other than 8 bytes")
    if found.consistency_flags:
        raise ForeignStructureError("superblock: the file is marked as open for writing")
    return Superblock(
        found.end_of_file, found.root_address, found.base_address, found.extension_address, found.version
    )


def _decode_new(block: bytes) -> StoredSuperblock:
    """Decode version 2 or 3."""
    fields = Fields(block, "superblock")
    fields.expect_signature(SIGNATURE)
    version = fields.uint(1, "version")
    if version not in (2, 3):
        raise ForeignStructureError(f"superblock: version {version} is not known", version=version)
    encoding = _decode_sizes(fields)
    nbytes = SIZEOF_SUPERBLOCK - 4 * (8 - encoding.sizeof_address)
    check_checksum(block[:nbytes], "superblock")
    fields.encoding = encoding
    flags = fields.uint(1, "file consistency flags")
    base_address = fields.address("base address")
    extension_address = fields.address("superblock extension address")
    end_of_file = fields.address("end of file address")
    root_address = fields.address("root group object header address")
    return StoredSuperblock(
        version, nbytes, encoding, end_of_file, root_address, base_address, extension_address,
        consistency_flags=flags,
    )  # fmt: skip


def _decode_old(block: bytes) -> StoredSuperblock:
    """Decode version 0 or 1, which has no checksum."""
    fields = Fields(block, "superblock")
    fields.expect_signature(SIGNATURE)
    version = fields.uint(1, "version")
    fields.expect(0, 1, "version of the free-space information")
    fields.expect(0, 1, "version of the root group symbol table entry")
    fields.uint(1, "reserved byte")
    fields.expect(0, 1, "version of the shared header message format")
    encoding = _decode_sizes(fields)
    fields.encoding = encoding
    fields.uint(1, "reserved byte")
    leaf_k, internal_k = fields.uint(2, "group leaf node K"), fields.uint(2, "group internal node K")
    flags = fields.uint(4, "file consistency flags")
    chunk_k = 32
    if version == 1:
        chunk_k = fields.uint(2, "indexed storage internal node K")
        fields.uint(2, "reserved bytes")
    if not leaf_k or not internal_k or not chunk_k:
        raise fields.error(f"K values {leaf_k}, {internal_k}, {chunk_k} of nodes, which cannot be 0")
    if flags > 0xFF:
        raise fields.error(f"file consistency flags are {flags:#x}")
    base_address = fields.address("base address")
    fields.address("address of file free space information")
    end_of_file = fields.address("end of file address")
    driver_address = fields.address("driver information block address")
    fields.length("link name offset of the root group")
    root_address = fields.address("root group object header address")
    fields.take(4 + 4 + _SIZEOF_SCRATCH_PAD, "cache of the root group symbol table entry")
    return StoredSuperblock(
        version, fields.position, replace(encoding, group_leaf_k=leaf_k, group_internal_k=internal_k, chunk_k=chunk_k),
        end_of_file, root_address, base_address, UNDEFINED_ADDRESS, driver_address, flags,
    )  # fmt: skip


def _decode_sizes(fields: Fields) -> Encoding:
    address, length = fields.uint(1, "size of offsets"), fields.uint(1, "size of lengths")
    if address not in _SIZES or length not in _SIZES:
        raise ForeignStructureError(f"superblock: addresses of {address} bytes and lengths of {length}")
    return Encoding(address, length)
