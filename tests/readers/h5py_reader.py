"""h5py, with the filters of hdf5plugin where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.readers.plugins import plugin_folder
from tests.readers.protocol import ReaderError, Values


class H5pyReader:
    """h5py 3.16: HDF5 2.0.0, strict about the layout message."""

    name = "h5py"

    def version(self) -> str:
        return f"h5py {h5py.version.version}, HDF5 {h5py.version.hdf5_version}"

    def missing(self) -> str | None:
        return None

    def refuses(self, dtype: np.dtype[Any], filter_ids: frozenset[int] = frozenset()) -> str | None:
        plugin_folder()
        unknown = sorted(number for number in filter_ids if not h5py.h5z.filter_avail(number))
        return f"no plugin for filters {unknown}" if unknown else None

    def read(self, path: Path, dataset: str) -> Values:
        plugin_folder()
        try:
            with h5py.File(path, "r") as file:
                node = file[dataset]
                if node.shape is None:
                    return np.empty(0, node.dtype)
                return np.asarray(node[()])
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise ReaderError(f"h5py: {error}") from error

    def attributes(self, path: Path, object_path: str) -> dict[str, Any]:
        try:
            with h5py.File(path, "r") as file:
                return dict(file[object_path].attrs)
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise ReaderError(f"h5py: {error}") from error
