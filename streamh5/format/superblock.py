"""Superblock, version 2 and 3 (specification II.A)."""

from __future__ import annotations

from dataclasses import dataclass

from streamh5.format.checksum import append_checksum
from streamh5.format.primitives import SIZEOF_ADDRESS, SIZEOF_LENGTH, UNDEFINED_ADDRESS, address, uint

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SIZEOF_SUPERBLOCK = 48


@dataclass(frozen=True, slots=True)
class Superblock:
    """Where the file ends and where its root group is.

    Parameters
    ----------
    end_of_file
        Absolute: base address plus the length of the HDF5 data. Readers refuse a file that is shorter.
    root_address
        Object header of the root group, relative to `base_address`.
    base_address
        Size of the user block before the superblock: 0, 512, 1024, 2048 and so on.
    extension_address
        Object header of the superblock extension, if any.
    version
        3 asks for HDF5 1.10; 2 also lets 1.8 open the file.
    """

    end_of_file: int
    root_address: int
    base_address: int = 0
    extension_address: int = UNDEFINED_ADDRESS
    version: int = 3


def encode_superblock(superblock: Superblock) -> bytes:
    """Return the `SIZEOF_SUPERBLOCK` bytes of a superblock whose file is not open for writing."""
    return append_checksum(
        b"".join(
            (
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
        )
    )
