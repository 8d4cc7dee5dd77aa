"""Where the data of a call goes in a file that is there: `append_dim`, `region`, and the rules of ``Dataset.to_zarr``.

The rules are those of ``xarray.backends.zarr`` (`_choose_default_mode`, ``_validate_and_autodetect_region``,
``_validate_and_transpose_existing_dims``). One is stricter: coordinates along other dimensions must be those of the
file, where `to_zarr` overwrites them (`append_dim`) or ignores them (`region`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import CoordinateError, KeywordError, ShapeError, SpecError, listed, shown
from streamh5.netcdf.stored_encoding import decoded_like, first_difference

if TYPE_CHECKING:
    import xarray as xr

    from streamh5.netcdf.existing import ExistingNetcdf, StoredVariable

MODES = ("w", "x", "w-", "a", "a-", "r+")


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """What a call asks for.

    Parameters
    ----------
    mode
        ``"w"``, ``"x"``, ``"a"``, ``"a-"`` (variables without `append_dim` that are there stay as they are) or ``"r+"``
        (only values of variables that are there).
    append_dim
        The dimension that grows; None if none does.
    region
        Slices by dimension, ``"auto"`` or a mix; None for everything.
    """

    mode: str = "w"
    append_dim: Hashable | None = None
    region: Any = None

    @property
    def is_addition(self) -> bool:
        """Whether the file may be there and is kept."""
        return self.mode in ("a", "a-", "r+")


@dataclass(frozen=True, slots=True)
class DimensionRanges:
    """Where the data of one dataset goes.

    Parameters
    ----------
    append_dim
        The dimension that grows; None if none does.
    ranges
        First index, end and total length of the dimensions of which a part is written, by name. The others are written
        as a whole.
    file
        Name of the file, for messages.
    """

    append_dim: Hashable | None = None
    ranges: Mapping[Hashable, tuple[int, int, int]] = field(default_factory=dict)
    file: str = ""

    def origin(self, dims: tuple[Hashable, ...]) -> tuple[int, ...]:
        """Return the index of the first element."""
        return tuple(self.ranges[dim][0] if dim in self.ranges else 0 for dim in dims)

    def total(self, dims: tuple[Hashable, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a variable when its data of a given shape is written."""
        return tuple(
            self.ranges[dim][2] if dim in self.ranges else n for dim, n in zip(dims, shape, strict=True)
        )

    def region(self, dims: tuple[Hashable, ...]) -> tuple[slice, ...]:
        """Return the region that the data fills."""
        return tuple(slice(*self.ranges[dim][:2]) if dim in self.ranges else slice(None) for dim in dims)


def read_request(mode: str | None, append_dim: Hashable | None, region: Any) -> WriteRequest:
    """Check mode, `append_dim` and `region` against each other.

    Raises
    ------
    SpecError
        They contradict each other.
    """
    if mode is None:
        mode = "w" if append_dim is None and region is None else "r+" if append_dim is None else "a"
    if not isinstance(mode, str) or mode not in MODES:
        raise SpecError(
            f"mode must be 'w', 'x' (or 'w-'), 'a', 'a-' or 'r+', not {shown(mode)}; read files with xarray",
            mode=mode,
        )
    if append_dim is not None and mode not in ("a", "a-"):
        raise SpecError(f"cannot set append_dim unless mode='a' or mode=None; it is {mode!r}", mode=mode)
    if region is not None and mode not in ("a", "a-", "r+"):
        raise SpecError(
            f"cannot set region unless mode='a', mode='a-', mode='r+' or mode=None; it is {mode!r}", mode=mode
        )
    if region is not None and region != "auto" and not isinstance(region, Mapping):
        raise KeywordError(
            f"region must be a dict of slices by dimension, or 'auto', not {shown(region)}", region=region
        )
    return WriteRequest("x" if mode == "w-" else mode, append_dim, region)


