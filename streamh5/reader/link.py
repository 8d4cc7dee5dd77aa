"""Link, link info and group info messages from bytes (specification IV.A.2.c, g and k)."""

from __future__ import annotations

from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.link import ExternalLink, HardLink, Link, LinkTarget, SoftLink, UserDefinedLink
from streamh5.format.link_info import LinkInfo
from streamh5.format.primitives import UNDEFINED_ADDRESS

__all__ = ["decode_group_info", "decode_link", "decode_link_info"]

_WIDTH = 0x03
_CREATION_ORDER = 0x04
_TYPE = 0x08
_CHARACTER_SET = 0x10
_HARD, _SOFT, _EXTERNAL = 0, 1, 64

_TRACKED, _INDEXED = 0x01, 0x02


def decode_link(body: bytes, encoding: Encoding = ENCODING) -> Link:
    """Decode a link message.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "link message", encoding)
    fields.expect(1, 1, "version")
    flags = fields.uint(1, "flags")
    if flags > (_WIDTH | _CREATION_ORDER | _TYPE | _CHARACTER_SET):
        raise fields.error(f"flags are {flags:#04x}, with reserved bits")
    link_type = fields.uint(1, "link type") if flags & _TYPE else _HARD
    creation_order = fields.uint(8, "creation order") if flags & _CREATION_ORDER else None
    charset = fields.uint(1, "link name character set") if flags & _CHARACTER_SET else 0
    if charset > 1:
        raise fields.error(f"character set {charset} is not known")
    name = fields.text(fields.uint(1 << (flags & _WIDTH), "length of link name"), "link name")
    if name in ("", ".") or "/" in name or "\0" in name:
        raise fields.error(f"{name[:40]!r} is no name of a link")
    target = _decode_target(fields, link_type)
    fields.end()
    return Link(name, target, creation_order)


def _decode_target(fields: Fields, link_type: int) -> LinkTarget:
    if link_type == _HARD:
        return HardLink(fields.address("object header address"))
    if link_type == _SOFT:
        path = fields.text(fields.uint(2, "length of soft link value"), "soft link value")
        if not path or "\0" in path:
            raise fields.error(f"soft link value {path[:40]!r} is empty or contains NUL")
        return SoftLink(path)
    if link_type < _EXTERNAL:
        raise fields.error(f"link type {link_type} is not known")
    nbytes = fields.uint(2, "length of link value")
    if link_type > _EXTERNAL:
        return UserDefinedLink(link_type, fields.take(nbytes, "user-defined data"))
    stop = fields.position + nbytes
    fields.expect(0, 1, "version and flags of the external value")
    target = ExternalLink(fields.terminated_text("file name"), fields.terminated_text("object path"))
    if fields.position != stop:
        raise fields.error("the external value is not as long as its parts")
    return target


def decode_link_info(body: bytes, encoding: Encoding = ENCODING) -> LinkInfo:
    """Decode a link info message.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "link info message", encoding)
    fields.expect(0, 1, "version")
    flags = fields.uint(1, "flags")
    if flags > (_TRACKED | _INDEXED):
        raise fields.error(f"flags are {flags:#04x}, with reserved bits")
    max_creation_index = fields.uint(8, "maximum creation index") if flags & _TRACKED else None
    heap, names = fields.address("fractal heap address"), fields.address("name B-tree address")
    orders = fields.address("creation order B-tree address") if flags & _INDEXED else UNDEFINED_ADDRESS
    fields.end()
    return LinkInfo(max_creation_index, heap, names, orders)


def decode_group_info(body: bytes, encoding: Encoding = ENCODING) -> None:
    """Check a group info message, whose numbers only matter to writers.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "group info message", encoding)
    fields.expect(0, 1, "version")
    flags = fields.uint(1, "flags")
    if flags > 3:
        raise fields.error(f"flags are {flags:#04x}, with reserved bits")
    fields.take(4 if flags & 1 else 0, "link phase change values")
    fields.take(4 if flags & 2 else 0, "estimated entry information")
    fields.end()
