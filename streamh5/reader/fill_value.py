"""Fill value messages from bytes (specification IV.A.2.e and f)."""

from __future__ import annotations

from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.fill_value import AllocationTime, FillValue, WriteTime

__all__ = ["decode_fill_value", "decode_old_fill_value"]

_WRITE_TIME_SHIFT = 2
_UNDEFINED = 0x10
_DEFINED = 0x20
_UNDEFINED_SIZES = (0, 0xFFFF_FFFF)


def decode_fill_value(body: bytes, encoding: Encoding = ENCODING) -> FillValue:
    """Decode a fill value message of version 1, 2 or 3.

    A fill value that is undefined is None, as is one of zeros that is not written out.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "fill value message", encoding)
    if fields.version(1, 2, 3) < 3:
        return _decode_times_and_value(fields, version=body[0])
    flags = fields.uint(1, "flags")
    allocation_time, write_time = flags & 3, flags >> _WRITE_TIME_SHIFT & 3
    if flags > 0x3F or not allocation_time or write_time > WriteTime.IF_SET:
        raise fields.error(f"flags are {flags:#04x}, which no writer sets")
    if flags & _DEFINED and flags & _UNDEFINED:
        raise fields.error("the fill value is both defined and undefined")
    value = fields.take(fields.uint(4, "size"), "fill value") if flags & _DEFINED else None
    fields.end()
    return FillValue(AllocationTime(allocation_time), value, WriteTime(write_time))


def decode_old_fill_value(body: bytes, encoding: Encoding = ENCODING) -> bytes:
    """Decode the fill value message of HDF5 before 1.6, which may stand beside the other: one element.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "old fill value message", encoding)
    value = fields.take(fields.uint(4, "size"), "fill value")
    fields.end()
    return value


def _decode_times_and_value(fields: Fields, *, version: int) -> FillValue:
    allocation_time = fields.uint(1, "space allocation time")
    write_time = fields.uint(1, "fill value write time")
    is_defined = fields.uint(1, "fill value defined")
    if not 1 <= allocation_time <= AllocationTime.INCREMENTAL or write_time > WriteTime.IF_SET:
        raise fields.error(f"space allocation time {allocation_time}, write time {write_time}")
    value = None
    if is_defined or version == 1:
        nbytes = fields.uint(4, "size")
        if nbytes not in _UNDEFINED_SIZES:
            value = fields.take(nbytes, "fill value")
    fields.end()
    return FillValue(AllocationTime(allocation_time), value, WriteTime(write_time))
