"""Superblock, version 2 and 3, from bytes (specification II.A)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.primitives import SIZEOF_ADDRESS, SIZEOF_LENGTH
from streamh5.format.superblock import SIGNATURE, SIZEOF_SUPERBLOCK, Superblock
from streamh5.reader.fields import Fields, check_checksum

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes

__all__ = ["decode_superblock", "find_superblock"]

_FIRST_USER_BLOCK_NBYTES = 512


def find_superblock(file: FileBytes) -> int:
    """Return the address of the superblock: 0, or behind a user block of 512, 1024, 2048 ... bytes.

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


def decode_superblock(block: bytes) -> Superblock:
    """Decode the `SIZEOF_SUPERBLOCK` bytes of a superblock.

    Raises
    ------
    FormatError
        A field or the checksum is wrong, or the file is marked as open for writing.
    ForeignStructureError
        A version other than 2 and 3.
    """
    fields = Fields(block, "superblock")
    fields.expect_signature(SIGNATURE)
    version = fields.uint(1, "version")
    if version in (0, 1):
        raise ForeignStructureError(
            f"superblock: version {version}, of HDF5 1.6 and the default of h5py; streamh5 writes 2 and 3",
            version=version,
        )
    check_checksum(block, "superblock")
    if version not in (2, 3):
        raise ForeignStructureError(f"superblock: version {version} is not known", version=version)
    fields.expect(SIZEOF_ADDRESS, 1, "size of offsets")
    fields.expect(SIZEOF_LENGTH, 1, "size of lengths")
    fields.expect(0, 1, "file consistency flags")
    base_address = fields.address("base address")
    extension_address = fields.address("superblock extension address")
    end_of_file = fields.address("end of file address")
    root_address = fields.address("root group object header address")
    fields.take(len(block) - SIZEOF_SUPERBLOCK + 4, "checksum")
    return Superblock(end_of_file, root_address, base_address, extension_address, version)
