"""Objects of an HDF5 file as h5py reads them, for structures that streamh5's own reader does not support.

There are few of them: a metadata cache image, fractal heaps with filters, strings compressed by filters of other
libraries, indexes of HDF5 1.10 in a file with short addresses, and messages of other libraries.

libhdf5 trusts the file. No call in this module walks over a chunk index without need (``H5Oget_info`` would, to add up
the sizes of all metadata). For files that are not trusted, the module runs in a child process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import FormatError, ReferencesError, UnreadableError
from streamh5.format.character_set import encode_text, printable_text
from streamh5.format.datatype import decode_datatype_message
from streamh5.model.chunk_grid import MAX_NUMBERS, ChunkGrid
from streamh5.model.chunk_map import ChunkMap
from streamh5.reader.chunk_iteration import filter_records, iterate_chunks, tells_coords
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.object_content import DatasetMessages
from streamh5.reader.object_walk import ObjectPlace, ObjectWalk, open_walk
from streamh5.references.attributes import is_reference
from streamh5.references.stored_data import EXTERNAL, VIRTUAL, find_data, stored_dtype, with_data
from streamh5.references.stored_file import StoredArray, StoredFile, single_chunk

if TYPE_CHECKING:
    import h5py

    from streamh5.stores.base import ReadableObject

_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError)
"""Exceptions that h5py raises for a file that is damaged, or that it does not support."""


@contextmanager
def _naming(path: str, what: str) -> Iterator[None]:
    """Turn errors of h5py into `UnreadableError`."""
    try:
        yield
    except FormatError:
        raise
    except _HDF5_ERRORS as error:
        raise UnreadableError(f"{what}: h5py cannot read it: {error}", path=path) from error


def read_with_h5py(
    source: str | ReadableObject, roots: list[str], seen: set[int], version: str = ""
) -> StoredFile:
    """Describe objects of a file and those that they link to; only strings of variable length are read.

    An object with several names is listed under the first one. Only hard links are followed.

    Parameters
    ----------
    source
        Path of the file, or an object in a store.
    roots
        Paths of the objects to start from, with surrogates for bytes that are not UTF-8.
    seen
        Addresses of objects to leave out.
    version
        Version of the object in the store that they were found in.

    Raises
    ------
    UnreadableError
        h5py cannot read the file, or an object in it, which the message names.
    """
    import h5py

    path = source if isinstance(source, str) else source.url
    found = StoredFile(path)
    left_out = set(seen)
    with _naming(path, path), FileBytes(source) as raw, h5py.File(raw.for_h5py(), "r") as file:
        if raw.version != version:
            raise UnreadableError(f"{path} has been replaced while it was read; begin again", path=path)
        walk = None
        with suppress(FormatError):  # with a cache image, for example, nothing lies where its address says
            _, walk = open_walk(raw)
        # opened from their group: from the root, libhdf5 would look up every name of the path again
        pending = [(printable_text(root), file, encode_text(root)) for root in roots]
        while pending:
            shown, parent, name = pending.pop()
            with _naming(path, shown):
                # H5Oget_info would walk over the index of the dataset
                address = h5py.h5g.get_objinfo(parent.id, name).objno[0]
                if address in left_out:
                    continue
                left_out.add(address)
                thing = parent[name]
                if isinstance(thing, h5py.Dataset):
                    found.arrays.append(_array(thing, ObjectPlace(shown, address), raw, walk))
                elif isinstance(thing, h5py.Group):
                    found.groups[shown] = _attributes(thing)
                    pending += reversed(_children(thing, shown))
    return found


def _children(group: h5py.Group, path: str) -> list[tuple[str, Any, bytes]]:
    """Return path, group and name of each hard link of a group."""
    from h5py import h5l

    names: list[bytes] = []
    group.id.links.iterate(names.append)
    hard = [name for name in names if group.id.links.get_info(name).type == h5l.TYPE_HARD]
    return [(f"{path.rstrip('/')}/{printable_text(name)}", group, name) for name in hard]


def _attributes(thing: Any) -> dict[str, Any]:
    """Return the attributes, except references, which cannot be pickled, and those that h5py cannot read."""
    found = {}
    for name in thing.attrs:
        # a type without numpy equivalent, a filter that is missing
        with suppress(OSError, TypeError, ValueError):
            value = thing.attrs[name]
            if not is_reference(value):
                # h5py.Empty
                found[printable_text(name)] = "" if getattr(value, "shape", ()) is None else value
    return found


def _array(dataset: h5py.Dataset, place: ObjectPlace, raw: FileBytes, walk: ObjectWalk | None) -> StoredArray:
    import h5py

    properties = dataset.id.get_create_plist()
    dtype, problem = _dtype(dataset)
    fill = None
    is_own = properties.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED
    if is_own and problem is None and not dtype.hasobject:
        fill = np.asarray(dataset.fillvalue, dataset.dtype).tobytes()
    is_virtual = properties.get_layout() == h5py.h5d.VIRTUAL
    array = StoredArray(
        place.path,
        dataset.shape,
        dtype,
        chunks=dataset.chunks,
        filters=filter_records(properties),
        fill=fill,
        attributes=_attributes(dataset),
        scales=_scales(dataset),
        problem=VIRTUAL if is_virtual else EXTERNAL if dataset.external else problem,
    )
    return with_data(array, lambda: dataset.asstr()[()], lambda: _find_data(dataset, place, raw, walk))


def _dtype(dataset: h5py.Dataset) -> tuple[np.dtype[Any], str | None]:
    with suppress(TypeError):  # numpy has no such type
        # libhdf5 would encode strings and sequences with the size of a pointer in memory
        if dataset.dtype.hasobject:
            return dataset.dtype, None
    # H5Tencode returns the type of a datatype message, the version of the encoding, and the message.
    return stored_dtype(decode_datatype_message(dataset.id.get_type().encode()[2:])[0])


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
        scales.append(None if name is None else printable_text(name))
    return tuple(scales)


def _find_data(
    dataset: h5py.Dataset, place: ObjectPlace, raw: FileBytes, walk: ObjectWalk | None
) -> ChunkMap | bytes | None:
    """Find the data by the object header if streamh5's own reader can read it, otherwise by libhdf5.

    libhdf5 does not tell everything: see `tells_coords`, and it has no call for chunks at the edge without filters.
    """
    import h5py

    if walk is not None:
        with suppress(FormatError):  # a structure that is not supported: the reason why h5py is asked
            messages = walk.messages(place, walk.header(place))
            if isinstance(messages, DatasetMessages):
                return find_data(raw, walk.file_map, place, messages)
    if dataset.chunks is not None:
        # libraries that write object headers of version 1 have only one index, the v1 B-tree
        is_old = raw.read(place.address, 4, "object header") != b"OHDR"
        return _iterated(dataset, is_old=is_old)
    if dataset.id.get_create_plist().get_layout() == h5py.h5d.COMPACT:
        return np.asarray(dataset[()]).tobytes()
    address = dataset.id.get_offset()
    return None if address is None else single_chunk(dataset.shape, address, dataset.id.get_storage_size())


def _iterated(dataset: h5py.Dataset, *, is_old: bool) -> ChunkMap:
    """Return the chunks over which libhdf5 iterates."""
    if not is_old and not tells_coords(dataset.maxshape):
        raise ReferencesError(
            "HDF5 may not tell where its chunks are when a dimension but the first is unlimited"
        )
    grid = ChunkGrid(dataset.shape, dataset.chunks)
    if (grid.n_chunks or 0) > MAX_NUMBERS:
        raise ReferencesError(f"its grid of {grid.n_chunks:,} chunks is more than can be numbered")
    return ChunkMap.at(grid, *iterate_chunks(dataset.id))
