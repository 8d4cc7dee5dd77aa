"""Read an object header with its continuations."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.format.object_header import (
    SIZEOF_LONGEST_PREFIX,
    SIZEOF_SMALLEST_OBJECT_HEADER,
    Message,
    MessageType,
    decode_continuation,
    decode_continuation_block,
    decode_first_block,
    decode_object_header_prefix,
)
from streamh5.reader.file_map import Kind
from streamh5.reader.structure_reader import StructureReader

if TYPE_CHECKING:
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["ObjectHeader", "read_object_header"]

_STRUCTURE = "object header"


@dataclass(frozen=True, slots=True)
class ObjectHeader:
    """The messages of all blocks of an object header, without NIL and continuation messages.

    Attributes
    ----------
    address
        Of its first block.
    messages
        In the order in which they stand.
    attribute_order
        Whether the creation order of attributes is tracked.
    n_blocks
        1, and 1 more for each continuation.
    nbytes
        Of all blocks.
    version
        1 or 2; bodies of messages of version 1 may end with padding.
    n_links
        Reference count in the prefix of version 1; None for version 2, which has a message for it.
    """

    address: int
    messages: tuple[Message, ...]
    attribute_order: bool
    n_blocks: int
    nbytes: int
    version: int = 2
    n_links: int | None = None


def read_object_header(file: FileBytes, file_map: FileMap, owner: str, address: int) -> ObjectHeader:
    """Read and decode the object header at `address`, with its continuations.

    Raises
    ------
    FormatError
        A field or a checksum is wrong, or a block is outside the file.
    """
    reader = StructureReader(file, file_map, Kind.HEADER, owner)
    n_there = max(SIZEOF_SMALLEST_OBJECT_HEADER, min(SIZEOF_LONGEST_PREFIX, file.nbytes - address))
    prefix = decode_object_header_prefix(file.read(address, n_there, _STRUCTURE))
    total = prefix.nbytes
    found = decode_first_block(reader.read(address, total, _STRUCTURE), prefix)
    messages: list[Message] = []
    continuations: deque[tuple[int, int]] = deque()
    n_blocks = 1
    while True:
        for message in found:
            if message.type_id == MessageType.CONTINUATION:
                continuations.append(decode_continuation(message.body, file.encoding))
            elif message.type_id != MessageType.NIL:
                messages.append(message)
        if not continuations:
            break
        here, nbytes = continuations.popleft()
        block = reader.read(here, nbytes, "object header continuation")
        found = decode_continuation_block(block, prefix)
        n_blocks, total = n_blocks + 1, total + nbytes
    return ObjectHeader(
        address, tuple(messages), prefix.attribute_order, n_blocks, total, prefix.version, prefix.n_links
    )
