"""Check what callers pass to handles: data, element types, links, regions and filtered chunks."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy import ma

from streamh5.errors import BlockError, DatatypeError, PathError, ShapeError, SpecError, counted, shown
from streamh5.format.character_set import decode_text
from streamh5.format.datatype import encode_datatype
from streamh5.format.dtype import innermost
from streamh5.format.link import ExternalLink, SoftLink
from streamh5.format.primitives import MAX_CHUNK_NBYTES
from streamh5.model.block_value import as_block, check_one_kind
from streamh5.model.chunk_shape import check_shape
from streamh5.model.hyperslab import refuse_field_names
from streamh5.model.not_an_array import UNREADABLE, check_is_array, check_objects, is_empty
from streamh5.model.reference import Reference, RegionReference
from streamh5.model.tree import LinkValue
from streamh5.write.chunk_writer import EncodedChunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamh5.filters import Buffer
    from streamh5.model.chunk_grid import Box
    from streamh5.write.chunk_writer import ChunkWriter

_OBJECT_MARKS: dict[type, dict[str, type]] = {
    str: {"vlen": str},
    bytes: {"vlen": bytes},
    Reference: {"ref": Reference},
    RegionReference: {"ref": RegionReference},
}
"""h5py's metadata for arrays of objects that are all of one type."""


def as_dtype(dtype: Any, path: str) -> np.dtype[Any]:
    """Return a dtype that can be written; numpy's text (U) becomes UTF-8 of variable length.

    Raises
    ------
    DatatypeError
        It is not a dtype, or HDF5 has no such datatype.
    """
    try:
        element: np.dtype[Any] = np.dtype(dtype)
    except UNREADABLE as error:
        raise DatatypeError(f"{path}: {shown(dtype)} is not a dtype: {error}", path=path) from error
    if element.kind == "U":
        element = np.dtype("O", metadata={"vlen": str})
    try:
        encode_datatype(element)
    except DatatypeError as error:
        raise DatatypeError(f"{path}: {error}", path=path, dtype=element) from error
    return element


def as_array(data: Any, dtype: Any, path: str) -> np.ndarray[Any, Any]:
    """Return `data` as an array of a dtype that can be written.

    Objects that are all text, bytes, `Reference` or `RegionReference` get the dtype that h5py has for them.

    Raises
    ------
    SpecError
        It is a dask collection.
    DatatypeError
        Its dtype cannot be written.
    BlockError
        It is not a regular array, or has values that the dtype cannot represent.
    """
    graph = getattr(data, "__dask_graph__", None)  # xarray's and pint's in-memory arrays have one, too: None
    if graph is not None and graph() is not None:
        raise SpecError(
            f"{path}: data is a dask collection; write it with streamh5.to_fixed_h5(file, {shown(path)}, x)"
        )
    try:
        check_is_array(data)
    except DatatypeError as error:
        raise DatatypeError(f"{path}: {error}", path=path) from error
    element = None if dtype is None else as_dtype(dtype, path)
    if ma.isMaskedArray(data):  # stays masked: masked elements must not become data unnoticed
        return ma.asarray(data)
    if element is not None:
        return as_block(data, innermost(element)[0], path=path)
    try:
        array: np.ndarray[Any, Any] = np.asarray(data)
    except UNREADABLE as error:
        what = type(data).__name__
        raise BlockError(
            f"{path}: {what} is not a regular array, or cannot be read: {error}", path=path
        ) from error
    try:
        check_one_kind(data, array)
        if array.dtype == object and not array.dtype.metadata:
            array = _marked(array)
    except DatatypeError as error:
        raise DatatypeError(f"{path}: {error}", path=path) from error
    return array


