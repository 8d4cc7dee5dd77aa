"""Character sets of names and strings, as links, attributes and string datatypes number them.

Text is UTF-8. Bytes that are not valid UTF-8 are decoded with `surrogateescape`, as in Python and h5py, and written
back unchanged.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamh5.errors import StreamH5Error


class CharacterSet(IntEnum):
    """Encoding of the characters of a name or string."""

    ASCII = 0
    UTF8 = 1


def character_set(text: str) -> CharacterSet:
    """Return ASCII if it can represent `text`, else UTF-8; bytes that are not UTF-8 count as ASCII, as in h5py."""
    if text.isascii():
        return CharacterSet.ASCII
    try:
        text.encode()
    except UnicodeEncodeError:
        return CharacterSet.ASCII
    return CharacterSet.UTF8


def encode_text(text: str) -> bytes:
    """Return the bytes of a text.

    Raises
    ------
    UnicodeEncodeError
        The text contains a surrogate that does not represent a byte.
    """
    return text.encode("utf-8", "surrogateescape")


def encode_name(text: str, what: str, error: type[StreamH5Error]) -> bytes:
    """Return the bytes of a text that the format ends with NUL.

    Parameters
    ----------
    text, what
        The text, and what it is, for the error.
    error
        Class of the error.

    Raises
    ------
    StreamH5Error
        The text is empty, contains NUL or has no UTF-8 encoding.
    """
    if not text or "\0" in text:
        raise error(f"{what} {text!r:.80} is empty or contains NUL", name=text)
    try:
        return encode_text(text)
    except UnicodeEncodeError as problem:
        raise error(
            f"{what} {text!r:.80} cannot be encoded as UTF-8: {problem.reason}", name=text
        ) from problem


def decode_text(data: str | bytes) -> str:
    """Return the text of bytes, which need not be UTF-8; a str is returned unchanged."""
    return data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data


def printable_text(text: str | bytes) -> str:
    """Return a text with replacement characters for the bytes that are not UTF-8."""
    encoded = encode_text(text) if isinstance(text, str) else text
    return encoded.decode("utf-8", "replace")
