"""Fill value messages: the old one and versions 1 to 3 are read, 3 is written (specification IV.A.2.e and f)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import N_CACHED, concat, uint


class AllocationTime(IntEnum):
    """When the library allocates storage."""

    EARLY = 1
    LATE = 2
    INCREMENTAL = 3


class WriteTime(IntEnum):
    """When the library writes fill values into new storage.

    With NEVER, the library also leaves the caller's buffer unchanged when it reads missing chunks.
    """

    ON_ALLOCATION = 0
    NEVER = 1
    IF_SET = 2


class _Flag(IntEnum):
    ALLOCATION_TIME = 0x03
    WRITE_TIME = 0x0C
    VALUE_UNDEFINED = 0x10
    VALUE_DEFINED = 0x20


_WRITE_TIME_SHIFT = 2

_UNDEFINED_SIZES = (0, 0xFFFF_FFFF)
"""Sizes that mean "no value" in versions 1 and 2; the library writes -1 for an undefined value."""


@dataclass(frozen=True, slots=True)
class FillValue:
    """The value of data that was never written.

    Parameters
    ----------
    allocation_time
        The library writes INCREMENTAL for chunked, LATE for contiguous, EARLY for compact and for implicitly indexed
        data.
    value
        One element in the datatype of the file; None for zeros.
    write_time
        The library uses IF_SET, except for variable-length data (ON_ALLOCATION).
    """

    allocation_time: AllocationTime
    value: bytes | None = None
    write_time: WriteTime = WriteTime.IF_SET


@lru_cache(N_CACHED)
def encode_fill_value(fill_value: FillValue) -> Message:
    """Encode a fill value message."""
    flags, value = fill_value.allocation_time | fill_value.write_time << _WRITE_TIME_SHIFT, b""
    if fill_value.value is not None:
        flags |= _Flag.VALUE_DEFINED
        value = uint(len(fill_value.value), 4, "fill value size") + fill_value.value
    body = concat(uint(3, 1, "fill value version"), uint(flags, 1, "flags"), value)
    return Message(MessageType.FILL_VALUE, body, MessageFlag.CONSTANT)


@lru_cache(N_CACHED)
def decode_fill_value(body: bytes, encoding: Encoding = ENCODING) -> FillValue:
    """Decode a fill value message of version 1, 2 or 3.

    The value is None if it is undefined, and if it is zero and therefore not stored.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "fill value message", encoding)
    version = fields.version(1, 2, 3)
    if version < 3:
        times = fields.uint(1, "space allocation time"), fields.uint(1, "fill value write time")
        has_value = bool(fields.uint(1, "fill value defined")) or version == 1
    else:
        flags = fields.flags(_Flag)
        times = flags & _Flag.ALLOCATION_TIME, (flags & _Flag.WRITE_TIME) >> _WRITE_TIME_SHIFT
        has_value = bool(flags & _Flag.VALUE_DEFINED)
        if has_value and flags & _Flag.VALUE_UNDEFINED:
            raise fields.error("the fill value is both defined and undefined")
    allocation_time = fields.known(AllocationTime, times[0], "space allocation time")
    write_time = fields.known(WriteTime, times[1], "fill value write time")
    value = None
    if has_value:
        nbytes = fields.uint(4, "size")
        if version == 3 or nbytes not in _UNDEFINED_SIZES:
            value = fields.take(nbytes, "fill value")
    fields.end()
    return FillValue(allocation_time, value, write_time)


def decode_old_fill_value(body: bytes, encoding: Encoding = ENCODING) -> bytes:
    """Decode the fill value message of HDF5 before 1.6, which may accompany the newer one; return one element.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "old fill value message", encoding)
    value = fields.take(fields.uint(4, "size"), "fill value")
    fields.end()
    return value
