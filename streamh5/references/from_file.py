"""Any HDF5 file as `StoredFile`: h5py reads what describes it, our own reader the chunk indexes.

Our reader takes an index as numpy columns. What it does not know (headers of version 1) h5py iterates.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import FormatError, UnreadableError
from streamh5.format.data_layout import ChunkedLayout
from streamh5.format.filter_pipeline import FilterRecord
from streamh5.reader.chunk_index.read_index import read_chunk_map
from streamh5.reader.dense_storage import DenseStorage
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_map import FileMap
from streamh5.reader.object_content import DatasetMessages, decode_object
from streamh5.reader.object_header import read_object_header
from streamh5.references.stored_file import ChunkColumns, StoredArray, StoredFile

if TYPE_CHECKING:
    import h5py

__all__ = ["read_file", "read_text"]

NO_COLUMNS = ChunkColumns(np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint64), None)

MAX_HEADER_NBYTES = 64 << 10
"""Bytes of an object header in which compact data is searched for."""


def read_file(path: str | os.PathLike[str]) -> StoredFile:
    """Describe a file; its data is not read.

    An object with several names is taken under the first; soft and external links are not followed.

    Raises
    ------
    UnreadableError
        The file does not exist, or h5py cannot open it.
    """
    import h5py

    name = os.fspath(path)
    found = StoredFile(name)
    try:
        with FileBytes(name) as raw, h5py.File(name, "r") as file:
            _read_objects(file, raw, found)
    except OSError as error:
        if isinstance(error, FormatError):
            raise
        raise UnreadableError(f"{name}: h5py cannot read this file: {error}", path=name) from error
    return found


def read_text(path: str, dataset: str) -> np.ndarray[Any, Any]:
    """Read a dataset of strings of variable length, as str."""
    import h5py

    with h5py.File(path, "r") as file:
        return np.asarray(file[dataset].asstr()[()], object)


def _read_objects(file: h5py.File, raw: FileBytes, found: StoredFile) -> None:
    import h5py

    seen: set[Any] = set()
    pending: list[tuple[str, Any]] = [("/", file["/"])]
    while pending:
        path, thing = pending.pop()
        address = h5py.h5o.get_info(thing.id).addr
        if address in seen or isinstance(thing, h5py.Datatype):
            continue
        seen.add(address)
        if isinstance(thing, h5py.Dataset):
            found.arrays.append(_array(thing, path, address, raw))
            continue
        found.groups[path] = _attributes(thing)
        for name in reversed(list(thing)):
            if isinstance(thing.get(name, getlink=True), h5py.HardLink):
                pending.append((f"{path.rstrip('/')}/{name}", thing[name]))


def _attributes(thing: Any) -> dict[str, Any]:
    """Attributes; one whose type h5py cannot read is left out."""
    found = {}
    for name in thing.attrs:
        with suppress(OSError, TypeError, ValueError):
            found[name] = thing.attrs[name]
    return found


def _array(dataset: h5py.Dataset, path: str, address: int, raw: FileBytes) -> StoredArray:
    import h5py

    properties = dataset.id.get_create_plist()
    layout = properties.get_layout()
    problem = _problem(dataset, layout)
    columns, content = NO_COLUMNS, None
    if problem is None and dataset.shape is not None:
        if layout == h5py.h5d.COMPACT:
            columns, content = _compact(dataset, address, raw)
        elif layout == h5py.h5d.CONTIGUOUS:
            columns = _contiguous(dataset)
        else:
            columns, problem = _chunked(dataset, path, address, raw)
    fillvalue = None
    if properties.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED and dataset.dtype.kind != "O":
        fillvalue = np.array(dataset.fillvalue, dataset.dtype)
    return StoredArray(
        path=path,
        shape=dataset.shape,
        dtype=dataset.dtype,
        chunks=dataset.chunks,
        filters=tuple(_record(*properties.get_filter(i)) for i in range(properties.get_nfilters())),
        fillvalue=fillvalue,
        attributes=_attributes(dataset),
        scales=_scales(dataset),
        columns=columns,
        content=content,
        problem=problem,
    )


def _record(filter_id: int, flags: int, values: tuple[int, ...], name: bytes) -> FilterRecord:
    return FilterRecord(filter_id, name.decode("ascii", "replace"), flags, values)


def _problem(dataset: h5py.Dataset, layout: int) -> str | None:
    import h5py

    if layout == h5py.h5d.VIRTUAL:
        return "a virtual dataset, whose data is in other datasets; make references to those"
    if dataset.external:
        return "its data is in external files"
    if dataset.dtype.kind != "O" and not _is_stored_as(dataset.id.get_type(), dataset.dtype):
        return f"its elements are not stored the way numpy has them as {dataset.dtype}"
    return None


def _is_stored_as(stored: Any, dtype: np.dtype[Any]) -> bool:
    """Whether the bytes of an element in the file are those that it has as `dtype`."""
    import h5py

    if stored.get_size() != dtype.itemsize:
        return False
    match stored.get_class():
        case h5py.h5t.COMPOUND if dtype.names is not None:
            fields: Any = dtype.fields
            return all(
                _is_stored_as(stored.get_member_type(i), dtype[i])
                and stored.get_member_offset(i) == fields[dtype.names[i]][1]
                for i in range(stored.get_nmembers())
            )
        case h5py.h5t.STRING:
            return bool(stored.is_variable_str() or stored.get_strpad() != h5py.h5t.STR_SPACEPAD)
        case h5py.h5t.BITFIELD:
            return bool(stored.get_precision() == 8 * dtype.itemsize)
        case h5py.h5t.INTEGER | h5py.h5t.FLOAT | h5py.h5t.COMPOUND:
            return bool(h5py.h5t.py_create(dtype) == stored)
        case h5py.h5t.ENUM:
            return _is_stored_as(stored.get_super(), np.dtype(dtype.str if dtype.kind != "b" else "i1"))
    return True


def _scales(dataset: h5py.Dataset) -> tuple[str | None, ...]:
    import h5py

    if "DIMENSION_LIST" not in dataset.attrs:
        return ()
    scales: list[str | None] = []
    for references in dataset.attrs["DIMENSION_LIST"]:
        # the last of several, as netCDF-C and h5netcdf
        name = h5py.h5r.get_name(references[-1], dataset.file.id) if len(references) else None
        scales.append(None if name is None else name.decode("utf-8", "replace"))
    return tuple(scales)


def _contiguous(dataset: h5py.Dataset) -> ChunkColumns:
    address = dataset.id.get_offset()
    if address is None or dataset.dtype.kind == "O":
        return NO_COLUMNS
    return _one_chunk(address, dataset.id.get_storage_size())


def _compact(dataset: h5py.Dataset, address: int, raw: FileBytes) -> tuple[ChunkColumns, bytes | None]:
    """Find data in the object header; its bytes where it is not there (in a continuation)."""
    content = b"" if dataset.dtype.kind == "O" else np.asarray(dataset[()]).tobytes()
    if not content:
        return NO_COLUMNS, None
    n_there = min(MAX_HEADER_NBYTES + len(content), raw.nbytes - address)
    header = raw.read(address, n_there, "object header")
    # data layout message, version 3 or 4: its class, the size, the data
    begins = [bytes((version, 0)) + len(content).to_bytes(2, "little") for version in (3, 4)]
    position = max(header.find(begin + content) for begin in begins)
    if position < 0:
        return NO_COLUMNS, content
    return _one_chunk(address + position + len(begins[0]), len(content)), None


def _one_chunk(address: int, nbytes: int) -> ChunkColumns:
    return ChunkColumns(
        np.zeros(1, np.int64), np.array([address], np.uint64), np.array([nbytes], np.uint64), None
    )


def _chunked(
    dataset: h5py.Dataset, path: str, address: int, raw: FileBytes
) -> tuple[ChunkColumns, str | None]:
    """Chunks of a dataset, or why they cannot be referred to."""
    grid = tuple(-(-n // chunk) for n, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    try:
        messages = decode_object(
            read_object_header(raw, FileMap(raw.nbytes), path, address),
            DenseStorage(raw, FileMap(raw.nbytes), path),
        )
        frame = messages.frame(path) if isinstance(messages, DatasetMessages) else None
        if frame is None or not isinstance(messages, DatasetMessages):
            return _iterated(dataset, grid)
        layout = messages.layout
        if isinstance(layout, ChunkedLayout) and frame.n_filters and not layout.filter_partial_edge_chunks:
            return NO_COLUMNS, "chunks at its edge are stored without filters (H5Pset_chunk_opts)"
        found = read_chunk_map(raw, FileMap(raw.nbytes), frame, layout)  # type: ignore[arg-type]
    except FormatError:
        return _iterated(dataset, grid)
    if found.impossible.any():
        return NO_COLUMNS, f"{int(np.count_nonzero(found.impossible)):,} chunks lie outside the file"
    numbers = found.numbers
    if len(numbers) and found.grid[1:] != grid[1:]:
        numbers = np.ravel_multi_index(np.unravel_index(numbers, found.grid), grid).astype(np.int64)
    addresses, stored_nbytes = found.addresses.view(np.uint64), found.stored_nbytes.view(np.uint64)
    return ChunkColumns(numbers, addresses, stored_nbytes, found.filter_masks), None


def _iterated(dataset: h5py.Dataset, grid: tuple[int, ...]) -> tuple[ChunkColumns, str | None]:
    """Chunks as h5py iterates over them (H5Dchunk_iter), or why they cannot be referred to."""
    unlimited = [axis for axis, extent in enumerate(dataset.maxshape) if extent is None]
    if len(unlimited) == 1 and unlimited != [0]:
        # H5D__earray_idx_iterate_cb gives wrong coordinates there
        return (
            NO_COLUMNS,
            "HDF5 may not tell where its chunks are when a dimension but the first is unlimited",
        )
    rows: list[tuple[int, ...]] = []

    def add(chunk: Any) -> None:
        rows.append((*chunk.chunk_offset, chunk.filter_mask, chunk.byte_offset, chunk.size))

    dataset.id.chunk_iter(add)
    if not rows:
        return NO_COLUMNS, None
    table = np.array(rows, np.uint64)
    coords = table[:, : len(grid)].astype(np.int64) // np.array(dataset.chunks)
    numbers = np.ravel_multi_index(tuple(coords.T), grid).astype(np.int64)
    columns = ChunkColumns(numbers, table[:, -2].copy(), table[:, -1].copy(), table[:, -3].astype(np.uint32))
    return columns, None
