"""Stored chunks of an HDF5 dataset: where they lie, and the filters they went through."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import SourceError, StreamH5Error
from streamh5.filters import FilterChain, chain_from_keywords
from streamh5.filters.known import KNOWN_FILTERS
from streamh5.format.datatype import datatype_class
from streamh5.format.datatype_class import FixedLengthString
from streamh5.format.filter_pipeline import FilterRecord
from streamh5.sources.array_target import StoredAs
from streamh5.sources.zarr_codecs import NotCopiable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from streamh5.filters import Buffer
    from streamh5.sources.array_target import SourceArray
    from streamh5.sources.conversion import Request

__all__ = ["source_filters", "stored_as"]

_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3


@dataclass(frozen=True, slots=True)
class _Chunks:
    """Chunks by their coords: ``(n_chunks,)`` addresses (0 for none), sizes, and masks.

    Read from the file itself, past the HDF5 library and its lock.
    """

    filename: str
    counts: tuple[int, ...]
    addresses: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    masks: NDArray[np.uint32]

    def read(self, coords: NDArray[np.intp]) -> Sequence[Buffer | None]:
        rows = np.ravel_multi_index(tuple(coords.T), self.counts)
        places = zip(self.addresses[rows].tolist(), self.sizes[rows].tolist(), strict=True)
        with open(self.filename, "rb", buffering=0) as file:
            fd = file.fileno()
            return [os.pread(fd, size, address) if address else None for address, size in places]

    def filter_masks(self, coords: NDArray[np.intp]) -> NDArray[np.uint32] | None:
        if not self.masks.any():
            return None
        masks: NDArray[np.uint32] = self.masks[np.ravel_multi_index(tuple(coords.T), self.counts)]
        return masks


def stored_as(source: SourceArray, dataset: Any, request: Request) -> StoredAs:
    """Decide how the chunks of a dataset can be copied.

    Raises
    ------
    NotCopiable
        They cannot, or are not to be.
    """
    if request.copy is False:
        raise NotCopiable("copy=False was asked for")
    if not request.keeps_filters:
        raise NotCopiable(f"compression={request.compression!r} was asked for")
    if dataset.chunks is None:
        raise NotCopiable("it has no chunks")
    chunks = request.chunks_of(source.path, source.shape)
    if chunks is not None and chunks != dataset.chunks:
        raise NotCopiable(f"chunks {chunks} were asked for, those stored are {dataset.chunks}")
    if source.dtype.hasobject:
        raise NotCopiable("its elements lie outside its chunks")
    if dataset.file.userblock_size or dataset.file.driver not in ("sec2", "stdio"):
        raise NotCopiable("the file has a user block, or is not one file on disk")
    if not hasattr(dataset.id, "chunk_iter"):
        raise NotCopiable("this HDF5 library does not list chunks; 1.12.3 and later do")
    unlimited = [axis for axis, extent in enumerate(dataset.maxshape) if extent is None]
    if len(unlimited) == 1 and unlimited != [0]:
        # H5D__earray_idx_iterate_cb gives wrong coordinates there; of a B-tree h5py says nothing different
        raise NotCopiable(
            "HDF5 may not tell where its chunks are when a dimension but the first is unlimited"
        )
    if not _is_stored_alike(dataset, source.dtype):
        raise NotCopiable(f"its datatype is stored in another way as {source.dtype}")
    filters = _records(dataset)
    nbytes = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize
    what = ", ".join(_name(record) for record in filters) or "no filters"
    reader = _chunk_map(dataset)
    if request.verify and reader.masks.any():
        raise NotCopiable("some chunks skipped filters, and verify=True asks for a look into each")
    chain = FilterChain((), nbytes)
    return StoredAs(dataset.chunks, source.dtype, chain, filters, reader, _Whole(source.path), what)


@dataclass(frozen=True, slots=True)
class _Whole:
    """Takes every chunk as it is, but for one that the file ends before."""

    path: str

    def __call__(self, data: Buffer) -> Buffer:
        if not len(data):
            raise SourceError(
                f"{self.path}: the file ends before one of its chunks; it is damaged", path=self.path
            )
        return data


def _name(record: FilterRecord) -> str:
    known = {one.filter_id: one.keyword for one in KNOWN_FILTERS}
    return known.get(record.filter_id, f"filter {record.filter_id}")


def _is_stored_alike(dataset: Any, dtype: np.dtype[Any]) -> bool:
    """Whether the bytes of an element are those that `dtype` has in a file of ours."""
    from h5py import h5t

    ours = datatype_class(dtype)
    kind = dataset.id.get_type()
    if isinstance(ours, FixedLengthString):
        return bool(kind.get_size() == ours.nbytes)
    if isinstance(kind, h5t.TypeBitfieldID):
        return False
    return bool(kind.get_size() == dtype.itemsize and kind.equal(h5t.py_create(dataset.dtype, logical=True)))


def _records(dataset: Any) -> tuple[FilterRecord, ...]:
    plist = dataset.id.get_create_plist()
    found = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    return tuple(
        FilterRecord(number, name.decode("utf-8", "replace"), flags, tuple(values))
        for number, flags, values, name in found
    )


def _chunk_map(dataset: Any) -> _Chunks:
    counts = tuple(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    n_stored = dataset.id.get_num_chunks() if dataset.size else 0
    entries: list[tuple[tuple[int, ...], int, int, int]] = []
    if n_stored:
        dataset.id.chunk_iter(
            lambda one: entries.append((one.chunk_offset, one.byte_offset, one.size, one.filter_mask))
        )
    n_chunks = int(np.prod(counts))
    addresses, sizes = np.zeros(n_chunks, np.uint64), np.zeros(n_chunks, np.uint64)
    masks = np.zeros(n_chunks, np.uint32)
    if entries:
        offsets = np.array([entry[0] for entry in entries], np.intp).reshape(len(entries), -1)
        coords = offsets // np.array(dataset.chunks)
        is_inside = (coords < np.array(counts)).all(axis=1)
        rows = np.ravel_multi_index(tuple(coords[is_inside].T), counts)
        table = np.array([entry[1:] for entry in entries], np.uint64)[is_inside]
        addresses[rows], sizes[rows], masks[rows] = table.T
    return _Chunks(os.fspath(dataset.file.filename), counts, addresses, sizes, masks)


def source_filters(dataset: Any) -> dict[str, Any] | None:
    """Return the filters of a dataset as keywords of `plan_dataset`; None where ours cannot be the same."""
    found = {record.filter_id: record.client_values for record in _records(dataset)}
    keywords: dict[str, Any] = {"shuffle": _SHUFFLE in found, "fletcher32": _FLETCHER32 in found}
    compressions = [number for number in found if number not in (_SHUFFLE, _FLETCHER32)]
    if len(compressions) > 1:
        return None
    for number in compressions:
        values = found[number]
        keywords |= (
            {"compression": "gzip", "compression_opts": values[0]}
            if number == _DEFLATE
            else {"compression": number, "compression_opts": values}
        )
    nbytes = int(np.prod(dataset.chunks or (1,))) * dataset.dtype.itemsize
    try:
        chain_from_keywords(
            dtype=dataset.dtype, chunk_nbytes=nbytes, chunks=dataset.chunks or (1,), **keywords
        )
    except StreamH5Error:
        return None
    return keywords
