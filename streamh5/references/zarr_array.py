"""A dataset as an array of zarr version 2 whose chunks stay in the HDF5 file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import ReferencesError
from streamh5.model.chunk_grid import ChunkGrid
from streamh5.model.chunk_map import ChunkMap
from streamh5.references.attributes import json_attributes, variable_path
from streamh5.references.zarr_elements import (
    check_expressible,
    is_text,
    numcodecs_filters,
    zarr_dtype,
    zarr_fill_value,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.format.filter_pipeline import FilterRecord
    from streamh5.references.stored_file import StoredArray


@dataclass(frozen=True, slots=True, eq=False)
class ChunkManifest:
    """The stored chunks of one array; those that are missing read as the fill value.

    The columns may be shared with the chunk table of the write, so they must not be changed.

    Attributes
    ----------
    url
        The file that contains the chunks, as readers address it.
    grid
        Number of chunks along each dimension; ``()`` for a scalar.
    numbers
        ``(n,) int64``: position of each chunk in `grid`, in row-major order.
    offsets
        ``(n,) uint64``: address of each chunk in the file.
    lengths
        ``(n,)``, unsigned: stored size of each chunk in bytes.

    Examples
    --------
    >>> x = np.ones((1000, 1000))
    >>> summary = streamh5.to_fixed_h5("x.h5", "/x", x, chunks=(500, 500), compression=None)
    >>> chunks = summary.manifest(url="s3://bucket/x.h5")["/x"]
    >>> chunks.grid, len(chunks), chunks.n_missing, chunks.paths[0]
    ((2, 2), 4, 0, 's3://bucket/x.h5')
    >>> rows, columns = chunks.coords()
    >>> offsets, lengths = chunks.dense()
    >>> offsets.shape, chunks.to_dict()["grid"]
    ((2, 2), [2, 2])
    """

    url: str
    grid: tuple[int, ...]
    numbers: NDArray[np.int64]
    offsets: NDArray[np.uint64]
    lengths: NDArray[Any]

    def __len__(self) -> int:
        return len(self.numbers)

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as dicts, lists and numbers, for JSON."""
        return {
            "url": self.url,
            "grid": list(self.grid),
            "numbers": self.numbers.tolist(),
            "offsets": self.offsets.tolist(),
            "lengths": self.lengths.tolist(),
        }

    @property
    def n_missing(self) -> int:
        """Number of chunks of the grid that are not stored."""
        return math.prod(self.grid) - len(self)

    @property
    def paths(self) -> NDArray[Any]:
        """`url` for every stored chunk: ``(n,)``, one string that all rows share."""
        return np.broadcast_to(np.array(self.url, object), len(self))

    def coords(self) -> tuple[NDArray[np.int64], ...]:
        """Return the coords of each chunk in the grid: ``(n,) int64`` for each dimension."""
        if not len(self):  # numpy refuses even no numbers if the grid has an extent of 0
            return tuple(self.numbers for _ in self.grid)
        return tuple(np.unravel_index(self.numbers, self.grid)) if self.grid else ()

    def dense(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return offsets and lengths of all chunks, in the shape of the grid; both are 0 for a missing chunk."""
        offsets, lengths = np.zeros(self.grid, np.uint64), np.zeros(self.grid, np.uint64)
        offsets.reshape(-1)[self.numbers] = self.offsets
        lengths.reshape(-1)[self.numbers] = self.lengths
        return offsets, lengths


@dataclass(frozen=True, slots=True, eq=False)
class ZarrArray:
    """A zarr array that refers to the chunks of an HDF5 dataset.

    Attributes
    ----------
    path
        Absolute path, as readers show it.
    metadata
        Content of ``.zarray``.
    attributes
        Content of ``.zattrs``, without the names of the dimensions.
    dimensions
        Names of the dimensions.
    manifest
        Where the chunks are; empty if there is `content`.
    content
        Stored bytes of the only chunk if the references contain them; None otherwise.
    fillvalue
        Value of elements in missing chunks, a ``()`` array; None for zero.
    mask
        Value of the attribute ``_FillValue``, a ``()`` array; None if there is no such attribute.
    """

    path: str
    metadata: dict[str, Any]
    attributes: dict[str, Any]
    dimensions: tuple[str, ...]
    manifest: ChunkManifest
    content: bytes | None
    fillvalue: np.ndarray[Any, Any] | None
    mask: np.ndarray[Any, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Return a summary as dicts, lists and numbers, for JSON, without the chunks."""
        return {
            "path": self.path,
            "shape": self.metadata["shape"],
            "chunks": self.metadata["chunks"],
            "dtype": self.metadata["dtype"],
            "dimensions": list(self.dimensions),
            "n_chunks": len(self.manifest) if self.content is None else 1,
            "n_missing": self.manifest.n_missing if self.content is None else 0,
            "stored_nbytes": int(self.manifest.lengths.sum()) if self.content is None else len(self.content),
        }


def zarr_array(
    array: StoredArray,
    dimensions: tuple[str, ...],
    url: str,
) -> ZarrArray:
    """Describe a dataset as a zarr array.

    Parameters
    ----------
    array
        The dataset.
    dimensions
        Names of its dimensions.
    url
        Where readers find the file.

    Raises
    ------
    ReferencesError
        The stored bytes cannot be read as a zarr array.
    """
    if array.problem is not None or array.shape is None:
        problem = array.problem or "it has no dataspace, so nothing to refer to"
        raise ReferencesError(f"{array.path}: {problem}", path=array.path)
    check_expressible(array.dtype, array.filters, path=array.path)
    content = array.data if isinstance(array.data, bytes) else None
    chunks = array.chunks or array.shape
    if is_text(array.dtype):
        chunks = array.shape
        dtype: Any = "|O"
        filters: list[dict[str, Any]] = [{"id": "vlen-utf8"}]
    else:
        dtype = zarr_dtype(array.dtype, path=array.path)
        filters = numcodecs_filters(_applied(array), path=array.path)
    chunks = tuple(max(1, n) for n in chunks)
    manifest = _manifest(url, ChunkGrid(array.shape, chunks).counts, None if 0 in array.shape else array.data)
    mask = _mask(array)
    return ZarrArray(
        path=variable_path(array.path),
        metadata={
            "shape": list(array.shape),
            "chunks": list(chunks),
            "dtype": dtype,
            "fill_value": _fill_value(array, manifest, mask, is_inline=content is not None),
            "order": "C",
            "filters": filters or None,
            "dimension_separator": ".",
            "compressor": None,
            "zarr_format": 2,
        },
        attributes=json_attributes(array.attributes),
        dimensions=dimensions,
        manifest=manifest,
        content=content if 0 not in array.shape else None,
        fillvalue=array.fillvalue,
        mask=mask,
    )


def _applied(array: StoredArray) -> tuple[FilterRecord, ...]:
    """Return the filters that were applied to the chunks, which must be the same for all chunks."""
    if not isinstance(array.data, ChunkMap) or not array.data.filter_masks.any():
        return array.filters
    masks = array.data.filter_masks
    first = int(masks[0])
    if (masks == first).all():
        return tuple(record for i, record in enumerate(array.filters) if not first >> i & 1)
    n_skipped = int(np.count_nonzero(masks))
    raise ReferencesError(
        f"{array.path}: {n_skipped:,} of {len(masks):,} chunks skipped filters that were applied to the others, "
        "but a zarr array has one filter pipeline for all its chunks; write the dataset with a filter that shrinks "
        "every chunk, or without filters",
        path=array.path,
        n_chunks=n_skipped,
    )


def _manifest(url: str, grid: tuple[int, ...], chunk_map: ChunkMap | bytes | None) -> ChunkManifest:
    if not isinstance(chunk_map, ChunkMap):
        nothing = np.zeros(0, np.uint64)
        return ChunkManifest(url, grid, np.zeros(0, np.int64), nothing, nothing)
    return ChunkManifest(url, grid, chunk_map.numbers, chunk_map.addresses, chunk_map.stored_nbytes)


def _mask(array: StoredArray) -> np.ndarray[Any, Any] | None:
    value = array.attributes.get("_FillValue")
    if value is None or getattr(value, "size", 1) != 1 or getattr(value, "shape", ()) is None:
        return None
    try:
        return np.asarray(np.ravel(np.asarray(value))[0]).astype(array.dtype)
    except (TypeError, ValueError):
        return None


def _fill_value(
    array: StoredArray, manifest: ChunkManifest, mask: np.ndarray[Any, Any] | None, *, is_inline: bool
) -> Any:
    """Return the ``fill_value`` of the metadata, which xarray treats as the attribute ``_FillValue``.

    If the dataset has that attribute, its value is used. Otherwise the result is None, with which zarr returns zeros
    for missing chunks and xarray masks nothing, unless there are missing chunks that read as another value.
    """
    n_missing = 0 if is_inline else manifest.n_missing
    fillvalue = np.zeros((), array.dtype) if array.fillvalue is None else array.fillvalue
    if mask is None:
        is_zero = not fillvalue.tobytes().strip(b"\0")
        return None if is_zero or not n_missing else zarr_fill_value(fillvalue)
    if n_missing and fillvalue.tobytes() != mask.tobytes():
        raise ReferencesError(
            f"{array.path}: {n_missing:,} chunks are missing and read as {fillvalue[()]!r}, but xarray would show the "
            f"attribute _FillValue ({mask[()]!r}) there; write all chunks, or set both to the same value",
            path=array.path,
            n_chunks=n_missing,
        )
    return zarr_fill_value(mask)
