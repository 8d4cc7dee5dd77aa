"""Dataspace message: versions 1 and 2 are read, 2 is written (specification IV.A.2.b)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from streamh5.errors import FormatError, ShapeError, over_limit
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import Message, MessageType
from streamh5.format.primitives import MAX_RANK, N_CACHED, UNLIMITED, concat, length, uint


class _Type(IntEnum):
    SCALAR = 0
    SIMPLE = 1
    NULL = 2


class _Flag(IntEnum):
    MAXIMUM_DIMENSIONS = 0x01
    PERMUTATION_INDICES = 0x02  # version 1 only; the specification calls them never implemented


@dataclass(frozen=True, slots=True)
class Dataspace:
    """The shape of a dataset or attribute.

    Parameters
    ----------
    shape
        ``()`` for a scalar, None for a null dataspace.
    maxshape
        Maximum sizes, of the same rank, None for an unlimited dimension; None if it equals `shape`.

    Raises
    ------
    ShapeError
        A dimension is negative or exceeds its maximum, or the ranks differ.
    LimitError
        More than 32 dimensions.
    """

    shape: tuple[int, ...] | None
    maxshape: tuple[int | None, ...] | None = None

    def __post_init__(self) -> None:
        shape = self.shape or ()
        if len(shape) > MAX_RANK:
            raise over_limit(f"shape has {len(shape)} dimensions", MAX_RANK, rank=len(shape))
        if shape and min(shape) < 0:
            raise ShapeError(f"shape {shape} has a negative dimension", shape=shape)
        if self.maxshape is None:
            return
        if len(self.maxshape) != len(shape) or not all(
            most is None or size <= most for size, most in zip(shape, self.maxshape, strict=True)
        ):
            raise ShapeError(
                f"shape {shape} does not fit maxshape {self.maxshape}; each maximum must be None "
                "or at least the size",
                shape=shape,
                maxshape=self.maxshape,
            )


@lru_cache(N_CACHED)
def encode_dataspace(dataspace: Dataspace) -> Message:
    """Encode a dataspace message.

    Raises
    ------
    LimitError
        A dimension does not fit 8 bytes.
    """
    shape = dataspace.shape or ()
    maxshape = dataspace.maxshape or ()
    space_type = _Type.NULL if dataspace.shape is None else _Type.SIMPLE if shape else _Type.SCALAR
    body = concat(
        uint(2, 1, "dataspace version"),
        uint(len(shape), 1, "dimensionality"),
        uint(_Flag.MAXIMUM_DIMENSIONS if maxshape else 0, 1, "flags"),
        uint(space_type, 1, "type"),
        *(length(size, "dimension size") for size in shape),
        *(length(UNLIMITED if size is None else size, "dimension maximum size") for size in maxshape),
    )
    return Message(MessageType.DATASPACE, body)


@lru_cache(N_CACHED)
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
        space_type = _Type.SIMPLE if rank else _Type.SCALAR
        known_flags = _Flag.MAXIMUM_DIMENSIONS | _Flag.PERMUTATION_INDICES
    else:
        space_type = fields.known(_Type, fields.uint(1, "type"), "type")
        known_flags = _Flag.MAXIMUM_DIMENSIONS
    if rank > MAX_RANK or flags & ~known_flags or (space_type != _Type.SIMPLE and rank):
        raise fields.error(
            f"dimensionality {rank}, flags {flags:#04x} and type {space_type:d} contradict each other"
        )
    shape = tuple(fields.length("dimension size") for _ in range(rank))
    maxshape: tuple[int | None, ...] | None = None
    if flags & _Flag.MAXIMUM_DIMENSIONS:
        unlimited = 256**encoding.sizeof_length - 1
        sizes = (fields.length("dimension maximum size") for _ in range(rank))
        maxshape = tuple(None if size == unlimited else size for size in sizes)
    if flags & _Flag.PERMUTATION_INDICES:
        fields.take(rank * encoding.sizeof_length, "permutation indices")
    fields.end()
    try:
        return Dataspace(None if space_type == _Type.NULL else shape, maxshape)
    except ShapeError as error:
        raise FormatError(f"dataspace message: {error}") from None
