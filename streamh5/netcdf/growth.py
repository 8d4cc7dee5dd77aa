"""What a call changes of variables and dimensions that are in the file: they grow, and get values in a region."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from streamh5.dask.blocks import aligned_region, check_known_sizes
from streamh5.dask.graph import Target
from streamh5.errors import ShapeError
from streamh5.handles.dataset_plan import MAX_WHOLE_NBYTES
from streamh5.handles.region_plan import PlannedRegion, find_stored
from streamh5.model.dimension_scale import dimension_list, reference_list, uses_of_scale
from streamh5.model.reference import Reference
from streamh5.model.tree import DatasetNode, find
from streamh5.netcdf.storage import write_values
from streamh5.netcdf.xarray_encoding import HELD_NBYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from streamh5.handles.file import File
    from streamh5.handles.file_plan import FilePlan
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.netcdf.dimension import Dimension
    from streamh5.netcdf.existing import ExistingNetcdf, StoredVariable
    from streamh5.netcdf.placement import DimensionRanges


@dataclass(slots=True)
class Growth:
    """Changes of datasets that are in the file.

    Parameters
    ----------
    existing
        The file.
    resume_key
        Identity of the source; None if dask's names tell it.
    specs
        The spec that each changed dataset will have, by path.
    origins
        Where the data of each dataset begins that gets data, by path.
    values
        Data in memory, by path.
    targets
        Data that tasks write.
    users
        Variables along the dimensions whose scale a coordinate variable replaces, by the path of the scale.
    """

    existing: ExistingNetcdf
    resume_key: str | None = None
    specs: dict[str, DatasetSpec] = field(default_factory=dict)
    origins: dict[str, tuple[int, ...]] = field(default_factory=dict)
    values: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    users: dict[str, list[StoredVariable]] = field(default_factory=dict)

    def lengthen(self, dimension: Dimension, length: int) -> None:
        """Give a dimension a new length, and with it every variable along it: the new part has the fill value.

        netCDF lets variables along an unlimited dimension be shorter than it, but HDF5's readers see their shapes.

        Raises
        ------
        ShapeError
            It is fixed in a file of the classic model.
        """
        if self.existing.is_classic and not dimension.is_unlimited:
            raise ShapeError(
                f"dimension {dimension.path} of {self.existing.name} is fixed, and the classic model (NETCDF4_CLASSIC) "
                "allows one unlimited dimension, the first; copy the file to NETCDF4, or append to a file whose "
                "dimension is unlimited",
                path=dimension.path,
            )
        axes: dict[str, list[int]] = {dimension.path: [0]}
        for variable, axis in self.existing.users(dimension):
            if (variable.path, axis) != (dimension.path, 0):
                axes.setdefault(variable.path, []).append(axis)
        for path, grown in axes.items():
            spec = self._spec(path)
            extents = enumerate(spec.shape or ())
            shape = tuple(length if axis in grown else n or 0 for axis, n in extents)
            self._set(path, shape, tuple(None if i in grown else n for i, n in enumerate(spec.bounds)))

    def add(
        self, stored: StoredVariable, variable: xr.Variable, placement: DimensionRanges, *, is_local: bool
    ) -> None:
        """Give a variable values, in memory or of a dask array, in the encoding of the file.

        With `is_local`, the values of a dask array are in the memory of this process.

        Raises
        ------
        ShapeError
            The array is too large for a variable without chunks, which is written in one piece.
        """
        if self._is_there(stored, variable, placement):
            return
        spec = self._spec(stored.path)
        total = placement.total(stored.dims, tuple(stored.sizes.values()))
        shape = tuple(max(n or 0, m) for n, m in zip(spec.shape or (), total, strict=True))
        if shape != spec.shape:
            self._set(stored.path, shape, spec.bounds)
        origin = placement.origin(stored.dims)
        self.origins[stored.path] = origin
        spec, data = self._spec(stored.path), variable.data
        if isinstance(data, da.Array) and spec.chunks is None:
            if data.nbytes > HELD_NBYTES:
                raise ShapeError(
                    f"variable {stored.path} is stored in one piece, without chunks, so the {data.nbytes:,} bytes for "
                    "it would be in memory at once; give it chunks (streamh5 convert), or write smaller parts "
                    "(region=)",
                    path=stored.path,
                )
            data = data.compute()
        if isinstance(data, da.Array) and spec.chunks is not None:
            check_known_sizes(f"variable {stored.path}", data)
            data = data.astype(spec.dtype) if data.dtype != spec.dtype else data
            aligned = aligned_region(stored.path, data, spec.chunks, origin)
            self.targets.append(Target(spec, aligned, is_local=is_local, origin=origin))
        else:
            self.values[stored.path] = data

    def _is_there(self, stored: StoredVariable, variable: xr.Variable, placement: DimensionRanges) -> bool:
        """Return whether small values in memory are those of the file, such as coordinates that come with each call."""
        if isinstance(variable.data, da.Array) or variable.nbytes > MAX_WHOLE_NBYTES:
            return False
        if placement.append_dim in stored.dims or stored.shape != tuple(stored.sizes.values()):
            return False
        values, there = variable.to_numpy(), self.existing.read(stored, placement.region(stored.dims))
        is_float = values.dtype.kind == there.dtype.kind == "f"
        return values.dtype.kind == there.dtype.kind and np.array_equal(values, there, equal_nan=is_float)

    def plan(self, plan: FilePlan) -> None:
        """Enter the changed datasets in the plan of the file."""
        for path in {**self.specs, **self.origins}:
            stored = find_stored(self.existing.root, path)
            if stored is not None:
                origin = self.origins.get(path, (0,) * len(stored.shape or ()))
                plan.objects[path] = PlannedRegion(
                    stored, self.specs.get(path, stored), origin, self._source(path)
                )

    def write(self, file: File) -> None:
        """Write the data that is in memory."""
        for path, value in self.values.items():
            dataset, origin = file.datasets[path], self.origins[path]
            if not (file.session.options.resume and dataset.is_stored(origin, value.shape)):
                write_values(dataset, value, origin)

    def replace_scale(self, dimension: Dimension) -> list[tuple[Reference, int]]:
        """Plan that a coordinate variable takes the place of a scale without one; return the uses of the dimension."""
        users = self.existing.users(dimension)
        self.users[dimension.path] = [user for user, _ in users]
        self.specs.pop(dimension.path, None)
        return [(Reference(user.path), axis) for user, axis in users]

    def remove_scales(self, file: File) -> None:
        """Remove the scales whose place a coordinate variable takes."""
        for path in self.users:
            file.session.remove(path)

    def add_uses(self, file: File, uses: Mapping[str, list[tuple[Reference, int]]]) -> None:
        """Enter new variables in the REFERENCE_LIST of the scales of their dimensions, by the path of the scale.

        Variables along a dimension whose scale was replaced refer to the new one.
        """
        for path, added in uses.items():
            scale = find(file.session.root, path)
            if isinstance(scale, DatasetNode):
                there = uses_of_scale(scale.attributes.get("REFERENCE_LIST"))
                file.session.set_attribute(scale, reference_list([*there, *added]))
        for user in {user.path: user for users in self.users.values() for user in users}.values():
            scales = [[Reference(one.path)] for one in user.dimensions or ()]
            file.session.set_attribute(file[user.path].node, dimension_list(scales))

    def _source(self, path: str) -> str | None:
        """Return the identity of the data of a variable; None for data in memory."""
        names = (one.array.name for one in self.targets if one.spec.path == path)
        return self.resume_key or next(names, None)

    def _spec(self, path: str) -> DatasetSpec:
        found = self.specs.get(path) or find_stored(self.existing.root, path)
        if found is None:
            raise ShapeError(f"{path} is not in {self.existing.name}; call again", path=path)
        return found

    def _set(self, path: str, shape: tuple[int, ...], bounds: tuple[int | None, ...]) -> None:
        self.specs[path] = replace(
            self._spec(path), shape=shape, maxshape=None if bounds == shape else bounds
        )
