"""Filter pipeline message, versions 1 and 2, from bytes (specification IV.A.2.l)."""

from __future__ import annotations

from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.filter_pipeline import FilterRecord
from streamh5.format.primitives import MAX_FILTERS

__all__ = ["decode_filter_pipeline"]

_N_RESERVED_IDS = 256  # version 2 stores no name of the library's own filters


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
