"""streamh5: arrays larger than memory into one ordinary HDF5 file.

Importing it adds `to_fixed_h5` to dask arrays, and ``.streamh5.to_netcdf`` to xarray's objects.
"""

from __future__ import annotations

import dask.array as _da

from streamh5 import errors
from streamh5.check.inspection import FileInspection, inspect
from streamh5.check.report import VerifyReport
from streamh5.check.verify import verify
from streamh5.conversion.convert import convert
from streamh5.conversion.request import ArrayConversion, Conversion
from streamh5.conversion.zarr.store import from_zarr
from streamh5.dask.to_fixed_h5 import RealignWarning, array_to_fixed_h5, to_fixed_h5
from streamh5.errors import StreamH5Error
from streamh5.format.datatype_from_dtype import native_complex_dtype
from streamh5.format.link import ExternalLink, SoftLink
from streamh5.handles.dataset import Dataset
from streamh5.handles.file import File
from streamh5.handles.group import Group
from streamh5.handles.named_datatype import Datatype
from streamh5.model.reference import Reference, RegionReference
from streamh5.netcdf.xarray_accessor import register_accessors as _register_accessors
from streamh5.netcdf.xarray_dataset import to_netcdf
from streamh5.recovery.salvage import SalvagedDataset, SalvageSummary, salvage
from streamh5.references.chunk_manifest import ChunkManifest
from streamh5.references.file_references import FileReferences, read_references
from streamh5.version import __version__
from streamh5.write.interruption import InterruptedWriteWarning
from streamh5.write.summary import DatasetSummary, WriteSummary

_da.Array.to_fixed_h5 = array_to_fixed_h5  # type: ignore[attr-defined]
_register_accessors()

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
