"""The filters of hdf5plugin, for every HDF5 library of this process and of the programs it starts."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec


@cache
def plugin_folder() -> str | None:
    """Return the folder of hdf5plugin's libraries, and name it to HDF5; None where it is not installed.

    A library reads the variable once, when it is loaded, and `netCDF4` sets it to a folder of its own
    unless it is set: so tests/conftest.py calls this before any test module is imported.
    """
    if find_spec("hdf5plugin") is None:
        return None
    import hdf5plugin  # importing it registers the filters with h5py

    folder = str(hdf5plugin.PLUGIN_PATH)
    os.environ["HDF5_PLUGIN_PATH"] = folder
    return folder
