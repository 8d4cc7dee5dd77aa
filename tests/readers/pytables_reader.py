"""PyTables and the HDF5 library in its wheel."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.readers.plugins import plugin_folder
from tests.readers.protocol import BASE_FILTERS, ReaderError, Values

SZIP, LZF = 4, 32000


class PyTablesReader:
    """PyTables 3.11: HDF5 1.14.

    It shows h5py's bool as int8, and a null dataspace as a scalar zero. Of attributes it leaves out
    bool and other types that it lacks, and takes the bytes of a big-endian one as they are: wrong values.
    """

    name = "PyTables"

    def version(self) -> str:
        import tables

        return f"PyTables {tables.__version__}, HDF5 {tables.hdf5_version}"

    def missing(self) -> str | None:
        return None if find_spec("tables") is not None else "PyTables is not installed (pip install tables)"

    def refuses(self, dtype: np.dtype[Any], filter_ids: frozenset[int] = frozenset()) -> str | None:
        if unknown := sorted(filter_ids & {SZIP, LZF}):
            return f"PyTables is built without filters {unknown}"
        others = sorted(filter_ids - BASE_FILTERS)
        return (
            f"hdf5plugin is not installed: filters {others}" if others and plugin_folder() is None else None
        )

    def read(self, path: Path, dataset: str) -> Values:
        def values(node: Any) -> Values:
            if not hasattr(node, "read"):
                raise ReaderError(f"PyTables cannot read {dataset}: {type(node).__name__}")
            return np.asarray(node.read())

        found: Values = self._visit(path, dataset, values)
        return found

    def attributes(self, path: Path, object_path: str) -> dict[str, Any]:
        def collect(node: Any) -> dict[str, Any]:
            found = {name: node._v_attrs[name] for name in node._v_attrs._v_attrnames}
            return {name: value for name, value in found.items() if value is not None}

        found: dict[str, Any] = self._visit(path, object_path, collect)
        return found

    def _visit(self, path: Path, object_path: str, what: Any) -> Any:
        import tables

        with warnings.catch_warnings():
            # About names that are no Python identifiers, attributes of types that PyTables lacks: no faults
            # of a file. A dataset that it cannot read comes back as a node without `read`.
            warnings.simplefilter("ignore")
            try:
                with tables.open_file(str(path), "r") as file:
                    return what(file.get_node("/" + object_path.strip("/")))
            except (
                tables.HDF5ExtError,
                tables.NodeError,
                OSError,
                TypeError,
                ValueError,
            ) as error:
                raise ReaderError(f"PyTables: {error}") from error
