"""One dataset of an HDF5 file: its properties, and its elements as stored."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.conversion.hdf5.datatype import stored_type
from streamh5.conversion.hdf5.elements import Referents, read_region, to_parts, tracks_attributes
from streamh5.conversion.hdf5.problems import library_reason
from streamh5.dask.shared_dataset import SharedDataset
from streamh5.dask.stored_chunks import Regions
from streamh5.errors import FormatError, SourceError
from streamh5.filters.missing import missing_filters
from streamh5.format.fill_value import AllocationTime, WriteTime
from streamh5.model.parts import encode_parts, stored_elements
from streamh5.model.reference import HeapObject, sizeof_parts
from streamh5.reader.chunk_iteration import filter_records
from streamh5.write.library_decoder import missing_here
from streamh5.write.place import place_objects

if TYPE_CHECKING:
    from streamh5.conversion.hdf5.datatype import StoredType
    from streamh5.conversion.hdf5.source_bytes import SourceBytes
    from streamh5.format.filter_pipeline import FilterRecord
    from streamh5.handles.dataset import Dataset
    from streamh5.model.reference import Parts
    from streamh5.write.place import Place

_SHOWN_KINDS = "iufc"
"""Kinds of dtypes that a summary shows; other elements are opaque bytes."""

_HINTS = {
    "external": "HDF5 looks for external files in the current directory, or in HDF5_EXTFILE_PREFIX",
    "virtual": "a source is damaged, or has a filter that is missing here (docs/filters.md)",
}
"""What to do where elements cannot be read, by layout."""


@dataclass(frozen=True, slots=True)
class SourceDataset:
    """A dataset of a source.

    Attributes
    ----------
    id
        `h5py.h5d.DatasetID`.
    path, address
        Its path, and the address of its header.
    kind
        Its datatype.
    dtype
        Element type in numpy: numbers, or opaque bytes of their size in the file.
    shape, maxshape
        None, and ``()``, for a null dataspace.
    chunks
        None where it has none.
    layout
        ``"compact"``, ``"contiguous"``, ``"chunked"``, ``"virtual"`` or ``"external"``.
    is_allocated
        Whether a contiguous dataset has storage.
    filters
        Records of its filters.
    fill_value
        One element with the user's fill value; None for the default.
    times
        When the storage is allocated, and when the fill value is written to it.
    track_order
        Whether the creation order of attributes is tracked.
    """

    id: Any
    path: str
    address: int
    kind: StoredType
    dtype: np.dtype[Any]
    shape: tuple[int, ...] | None
    maxshape: tuple[int | None, ...]
    chunks: tuple[int, ...] | None
    layout: str
    is_allocated: bool
    filters: tuple[FilterRecord, ...]
    fill_value: Parts | None
    times: tuple[AllocationTime, WriteTime]
    track_order: bool

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape or ()) * self.kind.nbytes if self.shape is not None else 0

    @property
    def whole(self) -> tuple[slice, ...]:
        """The region of all elements."""
        return tuple(slice(0, n) for n in self.shape or ())


def read_dataset(dataset: Any, path: str, address: int, stored: SourceBytes | None) -> SourceDataset:
    """Read the properties of a dataset.

    Parameters
    ----------
    dataset
        `h5py.h5d.DatasetID`.
    path, address
        Its path, and the address of its header.
    stored
        The bytes of the file, where it is one.

    Raises
    ------
    SourceError
        A datatype that streamh5 does not write.
    """
    plist = dataset.get_create_plist()
    kind = stored_type(dataset.get_type())
    shape, maxshape = _extent(dataset)
    layout, is_allocated = _layout(dataset, plist, shape)
    return SourceDataset(
        dataset,
        path,
        address,
        kind,
        _dtype(dataset, kind),
        shape,
        maxshape,
        tuple(plist.get_chunk()) if layout == "chunked" else None,
        layout,
        is_allocated,
        filter_records(plist) if layout == "chunked" else (),
        *_fill_value(dataset, plist, kind, address, stored),
        tracks_attributes(plist),
    )


def _extent(dataset: Any) -> tuple[tuple[int, ...] | None, tuple[int | None, ...]]:
    """Return shape and maximum shape; None and ``()`` for a null dataspace."""
    from h5py import h5s

    space = dataset.get_space()
    if space.get_simple_extent_type() == h5s.NULL:
        return None, ()
    most = space.get_simple_extent_dims(True)
    return tuple(space.get_simple_extent_dims()), tuple(None if n == h5s.UNLIMITED else n for n in most)


def _layout(dataset: Any, plist: Any, shape: tuple[int, ...] | None) -> tuple[str, bool]:
    """Return the name of the layout, and whether storage is allocated."""
    from h5py import h5d

    number = plist.get_layout()
    if number == h5d.CONTIGUOUS:
        if plist.get_external_count():
            return "external", True
        is_empty = shape is None or not math.prod(shape)
        return "contiguous", is_empty or dataset.get_offset() is not None
    return {h5d.COMPACT: "compact", h5d.CHUNKED: "chunked", h5d.VIRTUAL: "virtual"}[number], True


def _dtype(dataset: Any, kind: StoredType) -> np.dtype[Any]:
    opaque = np.dtype((np.void, kind.nbytes))
    if kind.has_pointers:
        return opaque
    try:
        dtype: np.dtype[Any] = np.dtype(dataset.dtype.str)
    except (TypeError, ValueError, KeyError):  # a datatype that h5py has no dtype for
        return opaque
    return dtype if dtype.kind in _SHOWN_KINDS and dtype.itemsize == kind.nbytes else opaque


def _fill_value(
    dataset: Any, plist: Any, kind: StoredType, address: int, stored: SourceBytes | None
) -> tuple[Parts | None, tuple[AllocationTime, WriteTime]]:
    """Return the user's fill value, and the times of allocation and writing.

    They are read from the header where possible: h5py returns the value in a numpy dtype, which some datatypes lack.

    Raises
    ------
    SourceError
        A value that h5py does not read.
    """
    from h5py import h5d

    found = None
    if stored is not None:
        with suppress(FormatError):
            found = stored.fill_value(address)
    is_own = plist.fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED
    if found is not None and not is_own:
        return None, (found.allocation_time, found.write_time)
    if found is not None and found.value is not None and not kind.has_pointers:
        return (found.value,), (found.allocation_time, found.write_time)
    # the library's numbers are those of the file; 0, "default", occurs in memory only
    times = AllocationTime(plist.get_alloc_time() or AllocationTime.LATE), WriteTime(plist.get_fill_time())
    if not is_own:
        return None, times
    value = np.zeros(1, dataset.dtype)
    plist.get_fill_value(value)
    parts = encode_parts(value, dataset.dtype) if kind.has_pointers else (value.tobytes(),)
    if sizeof_parts(parts) != kind.nbytes:
        raise SourceError("a fill value that is not read")
    return parts, times


N_HEAP_SAMPLES, HEAP_SAMPLE_LENGTH = 16, 64
"""Runs of elements that are read for the mean size of text and sequences, over the whole dataset; and their length."""


@dataclass(frozen=True, slots=True)
class RegionReader:
    """Reads regions of a dataset as the new file stores them. Thread-safe, in this process and in others.

    Parameters
    ----------
    dataset
        What is read.
    shared
        The same dataset as other processes open it.
    place
        Where objects of its elements go; needed only for elements of variable length.
    """

    dataset: SourceDataset
    shared: SharedDataset
    place: Place | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return RegionReader, (replace(self.dataset, id=None), self.shared)

    def regions(self, *, skips: bool) -> Regions:
        """Return the reader as a source of blocks.

        Parameters
        ----------
        skips
            Whether a region that cannot be read is left out: it becomes the fill value.
        """
        at = partial(self._regions_at, skips=skips) if self.dataset.kind.has_pointers else None
        return Regions(self, self.fill if skips else None, at)

    def _regions_at(self, place: Place, *, skips: bool) -> Regions:
        return replace(self, place=place).regions(skips=skips)

    def __call__(self, region: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """Return the elements of a region, of the dtype of the dataset."""
        kind, memory = self.dataset.kind, self._memory(region)
        if not kind.has_pointers:
            return memory.view(self.dataset.dtype)
        return self._stored(to_parts(memory.tobytes(), kind.elements, Referents({})), memory.shape)

    def mean_heap_nbytes(self) -> int:
        """Return how many bytes an element has in the global heap on average, in a sample of all elements."""
        shape, kind = self.dataset.shape or (), self.dataset.kind
        if not kind.has_pointers or not math.prod(shape):
            return 0
        nbytes = n_read = 0
        for number in sorted(
            {i * (math.prod(shape) - 1) // (N_HEAP_SAMPLES - 1) for i in range(N_HEAP_SAMPLES)}
        ):
            first = [int(i) for i in np.unravel_index(number, shape)]
            last = min(first[-1] + HEAP_SAMPLE_LENGTH, shape[-1])
            with suppress(SourceError):  # the write says so
                memory = self._memory((*(slice(i, i + 1) for i in first[:-1]), slice(first[-1], last)))
                nbytes += _sizeof_objects(to_parts(memory.tobytes(), kind.elements, Referents({})))
                n_read += memory.size
        return -(-nbytes // max(1, n_read))

    def fill(self, region: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """Return the fill value in the shape of a region."""
        shape = tuple(part.stop - part.start for part in region)
        fill = self.dataset.fill_value or (bytes(self.dataset.dtype.itemsize),)
        return self._stored(list(fill) * math.prod(shape), shape)

    def _stored(self, parts: Parts, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Return elements whose heap objects are placed now."""
        if self.place is None and not all(isinstance(part, bytes) for part in parts):
            raise SourceError(f"{self.dataset.path} is read before there is a place for its objects")
        placer = None if self.place is None else partial(place_objects, self.place)
        return np.frombuffer(stored_elements(parts, placer), self.dataset.dtype).reshape(shape)

    def write_value(self, referents: Referents, written: Dataset) -> None:
        """Write all elements in one call, including references."""
        if not math.prod(self.dataset.shape or ()):
            return
        if self.dataset.kind.has_pointers:
            memory = self._memory(self.dataset.whole)
            parts = to_parts(memory.tobytes(), self.dataset.kind.elements, referents)
            written.session.set_parts(written.node, parts)
        else:
            written[()] = self(self.dataset.whole)

    def _memory(self, region: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        path, opened = self.dataset.path, self.shared.open()
        try:
            return read_region(opened, region, self.dataset.kind.elements)
        except MemoryError:
            raise
        except Exception as error:
            missing = missing_filters(missing_here(self.dataset.filters))
            hint = missing or _HINTS.get(self.dataset.layout, "the file is damaged")
            raise SourceError(
                f"{path}: HDF5 cannot read it: {library_reason(error)}; {hint}", path=path
            ) from error


def _sizeof_objects(parts: Parts) -> int:
    """Return how many bytes parts have in the global heap."""
    objects = [part for part in parts if isinstance(part, HeapObject)]
    return sum(sizeof_parts(one.parts) + _sizeof_objects(one.parts) for one in objects)
