"""References as objects of VirtualiZarr, made from the columns of the chunk map."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import numpy as np

from streamh5.errors import MissingCodecError, ReferencesError
from streamh5.model.object_path import split_path

if TYPE_CHECKING:
    from virtualizarr.manifests import ManifestArray, ManifestGroup

    from streamh5.references.zarr_array import ZarrArray


def check_virtualizarr() -> None:
    """Raise an error if VirtualiZarr is missing.

    Raises
    ------
    MissingCodecError
        VirtualiZarr is not installed.
    """
    try:
        import virtualizarr.manifests  # noqa: F401 - only to see whether it is installed
    except ImportError as error:
        raise MissingCodecError("to_virtualizarr needs VirtualiZarr: pip install virtualizarr") from error


def manifest_group(groups: dict[str, dict[str, Any]], arrays: dict[str, ManifestArray]) -> ManifestGroup:
    """Return the groups and arrays of a file as a tree.

    Parameters
    ----------
    groups
        Attributes of every group by path, including the root group.
    arrays
        Arrays by path.
    """
    from virtualizarr.manifests import ManifestGroup

    members: dict[tuple[str, ...], dict[str, str]] = {}
    for path in (*groups, *arrays):
        if path != "/":
            *parents, name = split_path(path)
            members.setdefault(tuple(parents), {})[name] = path

    def group(path: str) -> ManifestGroup:
        inner = members.get(() if path == "/" else tuple(split_path(path)), {})
        return ManifestGroup(
            arrays={name: arrays[one] for name, one in inner.items() if one in arrays},
            groups={name: group(one) for name, one in inner.items() if one in groups},
            attributes=dict(groups[path]),
        )

    return group("/")


def manifest_array(array: ZarrArray) -> ManifestArray:
    """Return an array as VirtualiZarr's `ManifestArray`.

    Raises
    ------
    ReferencesError
        The data is copied into the references (strings of variable length, compact data), which a manifest does not
        support.
    """
    from virtualizarr.codecs import zarr_codec_config_to_v3
    from virtualizarr.manifests import ChunkManifest, ManifestArray
    from virtualizarr.manifests.utils import create_v3_array_metadata

    if array.content is not None:
        raise ReferencesError(
            f"{array.path}: strings of variable length and compact data have no chunks to which a manifest could "
            "refer; load the variable (loadable_variables), or omit it (skip=True)",
            path=array.path,
        )
    attributes = dict(array.attributes)
    if array.mask is not None:
        attributes["_FillValue"] = _encoded(array.mask)
    dtype = _dtype(array.metadata["dtype"])
    metadata = create_v3_array_metadata(
        shape=tuple(array.metadata["shape"]),
        data_type=dtype,
        chunk_shape=tuple(array.metadata["chunks"]),
        codecs=[zarr_codec_config_to_v3(codec) for codec in array.metadata["filters"] or ()],
        fill_value=None if array.fillvalue is None else array.fillvalue.astype(dtype)[()],
        attributes=attributes,
        dimension_names=array.dimensions,
    )
    offsets, lengths = array.manifest.dense()
    paths = np.full(offsets.shape, _uri(array.manifest.url), np.dtypes.StringDType())
    if array.manifest.n_missing:
        paths[lengths == 0] = ""
    manifest = ChunkManifest.from_arrays(paths=paths, offsets=offsets, lengths=lengths, validate_paths=False)
    return ManifestArray(metadata=metadata, chunkmanifest=manifest)


def _dtype(members: Any) -> np.dtype[Any]:
    return np.dtype(members if isinstance(members, str) else [(name, _dtype(one)) for name, one in members])


def _encoded(mask: np.ndarray[Any, Any]) -> Any:
    """Return ``_FillValue`` as xarray encodes that attribute for version 3 of zarr."""
    from xarray.backends.zarr import FillValueCoder

    value: Any = mask[()]
    return FillValueCoder.encode(value, mask.dtype)


def _uri(url: str) -> str:
    return url if urlparse(url).scheme else Path(os.path.abspath(url)).as_uri()
