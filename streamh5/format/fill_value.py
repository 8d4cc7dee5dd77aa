"""Fill value message, version 3 (specification IV.A.2.f)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import uint


class AllocationTime(IntEnum):
    """When a writer of the library would allocate storage."""

    EARLY = 1
    LATE = 2
    INCREMENTAL = 3


class WriteTime(IntEnum):
    """When a writer of the library would write fill values into new storage.

    NEVER also makes readers leave the caller's buffer as it was for missing chunks.
    """

    ON_ALLOCATION = 0
    NEVER = 1
    IF_SET = 2


class _Flag(IntFlag):
    VALUE_DEFINED = 0x20


_WRITE_TIME_SHIFT = 2


@dataclass(frozen=True, slots=True)
class FillValue:
    """What missing data reads as.

    Parameters
    ----------
    allocation_time
        The library writes INCREMENTAL for chunked, LATE for contiguous, EARLY for compact and for
        implicitly indexed data.
    value
        One element in the file's datatype; None for zeros.
    write_time
        IF_SET; the library uses ON_ALLOCATION for variable-length data.
    """

    allocation_time: AllocationTime
    value: bytes | None = None
    write_time: WriteTime = WriteTime.IF_SET


def encode_fill_value(fill_value: FillValue) -> Message:
    """Encode a fill value message."""
    flags = fill_value.allocation_time | fill_value.write_time << _WRITE_TIME_SHIFT
    if fill_value.value is not None:
        flags |= _Flag.VALUE_DEFINED
    parts = [
        uint(3, 1, "fill value version"),
        uint(flags, 1, "flags"),
    ]
    if fill_value.value is not None:
        parts.append(uint(len(fill_value.value), 4, "fill value size"))
        parts.append(fill_value.value)
    return Message(MessageType.FILL_VALUE, b"".join(parts), MessageFlag.CONSTANT)
