"""Decode stored chunks with the HDF5 library, whose filters (szip, plugins, ...) streamh5 does not all decode.

The library cannot be given a chunk and its filters, only a file: one is made in memory with a dataset of that one
chunk. Its elements are single bytes, as filters know the type of the elements from their client values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.engine.engine import Engine
from streamh5.errors import FilterError
from streamh5.filters.chunk_decoder import chunk_decoder
from streamh5.filters.missing import missing_filters
from streamh5.model.chunk_records import chunk_records
from streamh5.model.dataset_spec import DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamh5.format.filter_pipeline import FilterRecord


def missing_here(records: Sequence[FilterRecord]) -> list[FilterRecord]:
    """Return the filters that the HDF5 library of h5py does not have."""
    import h5py

    return [one for one in records if not h5py.h5z.filter_avail(one.filter_id)]


def check_decodable(spec: DatasetSpec) -> None:
    """Refuse to write a part of stored chunks that nobody could read back.

    Raises
    ------
    FilterError
        Neither streamh5 nor the HDF5 library can decode one of the filters.
    """
    unknown = chunk_decoder(spec.filters, 0, spec.chunk_nbytes).unknown_filters
    if not unknown:
        return
    missing = missing_here([one for one in spec.filters if one.filter_id in unknown])
    if missing:
        raise FilterError(
            f"{spec.path}: write whole chunks; one of which a part is written must be read back, and there is "
            f"{missing_filters(missing)}",
            filters=[one.filter_id for one in missing],
            path=spec.path,
        )


def decode_by_library(
    filters: tuple[FilterRecord, ...], filter_mask: int, chunk_nbytes: int, stored: bytes
) -> bytes:
    """Return the raw bytes of a stored chunk.

    Parameters
    ----------
    filters
        The pipeline, in the order in which the filters encode.
    filter_mask
        Bit i is set if filter i was skipped.
    chunk_nbytes
        Raw size of a chunk in bytes.
    stored
        The stored bytes.

    Raises
    ------
    FilterError
        The library does not have one of the filters, or cannot decode the bytes.
    """
    import h5py

    image = _file_of(filters, filter_mask, chunk_nbytes, stored)
    try:
        with h5py.File(h5py.h5f.open_file_image(image)) as file:
            return bytes(file["chunk"][...])
    except OSError as error:
        names = ", ".join(str(one.filter_id) for one in filters)
        raise FilterError(
            missing_filters(missing_here(filters)) or f"h5py cannot decode its filters ({names}): {error}",
            filters=names,
        ) from error


def _file_of(filters: tuple[FilterRecord, ...], filter_mask: int, chunk_nbytes: int, stored: bytes) -> bytes:
    spec = DatasetSpec("/chunk", (chunk_nbytes,), np.dtype("u1"), chunks=(chunk_nbytes,), filters=filters)
    engine = Engine()
    dataset = engine.create_dataset(spec)
    address = engine.reserve(len(stored))
    masks = np.array([filter_mask], np.uint32)
    numbers, sizes = np.zeros(1, np.uint64), np.array([len(stored)], np.uint64)
    engine.record(dataset, chunk_records(numbers, address, sizes, masks))
    pieces = [(address, stored), *engine.finish()]
    image = bytearray(engine.end_of_file)
    for start, piece in pieces:
        image[start : start + len(piece)] = piece
    return bytes(image)
