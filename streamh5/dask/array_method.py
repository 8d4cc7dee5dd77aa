"""The method ``to_fixed_h5`` of dask arrays; the rest of streamh5 is imported when it is first called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamh5.processes.import_hook import IMPORT_LOCK

if TYPE_CHECKING:
    from types import ModuleType

    import dask.array as da
    from dask.delayed import Delayed

    from streamh5.sinks.destination_path import Destination
    from streamh5.write.summary import WriteSummary


def add_array_method(dask_array: ModuleType) -> None:
    """Add the method `to_fixed_h5` to dask arrays."""
    dask_array.Array.to_fixed_h5 = array_to_fixed_h5


def array_to_fixed_h5(self: da.Array, path: Destination, name: str, **kwargs: Any) -> WriteSummary | Delayed:
    """Write this array into one HDF5 file: `streamh5.to_fixed_h5` with this array.

    Parameters
    ----------
    path
        The file to write.
    name
        Path of the dataset in the file, for example ``"/x"``.
    **kwargs
        Further keywords of `streamh5.to_fixed_h5`, which names the errors, too.

    Returns
    -------
    WriteSummary or Delayed
        Sizes in bytes, numbers of chunks, and seconds; with ``compute=False`` what will return it.

    Examples
    --------
    >>> import dask.array as da
    >>> x = da.ones((1000, 1000), chunks=(250, 1000))
    >>> x.to_fixed_h5("ones.h5", "/x").n_chunks
    4
    """
    with IMPORT_LOCK:
        from streamh5.dask.to_fixed_h5 import to_fixed_h5

    return to_fixed_h5(path, name, self, **kwargs)
