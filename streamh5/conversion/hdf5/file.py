"""HDF5 and netCDF-4 files, read with h5py, as sources: repacked, rechunked or with other filters.

Every object is carried over: groups, datasets, links of each kind, attributes, references, each with the
datatype that it has, byte for byte. Where neither chunks nor filters change, stored chunks are copied from the
file without the HDF5 library. What cannot be carried over is an error that names it, or a note.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from streamh5.arguments.write_options import WriteOptions
from streamh5.conversion.hdf5.contents import read_contents
from streamh5.conversion.hdf5.errors import reading
from streamh5.conversion.hdf5.plan import FilePlan
from streamh5.conversion.hdf5.source_bytes import SourceBytes
from streamh5.conversion.hdf5.user_block import UserBlockSink
from streamh5.conversion.request import Conversion
from streamh5.dask.blocks import limit_workers
from streamh5.dask.graph import Write
from streamh5.errors import FormatError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    import h5py

    from streamh5.arguments.keywords import Sync
    from streamh5.conversion.request import Request
    from streamh5.sinks.base import Sink
    from streamh5.sinks.destination_path import Destination

__all__ = ["from_hdf5"]

_ONE_FILE_DRIVERS = ("sec2", "stdio")


def from_hdf5(
    source: str | os.PathLike[str],
    path: Destination,
    request: Request,
    *,
    skip_unsupported: bool = False,
    overwrite: bool = False,
    sync: Sync = "close",
    max_memory: int | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
) -> Conversion:
    """Write all that is in an HDF5 or netCDF-4 file as a new file.

    Parameters
    ----------
    source
        The file that is read.
    path
        The file to write.
    request
        How arrays are to be stored.
    skip_unsupported
        Leave out what cannot be carried over, and say so in the notes; otherwise it is an error.
    overwrite, sync, max_memory, progress
        As for `to_fixed_h5`.

    Raises
    ------
    SourceError
        Not an HDF5 file, or an object in it that cannot be carried over; the message names it.
    SpecError, DatatypeError, LimitError
        Something that cannot be written as asked.
    SinkError
        The destination.
    """
    import h5py

    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 - with it the library finds its filters

    with ExitStack() as stack:
        with reading(f"{source}", "/"):
            file = stack.enter_context(h5py.File(source, "r"))
        stored = _stored_bytes(file, stack)
        contents = read_contents(file, stored)
        plan = FilePlan(file, stored, contents, request, skips=skip_unsupported)
        _check(plan, skip_unsupported=skip_unsupported)
        targets = [one.target for one in plan.targets]
        destination: Any = path
        options = WriteOptions(
            mode="w" if overwrite else "x",
            libver=request.libver,
            track_order=contents.groups["/"],
            sync=sync,
        )
        more_notes: tuple[str, ...] = ()
        if file.userblock_size and isinstance(path, (str, bytes, os.PathLike)):
            user_block = _user_block(source, file.userblock_size)
            sink: Sink = UserBlockSink(os.fsdecode(path), user_block, options)
            destination = sink
            stack.callback(sink.abort)  # nothing to do once the file is closed
        elif file.userblock_size:
            more_notes = (
                f"the user block of {file.userblock_size:,} bytes is left out: {path!r:.80} is not a path",
            )
        write = Write(
            destination,
            targets,
            plan.prepare,
            options,
            progress=progress,
        )
        summary = write.compute(**limit_workers({}, targets, max_memory))
        notes = plan.notes() + more_notes
    reports = tuple(one.report() for one in plan.targets)
    return Conversion(summary, reports, "netCDF-4" if plan.is_netcdf else "HDF5", notes)


def _stored_bytes(file: h5py.File, stack: ExitStack) -> SourceBytes | None:
    """Return what is read past the library, where the file is one on disk."""
    if file.driver not in _ONE_FILE_DRIVERS:
        return None
    try:
        return stack.enter_context(SourceBytes(os.fspath(file.filename)))
    except FormatError:  # it is left to the library
        return None


def _user_block(source: str | os.PathLike[str], nbytes: int) -> bytes:
    with open(source, "rb") as file:
        return file.read(nbytes)


def _check(plan: FilePlan, *, skip_unsupported: bool) -> None:
    """Refuse a file with problems, unless they are to be left out."""
    problems = plan.problems
    if not problems or skip_unsupported:
        return
    first = problems[0]
    others = f" ({len(problems) - 1} more such objects)" if len(problems) > 1 else ""
    raise SourceError(
        f"{first}{others}; skip_unsupported=True (--skip-unsupported) leaves it out", **first.facts
    ) from first.__cause__
