"""Read the superblock extension, or what old files have in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.errors import ForeignStructureError
from streamh5.format.object_header import MessageType
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.superblock_extension import (
    SIZEOF_DRIVER_BLOCK_PREFIX,
    check_cache_image,
    decode_btree_k,
    decode_driver_block,
    decode_driver_info,
)
from streamh5.reader.file_map import Kind
from streamh5.reader.structure_reader import StructureReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.format.superblock import Superblock
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap
    from streamh5.reader.shared_message import SharedMessages

__all__ = ["read_superblock_extension"]


def read_superblock_extension(
    file: FileBytes, file_map: FileMap, superblock: Superblock, shared: SharedMessages
) -> Iterator[str]:
    """Read what the superblock extension, or the driver information block of version 0 and 1, says.

    Node sizes of old B-trees go into `file.encoding`, the table of shared messages into `shared`.

    Yields
    ------
    str
        What is not checked.

    Raises
    ------
    FormatError
        A structure is damaged.
    ForeignStructureError
        The objects of the file are not where their addresses say.
    """
    if superblock.driver_address != UNDEFINED_ADDRESS:
        _read_driver_block(file, file_map, superblock.driver_address)
    if superblock.extension_address == UNDEFINED_ADDRESS:
        return
    for message in shared.header("/", superblock.extension_address).messages:
        body = message.body
        match message.type_id:
            case MessageType.SHARED_MESSAGE_TABLE:
                shared.read_table(body)
                yield "the indexes of shared object header messages"
            case MessageType.BTREE_K:
                file.encoding = decode_btree_k(body, file.encoding)
            case MessageType.DRIVER_INFO:
                raise _refusal("driver info message", decode_driver_info(body, file.encoding))
            case MessageType.FILE_SPACE_INFO:
                pass  # where free space is: nothing is stored there
            case MessageType.CACHE_IMAGE:
                check_cache_image(body, file.encoding)
            case type_id:
                yield f"a message of type {type_id:#04x} in the superblock extension"


def _read_driver_block(file: FileBytes, file_map: FileMap, address: int) -> None:
    reader = StructureReader(file, file_map, Kind.SUPERBLOCK, "/")
    structure = "driver information block"
    nbytes, driver = decode_driver_block(file.read(address, SIZEOF_DRIVER_BLOCK_PREFIX, structure))
    reader.read(address, nbytes, structure, n_read=0)
    raise _refusal(structure, driver)


def _refusal(structure: str, driver: str) -> ForeignStructureError:
    return ForeignStructureError(
        f"{structure}: the file is a part of several that the driver {driver!r} takes together", driver=driver
    )
