"""How other programs open references: xarray and zarr through fsspec, and kerchunk's own references."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import fsspec
import kerchunk.hdf
import xarray as xr
import zarr
from zarr.storage import FsspecStore


def open_with_xarray(references: Any, *, consolidated: bool = False, group: str | None = None) -> xr.Dataset:
    """Open kerchunk references, a dictionary or a path, as a dataset that is loaded."""
    options = {"fo": references, "remote_protocol": "file"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas and zarr, about their future
        return xr.open_dataset(
            "reference://",
            engine="zarr",
            group=group,
            backend_kwargs={"consolidated": consolidated, "storage_options": options},
        ).load()


def open_with_zarr(references: Any, array: str, *, zarr_format: Any = 2) -> Any:
    """All elements of an array, as zarr reads them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(references, (dict, str, Path)):
            fo = str(references) if isinstance(references, Path) else references
            system = fsspec.filesystem("reference", fo=fo, remote_protocol="file", asynchronous=True)
            references = FsspecStore(system, read_only=True, path="")
        found = zarr.open_array(references, path=array, mode="r", zarr_format=zarr_format)
        return found[...]


def kerchunk_references(path: Path) -> dict[str, Any]:
    """What kerchunk itself makes of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = kerchunk.hdf.SingleHdf5ToZarr(str(path), inline_threshold=0, error="raise").translate()
    found: dict[str, Any] = made["refs"]
    return found


def chunks(references: dict[str, Any]) -> dict[str, Any]:
    """Only the chunks, without metadata."""
    return {key: value for key, value in references.items() if not key.rpartition("/")[2].startswith(".")}


def metadata(references: dict[str, Any]) -> dict[str, Any]:
    """Only the metadata, decoded; without consolidated copies, which kerchunk does not make."""
    names = {key: key.rpartition("/")[2] for key in references}
    return {
        key: json.loads(references[key])
        for key in references
        if names[key] in (".zgroup", ".zarray", ".zattrs")
    }
