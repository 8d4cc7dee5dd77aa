"""Object reference count message (specification IV.A.2.w)."""

from __future__ import annotations

from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import concat, uint


def encode_reference_count(n_links: int) -> Message:
    """Encode the number of hard links to an object; objects with two or more need this message.

    Without it, deleting one link would free the object while other links still refer to it.
    """
    body = concat(
        uint(0, 1, "reference count version"),
        uint(n_links, 4, "reference count"),
    )
    return Message(MessageType.REFERENCE_COUNT, body, MessageFlag.DO_NOT_SHARE)


def decode_reference_count(body: bytes, encoding: Encoding = ENCODING) -> int:
    """Decode the number of hard links to an object.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "reference count message", encoding)
    fields.expect(0, 1, "version")
    n_links = fields.uint(4, "reference count")
    fields.end()
    return n_links
