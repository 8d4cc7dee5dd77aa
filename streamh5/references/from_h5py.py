"""Objects of an HDF5 file as h5py sees them.

libhdf5 trusts the file. Nothing is called here that walks over a chunk index without need (``H5Oget_info`` does:
it adds up the sizes of all metadata); where the file itself is not trusted, this runs in a child process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import FormatError, UnreadableError
from streamh5.format.filter_pipeline import FilterRecord
from streamh5.model.chunk_grid import MAX_NUMBERS, ChunkGrid
from streamh5.model.chunk_map import ChunkMap
from streamh5.reader.chunk_iteration import iterate_chunks, tells_coords
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_map import FileMap
from streamh5.reader.object_content import DatasetMessages
from streamh5.reader.object_walk import Place, read_object
from streamh5.references.attributes import OF_REFERENCES, is_reference
from streamh5.references.stored_data import chunked_data, compact_data, whole_data
from streamh5.references.stored_file import StoredArray, StoredFile
from streamh5.references.texts import encode_texts, is_text, too_many_texts

if TYPE_CHECKING:
    import h5py

__all__ = ["read_with_h5py"]

HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError)
"""What h5py raises for a file that is damaged, or that it does not know."""


@contextmanager
def _naming(path: str, what: str) -> Iterator[None]:
    """Make errors of h5py ours."""
    try:
        yield
    except FormatError:
        raise
    except HDF5_ERRORS as error:
        raise UnreadableError(f"{what}: h5py cannot read it: {error}", path=path) from error


def read_with_h5py(path: str, roots: list[str], seen: set[int]) -> StoredFile:
    """Describe objects of a file and what they link to; data is not read, but for strings of variable length.

    An object with several names is taken under the first; links that are not hard ones are not followed.

    Parameters
    ----------
    path
        The file.
    roots
        Paths of the objects to begin with, with surrogates for bytes that are not UTF-8.
    seen
        Addresses of objects that are left out.

    Raises
    ------
    UnreadableError
        h5py cannot read the file, or an object in it, which the message names.
    """
    import h5py

    found = StoredFile(path)
    with _naming(path, path), FileBytes(path) as raw, h5py.File(path, "r") as file:
        encoded = [root.encode("utf-8", "surrogateescape") for root in roots]
        pending = [(_shown(root), file["/"], b"." if root == b"/" else root) for root in encoded]
        _read_objects(pending, set(seen), raw, found)
    return found


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _read_objects(
    pending: list[tuple[str, Any, bytes]], seen: set[int], raw: FileBytes, found: StoredFile
) -> None:
    import h5py

    while pending:
        path, parent, name = pending.pop()
        with _naming(found.path, path):
            # H5Oget_info would walk over the index of the dataset
            address = h5py.h5g.get_objinfo(parent.id, name).objno[0]
            if address in seen:
                continue
            seen.add(address)
            thing = parent if name == b"." else parent[name]
            if isinstance(thing, h5py.Dataset):
                found.arrays.append(_array(thing, path, address, raw))
            elif isinstance(thing, h5py.Group):
                found.groups[path] = _attributes(thing)
                pending += reversed(_children(thing, path))


def _children(group: h5py.Group, path: str) -> list[tuple[str, Any, bytes]]:
    """Paths of what hard links of a group lead to."""
    from h5py import h5l

    names: list[bytes] = []
    group.id.links.iterate(names.append)
    hard = [name for name in names if group.id.links.get_info(name).type == h5l.TYPE_HARD]
    return [(f"{path.rstrip('/')}/{_shown(name)}", group, name) for name in hard]


def _attributes(thing: Any) -> dict[str, Any]:
    """Attributes; one whose type h5py cannot read is left out."""
    found = {}
    for name in thing.attrs:
        text = name if isinstance(name, str) else _shown(name)
        if text in OF_REFERENCES:
            continue
        with suppress(OSError, TypeError, ValueError):
            value = thing.attrs[name]
            if not is_reference(value):
                found[text] = "" if getattr(value, "shape", ()) is None else value  # h5py.Empty
    return found


def _array(dataset: h5py.Dataset, path: str, address: int, raw: FileBytes) -> StoredArray:
    import h5py

    properties = dataset.id.get_create_plist()
    layout = properties.get_layout()
    problem = _problem(dataset, layout)
    chunk_map, content = None, None
    if is_text(dataset.dtype):
        problem = problem or too_many_texts(dataset.shape)
        if problem is None and dataset.shape is not None:
            try:
                content = encode_texts(dataset.asstr()[()])
            except UnicodeError as error:
                problem = f"its strings are not UTF-8: {error}"
    elif problem is None and dataset.shape is not None:
        if layout == h5py.h5d.COMPACT:
            chunk_map, content = _compact(dataset, address, raw)
        elif layout == h5py.h5d.CONTIGUOUS:
            chunk_map = _contiguous(dataset)
        else:
            chunk_map, problem = _chunked(dataset, path, address, raw)
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
        chunk_map=chunk_map,
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
        case h5py.h5t.BITFIELD:  # of all its bits; h5py does not tell the precision
            order = "LE" if stored.get_order() == h5py.h5t.ORDER_LE else "BE"
            return bool(stored.equal(getattr(h5py.h5t, f"STD_B{8 * dtype.itemsize}{order}")))
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
    for references in np.ravel(dataset.attrs["DIMENSION_LIST"]):
        name = None
        with suppress(TypeError, ValueError, IndexError, RuntimeError):  # no reference, or a dangling one
            # the last of several, as netCDF-C and h5netcdf
            name = h5py.h5r.get_name(references[-1], dataset.file.id)
        scales.append(None if name is None else name.decode("utf-8", "replace"))
    return tuple(scales)


def _contiguous(dataset: h5py.Dataset) -> ChunkMap | None:
    address = dataset.id.get_offset()
    if address is None or dataset.dtype.kind == "O":
        return None
    return whole_data(dataset.shape, address, dataset.id.get_storage_size())


def _compact(dataset: h5py.Dataset, address: int, raw: FileBytes) -> tuple[ChunkMap | None, bytes | None]:
    content = b"" if dataset.dtype.kind == "O" else np.asarray(dataset[()]).tobytes()
    return compact_data(raw, address, dataset.shape, content)


def _chunked(
    dataset: h5py.Dataset, path: str, address: int, raw: FileBytes
) -> tuple[ChunkMap | None, str | None]:
    """Chunks of a dataset, or why they cannot be referred to."""
    try:
        messages = read_object(raw, Place(path, address))
        if isinstance(messages, DatasetMessages):
            return chunked_data(raw, FileMap(raw.nbytes), path, messages)
    except FormatError:
        pass
    return _iterated(dataset, is_old=raw.read(address, 4, "object header") != b"OHDR")


def _iterated(dataset: h5py.Dataset, *, is_old: bool) -> tuple[ChunkMap | None, str | None]:
    """Chunks as the library iterates over them, or why they cannot be referred to.

    An object header of version 1 is that of a library whose only index is the v1 B-tree.
    """
    if not is_old and not tells_coords(dataset.maxshape):
        return None, "HDF5 may not tell where its chunks are when a dimension but the first is unlimited"
    grid = ChunkGrid(dataset.shape, dataset.chunks)
    if (grid.n_chunks or 0) > MAX_NUMBERS:
        return None, f"its grid of {grid.n_chunks:,} chunks is more than can be numbered"
    return ChunkMap.at(grid, *iterate_chunks(dataset.id)), None
