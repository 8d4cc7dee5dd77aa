"""Link info message (specification IV.A.2.c)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from streamh5.format.object_header import Message, MessageType
from streamh5.format.primitives import UNDEFINED_ADDRESS, address, uint


class _Flag(IntFlag):
    CREATION_ORDER_TRACKED = 0x01
    CREATION_ORDER_INDEXED = 0x02


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """How the links of a group are stored.

    Parameters
    ----------
    max_creation_index
        Number of links ever created, when their creation order is tracked and indexed; else None.
    fractal_heap_address, name_index_address, creation_order_index_address
        Of dense storage; undefined when the links are messages of the group's object header.
    """

    max_creation_index: int | None = None
    fractal_heap_address: int = UNDEFINED_ADDRESS
    name_index_address: int = UNDEFINED_ADDRESS
    creation_order_index_address: int = UNDEFINED_ADDRESS


def encode_link_info(info: LinkInfo) -> Message:
    """Encode a link info message."""
    in_order = info.max_creation_index is not None
    flags = _Flag.CREATION_ORDER_TRACKED | _Flag.CREATION_ORDER_INDEXED if in_order else 0
    parts = [
        uint(0, 1, "link info version"),
        uint(flags, 1, "flags"),
    ]
    if info.max_creation_index is not None:
        parts.append(uint(info.max_creation_index, 8, "maximum creation index"))
    parts.append(address(info.fractal_heap_address, "link fractal heap address"))
    parts.append(address(info.name_index_address, "link name B-tree address"))
    if in_order:
        parts.append(address(info.creation_order_index_address, "link creation order B-tree address"))
    return Message(MessageType.LINK_INFO, b"".join(parts))
