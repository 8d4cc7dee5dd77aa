"""Group info message (specification IV.A.2.k)."""

from __future__ import annotations

from enum import IntEnum

from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import concat, uint


class _Flag(IntEnum):
    LINK_PHASE_CHANGE = 0x01
    ESTIMATED_ENTRIES = 0x02


def encode_group_info() -> Message:
    """Encode a group info message without its optional numbers."""
    body = concat(
        uint(0, 1, "group info version"),
        uint(0, 1, "flags"),
    )
    return Message(MessageType.GROUP_INFO, body, MessageFlag.CONSTANT)


def decode_group_info(body: bytes, encoding: Encoding = ENCODING) -> None:
    """Check a group info message, whose numbers matter only to writers.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "group info message", encoding)
    fields.expect(0, 1, "version")
    flags = fields.flags(_Flag)
    fields.take(4 if flags & _Flag.LINK_PHASE_CHANGE else 0, "link phase change values")
    fields.take(4 if flags & _Flag.ESTIMATED_ENTRIES else 0, "estimated entry information")
    fields.end()
