"""The public names of streamh5, which the reference (docs/api/) has to document."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any, NamedTuple

import streamh5

ALSO = [
    "dask.array.Array.to_fixed_h5",
    "xarray.Dataset.streamh5.to_netcdf",
    "xarray.Dataset.streamh5.create_space",
    "streamh5.handles.attributes.Attributes",
    "streamh5.handles.dimensions.DimensionManager",
    "streamh5.handles.dimensions.DimensionProxy",
    "streamh5.handles.regions.RegionReferences",
    "streamh5.format.virtual_mapping.VirtualMapping",
    "streamh5.check.inspection.DatasetInspection",
    "streamh5.check.inspection.GroupInspection",
    "streamh5.check.inspection.Region",
    "streamh5.check.cloud_report.CloudRequests",
    "streamh5.reader.file_content.Finding",
    "streamh5.check.chunk_check.DamagedChunk",
    "streamh5.filters.available",
    "streamh5.filters.AvailableFilter",
    "streamh5.filters.deflate_engine",
    "streamh5.filters.SlowCodecWarning",
    "streamh5.filters.base.FilterRow",
    "streamh5.filters.base.RawChunk",
    "streamh5.filters.base.ZarrCodec",
    "streamh5.filters.base.NetcdfWords",
    "streamh5.sinks.base.Sink",
    "streamh5.sinks.base.Snapshots",
    "streamh5.sinks.base.Readable",
    "streamh5.sinks.base.Flushable",
    "streamh5.sinks.base.Journaled",
    "streamh5.stores.base.ReadableObject",
    "streamh5.stores.base.ObjectStore",
    "streamh5.stores.base.PartLimits",
    "streamh5.stores.base.PartReceipt",
    "streamh5.stores.base.StoredObject",
    "streamh5.stores.base.PendingUpload",
]
"""What users call, get or implement and that is not in `streamh5.__all__`."""

NOT_FOR_USERS = {
    "File": "add_dataset dataset discard_dataset forget_handles",
    "Group": "absolute_path handle_of",
    "Handle": "node",
    "GroupContents": "absolute_path handle_of",
    "GroupLinks": "",
    "FileDatasets": "add_dataset dataset discard_dataset forget_handles",
    "Dataset": "are_stored place write_encoded",
    "PartWriter": "begin",
    "WriteSummary": "tree",
    "VirtualSource": "n_elements",
}
"""Methods without an underscore that only streamh5's other modules call, by the class that defines them."""

_DOCUMENTED_BASES = ("Group", "Sink", "ReadableObject", "StreamH5Error")

_OPERATORS = ("__getitem__", "__setitem__", "__delitem__")


class PublicName(NamedTuple):
    """One name: how users write it, its value, and what kind of thing it is.

    ``kind`` is ``"class"``, ``"function"`` (methods are, too), ``"property"`` or ``"field"``.
    """

    path: str
    value: Any
    kind: str


def _kind(value: Any) -> str:
    if inspect.isclass(value):
        return "class"
    if isinstance(value, property):
        return "property"
    return "function" if inspect.isroutine(value) and callable(value) else "field"


def members(owner: type) -> dict[str, Any]:
    """Return what streamh5 defines in a class and its bases, without what is not for users."""
    found: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        if base.__module__.partition(".")[0] != "streamh5":
            continue
        if (
            base is not owner and base.__name__ in _DOCUMENTED_BASES
        ):  # names of `Group` are not repeated for `File`
            found.clear()
            continue
        hidden = NOT_FOR_USERS.get(base.__name__, "").split()
        for name, wrapped in vars(base).items():
            value = inspect.unwrap(wrapped) if callable(wrapped) else wrapped
            is_operator = name in _OPERATORS and bool(value.__doc__)
            if name in hidden:
                found.pop(name, None)
            elif (is_operator or not name.startswith("_")) and (
                _kind(value) != "field" or _is_field(owner, name)
            ):
                found[name] = value
    return found


def _is_field(owner: type, name: str) -> bool:
    return (
        is_dataclass(owner)
        or name in getattr(owner, "_fields", ())
        or name in vars(owner).get("__annotations__", {})
    )


def _object(path: str) -> Any:
    names = path.split(".")
    for n in range(len(names) - 1, 0, -1):
        try:
            value: Any = import_module(".".join(names[:n]))
        except ModuleNotFoundError:
            continue
        for name in names[n:]:
            value = getattr(value, name)
        return value
    raise AssertionError(path)


def public_names() -> dict[str, PublicName]:
    """Return every public name by its path."""
    paths = [f"streamh5.{name}" for name in streamh5.__all__ if name not in ("__version__", "errors")]
    paths += [f"streamh5.errors.{name}" for name in streamh5.errors.__all__ if name != "StreamH5Error"]
    found = {}
    for path in [*paths, *ALSO]:
        value = _object(path)
        found[path] = PublicName(path, value, _kind(value))
        if inspect.isclass(value):
            for name, member in members(value).items():
                found[f"{path}.{name}"] = PublicName(f"{path}.{name}", member, _kind(member))
    return found