def place(
    dataset: xr.Dataset, path: str, request: WriteRequest, existing: ExistingNetcdf
) -> tuple[xr.Dataset, DimensionRanges]:
    """Return the part of a dataset that is written to the group at `path`, and where it goes.

    Raises
    ------
    SpecError
        A dimension, a coordinate or a region does not fit the file.
    """
    region = _region(dataset, path, request, existing)
    if request.mode == "r+":
        _check_names(dataset, path, existing)
    ranges: dict[Hashable, tuple[int, int, int]] = {}
    if request.append_dim is not None:
        ranges[request.append_dim] = _end(dataset, path, request.append_dim, existing)
    for name, bounds in region.items():
        dimension = existing.find_dimension(path, str(name))
        if dimension is None or path not in existing.groups:
            raise SpecError(
                f"region: group {path} of {existing.name} has no dimension {name!r}; make the file or the group first, "
                "for example with streamh5.create_space",
                region=request.region,
            )
        start, stop, _ = bounds.indices(dimension.length)
        ranges[name] = start, max(start, stop), dimension.length
    placement = DimensionRanges(request.append_dim, ranges, existing.name)
    same = _checked_coordinates(dataset, path, request, placement, existing) if ranges else []
    if request.mode == "a-" and request.append_dim is not None:
        there = existing.group(path).variables
        names = [
            name
            for name, one in dataset.variables.items()
            if str(name) in there and request.append_dim not in one.dims
        ]
        dataset = dataset.drop_vars(names)
    return dataset.drop_vars(dataset.indexes if region else same), placement


def fitted(
    name: Any, variable: xr.Variable, stored: StoredVariable, placement: DimensionRanges
) -> xr.Variable:
    """Return a variable with the dimensions of the stored one, in its order.

    Raises
    ------
    SpecError
        It has other dimensions, or other lengths.
    """
    if stored.dimensions is None:
        raise SpecError(
            f"variable {stored.path} has no dimension scales, so it is no variable of netCDF-4; write it with "
            "streamh5.File(path, 'a')",
            path=stored.path,
        )
    dims = stored.text_dims
    if variable.dims != dims:
        if set(variable.dims) != set(dims):
            raise SpecError(
                f"variable {name!r} already exists with different dimension names {dims} != {variable.dims} "
                f"({stored.path}); write it under another name",
                path=stored.path,
            )
        variable = variable.transpose(*dims)
    grown, ranges = placement.append_dim, placement.ranges
    sizes = {
        dim: ranges[dim][1] - ranges[dim][0] if dim in ranges else n
        for dim, n in stored.sizes.items()
        if dim != grown and dim in dims
    }
    given = {dim: size for dim, size in variable.sizes.items() if dim != grown}
    if sizes != given:
        there = {dim: size for dim, size in sizes.items() if size != given[dim]}
        now = {dim: given[dim] for dim in there}
        advice = (
            "A dimension grows only with append_dim=; a part is written with region="
            if grown is None
            else f"Only {shown(str(grown), 30)} grows (append_dim); select or reindex the data"
        )
        raise ShapeError(
            f"variable {shown(str(name), 40)} already exists with different dimension sizes: {shown(there, 40)} in "
            f"{shown(placement.file, 40, quoted=False)} != {shown(now, 40)} in the data. {advice}",
            path=stored.path,
        )
    return variable


def _check_names(dataset: xr.Dataset, path: str, existing: ExistingNetcdf) -> None:
    new = [name for name in dataset.variables if name not in existing.group(path).variables]
    # a dimension without a variable has no values of its own that would have to be there
    if new:
        raise SpecError(
            f"dataset contains non-pre-existing variables {listed(map(repr, new))} (group {path} of {existing.name}), "
            "which mode='r+' does not add; pass mode='a'",
            names=new,
        )


def _end(
    dataset: xr.Dataset, path: str, append_dim: Hashable, existing: ExistingNetcdf
) -> tuple[int, int, int]:
    """Return the range that is appended along a dimension.

    Raises
    ------
    SpecError
        The file or the data does not have the dimension, or only the file has its coordinate.
    """
    dimension = existing.find_dimension(path, str(append_dim))
    if dimension is None or append_dim not in dataset.dims:
        names = list(existing.group(path).dimensions) if dimension is None else list(dataset.dims)
        where = f"of group {path} of {existing.name}" if dimension is None else "of the data"
        raise SpecError(
            f"append_dim={append_dim!r} does not match any existing dataset dimensions {where}: "
            f"{listed(map(repr, names)) or 'there are none'}",
            append_dim=append_dim,
        )
    if str(append_dim) in existing.group(path).variables and append_dim not in dataset.variables:
        raise CoordinateError(
            f"append_dim={append_dim!r}: {existing.name} has this coordinate and the data has not, so the new records "
            f"would have none; set it with .assign_coords({append_dim}=...)",
            append_dim=append_dim,
        )
    total = dimension.length + dataset.sizes[append_dim]
    return dimension.length, total, total


