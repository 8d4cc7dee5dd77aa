"""Character sets of names and strings, as links, attributes and string datatypes number them."""

from __future__ import annotations

from enum import IntEnum


class CharacterSet(IntEnum):
    """Encoding of the characters of a name or string."""

    ASCII = 0
    UTF8 = 1


def character_set(text: str) -> CharacterSet:
    """Return the smallest character set that holds `text`."""
    return CharacterSet.ASCII if text.isascii() else CharacterSet.UTF8
