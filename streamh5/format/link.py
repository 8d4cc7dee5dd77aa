"""Link message (specification IV.A.2.g)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from streamh5.errors import PathError, over_limit
from streamh5.format.character_set import CharacterSet, character_set, encode_name, encode_text
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import Message, MessageType
from streamh5.format.primitives import (
    MAX_MESSAGE_NBYTES,
    SIZEOF_ADDRESS,
    address,
    concat,
    encoded_length,
    uint,
)


class _Type(IntEnum):
    HARD = 0
    SOFT = 1
    EXTERNAL = 64


class _Flag(IntEnum):
    NAME_WIDTH = 0x03
    CREATION_ORDER = 0x04
    TYPE = 0x08
    CHARACTER_SET = 0x10


@dataclass(frozen=True, slots=True)
class HardLink:
    """A link to an object of the file; what `Group.get` returns with ``getlink=True``.

    Attributes
    ----------
    address
        Position of the header of the object in the file; undefined while the file is written.
    """

    address: int


@dataclass(frozen=True, slots=True)
class SoftLink:
    """A link to the object at a path of the same file, which may not exist: ``f["new"] = SoftLink("/old")``.

    Parameters
    ----------
    path
        Path of the object, or from the group of the link; bytes that are not UTF-8 are represented by surrogates.
    """

    path: str


@dataclass(frozen=True, slots=True)
class ExternalLink:
    """A link to the object at a path of another file: ``f["x"] = ExternalLink("other.h5", "/x")``.

    Parameters
    ----------
    filename
        The other file, as readers will find it: absolute, or from the folder of this file.
    path
        Path of the object in it.
    """

    filename: str
    path: str


@dataclass(frozen=True, slots=True)
class UserDefinedLink:
    """A link of a class (65 to 255) that a program has registered; only that program can interpret `value`."""

    link_type: int
    value: bytes


LinkTarget: TypeAlias = HardLink | SoftLink | ExternalLink | UserDefinedLink


@dataclass(frozen=True, slots=True)
class Link:
    """A name in a group.

    Parameters
    ----------
    name
        One component of a path, stored in UTF-8 if it is not ASCII; see `character_set`.
    target
        The target of the link.
    creation_order
        Number of the link in the group; None exactly if the group's link info does not track creation order.
    """

    name: str
    target: LinkTarget
    creation_order: int | None = None


def encode_link(link: Link) -> Message:
    """Encode a link message, whose size does not depend on the address of a hard link.

    Raises
    ------
    PathError
        The name is empty or ``"."`` or contains ``/`` or NUL, or a target contains NUL.
    LimitError
        The message would have more than 65,535 bytes.
    """
    body = encode_link_body(link)
    if len(body) > MAX_MESSAGE_NBYTES:
        subject = f"link {link.name[:40]!r}... has {len(body):,} bytes"
        raise over_limit(subject, MAX_MESSAGE_NBYTES, name=link.name, nbytes=len(body))
    return Message(MessageType.LINK, body)


def encode_link_body(link: Link) -> bytes:
    """Return the body of a link message, which is also the heap object in dense storage."""
    _check_name(link.name)
    name = encode_text(link.name)
    charset = character_set(link.name)
    link_type, value = _encode_target(link.target)
    flags = (encoded_length(len(name)) - 1).bit_length()
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
    return concat(
        uint(1, 1, "link version"),
        uint(flags, 1, "flags"),
        *parts,
        uint(len(name), 1 << (flags & _Flag.NAME_WIDTH), "length of link name"),
        name,
        value,
    )


def with_address(body: bytes, target: int) -> bytes:
    """Return the body of a hard link, which ends with its target, with another target."""
    return body[:-SIZEOF_ADDRESS] + address(target, "object header address")


def _is_name(text: str) -> bool:
    return text not in ("", ".") and "/" not in text and "\0" not in text


def _check_name(name: str) -> None:
    if not _is_name(name):
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
            if not _Type.EXTERNAL < link_type <= 255:
                raise PathError(
                    f"link class {link_type!r}; user-defined classes are 65 to 255", target=target
                )
            return link_type, uint(len(value), 2, "length of user-defined data") + value


def _encode_text(text: str) -> bytes:
    return encode_name(text, "link target", PathError)


def decode_link(body: bytes, encoding: Encoding = ENCODING) -> Link:
    """Decode a link message.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "link message", encoding)
    fields.expect(1, 1, "version")
    flags = fields.flags(_Flag)
    link_type = fields.uint(1, "link type") if flags & _Flag.TYPE else _Type.HARD
    creation_order = fields.uint(8, "creation order") if flags & _Flag.CREATION_ORDER else None
    if flags & _Flag.CHARACTER_SET:
        fields.known(CharacterSet, fields.uint(1, "link name character set"), "character set")
    name = fields.text(fields.uint(1 << (flags & _Flag.NAME_WIDTH), "length of link name"), "link name")
    if not _is_name(name):
        raise fields.error(f"{name[:40]!r} is not the name of a link")
    target = _decode_target(fields, link_type)
    fields.end()
    return Link(name, target, creation_order)


def _decode_target(fields: Fields, link_type: int) -> LinkTarget:
    if link_type == _Type.HARD:
        return HardLink(fields.address("object header address"))
    if link_type == _Type.SOFT:
        path = fields.text(fields.uint(2, "length of soft link value"), "soft link value")
        if not path or "\0" in path:
            raise fields.error(f"soft link value {path[:40]!r} is empty or contains NUL")
        return SoftLink(path)
    if link_type < _Type.EXTERNAL:
        raise fields.error(f"link type {link_type} is not known")
    nbytes = fields.uint(2, "length of link value")
    if link_type > _Type.EXTERNAL:
        return UserDefinedLink(link_type, fields.take(nbytes, "user-defined data"))
    stop = fields.position + nbytes
    fields.expect(0, 1, "version and flags of the external value")
    target = ExternalLink(fields.terminated_text("file name"), fields.terminated_text("object path"))
    if fields.position != stop:
        raise fields.error("the size of the external value contradicts its parts")
    return target
