"""Dataspace message, versions 1 and 2, from bytes (specification IV.A.2.b)."""

from __future__ import annotations

from streamh5.errors import FormatError, ShapeError
from streamh5.format.dataspace import Dataspace
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.primitives import MAX_RANK

__all__ = ["decode_dataspace"]

_SCALAR, _SIMPLE, _NULL = range(3)
_MAXIMUM_STORED, _PERMUTATION_STORED = 0x01, 0x02


def decode_dataspace(body: bytes, encoding: Encoding = ENCODING) -> Dataspace:
    """Decode a dataspace message.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "dataspace message", encoding)
    version = fields.version(1, 2)
    rank = fields.uint(1, "dimensionality")
    flags = fields.uint(1, "flags")
    if version == 1:
        fields.take(5, "reserved bytes")
        space_type = _SIMPLE if rank else _SCALAR
    else:
        space_type = fields.uint(1, "type")
    most_flags = _MAXIMUM_STORED | _PERMUTATION_STORED if version == 1 else _MAXIMUM_STORED
    if rank > MAX_RANK or flags > most_flags or space_type > _NULL or (space_type != _SIMPLE and rank):
        raise fields.error(
            f"dimensionality {rank}, flags {flags:#04x} and type {space_type} do not go together"
        )
    shape = tuple(fields.length("dimension size") for _ in range(rank))
    has_maximum = bool(flags & _MAXIMUM_STORED)
    most = [fields.length("dimension maximum size") for _ in range(rank)] if has_maximum else []
    if flags & _PERMUTATION_STORED:
        fields.take(rank * encoding.sizeof_length, "permutation indices")
    fields.end()
    unlimited = 256**encoding.sizeof_length - 1
    maxshape = tuple(None if size == unlimited else size for size in most) if has_maximum else None
    try:
        return Dataspace(None if space_type == _NULL else shape, maxshape)
    except ShapeError as error:
        raise FormatError(f"dataspace message: {error}") from None
