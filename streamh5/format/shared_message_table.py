"""Shared object header message table, and the message with its address (specification III.F and IV.A.2.p)."""

from __future__ import annotations

from dataclasses import dataclass

from streamh5.format.checksum import SIZEOF_CHECKSUM
from streamh5.format.fields import ENCODING, Encoding, Fields

_SIGNATURE = b"SMTB"


@dataclass(frozen=True, slots=True)
class SharedMessageIndex:
    """One index of the table: the types of its messages (bit i: type i), and the address of its heap."""

    message_types: int
    heap_address: int


def decode_shared_message_table_message(body: bytes, encoding: Encoding = ENCODING) -> tuple[int, int]:
    """Return the address of the table and its number of indexes.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "shared message table message", encoding)
    fields.expect(0, 1, "version")
    return fields.address("table address"), fields.uint(1, "number of indexes")


def sizeof_shared_message_table(n_indexes: int, encoding: Encoding = ENCODING) -> int:
    """Return the size of a table in bytes."""
    return len(_SIGNATURE) + n_indexes * (14 + 2 * encoding.sizeof_address) + SIZEOF_CHECKSUM


def decode_shared_message_table(
    block: bytes, n_indexes: int, encoding: Encoding = ENCODING
) -> list[SharedMessageIndex]:
    """Decode a table.

    Raises
    ------
    FormatError
        A field or the checksum is wrong.
    """
    fields = Fields(block, "shared object header message table", encoding)
    fields.check_checksum()
    fields.expect_signature(_SIGNATURE)
    indexes = []
    for _ in range(n_indexes):
        fields.expect(0, 1, "version")
        fields.uint(1, "index type")
        message_types = fields.uint(2, "message type flags")
        fields.take(4 + 2 + 2 + 2, "sizes and cutoffs")
        fields.address("index address")
        indexes.append(SharedMessageIndex(message_types, fields.address("fractal heap address")))
    return indexes
