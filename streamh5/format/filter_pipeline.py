"""Filter pipeline message, version 2 (specification IV.A.2.l)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag

from streamh5.errors import LimitError
from streamh5.format.object_header import Message, MessageFlag, MessageType
from streamh5.format.primitives import MAX_FILTERS, uint

_N_RESERVED_IDS = 256  # filters of the library itself carry no name


class FilterFlag(IntFlag):
    """Flags of a filter: an optional one may be skipped for a chunk."""

    OPTIONAL = 0x01


@dataclass(frozen=True, slots=True)
class FilterRecord:
    """One filter of a pipeline.

    Parameters
    ----------
    filter_id
        The registered number.
    name
        Written for numbers from 256 on; may be empty.
    flags
        `FilterFlag` bits.
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
        In the order in which they are applied on writing.

    Raises
    ------
    LimitError
        More than 32 filters, or a number that does not fit its field.
    """
    if len(filters) > MAX_FILTERS:
        raise LimitError(
            f"a pipeline of {len(filters)} filters; HDF5 allows {MAX_FILTERS}",
            n_filters=len(filters),
            limit=MAX_FILTERS,
        )
    body = b"".join(
        (
            uint(2, 1, "filter pipeline version"),
            uint(len(filters), 1, "number of filters"),
            *(_encode_filter(record) for record in filters),
        )
    )
    return Message(MessageType.FILTER_PIPELINE, body, MessageFlag.CONSTANT)


def _encode_filter(record: FilterRecord) -> bytes:
    has_name = record.filter_id >= _N_RESERVED_IDS
    name = record.name.encode() + b"\0" if has_name and record.name else b""
    return b"".join(
        (
            uint(record.filter_id, 2, "filter identification value"),
            uint(len(name), 2, "name length") if has_name else b"",
            uint(record.flags, 2, "filter flags"),
            uint(len(record.client_values), 2, "number of client data values"),
            name,
            *(uint(value, 4, "client data value") for value in record.client_values),
        )
    )
