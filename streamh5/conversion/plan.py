"""``ConversionPlan``, made from every kind of source; `run`, which carries it out; files with a user block.

::

    source -> plan_hdf5 | plan_zarr | plan_classic | plan_npy -> ConversionPlan -> run -> Conversion

A plan has not opened the destination: what cannot be carried over is refused before anything is written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from streamh5.conversion.request import Conversion
from streamh5.dask.copied_blocks import CopiedBlocks
from streamh5.dask.stored_chunks import CopyCounts
from streamh5.errors import SpecError
from streamh5.format.superblock import decode_superblock, encode_superblock
from streamh5.handles.destination import open_local
from streamh5.sinks.destination_path import is_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamh5.arguments.memory_size import MemorySize
    from streamh5.arguments.paths import WorkerPath
    from streamh5.arguments.write_options import WriteOptions
    from streamh5.conversion.array_plan import ArrayPlan
    from streamh5.handles.file_plan import FilePlan
    from streamh5.sinks.base import Buffer
    from streamh5.sinks.destination_path import Destination
    from streamh5.write.summary import WriteSummary


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """The file that a source is converted to.

    Parameters
    ----------
    file
        Groups, named datatypes, links, datasets and attributes.
    arrays
        The datasets that `Conversion` reports on, in this order.
    track_order
        Whether the root group tracks the creation order.
    format
        ``"HDF5"`` or ``"netCDF-4"``.
    notes
        Returns further notes, called after the file has been written.
    user_block
        Bytes in front of the superblock.
    files
        Files that are read, beside the source.
    """

    file: FilePlan
    arrays: list[ArrayPlan]
    track_order: bool = False
    format: str = "HDF5"
    notes: Callable[[], Iterable[str]] = tuple
    user_block: bytes = b""
    files: tuple[str, ...] = ()


def run(
    plan: ConversionPlan,
    path: Destination,
    options: WriteOptions,
    *,
    max_memory: MemorySize | None,
    progress: bool | Callable[[int, int], object] | None,
    scheduler: Any = None,
    worker_path: WorkerPath | None = None,
) -> Conversion:
    """Write the planned file and return how each array was converted.

    Parameters
    ----------
    plan
        The source is still open.
    path
        The file to write.
    options
        How it is written; the plan decides whether the creation order is tracked.
    max_memory, progress, scheduler, worker_path
        As for `convert`.

    Raises
    ------
    SourceError
        The source cannot be read, or the scheduler cannot write (`SchedulerError`).
    SpecError
        A file with a user block is to be resumed.
    SinkError
        The destination cannot be written.
    """
    options = replace(options, track_order=plan.track_order)
    destination: Any = path
    notes: list[str] = []
    with ExitStack() as stack:
        if plan.user_block and is_path(path) and options.resume:
            raise SpecError(
                f"the source has a user block of {len(plan.user_block):,} bytes, and a write of a file with one has no "
                "journal, so it cannot be resumed: leave resume out"
            )
        if plan.user_block and is_path(path):
            destination = UserBlockSink(os.fsdecode(path), plan.user_block, options)
            stack.callback(destination.abort)  # nothing to do once the file is closed
        elif plan.user_block:
            n = len(plan.user_block)
            notes.append(f"the user block of {n:,} bytes is left out: {path!r:.80} is not a path")
        if (
            max_memory is None
            and not any(one.needs_dask for one in plan.arrays)
            and not _is_for_dask(scheduler)
        ):
            copies = [copy for one in plan.arrays for copy in one.block_copies()]
            is_threaded = scheduler is None or scheduler.lower() in _OWN_THREADS
            write = CopiedBlocks(
                destination, copies, plan.file.create, options, progress=progress, is_threaded=is_threaded
            )
            summary, counted = write.compute(), write.counts
        else:
            summary, counted = _compute(
                plan, destination, options, max_memory, scheduler, progress=progress, worker_path=worker_path
            )
    counts = {one.dataset.spec.path: CopyCounts() for one in plan.arrays} | counted
    reports = tuple(one.report(counts[one.dataset.spec.path]) for one in plan.arrays)
    skipped = [
        f"{path}: {one.n_skipped} blocks could not be read, and read as the fill value: {one.problem}"
        for path, one in counts.items()
        if one.n_skipped
    ]
    return Conversion(summary, reports, plan.format, (*plan.notes(), *skipped, *notes))


_OWN_THREADS = ("threads", "threading")
_CALLER = ("synchronous", "sync", "single-threaded")
_CONFIGURED = ("scheduler", "pool", "num_workers")


def _is_for_dask(scheduler: Any) -> bool:
    """Return whether dask is to run the blocks: on a cluster, in a given pool, or as it was configured to."""
    if scheduler is not None:
        return not isinstance(scheduler, str) or scheduler.lower() not in (*_OWN_THREADS, *_CALLER)
    if "distributed" in sys.modules:  # there may be a client
        return True
    config = getattr(sys.modules.get("dask"), "config", None)
    if config is None:  # dask would read the environment when it is imported
        return any(f"DASK_{key.upper()}" in os.environ for key in _CONFIGURED)
    return any(config.get(key, None) is not None for key in _CONFIGURED)


def _compute(
    plan: ConversionPlan,
    destination: Any,
    options: WriteOptions,
    max_memory: MemorySize | None,
    scheduler: Any,
    *,
    progress: bool | Callable[[int, int], object] | None,
    worker_path: WorkerPath | None,
) -> tuple[WriteSummary, dict[str, CopyCounts]]:
    """Write the file with a graph of tasks."""
    from streamh5.dask.blocks import limit_workers
    from streamh5.dask.graph import Write
    from streamh5.dask.scheduler import check_scheduler

    targets = [target for one in plan.arrays for target in one.targets()]
    compute_kwargs = {}
    if scheduler is not None:  # otherwise threads write what the default scheduler cannot
        compute_kwargs["scheduler"] = scheduler
        check_scheduler(scheduler, [one.array for one in targets if not one.is_local], destination)
    write = Write(destination, targets, plan.file.create, options, progress=progress, worker_path=worker_path)
    return write.compute(**limit_workers(compute_kwargs, targets, max_memory)), write.counts


class UserBlockSink:
    """Put a user block, as MATLAB's ``.mat`` files have, in front of a file: all addresses count from its end.

    There is no journal, so an interrupted write is discarded. State, locks and errors are those of the
    `LocalFileSink` that it writes to.

    Parameters
    ----------
    path, options
        As for `open_local`; nothing is resumed.
    user_block
        Its bytes: 512, 1024, 2048 and so on.

    Raises
    ------
    SinkError
        See `LocalFileSink`.
    """

    def __init__(self, path: str | os.PathLike[str], user_block: bytes, options: WriteOptions) -> None:
        self._sink, _ = open_local(path, options)
        self._user_block = user_block

    @property
    def name(self) -> str:
        """What a message calls the destination."""
        return self._sink.name

    def write(self, address: int, buffers: Sequence[Buffer]) -> None:
        """Write buffers after the user block."""
        base = len(self._user_block)
        if address == 0:  # nothing but the superblock lies there
            written = decode_superblock(b"".join(bytes(part) for part in buffers))
            moved = replace(written, end_of_file=written.end_of_file + base, base_address=base)
            buffers = [encode_superblock(moved)]
        self._sink.write(base + address, buffers)

    def read(self, address: int, nbytes: int) -> bytes:
        """Read what was written after the user block."""
        return self._sink.read(len(self._user_block) + address, nbytes)

    def commit(self, nbytes: int) -> None:
        """Write the user block and publish the file."""
        self._sink.write(0, [self._user_block])
        self._sink.commit(nbytes + len(self._user_block))

    def abort(self) -> None:
        """Discard what was written."""
        self._sink.abort()
