"""Find the superblock of a file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from streamh5.errors import FormatError
from streamh5.format.superblock import (
    SIGNATURE,
    SIZEOF_LONGEST_SUPERBLOCK,
    Superblock,
    decode_superblock,
)

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes

__all__ = ["find_superblock", "read_superblock"]

_FIRST_USER_BLOCK_NBYTES = 512


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


def read_superblock(file: FileBytes) -> Superblock:
    """Find and decode the superblock, and let `file` count addresses as the superblock says.

    Its base address and end are those that the file has now: what was put in front of a finished file (h5jam) moves
    both (``H5F__super_read``).

    Raises
    ------
    FormatError
        There is none, or a field or its checksum is wrong.
    ForeignStructureError
        A version or sizes that are not known.
    """
    position = find_superblock(file)
    file.begin_at(position)
    found = decode_superblock(file.read(0, min(SIZEOF_LONGEST_SUPERBLOCK, file.nbytes), "superblock"))
    if found.span < 0:
        raise FormatError(
            f"superblock: the file ends at {found.end_of_file:,}, before base address {found.base_address:,}"
        )
    file.encoding = found.encoding
    return replace(found, base_address=position, end_of_file=position + found.span)
