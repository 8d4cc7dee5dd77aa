"""A write of blocks that are copied, by the threads of the file and without dask.

A graph of tasks brings nothing where no block is computed, and the import of dask takes longer than the copy of 100 MB.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.dask.stored_chunks import MAX_BLOCK_NBYTES, CopyCounts
from streamh5.errors import listed
from streamh5.handles.file import open_file
from streamh5.handles.session import DEFAULT_IN_FLIGHT_NBYTES
from streamh5.processes.cpus import available_cpus
from streamh5.sinks.destination_path import destination_name
from streamh5.write.pool import Job
from streamh5.write.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamh5.arguments.write_options import WriteOptions
    from streamh5.dask.stored_chunks import CopyBlock, HollowBlocks
    from streamh5.handles.file import File
    from streamh5.sinks.destination_path import Destination
    from streamh5.write.summary import WriteSummary


@dataclass(frozen=True, slots=True, eq=False)
class BlockCopy:
    """The blocks of one dataset, and what copies one."""

    path: str
    blocks: HollowBlocks
    copy: CopyBlock


class CopiedBlocks:
    """Writes a file whose blocks are all copied.

    Parameters
    ----------
    path
        The destination.
    copies
        What is copied.
    prepare
        Called with the open file; creates all objects of the file.
    options
        How the file is written.
    progress
        See `to_fixed_h5`.
    is_threaded
        Whether threads copy the blocks, or the caller.

    Attributes
    ----------
    counts
        What became of the chunks of each dataset, by its path.
    """

    def __init__(
        self,
        path: Destination,
        copies: Sequence[BlockCopy],
        prepare: Callable[[File], None],
        options: WriteOptions,
        *,
        progress: bool | Callable[[int, int], object] | None,
        is_threaded: bool,
    ) -> None:
        self._path, self._copies, self._prepare, self._options = path, copies, prepare, options
        self._show, self._is_threaded = progress, is_threaded
        self._lock = threading.Lock()
        self.counts = {one.path: CopyCounts() for one in copies}

    def compute(self) -> WriteSummary:
        """Write the file. Any exception interrupts the write; a note on it tells what was being written."""
        name = destination_name(self._path)
        try:
            file = open_file(self._path, self._options)
        except Exception as error:
            self._tell(error, name)
            raise
        progress = None
        try:
            self._prepare(file)
            file.session.check_resumed()
            progress = Progress(sum(one.blocks.nbytes for one in self._copies), self._show, name)
            for one in self._copies:
                self._submit(file, one, progress)
            file.session.wait()
            return file.close()
        except BaseException as error:
            if isinstance(error, Exception):
                self._tell(error, name)
            file.session.interrupt(error)
            raise
        finally:
            if progress is not None:
                progress.close()

    def _tell(self, error: Exception, name: str) -> None:
        names = listed(one.path for one in self._copies)
        error.add_note(f"while writing {names or 'data'} to {name}")

    def _submit(self, file: File, one: BlockCopy, progress: Progress) -> None:
        dataset = file.datasets[one.path]
        if self._options.resume:
            self.counts[one.path] += CopyCounts(n_resumed=len(dataset.out.stored_coords()[0]))
        run = file.session.submit if self._is_threaded else file.session.run
        # A block that waits takes no memory: only as many wait as keep all threads busy. Each thread may hold one of
        # ordinary size; larger ones count in full.
        most = DEFAULT_IN_FLIGHT_NBYTES // (2 * available_cpus())
        for i, (origin, shape) in enumerate(one.blocks.places()):
            nbytes = math.prod(shape) * one.blocks.dtype.itemsize

            def write(
                origin: tuple[int, ...] = origin, shape: tuple[int, ...] = shape, n: int = nbytes
            ) -> None:
                try:
                    records, counts = one.copy(dataset, origin, shape)
                except Exception as error:
                    error.add_note(f"while writing the block at {origin} of {one.path}")
                    raise
                dataset.record(records)
                with self._lock:
                    self.counts[one.path] += counts
                progress.add(n)

            # blocks share no chunk: each has a box of its own
            counted = min(nbytes, most) if nbytes <= MAX_BLOCK_NBYTES else nbytes
            run(Job(write, counted, one, ((i, i + 1),)))
