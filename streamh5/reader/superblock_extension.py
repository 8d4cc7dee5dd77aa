"""Superblock extension from bytes: settings of the whole file (specification II.C, IV.A.2.p, t, u, x and y)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from streamh5.errors import ForeignStructureError
from streamh5.format.fields import Fields
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap
    from streamh5.reader.shared_message import SharedMessages
    from streamh5.reader.superblock import StoredSuperblock

__all__ = ["read_superblock_extension"]


_DRIVER_NBYTES = 16


def read_superblock_extension(
    file: FileBytes, file_map: FileMap, superblock: StoredSuperblock, shared: SharedMessages
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
    for stored in shared.header("/", superblock.extension_address).messages:
        message = stored.message
        match message.type_id:
            case 0x0F:
                shared.read_table(message.body)
                yield "the indexes of shared object header messages"
            case 0x13:
                _decode_btree_k(file, message.body)
            case 0x14:
                _check_driver(Fields(message.body, "driver info message", file.encoding), is_message=True)
            case 0x17:
                pass  # where free space is: nothing is stored there
            case 0x18:
                _check_cache_image(file, message.body)
            case type_id:
                yield f"a message of type {type_id:#04x} in the superblock extension"


def _decode_btree_k(file: FileBytes, body: bytes) -> None:
    fields = Fields(body, "B-tree 'K' values message", file.encoding)
    fields.expect(0, 1, "version")
    chunk_k, internal_k = (
        fields.uint(2, "indexed storage internal node K"),
        fields.uint(2, "group internal node K"),
    )
    leaf_k = fields.uint(2, "group leaf node K")
    if not chunk_k or not internal_k or not leaf_k:
        raise fields.error(f"K values {chunk_k}, {internal_k}, {leaf_k}, which cannot be 0")
    file.encoding = replace(file.encoding, group_leaf_k=leaf_k, group_internal_k=internal_k, chunk_k=chunk_k)


def _read_driver_block(file: FileBytes, file_map: FileMap, address: int) -> None:
    structure = "driver information block"
    fields = Fields(file.read(address, _DRIVER_NBYTES, structure), structure, file.encoding)
    fields.expect(0, 1, "version")
    fields.take(3, "reserved bytes")
    nbytes = fields.uint(4, "driver information size")
    file.check_range(address, _DRIVER_NBYTES + nbytes, structure)
    file_map.claim(Kind.SUPERBLOCK, "/", address, _DRIVER_NBYTES + nbytes)
    _check_driver(fields, is_message=False)


def _check_driver(fields: Fields, *, is_message: bool) -> None:
    if is_message:
        fields.expect(0, 1, "version")
    name = fields.text(8, "driver identification")
    raise ForeignStructureError(
        f"{fields.structure}: the file is a part of several that the driver {name!r} takes together",
        driver=name,
    )


def _check_cache_image(file: FileBytes, body: bytes) -> None:
    fields = Fields(body, "metadata cache image message", file.encoding)
    fields.expect(0, 1, "version")
    if fields.address("image address") != UNDEFINED_ADDRESS:
        raise ForeignStructureError(
            "metadata cache image message: what the file holds is in the image of a cache; open and close it in mode "
            "'r+' with the HDF5 library, which writes it out"
        )
