"""streamh5: arrays larger than memory into one ordinary HDF5 file.

Importing it adds `to_fixed_h5` to dask arrays, and ``.streamh5.to_netcdf`` to xarray's objects, whether dask
and xarray are imported before or after it. What else it has is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5 import errors
from streamh5.dask.array_method import add_array_method as _add_array_method
from streamh5.errors import StreamH5Error
from streamh5.netcdf.xarray_accessor import register_accessors as _register_accessors
from streamh5.processes.import_hook import when_imported as _when_imported
from streamh5.version import __version__

# at once: it takes its place among the warning filters, in front of which come those that a person sets later
from streamh5.write.interruption import InterruptedWriteWarning

if TYPE_CHECKING:  # what type checkers and editors see; `_HOME` says the same to the interpreter
    from streamh5.check.inspection import FileInspection, inspect
    from streamh5.check.report import VerifyReport
    from streamh5.check.verify import verify
    from streamh5.conversion.convert import convert
    from streamh5.conversion.request import ArrayConversion, Conversion
    from streamh5.conversion.zarr.store import from_zarr
    from streamh5.dask.blocks import RealignWarning
    from streamh5.dask.to_fixed_h5 import to_fixed_h5
    from streamh5.format.datatype_from_dtype import native_complex_dtype
    from streamh5.format.link import ExternalLink, SoftLink
    from streamh5.handles.dataset import Dataset
    from streamh5.handles.file import File
    from streamh5.handles.group import Group
    from streamh5.handles.named_datatype import Datatype
    from streamh5.model.reference import Reference, RegionReference
    from streamh5.netcdf.xarray_dataset import to_netcdf
    from streamh5.recovery.salvage import SalvagedDataset, SalvageSummary, salvage
    from streamh5.references.chunk_manifest import ChunkManifest
    from streamh5.references.file_references import FileReferences, read_references
    from streamh5.write.summary import DatasetSummary, WriteSummary
else:  # hidden from type checkers: with a `__getattr__` they would take every name for a known one

    def __getattr__(name):
        """Import a public name when it is first asked for (PEP 562)."""
        from importlib import import_module
        from sys import modules

        if name not in _HOME:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=modules[__name__])
        value = getattr(import_module(f"streamh5.{_HOME[name]}"), name)
        globals()[name] = value  # asked for once
        return value

    def __dir__():
        return sorted(globals().keys() | _HOME.keys())


_HOME = {
    "ArrayConversion": "conversion.request",
    "ChunkManifest": "references.chunk_manifest",
    "Conversion": "conversion.request",
    "Dataset": "handles.dataset",
    "DatasetSummary": "write.summary",
    "Datatype": "handles.named_datatype",
    "ExternalLink": "format.link",
    "File": "handles.file",
    "FileInspection": "check.inspection",
    "FileReferences": "references.file_references",
    "Group": "handles.group",
    "RealignWarning": "dask.blocks",
    "Reference": "model.reference",
    "RegionReference": "model.reference",
    "SalvageSummary": "recovery.salvage",
    "SalvagedDataset": "recovery.salvage",
    "SoftLink": "format.link",
    "VerifyReport": "check.report",
    "WriteSummary": "write.summary",
    "convert": "conversion.convert",
    "from_zarr": "conversion.zarr.store",
    "inspect": "check.inspection",
    "native_complex_dtype": "format.datatype_from_dtype",
    "read_references": "references.file_references",
    "salvage": "recovery.salvage",
    "to_fixed_h5": "dask.to_fixed_h5",
    "to_netcdf": "netcdf.xarray_dataset",
    "verify": "check.verify",
}

_when_imported("dask.array", _add_array_method)
_when_imported("xarray", _register_accessors)

__all__ = [
    "ArrayConversion",
    "ChunkManifest",
    "Conversion",
    "Dataset",
    "DatasetSummary",
    "Datatype",
    "ExternalLink",
    "File",
    "FileInspection",
    "FileReferences",
    "Group",
    "InterruptedWriteWarning",
    "RealignWarning",
    "Reference",
    "RegionReference",
    "SalvageSummary",
    "SalvagedDataset",
    "SoftLink",
    "StreamH5Error",
    "VerifyReport",
    "WriteSummary",
    "__version__",
    "convert",
    "errors",
    "from_zarr",
    "inspect",
    "native_complex_dtype",
    "read_references",
    "salvage",
    "to_fixed_h5",
    "to_netcdf",
    "verify",
]
