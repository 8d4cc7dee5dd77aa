"""Messages that only inform users: comments and modification times (specification IV.A.2.n, o and s)."""

from __future__ import annotations

from streamh5.format.fields import ENCODING, Encoding, Fields


def decode_comment(body: bytes, encoding: Encoding = ENCODING) -> str:
    """Decode an object comment message.

    Raises
    ------
    FormatError
        The comment has no NUL at its end.
    """
    return Fields(body, "object comment message", encoding).terminated_text("comment")


def decode_modification_time(body: bytes, encoding: Encoding = ENCODING) -> int:
    """Decode an object modification time message: seconds since 1970.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "object modification time message", encoding)
    fields.expect(1, 1, "version")
    fields.take(3, "reserved bytes")
    seconds = fields.uint(4, "seconds after UNIX epoch")
    fields.end()
    return seconds


def decode_old_modification_time(body: bytes, encoding: Encoding = ENCODING) -> str:
    """Decode the modification time message of HDF5 before 1.6: ``YYYYMMDDhhmmss``.

    Raises
    ------
    FormatError
        The message is too short, or contains other characters than digits.
    """
    fields = Fields(body, "old object modification time message", encoding)
    text = fields.text(14, "time")
    if not (text.isascii() and text.isdigit()):
        raise fields.error(f"the time is {text!r}")
    fields.take(2, "reserved")  # without them, HDF5 2 does not read the message
    return text
