"""Check shapes and chunk shapes, and choose chunk shapes."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

from streamh5.errors import ChunkShapeError, LimitError, ShapeError, counted, over_limit, shown
from streamh5.format.primitives import MAX_CHUNK_NBYTES, MAX_RANK

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_EXTENT = 2**63 - 1
"""The library computes the next power of 2 in 64 bits (``H5VM_power2up``), and cannot open larger datasets."""

AUTO_NBYTES = 4 << 20
"""Target of ``chunks="auto"``: 1 to 8 MiB read well from disks and object stores, and 4 MiB keep the
filters at full speed (docs/performance.md)."""


def check_shape(shape: Any, *, path: str, unknown_length: bool = False) -> tuple[int | None, ...]:
    """Return `shape` as a tuple of int.

    Parameters
    ----------
    shape
        An int or a sequence of ints.
    path
        Name of the dataset, for messages.
    unknown_length
        Allow None as the leading extent.

    Raises
    ------
    ShapeError
        An extent is not an integer, is negative, or is None where that is not allowed.
    LimitError
        More than 32 dimensions, or an extent above `MAX_EXTENT`.
    """
    extents: Sequence[Any] = shape if isinstance(shape, (tuple, list)) else _sequence(shape, path)
    if len(extents) > MAX_RANK:
        raise over_limit(f"{path}: {len(extents)} dimensions", MAX_RANK, rank=len(extents))
    result: list[int | None] = []
    for axis, extent in enumerate(extents):
        if extent is None and axis == 0 and unknown_length:
            result.append(None)
            continue
        try:
            n = operator.index(extent)
        except TypeError:
            allowed = "; only the leading extent may be None" if extent is None else ""
            raise ShapeError(
                f"{path}: shape {tuple(extents)} must contain integers{allowed}", shape=shape
            ) from None
        if n < 0:
            raise ShapeError(f"{path}: shape {tuple(extents)} has a negative extent", shape=shape)
        if n > MAX_EXTENT:
            raise LimitError(f"{path}: extent {n:,} is more than HDF5 can open, {MAX_EXTENT:,}", shape=shape)
        result.append(n)
    return tuple(result)


def _sequence(shape: Any, path: str) -> Sequence[Any]:
    try:
        return (operator.index(shape),)
    except TypeError:
        pass
    try:
        return tuple(shape)
    except TypeError:
        raise ShapeError(
            f"{path}: shape must be an int or a tuple of ints, not {shown(shape)}", shape=shape
        ) from None


def check_chunks(
    chunks: Any, shape: tuple[int | None, ...], itemsize: int, *, path: str, libver: str = "v110"
) -> tuple[int, ...]:
    """Return `chunks` as a tuple of int that fits `shape`.

    Parameters
    ----------
    chunks
        A sequence of positive ints, or one int for a one-dimensional dataset.
    shape
        Shape of the dataset.
    itemsize
        Bytes of an element.
    path
        Name of the dataset, for messages.
    libver
        ``"v200"`` allows chunks of 4 GiB and more.

    Raises
    ------
    ChunkShapeError
        Wrong rank, not integers, not positive, or larger than the dataset in a dimension
        (``H5D__chunk_construct``; a dataset without elements has no such bound).
    LimitError
        A chunk of 4 GiB or more.
    """
    try:
        extents = tuple(map(operator.index, chunks if isinstance(chunks, (tuple, list)) else (chunks,)))
    except TypeError:
        raise ChunkShapeError(
            f"{path}: chunks must be a tuple of ints, one for each dimension of {shape}, not {shown(chunks)}",
            chunks=chunks,
        ) from None
    facts: dict[str, Any] = {"chunks": extents, "shape": shape}
    if len(extents) != len(shape):
        raise ChunkShapeError(
            f"{path}: chunks {extents} has {counted(len(extents), 'dimension')}, the dataset {shape} has {len(shape)}; "
            "give one extent for each",
            **facts,
        )
    if any(c <= 0 for c in extents):
        raise ChunkShapeError(f"{path}: chunks {extents} must be positive in every dimension", **facts)
    if 0 not in shape and any(n is not None and c > n for n, c in zip(shape, extents, strict=True)):
        raise ChunkShapeError(
            f"{path}: chunks {extents} is larger than the dataset {shape}; each extent may be at most the dataset's",
            **facts,
        )
    nbytes = math.prod(extents) * itemsize
    if nbytes > MAX_CHUNK_NBYTES and libver != "v200":
        raise LimitError(
            f"{path}: a chunk of {extents} elements of {itemsize} bytes has {nbytes:,} bytes; HDF5 1.10 to 1.14 "
            f"read {MAX_CHUNK_NBYTES:,} at most: use smaller chunks, or libver='v200'",
            nbytes=nbytes,
            **facts,
        )
    return extents


def auto_chunks(block: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Pick a read-friendly chunk shape that divides a block.

    The longest extent is divided by its smallest prime factor until the chunk has at most 8 MiB; an
    extent that cannot be divided into whole parts (a large prime) is halved instead, and its last
    chunk is padded.

    Parameters
    ----------
    block
        Shape of the blocks that arrive, or of the dataset.
    itemsize
        Bytes of an element.

    Returns
    -------
    tuple of int
        At most 2 x 4 MiB; the block itself where it is smaller.
    """
    chunks = [max(1, n) for n in block]
    while chunks and math.prod(chunks) * itemsize > 2 * AUTO_NBYTES and max(chunks) > 1:
        axis = max(range(len(chunks)), key=lambda i: chunks[i])
        n = chunks[axis]
        factor = next((p for p in (2, 3, 5, 7, 11, 13) if n % p == 0), 0)
        chunks[axis] = n // factor if factor else -(-n // 2)
    return tuple(chunks)


def unit_shape(given: Any, shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return the chunk shape `given` for an array if it is one, otherwise that of `auto_chunks`."""
    if is_chunk_shape(given, len(shape)):
        return tuple(given)
    return auto_chunks(tuple(max(1, n) for n in shape), itemsize)


def is_chunk_shape(given: Any, rank: int) -> bool:
    """Return whether an object has the form of a chunk shape: positive integers, one for each dimension."""
    is_sequence = isinstance(given, (tuple, list)) and len(given) == rank
    return is_sequence and all(isinstance(n, int) and n > 0 for n in given)
