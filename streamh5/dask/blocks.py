"""The blocks of a dask array: each holds whole chunks, and as many are in flight as fit the memory."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from dask.system import CPU_COUNT

from streamh5.arguments.memory_size import MemorySize, read_memory_size
from streamh5.dask.cluster_client import find_client
from streamh5.errors import SpecError, UnknownChunksError, shown
from streamh5.filters.deflate import ROW as DEFLATE
from streamh5.filters.fletcher32 import ROW as FLETCHER32
from streamh5.filters.shuffle import ROW as SHUFFLE
from streamh5.model.chunk_shape import auto_chunks, check_chunks
from streamh5.model.realign import aligned_blocks, default_chunks, realign_factor
from streamh5.processes.signals import first_frame_outside
from streamh5.write.chunk_writer import BATCH_NBYTES

if TYPE_CHECKING:
    import dask.array as da

    from streamh5.dask.graph import Target


LIBRARY_BATCHES, OTHER_BATCHES = 3, 4
"""Batches of chunks that filters have in memory, if noise does not shrink: gzip, shuffle and Fletcher32, and any other
(tests/benchmarks, peak)."""

FREED_NBYTES = 8 << 20
"""Memory that the C library keeps in a thread of freed batches, at most one of them (tests/benchmarks, peak)."""

BASE_NBYTES = 64 << 20
"""Memory that a write needs besides its blocks: the graph, system buffers, the first pages of the chunk table."""

COSTLY_REALIGN = 16
"""Number of old blocks that make up one realigned block, above which a warning is issued. Chunks that do not divide the
blocks need 2 for each of up to four dimensions; more is usually a mistake."""


_LIBRARY_IDS = {DEFLATE.filter_id, SHUFFLE.filter_id, FLETCHER32.filter_id}


class RealignWarning(UserWarning):
    """Blocks do not match the chunks, and realigning them keeps many in memory at a time."""


class FewThreadsWarning(UserWarning):
    """`max_memory` lets only one thread run, or less than half of the cores have one: the write will be slower."""


def aligned_array(
    path: str, array: da.Array, chunks: Any, bounds: tuple[int | None, ...] | None = None
) -> tuple[da.Array, Any]:
    """Return an array in blocks of whole chunks, and the chunk shape; see `aligned_region`.

    Parameters
    ----------
    path
        Name of the dataset, for messages.
    array
        The array to write.
    chunks
        See `to_fixed_h5`.
    bounds
        Extents up to which the dataset may grow, None for unlimited; by default those of the array.

    Raises
    ------
    UnknownChunksError
        dask does not know the sizes of its blocks.
    ChunkShapeError, LimitError
        See `check_chunks`.
    """
    check_known_sizes(path, array)
    if chunks is None or chunks is True:
        shape = default_chunks(array.chunks)
    elif isinstance(chunks, str) and chunks == "auto":
        shape = auto_chunks(default_chunks(array.chunks), array.dtype.itemsize)
    else:
        shape = check_chunks(chunks, bounds or array.shape, array.dtype.itemsize, path=path)
    if not array.ndim:
        return array, None if chunks in (None, True, "auto") else chunks
    return aligned_region(path, array, shape), shape


def aligned_region(
    path: str, array: da.Array, chunks: tuple[int, ...], origin: tuple[int, ...] | None = None
) -> da.Array:
    """Return an array in blocks that share no chunk of its dataset.

    Warn if realigning keeps many of its old blocks in memory at a time.

    Parameters
    ----------
    path
        Name of the dataset, for messages.
    array
        The array to write; its block sizes are known.
    chunks
        Chunk shape of the dataset.
    origin
        Index of the first element of the array in the dataset; by default, that of the dataset.
    """
    blocks = aligned_blocks(array.chunks, chunks, origin)
    if blocks == array.chunks:
        return array
    factor = realign_factor(array.chunks, blocks)
    if factor > COSTLY_REALIGN:
        warnings.warn(
            f"{path}: the blocks {shown(array.chunks)} do not match the chunks, and one realigned block is made of "
            f"{factor} of them at a time; choose chunks that divide the blocks to save memory and time",
            RealignWarning,
            stacklevel=3,
        )
    return array.rechunk(blocks)


def check_known_sizes(path: str, array: Any) -> None:
    """Refuse a dask array whose blocks have unknown sizes; arrays without blocks have none.

    Raises
    ------
    UnknownChunksError
        dask does not know them.
    """
    if any(math.isnan(extent) for extents in array.chunks or () for extent in extents):
        raise UnknownChunksError(
            f"{path}: the array has chunks of unknown size {shown(array.chunks)}; call "
            "array.compute_chunk_sizes() first",
            path=path,
        )


def worker_nbytes(target: Target) -> int:
    """Return how much memory a thread takes to store a block of an array, besides what computes the block.

    That is the block, a copy of a batch of its chunks, and the batch as often as filters have it in memory.
    """
    spec, array = target.spec, target.array
    block = tuple(map(max, array.chunks))
    n_elements = math.prod(block)
    if not n_elements:  # nothing to store; the block of an empty list is no chunk shape
        return 0
    nbytes = n_elements * spec.element_nbytes
    if target.copy is None and array.dtype != spec.dtype:
        nbytes += n_elements * array.dtype.itemsize
    chunks = spec.chunks
    if chunks is None:
        return nbytes
    if len(chunks) != len(block):  # a list of whole chunks
        chunks = block
    whole = tuple(-(-n // c) * c for n, c in zip(block, chunks, strict=True))
    batch = min(math.prod(whole) * spec.element_nbytes, max(BATCH_NBYTES, spec.chunk_nbytes))
    # one is a copy: of chunks that do not lie one after the other in the block, or to find those that are empty
    n_batches = 1
    if spec.filters:
        is_usual = all(one.filter_id in _LIBRARY_IDS for one in spec.filters)
        n_batches += LIBRARY_BATCHES if is_usual else OTHER_BATCHES
    elif whole != block and whole[1:] != chunks[1:]:
        n_batches += 1  # the padded block, then its chunks
    return nbytes + n_batches * batch + min(batch, FREED_NBYTES)


def limit_workers(
    compute_kwargs: dict[str, Any], targets: list[Target], max_memory: MemorySize | None
) -> dict[str, Any]:
    """Add ``num_workers`` to the keywords of `dask.compute`: as many as fit the memory; None sets no limit.

    Warn if that is one thread, or less than half of what could run.

    Raises
    ------
    SpecError
        Not even one worker fits, the caller gave workers as well, or `max_memory` is not a size.
    """
    limit = read_memory_size(max_memory, "max_memory")
    if limit is None:
        return compute_kwargs
    if find_client(compute_kwargs.get("scheduler"), [target.array for target in targets]) is not None:
        raise SpecError(
            "max_memory limits the threads of this process, and a cluster limits its workers (memory_limit=); "
            "leave it out, or pass scheduler='threads'"
        )
    if "num_workers" in compute_kwargs or "pool" in compute_kwargs:
        raise SpecError("max_memory decides how many workers run; leave num_workers and pool out")
    if not targets:
        return compute_kwargs
    each = max(map(worker_nbytes, targets))
    n_workers = (limit - BASE_NBYTES) // each if each else CPU_COUNT
    if n_workers < 1:
        raise SpecError(
            f"max_memory={limit:,} bytes is too little: with these blocks and chunks, one thread needs "
            f"{BASE_NBYTES + each:,}; rechunk the array to smaller blocks, choose smaller chunks, or allow more",
            max_memory=limit,
            needed=BASE_NBYTES + each,
        )
    if n_workers < CPU_COUNT and (n_workers == 1 or 2 * n_workers < CPU_COUNT):
        message = (
            f"max_memory={limit:,} bytes lets {n_workers} of {CPU_COUNT} threads run, of {each:,} bytes each; for all, "
            f"allow {BASE_NBYTES + CPU_COUNT * each:,}, rechunk the array to smaller blocks, or choose smaller chunks"
        )
        caller = first_frame_outside()
        warnings.warn_explicit(message, FewThreadsWarning, caller.f_code.co_filename, caller.f_lineno)
    return {**compute_kwargs, "num_workers": min(n_workers, CPU_COUNT)}
