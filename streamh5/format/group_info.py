"""Group info message (specification IV.A.2.k)."""

from __future__ import annotations

from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import uint


def encode_group_info() -> Message:
    """Encode a group info message that stores none of its optional numbers."""
    body = b"".join(
        (
            uint(0, 1, "group info version"),
            uint(0, 1, "flags"),
        )
    )
    return Message(MessageType.GROUP_INFO, body, MessageFlag.CONSTANT)
