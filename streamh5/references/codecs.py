"""An HDF5 filter pipeline as the codecs of numcodecs that undo it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.errors import ReferencesError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamh5.format.filter_pipeline import FilterRecord

__all__ = ["numcodecs_filters"]

BLOSC_CODECS = ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")
"""``BLOSC_BLOSCLZ`` to ``BLOSC_ZSTD`` of blosc.h, by number."""

Values = tuple[int, ...]


def _value(values: Values, index: int, default: int) -> int:
    return values[index] if len(values) > index else default


def _blosc(values: Values) -> dict[str, Any]:
    # only what decodes matters, and a Blosc container says that itself
    codec = _value(values, 6, 0)
    return {
        "id": "blosc",
        "cname": BLOSC_CODECS[codec] if codec < len(BLOSC_CODECS) else BLOSC_CODECS[0],
        "clevel": min(_value(values, 4, 5), 9),
        "shuffle": _value(values, 5, 1),
        "blocksize": 0,
    }


CODECS: dict[int, Callable[[Values], dict[str, Any]]] = {
    1: lambda values: {"id": "zlib", "level": _value(values, 0, 1)},
    2: lambda values: {"id": "shuffle", "elementsize": _value(values, 0, 1)},
    3: lambda values: {"id": "fletcher32"},
    307: lambda values: {"id": "bz2", "level": _value(values, 0, 9)},
    32001: _blosc,
    32015: lambda values: {"id": "zstd", "level": _value(values, 0, 3)},
}
"""Configuration of the codec for each filter, from its client values."""

NAMES = {
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    32000: "lzf",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32026: "blosc2",
}
"""Filters for whose stored form numcodecs has no codec: its own LZ4, for one, has another frame."""


def numcodecs_filters(filters: Iterable[FilterRecord], *, path: str) -> list[dict[str, Any]]:
    """Return the numcodecs configurations of a filter pipeline, in the order of writing.

    Parameters
    ----------
    filters
        In the order of writing.
    path
        Dataset, for messages.

    Raises
    ------
    ReferencesError
        A filter for which numcodecs has no codec.
    """
    configurations = []
    for record in filters:
        codec = CODECS.get(record.filter_id)
        if codec is None:
            name = NAMES.get(record.filter_id) or record.name.split(";")[0] or "filter"
            raise ReferencesError(
                f"{path}: numcodecs has no codec for {name} (filter {record.filter_id}) as HDF5 stores it; write the "
                "dataset with gzip, zstd, blosc or bzip2",
                path=path,
                filter_id=record.filter_id,
            )
        configurations.append(codec(record.client_values))
    return configurations
