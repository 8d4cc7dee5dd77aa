"""streamh5: write arrays larger than memory into one ordinary HDF5 file.

Importing it adds the method `to_fixed_h5` to dask arrays and the accessor ``.streamh5.to_netcdf`` to xarray's objects,
whether dask and xarray are imported before or after it. Everything else is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5 import errors
from streamh5.dask.array_method import add_array_method as _add_array_method
from streamh5.errors import StreamH5Error
from streamh5.netcdf.xarray_accessor import register_accessors as _register_accessors
from streamh5.processes.import_hook import IMPORT_LOCK as _IMPORT_LOCK
from streamh5.processes.import_hook import when_imported as _when_imported
from streamh5.version import __version__

# now, not lazily: it adds a warning filter, which has to come before those that the user sets later
from streamh5.write.interruption import InterruptedWriteWarning

if TYPE_CHECKING:  # for type checkers and editors; `_NAMES` is the same for the interpreter
    from streamh5.check.cloud_report import CloudCheck, CloudReport
    from streamh5.check.inspect_file import inspect
    from streamh5.check.inspection import FileInspection
    from streamh5.check.report import VerifyReport
    from streamh5.check.verify import verify
    from streamh5.conversion.convert import convert, from_zarr
    from streamh5.conversion.request import ArrayConversion, Conversion
    from streamh5.dask.blocks import FewThreadsWarning, RealignWarning
    from streamh5.dask.to_fixed_h5 import to_fixed_h5
    from streamh5.format.dtype import native_complex_dtype
    from streamh5.format.link import ExternalLink, HardLink, SoftLink
    from streamh5.handles.dataset import Dataset
    from streamh5.handles.file import File
    from streamh5.handles.group import Group
    from streamh5.handles.named_datatype import Datatype
    from streamh5.handles.part_writer import PartWriter
    from streamh5.handles.virtual import VirtualLayout, VirtualSource
    from streamh5.model.reference import Reference, RegionReference
    from streamh5.netcdf.xarray_dataset import create_space, to_netcdf
    from streamh5.recovery.salvage import salvage
    from streamh5.recovery.salvage_report import SalvagedDataset, SalvageSummary
    from streamh5.references.file_references import FileReferences, read_references
    from streamh5.references.zarr_array import ChunkManifest
    from streamh5.stores.pending_uploads import abort_upload
    from streamh5.write.part_records import PartRecords
    from streamh5.write.summary import DatasetSummary, SharedFigures, WriteSummary
else:  # hidden from type checkers: with a `__getattr__` they would accept any name

    def __getattr__(name):
        """Import a public name when it is first used (PEP 562)."""
        from importlib import import_module
        from sys import modules

        if name not in _HOME:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=modules[__name__])
        with _IMPORT_LOCK:
            value = getattr(import_module(f"streamh5.{_HOME[name]}"), name)
        globals()[name] = value  # not asked for again
        return value

    def __dir__():
        return sorted(globals().keys() | _HOME.keys())


_NAMES = {
    "check.cloud_report": "CloudCheck CloudReport",
    "check.inspect_file": "inspect",
    "check.inspection": "FileInspection",
    "check.report": "VerifyReport",
    "check.verify": "verify",
    "conversion.convert": "convert from_zarr",
    "conversion.request": "ArrayConversion Conversion",
    "dask.blocks": "FewThreadsWarning RealignWarning",
    "dask.to_fixed_h5": "to_fixed_h5",
    "format.dtype": "native_complex_dtype",
    "format.link": "ExternalLink HardLink SoftLink",
    "handles.dataset": "Dataset",
    "handles.file": "File",
    "handles.group": "Group",
    "handles.named_datatype": "Datatype",
    "handles.part_writer": "PartWriter",
    "handles.virtual": "VirtualLayout VirtualSource",
    "model.reference": "Reference RegionReference",
    "netcdf.xarray_dataset": "create_space to_netcdf",
    "recovery.salvage": "salvage",
    "recovery.salvage_report": "SalvageSummary SalvagedDataset",
    "references.zarr_array": "ChunkManifest",
    "references.file_references": "FileReferences read_references",
    "stores.pending_uploads": "abort_upload",
    "write.part_records": "PartRecords",
    "write.summary": "DatasetSummary SharedFigures WriteSummary",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

_when_imported("dask.array", _add_array_method)
_when_imported("xarray", _register_accessors)

__all__ = [
    "ArrayConversion",
    "ChunkManifest",
    "CloudCheck",
    "CloudReport",
    "Conversion",
    "Dataset",
    "DatasetSummary",
    "Datatype",
    "ExternalLink",
    "FewThreadsWarning",
    "File",
    "FileInspection",
    "FileReferences",
    "Group",
    "HardLink",
    "InterruptedWriteWarning",
    "PartRecords",
    "PartWriter",
    "RealignWarning",
    "Reference",
    "RegionReference",
    "SalvageSummary",
    "SalvagedDataset",
    "SharedFigures",
    "SoftLink",
    "StreamH5Error",
    "VerifyReport",
    "VirtualLayout",
    "VirtualSource",
    "WriteSummary",
    "__version__",
    "abort_upload",
    "convert",
    "create_space",
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
