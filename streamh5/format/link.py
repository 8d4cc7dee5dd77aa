"""Link message (specification IV.A.2.g)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TypeAlias

from streamh5.errors import LimitError, PathError
from streamh5.format.character_set import CharacterSet, character_set, encode_text
from streamh5.format.object_header import Message, MessageType
from streamh5.format.primitives import MAX_MESSAGE_NBYTES, address, encoded_length, uint


class _Type(IntEnum):
    HARD = 0
    SOFT = 1
    EXTERNAL = 64


class _Flag(IntFlag):
    CREATION_ORDER = 0x04
    TYPE = 0x08
    CHARACTER_SET = 0x10


@dataclass(frozen=True, slots=True)
class HardLink:
    """The object whose header is at `address`."""

    address: int


@dataclass(frozen=True, slots=True)
class SoftLink:
    """Whatever `path` names in this file; bytes of it that are not UTF-8 as `surrogateescape`."""

    path: str


@dataclass(frozen=True, slots=True)
class ExternalLink:
    """Whatever `path` names in the file `filename`."""

    filename: str
    path: str


@dataclass(frozen=True, slots=True)
class UserDefinedLink:
    """Whatever a program that has registered the class `link_type` (65 to 255) makes of `value`."""

    link_type: int
    value: bytes


LinkTarget: TypeAlias = HardLink | SoftLink | ExternalLink | UserDefinedLink


@dataclass(frozen=True, slots=True)
class Link:
    """A name in a group.

    Parameters
    ----------
    name
        One component of a path. Characters beyond ASCII make it UTF-8; see `character_set`.
    target
        What it names.
    creation_order
        Its number in the group, exactly when the group's link info tracks creation order.
    """

    name: str
    target: LinkTarget
    creation_order: int | None = None


_WIDTH_CODES = {1: 0, 2: 1, 4: 2, 8: 3}


def encode_link(link: Link) -> Message:
    """Encode a link as header message; its size does not depend on the address of a hard link.

    Raises
    ------
    PathError
        A name that is empty, ``"."`` or contains ``/`` or NUL, or a target with NUL.
    LimitError
        The message would have more than 65,535 bytes.
    """
    body = encode_link_body(link)
    if len(body) > MAX_MESSAGE_NBYTES:
        raise LimitError(
            f"link {link.name[:40]!r}... takes {len(body)} bytes; a message holds {MAX_MESSAGE_NBYTES}",
            name=link.name,
            nbytes=len(body),
            limit=MAX_MESSAGE_NBYTES,
        )
    return Message(MessageType.LINK, body)


def encode_link_body(link: Link) -> bytes:
    """Return the body of a link message, which is also what dense storage keeps in its heap."""
    _check_name(link.name)
    name = encode_text(link.name)
    charset = character_set(link.name)
    width = min(code for code in _WIDTH_CODES if code >= encoded_length(len(name)))
    link_type, value = _encode_target(link.target)
    flags = _WIDTH_CODES[width]
    parts: list[bytes] = []
    if link_type != _Type.HARD:
        flags |= _Flag.TYPE
        parts.append(uint(link_type, 1, "link type"))
    if link.creation_order is not None:
        flags |= _Flag.CREATION_ORDER
        parts.append(uint(link.creation_order, 8, "creation order"))
    if charset != CharacterSet.ASCII:
        flags |= _Flag.CHARACTER_SET
        parts.append(uint(charset, 1, "link name character set"))
    return b"".join(
        (
            uint(1, 1, "link version"),
            uint(flags, 1, "flags"),
            *parts,
            uint(len(name), width, "length of link name"),
            name,
            value,
        )
    )


def _check_name(name: str) -> None:
    if name in ("", ".") or "/" in name or "\0" in name:
        raise PathError(
            f"link name {name!r}: a name in a group is not empty, not '.', and has no '/' and no NUL",
            name=name,
        )


def _encode_target(target: LinkTarget) -> tuple[int, bytes]:
    match target:
        case HardLink(object_address):
            return _Type.HARD, address(object_address, "object header address")
        case SoftLink(path):
            value = _encode_text(path)
            return _Type.SOFT, uint(len(value), 2, "length of soft link value") + value
        case ExternalLink(filename, path):
            value = b"\0" + _encode_text(filename) + b"\0" + _encode_text(path) + b"\0"
            return _Type.EXTERNAL, uint(len(value), 2, "length of external value") + value
        case UserDefinedLink(link_type, value):
            if not 65 <= link_type <= 255:
                raise PathError(f"a link of class {link_type!r}; a user's are 65 to 255", target=target)
            return link_type, uint(len(value), 2, "length of user-defined data") + value


def _encode_text(text: str) -> bytes:
    if not text or "\0" in text:
        raise PathError(f"link target {text!r} is empty or contains NUL", target=text)
    try:
        return encode_text(text)
    except UnicodeEncodeError as error:
        raise PathError(
            f"link target {text!r:.80} cannot be encoded as UTF-8: {error.reason}", target=text
        ) from error
