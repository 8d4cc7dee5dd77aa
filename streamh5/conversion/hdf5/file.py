"""HDF5 and netCDF-4 files, read with h5py, as sources: repacked, rechunked or with other filters.

Every object is carried over: groups, datasets, links of each kind, attributes, references, each with the
datatype that it has, byte for byte. Where neither chunks nor filters change, stored chunks are copied from the
file without the HDF5 library. What cannot be carried over is an error that names it, or a note.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from streamh5.conversion.hdf5.contents import read_contents
from streamh5.conversion.hdf5.errors import reading
from streamh5.conversion.hdf5.plan import Planner
from streamh5.conversion.hdf5.problems import Problems
from streamh5.conversion.hdf5.source_bytes import SourceBytes
from streamh5.errors import FormatError

if TYPE_CHECKING:
    import h5py

    from streamh5.conversion.plan import ConversionPlan
    from streamh5.conversion.request import Request

__all__ = ["plan_hdf5"]

_ONE_FILE_DRIVERS = ("sec2", "stdio")


def plan_hdf5(
    source: str | os.PathLike[str], request: Request, stack: ExitStack, *, skip_unsupported: bool = False
) -> ConversionPlan:
    """Plan all that is in an HDF5 or netCDF-4 file.

    Parameters
    ----------
    source
        The file that is read.
    request
        How arrays are to be stored.
    stack
        Closes the source.
    skip_unsupported
        Leave out what cannot be carried over, and say so in the notes; otherwise it is an error.

    Raises
    ------
    SourceError
        Not an HDF5 file, or an object in it that cannot be carried over; the message names it.
    """
    import h5py

    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 - with it the library finds its filters

    with reading(f"{source}", "/"):
        file = stack.enter_context(h5py.File(source, "r"))
    stored = _stored_bytes(file, stack)
    problems = Problems(skips=skip_unsupported)
    contents = read_contents(file, stored, problems)
    return Planner(file, stored, contents, request, problems).plan()


def _stored_bytes(file: h5py.File, stack: ExitStack) -> SourceBytes | None:
    """Return what is read past the library, where the file is one on disk."""
    if file.driver not in _ONE_FILE_DRIVERS:
        return None
    try:
        return stack.enter_context(SourceBytes(os.fspath(file.filename)))
    except FormatError:  # it is left to the library
        return None
