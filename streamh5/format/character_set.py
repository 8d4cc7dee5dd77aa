"""Character sets of names and strings, as links, attributes and string datatypes number them.

Text is UTF-8. Bytes that are not are a str with `surrogateescape`, as Python and h5py decode them, and are written
as the bytes that they are.
"""

from __future__ import annotations

from enum import IntEnum


class CharacterSet(IntEnum):
    """Encoding of the characters of a name or string."""

    ASCII = 0
    UTF8 = 1


def character_set(text: str) -> CharacterSet:
    """Return the smallest character set that holds `text`; bytes that are not UTF-8 go as ASCII, as in h5py."""
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
        A lone surrogate that stands for no byte.
    """
    return text.encode("utf-8", "surrogateescape")


def decode_text(data: str | bytes) -> str:
    """Return the text of bytes, whether or not they are UTF-8; a str stays as it is."""
    return data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
