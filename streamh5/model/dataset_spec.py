"""Everything about a dataset that is decided before its first byte is written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import FillValueError, FormatError, LimitError, shown
from streamh5.format.cast import cast_elements
from streamh5.format.chunk_index.element import chunk_element
from streamh5.format.datatype import datatype_class, decode_datatype, sizeof_element
from streamh5.format.datatype_class import VariableLengthString
from streamh5.format.elements import encode_elements, has_references, needs_global_heap, padding_of
from streamh5.format.primitives import MAX_CHUNK_NBYTES
from streamh5.model.chunk_grid import MAX_CHUNKS, ChunkGrid
from streamh5.model.reference import HeapObject

if TYPE_CHECKING:
    from streamh5.format.datatype import AnyDatatype
    from streamh5.format.datatype_class import EncodedDatatype
    from streamh5.format.fill_value import AllocationTime, WriteTime
    from streamh5.format.filter_pipeline import FilterRecord
    from streamh5.model.reference import Parts

SMALL_DATA_NBYTES = 4096
"""Maximum size of data without chunks that is stored in the object header; larger data is contiguous."""


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """Everything about a dataset that determines its bytes.

    Parameters
    ----------
    path
        Absolute path, for messages.
    shape
        None for a null dataspace, ``()`` for a scalar; the leading extent may be None until the file is closed.
    dtype
        Element type, as a numpy dtype; h5py's metadata marks strings and sequences of variable length.
    chunks
        Chunk shape; None without chunks: for a scalar or null dataset, and for small data.
    filters
        Records of the filter pipeline message, in the order in which the filters encode.
    fillvalue
        ``()`` array of `dtype`, or of `stored_dtype`, with a user-defined fill value; None for the default, zero.
    fill_parts
        The fill value as parts, if it is stored in the global heap.
    track_order
        Whether to track and index the creation order of attributes.
    maxshape
        Maximum extents to which other programs may extend the dataset, each None if unlimited; None for `shape`.
    is_early
        Whether to allocate all chunks in advance, one after the other: the Implicit index.
    libver
        Oldest library that can read it: ``"v108"``, ``"v110"`` or ``"v200"``.
    datatype
        Datatype message to write instead of that of `dtype`, with elements of the same size.
    type_path
        Path of the named datatype that the header points to; None if the dataset has its own datatype.
    allocation_time, write_time
        When programs that use the library allocate storage and fill it; None for the library's defaults.
    virtual
        The mappings of a virtual dataset, encoded; None for a dataset with data of its own.

    Attributes
    ----------
    element_nbytes
        Size of an element in the file in bytes.
    value_nbytes
        Size of data without chunks in bytes.
    is_kept
        Whether elements contain references, so that they are kept in memory until addresses are known.
    is_encoded
        Whether elements point into the global heap, so that they differ in memory and in the file.
    has_parts
        Whether data without chunks is kept as objects until addresses are known.
    is_compact
        Whether the data is stored in the object header.
    """

    path: str
    shape: tuple[int | None, ...] | None
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None = None
    filters: tuple[FilterRecord, ...] = ()
    fillvalue: np.ndarray[Any, Any] | None = None
    fill_parts: Parts | None = None
    track_order: bool = False
    maxshape: tuple[int | None, ...] | None = None
    is_early: bool = False
    libver: str = "v110"
    datatype: EncodedDatatype | None = None
    type_path: str | None = None
    allocation_time: AllocationTime | None = None
    write_time: WriteTime | None = None
    virtual: bytes | None = None
    element_nbytes: int = field(init=False, repr=False, compare=False)
    value_nbytes: int = field(init=False, repr=False, compare=False)
    is_kept: bool = field(init=False, repr=False, compare=False)
    is_encoded: bool = field(init=False, repr=False, compare=False)
    has_parts: bool = field(init=False, repr=False, compare=False)
    is_compact: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # what follows from the others, once: each is asked for ten times while a small dataset is written
        enter = partial(object.__setattr__, self)
        has_chunks = self.chunks is not None
        element_nbytes = sizeof_element(self.file_datatype)
        value_nbytes = math.prod(n or 0 for n in self.shape or ()) * element_nbytes
        is_kept = has_references(self.dtype)
        is_encoded = not is_kept and needs_global_heap(self.dtype)
        enter("element_nbytes", element_nbytes)
        enter("value_nbytes", value_nbytes)
        enter("is_kept", is_kept)
        enter("is_encoded", is_encoded)
        enter("has_parts", not has_chunks and (is_kept or is_encoded))
        has_value = not has_chunks and self.shape is not None and self.virtual is None
        enter("is_compact", has_value and value_nbytes <= SMALL_DATA_NBYTES)

    @property
    def bounds(self) -> tuple[int | None, ...]:
        """Extents up to which the dataset may grow: `maxshape`, or `shape` if that is None."""
        return (self.shape if self.maxshape is None else self.maxshape) or ()

    @property
    def file_datatype(self) -> AnyDatatype:
        """Element type in the header."""
        return self.dtype if self.datatype is None else self.datatype

    @property
    def has_heap_elements(self) -> bool:
        """Whether elements in the file point into the global heap, also those that are copied as they are."""
        kept = self.datatype
        if kept is None:
            return needs_global_heap(self.dtype)
        try:
            return needs_global_heap(decode_datatype(kept.message))
        except FormatError:  # of a class that nobody knows
            return True

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """Element type of stored blocks: `dtype`, or opaque bytes for array elements and encoded elements."""
        is_opaque = self.is_encoded or self.dtype.subdtype is not None
        return np.dtype((np.void, self.element_nbytes)) if is_opaque else self.dtype

    @property
    def fill_stored(self) -> np.ndarray[Any, Any]:
        """``()`` array of the stored dtype: the fill value, or 0 if the fill value is in the global heap."""
        if self.fillvalue is None or self.is_encoded:
            return np.zeros((), self.stored_dtype)
        return self.fillvalue

    @property
    def fill_data(self) -> Parts | None:
        """Bytes of the user-defined fill value, mixed with parts without address; None if there is no fill value."""
        if self.fill_parts is not None:
            return self.fill_parts
        return None if self.fillvalue is None else (self.fillvalue.tobytes(),)

    def fill_element(self) -> Parts:
        """Return one more element with the fill value, with heap objects of its own."""
        data = self.fill_data
        if data is None:
            return (bytes(self.element_nbytes),)
        return [replace(part) if isinstance(part, HeapObject) else part for part in data]

    @property
    def chunk_nbytes(self) -> int:
        """Raw size of a chunk in bytes."""
        return math.prod(self.chunks or ()) * self.element_nbytes

    @property
    def layout_version(self) -> int:
        """Version of the data layout message: 5 only for chunks that need it (HDF5 2.0)."""
        return 5 if self.chunk_nbytes > MAX_CHUNK_NBYTES else 4

    @property
    def chunk_element(self) -> np.dtype[np.void]:
        """The dtype of a chunk in an index."""
        return chunk_element(
            self.chunk_nbytes, filtered=bool(self.filters), layout_version=self.layout_version
        )

    @property
    def grid(self) -> ChunkGrid:
        """The chunk grid; only for a dataset with chunks."""
        return ChunkGrid(self.shape or (), self.chunks or (), self.maxshape)


def check_grid(spec: DatasetSpec) -> None:
    """Refuse more chunks than a chunk table can hold.

    Raises
    ------
    LimitError
        More than 2^32 - 1 over the maximum shape.
    """
    n_numbers = spec.grid.n_numbers or 0
    if n_numbers > MAX_CHUNKS:
        raise LimitError(
            f"{spec.path}: shape {spec.shape}, maxshape {spec.maxshape} and chunks {spec.chunks} make {n_numbers:,} "
            f"chunks; the maximum is {MAX_CHUNKS:,}: use larger chunks, or None in maxshape",
            n_chunks=n_numbers,
        )


def check_fillvalue(fillvalue: Any, dtype: np.dtype[Any], *, path: str) -> np.ndarray[Any, Any] | None:
    """Return `fillvalue` as a ``()`` array of exactly `dtype`.

    Raises
    ------
    FillValueError
        The value is not a scalar, or `dtype` cannot represent it: NaN or 1.5 for an integer, 300 for uint8.
    """
    if fillvalue is None:
        return None
    facts = {"fillvalue": fillvalue, "dtype": dtype}
    if needs_global_heap(dtype):
        return _text_fill(fillvalue, dtype, path, facts)
    if isinstance(fillvalue, str) and dtype.kind == "S":
        fillvalue = fillvalue.encode()
    if isinstance(fillvalue, (bytes, np.bytes_)) and dtype.kind == "V" and dtype.names is None:
        fillvalue = np.void(fillvalue)
    hint = f"{path}: fill value {shown(fillvalue)} cannot be represented by dtype {dtype}"
    try:
        given = np.asarray(fillvalue, dtype if dtype.names and isinstance(fillvalue, tuple) else None)
        if given.ndim != 0:
            raise FillValueError(
                f"{path}: the fill value must be a scalar, not an array of shape {given.shape}", **facts
            )
        if given.dtype.kind == "c" and dtype.kind in "biuf":
            raise FillValueError(f"{hint}: it is complex", **facts)
        with np.errstate(all="ignore"):
            if dtype.names is not None:
                data = encode_elements(cast_elements(given, dtype), dtype)
                return np.frombuffer(data, dtype).reshape(())
            # text and datetime objects, as numpy reads them
            if dtype.kind in "mM" and given.dtype.kind in "UO":
                is_nat = str(given[()]).lower() in ("", "nat")  # NaT has no unit
                given = np.asarray(given[()], dtype if is_nat else dtype.kind + "8")
            is_time = given.dtype.kind == dtype.kind and dtype.kind in "mM"
            value = cast_elements(given, dtype) if is_time else given.astype(dtype)
            exact = _holds(given, value)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, FillValueError):
            raise
        raise FillValueError(f"{hint}: {error}", **facts) from error
    if not exact:
        became = shown(value[()])
        reason = (
            f"it is of dtype {given.dtype}" if became == shown(fillvalue) else f"it would become {became}"
        )
        raise FillValueError(f"{hint} ({reason}); give a value of that dtype", **facts)
    # Its bytes are written and compared unchanged, so padding must be zero.
    return (
        value
        if padding_of(dtype) is None
        else np.frombuffer(encode_elements(value, dtype), dtype).reshape(())
    )


def _text_fill(
    fillvalue: Any, dtype: np.dtype[Any], path: str, facts: dict[str, Any]
) -> np.ndarray[Any, Any]:
    """Return the fill value of strings of variable length as a ``()`` array of objects."""
    given = fillvalue[()] if isinstance(fillvalue, np.ndarray) and fillvalue.ndim == 0 else fillvalue
    if not isinstance(datatype_class(dtype), VariableLengthString) or not isinstance(given, (str, bytes)):
        raise FillValueError(
            f"{path}: fill value {given!r:.80} for elements of variable length, {dtype}: only strings can have one; "
            "give str or bytes",
            **facts,
        )
    value = np.empty((), object)
    try:
        value[()] = given.encode() if isinstance(given, str) else bytes(given)
    except UnicodeEncodeError as error:
        raise FillValueError(f"{path}: fill value {given!r:.80} has no UTF-8 encoding", **facts) from error
    return value


def _holds(given: np.ndarray[Any, Any], value: np.ndarray[Any, Any]) -> bool:
    """Return whether the cast kept the value: exactly for integers, up to rounding for floats."""
    numeric = "biufc"
    if value.dtype.name == "bfloat16" and given.dtype.kind in "biuf":
        return bool(np.isfinite(value.astype(np.float32)) == np.isfinite(given))
    if value.dtype.kind == given.dtype.kind == "V":
        return bool(value.dtype == given.dtype)
    if value.dtype.kind == given.dtype.kind == "S":
        return bool(value == given)
    if given.dtype.kind not in numeric or value.dtype.kind not in numeric:
        return bool(value.dtype.kind == given.dtype.kind)
    if value.dtype.kind in "fc":
        return bool(np.isfinite(value) == np.isfinite(given))
    return bool(given == value)
