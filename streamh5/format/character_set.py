"""Character sets of names and strings, as links, attributes and string datatypes number them.

Text is UTF-8. Bytes that are not valid UTF-8 are decoded with `surrogateescape`, as in Python and h5py, and written
back unchanged.
"""

from __future__ import annotations

from enum import IntEnum


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


def decode_text(data: str | bytes) -> str:
    """Return the text of bytes, which need not be UTF-8; a str is returned unchanged."""
    return data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
