"""Filter pipeline message, version 2, from bytes (specification IV.A.2.l)."""

from __future__ import annotations

from streamh5.format.filter_pipeline import FilterRecord
from streamh5.format.primitives import MAX_FILTERS
from streamh5.reader.fields import Fields

__all__ = ["decode_filter_pipeline"]

_N_RESERVED_IDS = 256  # filters of the library itself carry no name


def decode_filter_pipeline(body: bytes) -> tuple[FilterRecord, ...]:
    """Decode a filter pipeline message.

    Raises
    ------
    FormatError
        A field is wrong.
    ForeignStructureError
        An older version.
    """
    fields = Fields(body, "filter pipeline message")
    fields.expect_version(2, older=(1,))
    n_filters = fields.uint(1, "number of filters")
    if n_filters > MAX_FILTERS:
        raise fields.error(f"{n_filters} filters; HDF5 allows {MAX_FILTERS}")
    filters = tuple(_decode_filter(fields) for _ in range(n_filters))
    fields.end()
    return filters


def _decode_filter(fields: Fields) -> FilterRecord:
    filter_id = fields.uint(2, "filter identification value")
    name_nbytes = fields.uint(2, "name length") if filter_id >= _N_RESERVED_IDS else 0
    flags = fields.uint(2, "filter flags")
    n_values = fields.uint(2, "number of client data values")
    name, terminator, _ = fields.take(name_nbytes, "name").partition(b"\0")
    if name_nbytes and not terminator:
        raise fields.error(f"the name of filter {filter_id} has no NUL at its end")
    values = tuple(fields.uint(4, "client data value") for _ in range(n_values))
    return FilterRecord(filter_id, name.decode(errors="replace"), flags, values)