def _region(
    dataset: xr.Dataset, path: str, request: WriteRequest, existing: ExistingNetcdf
) -> dict[Hashable, slice]:
    """Return the region as slices by dimension, as ``_validate_and_autodetect_region`` does."""
    if request.region is None:
        return {}
    given = dict.fromkeys(dataset.dims, "auto") if request.region == "auto" else dict(request.region)
    if request.mode == "a-" and "auto" in [one for one in given.values() if isinstance(one, str)]:
        raise SpecError("mode must be 'r+' or 'a' with region='auto', not 'a-'", mode=request.mode)
    region: dict[Hashable, slice] = {}
    for name, wanted in given.items():
        if name not in dataset.dims:
            raise SpecError(
                "all keys in ``region`` are not in Dataset dimensions: "
                f"{listed(map(repr, given))} and {listed(map(repr, dataset.dims))}",
                region=request.region,
            )
        is_auto = isinstance(wanted, str) and wanted == "auto"
        bounds = _detected(dataset, path, name, existing) if is_auto else wanted
        if not isinstance(bounds, slice):
            raise KeywordError(
                f"region: all values must be slice objects, or 'auto'; {name!r} has {shown(bounds)}",
                region=request.region,
            )
        if bounds.step not in (None, 1):
            raise SpecError(f"region: step on all slices must be 1 or None; {name!r} has {bounds}")
        region[name] = bounds
    apart = [name for name, one in dataset.variables.items() if not set(given) & set(one.dims)]
    if given and apart:
        raise SpecError(
            "region: all variables in the dataset to write must have at least one dimension in common with the region "
            f"({listed(map(repr, given))}); write .drop_vars({apart!r}) to leave the others out",
            names=apart,
        )
    if request.append_dim in given:
        raise SpecError(
            f"cannot list the same dimension in both append_dim and region: {request.append_dim!r}"
        )
    return region


def _detected(dataset: xr.Dataset, path: str, name: Hashable, existing: ExistingNetcdf) -> slice:
    """Return the range of the file's coordinate that has the values of the data's, as ``_auto_detect_regions`` does."""
    import xarray as xr

    stored = existing.group(path).variables.get(str(name))
    if name not in dataset.variables or stored is None or stored.dims != (name,):
        return slice(0, dataset.sizes[name])
    wanted = dataset.variables[name]
    there = xr.Variable(stored.dims, decoded_like(wanted, stored, existing.read(stored)))
    positions = there.to_index().get_indexer(wanted.values)
    if (positions == -1).any():
        missing = wanted.values[positions == -1]
        raise CoordinateError(
            f"not all values of coordinate {name!r} are in {existing.name}: {len(missing):,} are not, the first is "
            f"{missing[0]}. A region changes no coordinates; pass append_dim={name!r} to append them",
            name=name,
        )
    if (np.diff(positions) != 1).any():
        raise SpecError(
            f"coordinate {name!r}: the values of the data have non-contiguous indices in {existing.name}: "
            f"{shown(positions.tolist())}; write each contiguous part with a call of its own",
            name=name,
        )
    return slice(int(positions[0]), int(positions[-1]) + 1) if len(positions) else slice(0, 0)


def _checked_coordinates(
    dataset: xr.Dataset,
    path: str,
    request: WriteRequest,
    placement: DimensionRanges,
    existing: ExistingNetcdf,
) -> list[Hashable]:
    """Return the coordinates that the file has at the place of the data; refuse data with others."""
    same: list[Hashable] = []
    if request.mode == "a-":
        return same
    for name in dataset.indexes:
        stored = existing.group(path).variables.get(str(name))
        variable = dataset.variables.get(name)
        if variable is None or stored is None or stored.dims != variable.dims or name == request.append_dim:
            continue
        fitted(name, variable, stored, placement)
        region = placement.region(variable.dims)
        there = decoded_like(variable, stored, existing.read(stored, region))
        at = first_difference(variable.values, there, stored)
        if at is not None:
            raise CoordinateError(
                f"coordinate {name!r} differs from that of {existing.name}: {variable.values[at]} instead of "
                f"{there[at]} at index {at[0]:,} of {len(there):,}. Select or reindex the data, leave the coordinate "
                f"out with .drop_vars({name!r}), or keep the file's with mode='a-'",
                name=name,
            )
        same.append(name)
    return same
