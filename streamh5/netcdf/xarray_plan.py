"""Plan the groups and variables of xarray objects: which are new, which are in the file and grow or get values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from streamh5.dask.blocks import check_known_sizes
from streamh5.errors import DatatypeError, SourceError, StreamH5Error
from streamh5.handles.dataset_plan import MAX_WHOLE_NBYTES
from streamh5.model.attribute_spec import AttributeSpec
from streamh5.model.tree import GroupNode, find
from streamh5.netcdf.attributes import NUMBERS, netcdf_attribute, string_attribute
from streamh5.netcdf.enumerations import members_only, read_enumeration
from streamh5.netcdf.existing import ExistingNetcdf
from streamh5.netcdf.growth import Growth
from streamh5.netcdf.netcdf4 import NetcdfFile, NetcdfGroup, NetcdfVariable
from streamh5.netcdf.placement import DimensionRanges, WriteRequest, place
from streamh5.netcdf.quantization import kept_values, read_rounding
from streamh5.netcdf.storage import (
    COMPRESSION_FLAGS,
    Storage,
    default_fill,
    plan_variable,
    read_encoding,
)
from streamh5.netcdf.xarray_encoding import (
    EncodedGroup,
    PlannedGroup,
    encode_node,
    streamed_nbytes,
    without_values,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import xarray as xr

    from streamh5.arguments.write_options import WriteOptions
    from streamh5.dask.graph import Target
    from streamh5.filters import FilterOptions
    from streamh5.handles.file import File
    from streamh5.netcdf.enumerations import NamedEnumeration


@dataclass(slots=True)
class XarrayPlan:
    """What a call writes.

    Parameters
    ----------
    request
        Mode, `append_dim` and `region` of the call.
    existing
        The file that is added to; an empty one if there is none.
    default
        Compression of the variables whose encoding names none.
    options
        How the file is written.
    is_space
        Whether data variables get no data: see `create_space`.
    is_classic
        Whether a new file follows the classic model.
    """

    request: WriteRequest
    existing: ExistingNetcdf
    default: FilterOptions
    options: WriteOptions
    is_space: bool = False
    is_classic: bool = False
    _file: NetcdfFile = field(init=False)
    _growth: Growth = field(init=False)

    def __post_init__(self) -> None:
        existing = self.existing
        self._growth = Growth(existing, self.options.resume_key)
        self._file = NetcdfFile(
            existing.n_dimensions, stored_scales=existing.scales, is_classic=self.is_classic
        )
        for group in existing.groups.values():
            self._file.add_stored_dimensions(group.path, group.dimensions)

    @property
    def targets(self) -> list[Target]:
        """The arrays that tasks write."""
        new = [one.target for one in self._file.variables() if one.target is not None]
        return new + self._growth.targets

    def preparation(self, *, write_empty_chunks: bool) -> Callable[[File], None]:
        """Return what creates and changes objects, and writes data in memory, before the first block."""
        is_new = not self.existing.is_there
        plan = self._file.plan(
            libver=self.options.libver, write_empty_chunks=write_empty_chunks, is_new=is_new
        )
        self._growth.plan(plan)

        def prepare(file: File) -> None:
            self.existing.check_unchanged()
            self._growth.remove_scales(file)
            plan.create(file)
            self._growth.write(file)
            self._growth.add_uses(file, self._file.uses_of_stored())

        return prepare

    def add(self, nodes: list[PlannedGroup]) -> None:
        """Plan the datasets of all nodes, with empty groups between them where needed.

        Raises
        ------
        SpecError, DatatypeError, LimitError, BlockError
            A variable cannot be written, or does not fit the file.
        """
        max_nbytes = streamed_nbytes(nodes)
        for node in nodes:
            self._add_node(node, max_nbytes)
        self.existing.check(self._file.groups.values(), self._file.former_uses)

    def _add_node(self, node: PlannedGroup, max_nbytes: int) -> None:
        stored = self.existing.group(node.path).variables
        placement = DimensionRanges()
        is_stored = self.existing.is_there
        if node.path in self.existing.groups or (is_stored and self.request.append_dim is None):
            dataset, placement = place(node.dataset, node.path, self.request, self.existing)
            node = replace(node, dataset=dataset)
            self._lengthen(node.path, placement)
        elif self.request.append_dim is not None:
            node = replace(node, unlimited=(*node.unlimited, str(self.request.append_dim)))
        if self.is_space:
            node = replace(node, dataset=without_values(node.dataset))
        encoded = encode_node(node, max_nbytes, stored, placement, is_classic=self.is_classic)
        empty = set(node.dataset.data_vars) if self.is_space else set()
        for name, one in encoded.variables.items():
            if name not in encoded.in_memory:
                check_known_sizes(f"variable {node.path.rstrip('/')}/{name}", one)
            if name in stored:
                self._growth.add(stored[name], one, placement, is_local=name in encoded.in_memory)
        new = {name: one for name, one in encoded.variables.items() if name not in stored}
        changes_attributes = self.request.mode != "r+"
        group = self._file.add_group(
            node.path,
            [
                netcdf_attribute(name, value, where=node.path)
                for name, value in encoded.attributes.items()
                if changes_attributes
            ],
            {name: (one.dims, placement.total(one.dims, one.shape)) for name, one in new.items()},
            unlimited=node.unlimited,
        )
        self._plan_new(group, new, encoded, placement)
        for planned in group.variables.values():
            if planned.is_scale and planned.path in self._file.stored_scales:
                dimension = planned.dimensions[0]
                self._file.give_variable(dimension, self._growth.replace_scale(dimension))
        for variable in empty & new.keys():
            _leave_empty(group.variables[str(variable)])

    def _lengthen(self, path: str, placement: DimensionRanges) -> None:
        """Let the dimension that is appended to grow, for the variables that are there and for new ones."""
        if placement.append_dim is None:
            return
        name = str(placement.append_dim)
        dimension = self.existing.find_dimension(path, name)
        if dimension is None:
            return
        length = placement.ranges[placement.append_dim][2]
        self._growth.lengthen(dimension, length)
        owner = self._file.groups[dimension.path.rpartition("/")[0] or "/"]
        owner.dimensions[name] = replace(dimension, length=length, is_unlimited=True)

    def _plan_new(
        self,
        group: NetcdfGroup,
        variables: Mapping[Any, xr.Variable],
        encoded: EncodedGroup,
        placement: DimensionRanges,
    ) -> None:
        added = list(group.variables.values())[-len(variables) :] if variables else []
        for planned, (name, variable) in zip(added, variables.items(), strict=True):
            try:
                self._plan_variable(planned, variable, placement, is_explicit=name in encoded.explicit)
            except StreamH5Error as error:
                if planned.path in str(error):
                    raise
                raise type(error)(f"variable {planned.path}: {error}", **error.facts) from error
            if planned.target is not None and name in encoded.in_memory:
                planned.target = replace(planned.target, is_local=True)

    def _plan_variable(
        self, planned: NetcdfVariable, variable: xr.Variable, placement: DimensionRanges, *, is_explicit: bool
    ) -> None:
        """Plan the dataset and the attributes of a variable."""
        path = planned.path
        shape = placement.total(variable.dims, variable.shape)
        origin = placement.origin(variable.dims) if shape != variable.shape else None
        is_unlimited = tuple(dimension.is_unlimited for dimension in planned.dimensions)
        storage = read_encoding(
            variable.encoding,
            path=path,
            is_explicit=is_explicit,
            shape=shape,
            is_unlimited=is_unlimited,
        )
        storage = _with_default(storage, variable, self.default, is_explicit=is_explicit)
        if self.is_space and shape and storage.chunks is None and not storage.contiguous:
            storage = replace(storage, chunks="auto")
        array, dtype = _typed(variable, path, storage)
        rounding = read_rounding(variable.encoding, dtype, path, is_explicit=is_explicit)
        fill = variable.attrs.get("_FillValue")
        if fill is None:
            fill = default_fill(dtype)
        elif dtype.kind == "U":
            fill = str(fill)
        enumeration = self._enumeration(variable, path)
        if enumeration is not None:
            members = dict(enumeration.members)
            array = members_only(array, members, variable.attrs.get("_FillValue"), path)
            storage = replace(storage, enumeration=enumeration)
            planned.enumeration = enumeration
        array = rounding.apply(array, kept_values(fill, variable.attrs, dtype))
        maxshape = tuple(None if free else n for n, free in zip(shape, is_unlimited, strict=True))
        planned.dataset, planned.target = plan_variable(
            path, array, dtype, storage, maxshape, fill, self.options, origin, shape
        )
        for name, value in rounding.with_attributes(variable.attrs).items():
            if name == "_FillValue":
                planned.attributes.append(_fill_attribute(value, planned))
            else:
                planned.attributes.append(netcdf_attribute(name, value, where=path))

    def _enumeration(self, variable: xr.Variable, path: str) -> NamedEnumeration | None:
        group = path.rpartition("/")[0] or "/"
        node = find(self.existing.root, group)
        return read_enumeration(variable, group, node.links if isinstance(node, GroupNode) else {}, path)


def _with_default(
    storage: Storage, variable: xr.Variable, default: FilterOptions, *, is_explicit: bool
) -> Storage:
    """Apply the compression of the call, unless the encoding given for the variable names one."""
    asked = {"compression", *COMPRESSION_FLAGS} & variable.encoding.keys()
    is_small = variable.nbytes <= MAX_WHOLE_NBYTES and not isinstance(variable.data, da.Array)
    if default.compression is None or is_small or storage.contiguous or (is_explicit and asked):
        return storage
    return replace(storage, filters=replace(default, fletcher32=storage.filters.fletcher32))


def _typed(variable: xr.Variable, path: str, storage: Storage) -> tuple[Any, np.dtype[Any]]:
    """Return the data as a dask or numpy array, and its dtype in netCDF-4; ``U`` stands for strings."""
    data = variable.data
    if not isinstance(data, da.Array):
        data = variable.to_numpy()
    element: np.dtype[Any] = data.dtype
    metadata: Mapping[str, Any] = element.metadata or {}
    if (
        element.kind in "UT"
        or str in (metadata.get("element_type"), metadata.get("vlen"))
        or (variable.encoding.get("dtype") is str and element.kind in "SO")
    ):
        return data if element.kind == "U" else data.astype(object), np.dtype("U")
    if element != np.dtype("S1") and f"{element.kind}{element.itemsize}" not in NUMBERS:
        real = "float32" if element.itemsize < 4 else "float64"
        hint = {"c": "split it into .real and .imag", "f": f"encode it with dtype={real!r}"}.get(element.kind)
        raise DatatypeError(
            f"variable {path}: netCDF-4 has no type for dtype {element}; {hint or 'convert it to numbers or text'}",
            dtype=element,
        )
    # numpy's types list the byte orders; the encoding gives a str, which was checked when it was read
    wanted = np.dtype(element.str).newbyteorder(storage.byteorder)  # type: ignore[arg-type]
    return data if element == wanted else data.astype(wanted), wanted


def _fill_attribute(fill: Any, planned: NetcdfVariable) -> AttributeSpec:
    """Return ``_FillValue`` in the type of the variable; ``nc_put_att`` refuses any other type."""
    spec, path = planned.dataset.spec, planned.path
    if planned.enumeration is not None:
        return planned.enumeration.fill_attribute(spec.fillvalue, path)
    if spec.is_encoded:
        return string_attribute("_FillValue", [fill if isinstance(fill, str) else str(fill)], where=path)
    value = spec.fillvalue
    if value is None:
        raise SourceError(f"variable {path}: _FillValue {fill!r} cannot be stored", fillvalue=fill)
    stored = value[()]
    return netcdf_attribute("_FillValue", bytes(stored) if value.dtype.kind == "S" else stored, where=path)


def _leave_empty(planned: NetcdfVariable) -> None:
    """Let a variable with dimensions have no data."""
    if planned.dimensions:
        planned.dataset, planned.target = replace(planned.dataset, begin=None, value=None), None
