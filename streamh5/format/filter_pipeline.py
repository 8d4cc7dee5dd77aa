"""Filter pipeline message: versions 1 and 2 are read, 2 is written (specification IV.A.2.l)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from streamh5.errors import over_limit
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import MAX_FILTERS, N_CACHED, concat, uint

_N_RESERVED_IDS = 256  # version 2 does not store names of the library's own filters


@dataclass(frozen=True, slots=True)
class FilterRecord:
    """One filter of a pipeline.

    Parameters
    ----------
    filter_id
        Registered number of the filter.
    name
        Stored for numbers of 256 and above; may be empty.
    flags
        Bit 0: chunks may be stored without the filter (``H5Z_FLAG_OPTIONAL``).
    client_values
        The filter's parameters, 4 bytes each.
    """

    filter_id: int
    name: str = ""
    flags: int = 0
    client_values: tuple[int, ...] = ()


def encode_filter_pipeline(filters: Sequence[FilterRecord]) -> Message:
    """Encode a filter pipeline message.

    Parameters
    ----------
    filters
        The filters in the order in which they are applied on writing.

    Raises
    ------
    LimitError
        There are more than 32 filters, or a number does not fit its field.
    """
    if len(filters) > MAX_FILTERS:
        raise over_limit(f"a pipeline of {len(filters)} filters", MAX_FILTERS, n_filters=len(filters))
    body = concat(
        uint(2, 1, "filter pipeline version"),
        uint(len(filters), 1, "number of filters"),
        *(_encode_filter(record) for record in filters),
    )
    return Message(MessageType.FILTER_PIPELINE, body, MessageFlag.CONSTANT)


def _encode_filter(record: FilterRecord) -> bytes:
    has_name = record.filter_id >= _N_RESERVED_IDS
    name = record.name.encode() + b"\0" if has_name and record.name else b""
    return concat(
        uint(record.filter_id, 2, "filter identification value"),
        uint(len(name), 2, "name length") if has_name else b"",
        uint(record.flags, 2, "filter flags"),
        uint(len(record.client_values), 2, "number of client data values"),
        name,
        *(uint(value, 4, "client data value") for value in record.client_values),
    )


@lru_cache(N_CACHED)
def decode_filter_pipeline(body: bytes, encoding: Encoding = ENCODING) -> tuple[FilterRecord, ...]:
    """Decode a filter pipeline message.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "filter pipeline message", encoding)
    version = fields.version(1, 2)
    n_filters = fields.uint(1, "number of filters")
    if n_filters > MAX_FILTERS:
        raise fields.error(f"{n_filters} filters; HDF5 allows {MAX_FILTERS}")
    if version == 1:
        fields.take(6, "reserved bytes")
    filters = tuple(_decode_filter(fields, version) for _ in range(n_filters))
    fields.end()
    return filters


def _decode_filter(fields: Fields, version: int) -> FilterRecord:
    filter_id = fields.uint(2, "filter identification value")
    has_name = version == 1 or filter_id >= _N_RESERVED_IDS
    name_nbytes = fields.uint(2, "name length") if has_name else 0
    flags = fields.uint(2, "filter flags")
    n_values = fields.uint(2, "number of client data values")
    name, terminator, _ = fields.take(name_nbytes, "name").partition(b"\0")
    if name_nbytes and not terminator:
        raise fields.error(f"the name of filter {filter_id} has no NUL at its end")
    values = tuple(fields.uint(4, "client data value") for _ in range(n_values))
    if version == 1 and n_values % 2:
        fields.take(4, "padding")
    return FilterRecord(filter_id, name.decode(errors="replace"), flags, values)
