"""External data files message: contiguous data in other files (specification IV.A.2.h)."""

from __future__ import annotations

from dataclasses import dataclass

from streamh5.format.fields import ENCODING, Encoding, Fields


@dataclass(frozen=True, slots=True)
class ExternalSlot:
    """A part of the data: offset of the file name in the local heap, offset in that file, and size in bytes."""

    name_offset: int
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class ExternalFileList:
    """The files that contain consecutive parts of contiguous data, with their names in a local heap."""

    heap_address: int
    slots: tuple[ExternalSlot, ...]


def decode_external_file_list(body: bytes, encoding: Encoding = ENCODING) -> ExternalFileList:
    """Decode an external data files message.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "external data files message", encoding)
    fields.expect(1, 1, "version")
    fields.take(3, "reserved bytes")
    n_allocated, n_used = fields.uint(2, "allocated slots"), fields.uint(2, "used slots")
    if n_used > n_allocated:
        raise fields.error(f"{n_used} of {n_allocated} slots are used")
    heap_address = fields.address("heap address")
    slots = tuple(
        ExternalSlot(fields.length("name offset"), fields.length("offset"), fields.length("data size"))
        for _ in range(n_used)
    )
    return ExternalFileList(heap_address, slots)