def _marked(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return objects of one type with h5py's metadata for it."""
    items = array.ravel().tolist()
    for kind, marks in _OBJECT_MARKS.items():
        if all(isinstance(item, kind) for item in items):
            return array.astype(np.dtype("O", metadata=marks))
    check_objects(items)
    return array


def without_data(data: Any, dtype: Any, path: str) -> tuple[Any, Any]:
    """Return `dtype` and `data`; for an `h5py.Empty` its dtype and None.

    Raises
    ------
    BlockError
        The data cannot be read, such as a dataset of a closed file.
    """
    try:
        if data is not None and is_empty(data):
            return data.dtype if dtype is None else dtype, None
    except UNREADABLE as error:
        raise BlockError(
            f"{path}: data of type {type(data).__name__} cannot be read: {error}", path=path
        ) from error
    return dtype, data


def shape_of(shape: Any, array: np.ndarray[Any, Any] | None, dtype: Any, path: str) -> Any:
    """Return the shape of a dataset, from the requested shape and the data, which must agree.

    Raises
    ------
    ShapeError
        They differ.
    """
    if array is None:
        return shape
    inner = () if dtype is None else innermost(np.dtype(dtype))[1]
    outer = array.shape[: max(0, array.ndim - len(inner))]
    if shape is not None and check_shape(shape, path=path) != outer:
        raise ShapeError(
            f"{path}: shape {shape} differs from the data's {outer}; leave shape out", shape=shape
        )
    return outer


def parse_region(
    region: Any, shape: tuple[int | None, ...], *, path: str
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return origin and shape of a region, and its shape without the dimensions that ints remove.

    Parameters
    ----------
    region
        Slices, ints and ``...``, without steps.
    shape
        Shape of the dataset; the leading extent may be None.
    path
        Name of the dataset, for messages.

    Raises
    ------
    BlockError
        There are too many indices, or an index is neither an int nor a slice, or exceeds the dataset.
    """
    keys = list(region) if isinstance(region, tuple) else [region]
    n_given = sum(key is not Ellipsis for key in keys)
    refuse_field_names(region, path)
    if n_given > len(shape) or len(keys) - n_given > 1:
        raise BlockError(
            f"{path}: region {shown(region)} has too many indices for {counted(len(shape), 'dimension')}"
        )
    at = next((i for i, key in enumerate(keys) if key is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * (len(shape) - n_given)
    ranges = [_range(key, n, path, axis) for axis, (key, n) in enumerate(zip(keys, shape, strict=True))]
    origin = tuple(start for start, _ in ranges)
    extents = tuple(stop - start for start, stop in ranges)
    return origin, extents, tuple(n for n, key in zip(extents, keys, strict=True) if isinstance(key, slice))


def _range(index: Any, extent: int | None, path: str, axis: int) -> tuple[int, int]:
    key = index

    def error(problem: str) -> BlockError:
        return BlockError(f"{path}: index {shown(index)} of dimension {axis} {problem}")

    if not isinstance(key, slice):
        try:
            key = operator.index(key)
        except TypeError:
            raise error("is neither a slice nor an int") from None
        if extent is not None and not -extent <= key < extent:
            raise error(f"exceeds the dimension of {counted(extent, 'element')}")
        key = slice(key, key + 1 if key != -1 else None)
    if key.step not in (None, 1):
        raise error("has a step; write ranges without one")
    try:
        if extent is not None:  # beyond the end, numpy and h5py stop at the end
            start, stop, _ = key.indices(extent)
            return start, max(start, stop)
        start = 0 if key.start is None else operator.index(key.start)
        stop = -1 if key.stop is None else operator.index(key.stop)
    except TypeError:
        raise error("has a bound that is not an int") from None
    if start < 0 or stop < 0:
        raise error("is relative to the end, which is not known yet; give a start and a stop of at least 0")
    return start, max(start, stop)


def direct_chunk(
    writer: ChunkWriter, offsets: Sequence[int], data: Buffer, filter_mask: int
) -> tuple[Box, EncodedChunks]:
    """Check a filtered chunk, which nothing checks later; return its box in the grid, and the chunk.

    Parameters
    ----------
    writer
        The chunk writer of the dataset.
    offsets
        First element of the chunk.
    data
        Its stored bytes.
    filter_mask
        Bit i set: filter i was skipped.

    Raises
    ------
    BlockError
        The offsets are not those of a chunk, the size is impossible, or the mask names filters that the dataset
        does not have.
    """
    chunks, shape = writer.grid.chunks, writer.grid.shape
    where = f"{writer.spec.path}: the chunk at {offsets}"
    try:
        offsets = tuple(map(operator.index, offsets))
        filter_mask = operator.index(filter_mask)
        stored = memoryview(cast("bytes", data)).cast("B")
    except TypeError as error:
        raise BlockError(
            f"{where} needs a tuple of ints, contiguous bytes and an int as filter mask: {error}"
        ) from error
    if len(offsets) != len(shape) or any(o % c for o, c in zip(offsets, chunks, strict=False)):
        raise BlockError(f"{where} is not on the grid of chunks {chunks}", offsets=offsets, chunks=chunks)
    if any(o < 0 or (n is not None and o >= n) for o, n in zip(offsets, shape, strict=True)):
        raise BlockError(f"{where} is outside the dataset {shape}", offsets=offsets, shape=shape)
    _check_size(writer, where, stored.nbytes, filter_mask)
    box = tuple((o // c, o // c + 1) for o, c in zip(offsets, chunks, strict=True))
    masks = np.array([filter_mask], np.uint32) if filter_mask else None
    return box, EncodedChunks(writer.grid.numbers(box), [stored], masks)


def _check_size(writer: ChunkWriter, where: str, stored_nbytes: int, filter_mask: int) -> None:
    n_filters, nbytes = len(writer.chain.filters), writer.chain.chunk_nbytes
    facts: dict[str, Any] = {"stored_nbytes": stored_nbytes, "filter_mask": filter_mask}
    if not 0 <= filter_mask < 1 << n_filters:
        raise BlockError(
            f"{where}: filter mask {filter_mask:#x} names a filter beyond the {n_filters} of the dataset",
            **facts,
        )
    if filter_mask == (1 << n_filters) - 1 and stored_nbytes != nbytes:
        raise BlockError(f"{where}: an unfiltered chunk has {nbytes:,} bytes, not {stored_nbytes:,}", **facts)
    if not 0 < stored_nbytes <= MAX_CHUNK_NBYTES:
        raise BlockError(
            f"{where}: a stored chunk has 1 to {MAX_CHUNK_NBYTES:,} bytes, not {stored_nbytes:,}", **facts
        )


def as_link(value: object) -> LinkValue | None:
    """Return a soft or external link, given as an object of streamh5 or h5py; None for other values."""
    if isinstance(value, LinkValue):
        texts = [getattr(value, name, "") for name in ("filename", "path")]
        if not all(isinstance(text, str) for text in texts):
            raise PathError(f"the path of a link must be a str, not {shown(value)}")
        return value
    kind = type(value).__name__
    if kind not in ("SoftLink", "ExternalLink"):  # h5py's, without importing h5py
        return None
    path, filename = getattr(value, "path", None), getattr(value, "filename", None)
    if kind == "SoftLink" and isinstance(path, (str, bytes)):
        return SoftLink(decode_text(path))
    if kind == "ExternalLink" and isinstance(path, (str, bytes)) and isinstance(filename, (str, bytes)):
        return ExternalLink(decode_text(filename), decode_text(path))
    return None
