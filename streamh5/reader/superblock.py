"""The superblock of a file (specification II.A), with its extension or the driver information block of old files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from streamh5.arguments.paths import unfinished_write
from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.file_space_info import FileSpaceInfo, decode_file_space_info
from streamh5.format.object_header import MessageType
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.superblock import SIGNATURE, SIZEOF_LONGEST_SUPERBLOCK, Superblock, decode_superblock
from streamh5.format.superblock_extension import (
    SIZEOF_DRIVER_BLOCK_PREFIX,
    check_cache_image,
    decode_btree_k,
    decode_driver_block,
    decode_driver_info,
)
from streamh5.reader.file_map import Kind, StructureReader

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap
    from streamh5.reader.object_header import SharedMessages


_FIRST_USER_BLOCK_NBYTES = 512  # the smallest user block; others are larger by powers of two


def find_superblock(file: FileBytes) -> int:
    """Return the position of the superblock: 0, or the end of a user block of 512, 1024, 2048 ... bytes.

    Raises
    ------
    FormatError
        There is no superblock: the file is not an HDF5 file.
    """
    address = 0
    while address + len(SIGNATURE) <= file.nbytes:
        if file.read(address, len(SIGNATURE), "superblock") == SIGNATURE:
            return address
        address = 2 * address or _FIRST_USER_BLOCK_NBYTES
    start = file.read(0, min(4, file.nbytes), "superblock")
    if start.startswith(b"CDF") and start[3:] in (b"\x01", b"\x02", b"\x05"):
        raise FormatError(
            f"{file.name} is not an HDF5 file but a netCDF classic one (netCDF-3); streamh5 convert makes HDF5 of it",
            file_nbytes=file.nbytes,
            is_netcdf_classic=True,
        )
    unfinished = unfinished_write(file.name)
    if unfinished:
        raise FormatError(f"{file.name} is not an HDF5 file yet{unfinished}", file_nbytes=file.nbytes)
    raise FormatError(
        f"{file.name} is not an HDF5 file: there is no superblock in its {file.nbytes:,} bytes",
        file_nbytes=file.nbytes,
    )


def read_superblock(file: FileBytes) -> Superblock:
    """Find and decode the superblock, and set base address and encoding of `file`.

    The returned base address and end of file are those that the file has now. They differ from the stored ones if a
    user block was inserted into a finished file (h5jam); the library corrects them as well (``H5F__super_read``).

    Raises
    ------
    FormatError
        There is no superblock, or a field or the checksum is wrong.
    ForeignStructureError
        The reader does not know the version, or the sizes of addresses and lengths.
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


@dataclass(slots=True)
class SuperblockExtension:
    """What the superblock extension says about the whole file.

    Attributes
    ----------
    file_space
        How libraries find space in the file; None if it does not say.
    unchecked
        Structures of the extension that are not checked.
    """

    file_space: FileSpaceInfo | None = None
    unchecked: list[str] = field(default_factory=list)

    @property
    def page_nbytes(self) -> int:
        """Size of the pages of a file with paged aggregation; 0 without."""
        return 0 if self.file_space is None else self.file_space.pages_nbytes


def read_superblock_extension(
    file: FileBytes, file_map: FileMap, superblock: Superblock, shared: SharedMessages
) -> SuperblockExtension:
    """Read the superblock extension, or the driver information block of superblock versions 0 and 1.

    Node sizes of old B-trees go into `file.encoding`, and the table of shared messages into `shared`.

    Raises
    ------
    FormatError
        A structure is damaged.
    ForeignStructureError
        The objects of the file are not stored at their addresses: the file is one part of several.
    """
    if superblock.driver_address != UNDEFINED_ADDRESS:
        _read_driver_block(file, file_map, superblock.driver_address)
    found = SuperblockExtension()
    if superblock.extension_address == UNDEFINED_ADDRESS:
        return found
    for message in shared.header("/", superblock.extension_address).messages:
        body = message.body
        match message.type_id:
            case MessageType.SHARED_MESSAGE_TABLE:
                shared.read_table(body)
                found.unchecked.append("the indexes of shared object header messages")
            case MessageType.BTREE_K:
                file.encoding = decode_btree_k(body, file.encoding)
            case MessageType.DRIVER_INFO:
                raise _refusal("driver info message", decode_driver_info(body, file.encoding))
            case MessageType.FILE_SPACE_INFO:
                found.file_space = decode_file_space_info(body, file.encoding)
            case MessageType.CACHE_IMAGE:
                check_cache_image(body, file.encoding)
            case type_id:
                found.unchecked.append(f"a message of type {type_id:#04x} in the superblock extension")
    return found


def _read_driver_block(file: FileBytes, file_map: FileMap, address: int) -> None:
    reader = StructureReader(file, file_map, Kind.SUPERBLOCK, "/")
    structure = "driver information block"
    nbytes, driver = decode_driver_block(file.read(address, SIZEOF_DRIVER_BLOCK_PREFIX, structure))
    reader.read(address, nbytes, structure, n_read=0)
    raise _refusal(structure, driver)


def _refusal(structure: str, driver: str) -> ForeignStructureError:
    return ForeignStructureError(
        f"{structure}: the file is one of several parts, which the driver {driver!r} combines", driver=driver
    )
