"""An HDF5 filter pipeline as the codecs of numcodecs that undo it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.errors import ReferencesError
from streamh5.filters.registry import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamh5.format.filter_pipeline import FilterRecord

__all__ = ["numcodecs_filters"]


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
        row = REGISTRY.get(record.filter_id)
        if row is None or row.numcodecs is None:
            name = record.name.split(";")[0] if row is None else row.keyword
            raise ReferencesError(
                f"{path}: numcodecs has no codec for {name or 'filter'} (filter {record.filter_id}) as HDF5 stores it; "
                "write the dataset with gzip, zstd, blosc or bzip2",
                path=path,
                filter_id=record.filter_id,
            )
        configurations.append(row.numcodecs(record.client_values))
    return configurations
