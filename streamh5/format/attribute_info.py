"""Attribute info message (specification IV.A.2.v)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import UNDEFINED_ADDRESS, address, uint


class _Flag(IntFlag):
    CREATION_ORDER_TRACKED = 0x01
    CREATION_ORDER_INDEXED = 0x02


@dataclass(frozen=True, slots=True)
class AttributeInfo:
    """How the attributes of an object are stored; readers count no attributes without it.

    Parameters
    ----------
    max_creation_index
        Number of attributes ever created, when their creation order is tracked and indexed; else None.
    fractal_heap_address, name_index_address, creation_order_index_address
        Of dense storage; undefined when the attributes are messages of the object header.
    """

    max_creation_index: int | None = None
    fractal_heap_address: int = UNDEFINED_ADDRESS
    name_index_address: int = UNDEFINED_ADDRESS
    creation_order_index_address: int = UNDEFINED_ADDRESS


def encode_attribute_info(info: AttributeInfo) -> Message:
    """Encode an attribute info message.

    Raises
    ------
    LimitError
        More than 65,535 attributes with creation order.
    """
    in_order = info.max_creation_index is not None
    flags = _Flag.CREATION_ORDER_TRACKED | _Flag.CREATION_ORDER_INDEXED if in_order else 0
    parts = [
        uint(0, 1, "attribute info version"),
        uint(flags, 1, "flags"),
    ]
    if info.max_creation_index is not None:
        parts.append(uint(info.max_creation_index, 2, "maximum attribute creation index"))
    parts.append(address(info.fractal_heap_address, "attribute fractal heap address"))
    parts.append(address(info.name_index_address, "attribute name B-tree address"))
    if in_order:
        parts.append(address(info.creation_order_index_address, "attribute creation order B-tree address"))
    return Message(MessageType.ATTRIBUTE_INFO, b"".join(parts), MessageFlag.DO_NOT_SHARE)
