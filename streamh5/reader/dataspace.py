"""Dataspace message, version 2, from bytes (specification IV.A.2.b)."""

from __future__ import annotations

from streamh5.errors import FormatError, ShapeError
from streamh5.format.dataspace import Dataspace
from streamh5.format.primitives import MAX_RANK, UNLIMITED
from streamh5.reader.fields import Fields

__all__ = ["decode_dataspace"]

_SCALAR, _SIMPLE, _NULL = range(3)


def decode_dataspace(body: bytes) -> Dataspace:
    """Decode a dataspace message.

    Raises
    ------
    FormatError
        A field is wrong.
    ForeignStructureError
        An older version.
    """
    fields = Fields(body, "dataspace message")
    fields.expect_version(2, older=(1,))
    rank = fields.uint(1, "dimensionality")
    flags = fields.uint(1, "flags")
    space_type = fields.uint(1, "type")
    if rank > MAX_RANK or flags > 1 or space_type > _NULL or (space_type != _SIMPLE and rank):
        raise fields.error(
            f"dimensionality {rank}, flags {flags:#04x} and type {space_type} do not go together"
        )
    shape = tuple(fields.length("dimension size") for _ in range(rank))
    most = [fields.length("dimension maximum size") for _ in range(rank)] if flags else []
    fields.end()
    maxshape = tuple(None if size == UNLIMITED else size for size in most) if flags else None
    try:
        return Dataspace(None if space_type == _NULL else shape, maxshape)
    except ShapeError as error:
        raise FormatError(f"dataspace message: {error}") from None
