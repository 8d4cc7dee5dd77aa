"""Fill value message, version 3, from bytes (specification IV.A.2.f)."""

from __future__ import annotations

from streamh5.format.fill_value import AllocationTime, FillValue, WriteTime
from streamh5.reader.fields import Fields

__all__ = ["decode_fill_value"]

_WRITE_TIME_SHIFT = 2
_UNDEFINED = 0x10
_DEFINED = 0x20


def decode_fill_value(body: bytes) -> FillValue:
    """Decode a fill value message.

    Raises
    ------
    FormatError
        A field is wrong.
    ForeignStructureError
        An older version.
    """
    fields = Fields(body, "fill value message")
    fields.expect_version(3, older=(1, 2))
    flags = fields.uint(1, "flags")
    allocation_time, write_time = flags & 3, flags >> _WRITE_TIME_SHIFT & 3
    if flags > 0x3F or not allocation_time or write_time > WriteTime.IF_SET:
        raise fields.error(f"flags are {flags:#04x}, which no writer sets")
    if flags & _DEFINED and flags & _UNDEFINED:
        raise fields.error("the fill value is both defined and undefined")
    value = fields.take(fields.uint(4, "size"), "fill value") if flags & _DEFINED else None
    fields.end()
    return FillValue(AllocationTime(allocation_time), value, WriteTime(write_time))
