"""Blocks of a source as dask arrays: read when they are computed, or without data where they only tell their places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from streamh5.dask.stored_chunks import check_n_blocks, too_many_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.dask.stored_chunks import HollowBlocks


def lazy_array(
    read: Callable[[tuple[slice, ...]], Any],
    shape: tuple[int, ...],
    block: tuple[int, ...],
    dtype: np.dtype[Any],
    path: str,
    identity: str,
) -> da.Array:
    """Return an array of blocks, each of which `read` returns for its region when it is computed.

    Raises
    ------
    SourceError
        There are more blocks than can be listed, see `check_n_blocks`, or than there is memory for.
    """
    if 0 in shape:
        block = shape
    check_n_blocks(path, shape, block)
    try:
        array: da.Array = da.map_blocks(
            _read_block,
            read,
            chunks=da.core.normalize_chunks(block, shape=shape, dtype=np.dtype("u1")),
            dtype=dtype,
            meta=np.empty((0,) * len(shape), dtype),
            name=f"read-{path}-{identity}",
        )
    except MemoryError as error:
        raise too_many_blocks(path, shape, block) from error
    return array


def _read_block(read: Callable[[tuple[slice, ...]], Any], block_info: Any = None) -> Any:
    return read(tuple(slice(start, stop) for start, stop in block_info[None]["array-location"]))


def hollow_array(blocks: HollowBlocks) -> da.Array:
    """Return an array without data, which only has blocks; a block uses the memory of one element."""
    element = np.dtype((np.void, blocks.dtype.itemsize))  # a dtype of arrays would add dimensions
    return da.map_blocks(
        _hollow_block,
        chunks=da.core.normalize_chunks(blocks.block, shape=blocks.shape, dtype=np.dtype("u1")),
        dtype=element,
        meta=np.empty((0,) * len(blocks.shape), element),
        element=element,
    )


def _hollow_block(element: np.dtype[Any], block_info: Any = None) -> np.ndarray[Any, Any]:
    return np.broadcast_to(np.zeros((), element), block_info[None]["chunk-shape"])
