"""Attribute message: versions 1 to 3 are read, 3 is written (specification IV.A.2.m)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TypeAlias

from streamh5.errors import AttributeValueError, ForeignStructureError
from streamh5.format.character_set import CharacterSet, character_set, decode_text, encode_text
from streamh5.format.dataspace import Dataspace, decode_dataspace, encode_dataspace
from streamh5.format.datatype import decode_datatype_message
from streamh5.format.datatype_class import DatatypeClass
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import MessageType
from streamh5.format.primitives import N_CACHED, concat, uint
from streamh5.format.shared_message import decode_shared_message, encode_shared_datatype

ResolveShared: TypeAlias = Callable[[int, bytes], bytes]
"""Type and body of a shared message -> body of the message itself."""

_ALIGNMENT_V1 = 8  # of name, datatype and dataspace in version 1


class _Flag(IntEnum):
    DATATYPE_SHARED = 0x01
    DATASPACE_SHARED = 0x02


@dataclass(frozen=True, slots=True)
class Attribute:
    """A small named value of an object.

    Parameters
    ----------
    name
        Not empty, without NUL; its characters decide between ASCII and UTF-8. Bytes that are not UTF-8 are represented
        by surrogates, as in h5py.
    datatype, dataspace
        Datatype and dataspace of the value.
    data
        The stored elements in C order; empty for a null dataspace.
    committed_address
        Address of the object header of a committed `datatype`; None for a datatype of its own.
    datatype_body
        Encoded `datatype`, kept byte for byte; empty if `encode_datatype` encodes it.
    """

    name: str
    datatype: DatatypeClass
    dataspace: Dataspace
    data: bytes
    committed_address: int | None = None
    datatype_body: bytes = b""


def encode_attribute_head(
    name: str, datatype: bytes, dataspace: Dataspace, committed_address: int | None = None
) -> bytes:
    """Return the body of an attribute message up to the data, which follow; in dense storage it is the heap object.

    An object with attributes also needs an attribute info message. A body of more than 65,535 bytes needs dense
    storage.

    Parameters
    ----------
    name, dataspace, committed_address
        See `Attribute`.
    datatype
        The encoded datatype.

    Raises
    ------
    AttributeValueError
        The name is empty or contains NUL.
    LimitError
        A part has more than 65,535 bytes.
    """
    if committed_address is not None:
        datatype = encode_shared_datatype(committed_address)
    return _encode_head(name, datatype, dataspace, is_committed=committed_address is not None)


@lru_cache(N_CACHED)  # many objects have attributes of the same name and type
def _encode_head(name: str, datatype: bytes, dataspace: Dataspace, *, is_committed: bool) -> bytes:
    if not name or "\0" in name:
        raise AttributeValueError(f"attribute name {name!r} is empty or contains NUL", name=name)
    text = encode_text(name) + b"\0"
    shape = encode_dataspace(dataspace).body
    return concat(
        uint(3, 1, "attribute version"),
        uint(_Flag.DATATYPE_SHARED if is_committed else 0, 1, "flags"),
        uint(len(text), 2, "attribute name size"),
        uint(len(datatype), 2, "attribute datatype size"),
        uint(len(shape), 2, "attribute dataspace size"),
        uint(character_set(name), 1, "attribute name character set"),
        text,
        datatype,
        shape,
    )


def _refuse(message_type: int, body: bytes) -> bytes:
    raise ForeignStructureError(f"attribute message: a shared message of type {message_type:#04x}")


def decode_attribute(
    body: bytes, encoding: Encoding = ENCODING, resolve: ResolveShared = _refuse
) -> Attribute:
    """Decode an attribute message of version 1, 2 or 3.

    Parameters
    ----------
    body
        Body of the message.
    encoding
        Encoding of the file.
    resolve
        Returns the body of a shared datatype or dataspace.

    Returns
    -------
    Attribute
        With its `datatype_body`, which is that of the committed datatype if it has one.

    Raises
    ------
    FormatError
        A field is wrong, or the size of the data contradicts datatype and dataspace.
    ForeignStructureError
        A datatype or dataspace is shared, and `resolve` is not given.
    """
    fields = Fields(body, "attribute message", encoding)
    version = fields.version(1, 2, 3)
    flags = 0 if version == 1 else fields.flags(_Flag)
    if version == 1:
        fields.uint(1, "reserved byte")
    sizes = [(part, fields.uint(2, f"{part} size")) for part in ("name", "datatype", "dataspace")]
    if version > 2:
        fields.known(CharacterSet, fields.uint(1, "name character set"), "character set")
    alignment = _ALIGNMENT_V1 if version == 1 else 1
    raw_name, datatype_part, dataspace_part = [_take_part(fields, *size, alignment) for size in sizes]
    name, terminator, rest = raw_name.partition(b"\0")
    if not name or not terminator or rest:
        raise fields.error(f"the name {name[:40]!r} does not fill the {len(raw_name)} bytes of its field")
    committed_address = None
    # a shared message is in an object header or a heap, where padding may follow it
    datatype_encoding = dataspace_encoding = encoding
    if flags & _Flag.DATATYPE_SHARED:
        target = decode_shared_message(datatype_part, encoding)
        committed_address = target if isinstance(target, int) else None
        datatype_part = resolve(MessageType.DATATYPE, datatype_part)
        datatype_encoding = encoding.with_padding()
    if flags & _Flag.DATASPACE_SHARED:
        dataspace_part = resolve(MessageType.DATASPACE, dataspace_part)
        dataspace_encoding = encoding.with_padding()
    datatype, datatype_body = decode_datatype_message(datatype_part, datatype_encoding)
    dataspace = decode_dataspace(dataspace_part, dataspace_encoding)
    n_elements = 0 if dataspace.shape is None else math.prod(dataspace.shape)
    data = fields.take(n_elements * datatype.nbytes, "data")
    fields.end()
    return Attribute(decode_text(name), datatype, dataspace, data, committed_address, datatype_body)


def _take_part(fields: Fields, part: str, nbytes: int, alignment: int) -> bytes:
    content = fields.take(nbytes, part)
    if n_padding := -nbytes % alignment:
        fields.take(n_padding, f"padding of {part}")
    return content
