"""What makes an HDF5 file a netCDF-4 file: dimensions as scales, and how variables refer to them.

A dimension is a dataset, its *scale*: the coordinate variable of its name where the group has one,
otherwise a dataset without data. Variables refer to the scales of their dimensions (DIMENSION_LIST), and
scales to the variables that use them (REFERENCE_LIST), as H5DS of HDF5's high-level library writes both.
netCDF-C finds dimensions by number (``_Netcdf4Dimid`` of a scale, ``_Netcdf4Coordinates`` of a variable)
and opens for appending only what tracks the creation order. Sources: "NetCDF-4 Format" of the netCDF
User's Guide, ``libhdf5/nc4hdf.c`` and ``libhdf5/hdf5open.c`` of netCDF-C 4.10.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import PathError, ShapeError
from streamh5.filters import FilterChain
from streamh5.handles.file_plan import FilePlan, PlannedDataset
from streamh5.model.attribute_spec import attribute_spec
from streamh5.model.dataset_spec import DatasetSpec
from streamh5.model.reference import Reference
from streamh5.model.tree import GroupNode
from streamh5.netcdf.attributes import (
    netcdf_attribute,
    netcdf_name,
    reference_list,
    text_attribute,
)
from streamh5.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamh5.dask.graph import Target
    from streamh5.model.attribute_spec import AttributeSpec

__all__ = [
    "Dimension",
    "NetcdfGroup",
    "NetcdfVariable",
    "check_members",
    "define_dimensions",
    "plan_file",
]

SCALE_CLASS = "DIMENSION_SCALE"

WITHOUT_VARIABLE = "This is a netCDF dimension but not a netCDF variable."
"""``DIM_WITHOUT_VARIABLE`` of netCDF-C: NAME of a scale that is no variable, before its length."""

NOT_A_COORDINATE = "_nc4_non_coord_"
"""``NON_COORD_PREPEND`` of netCDF-C: link name of a variable whose own name is taken by a dimension."""

SCALE_DTYPE = np.dtype(">f4")
"""Element type that netCDF-C gives a scale without a variable (``nc4_create_dim_wo_var``)."""

SCALE_CHUNK = 1 << 20
"""Chunk of a scale without data: as no chunk is ever stored, one for most dimensions."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """A dimension, and where its scale is.

    Parameters
    ----------
    name
        Name of the dimension.
    length
        Present length.
    is_unlimited
        Whether readers may extend it.
    number
        netCDF's dimension id: position in the file's order of dimensions.
    path
        The dataset that is its scale.
    has_variable
        Whether that is a coordinate variable.
    """

    name: str
    length: int
    is_unlimited: bool
    number: int
    path: str
    has_variable: bool


@dataclass(frozen=True, slots=True)
class NetcdfVariable:
    """A variable that is planned.

    Parameters
    ----------
    dimensions
        Its dimensions, in order.
    dataset
        The dataset that it becomes, which writes the data itself where it is in memory.
    target
        What tasks write of it; None where it is in memory.
    attributes
        Its attributes, as they are written.
    """

    name: str
    dimensions: tuple[Dimension, ...]
    dataset: PlannedDataset
    target: Target | None
    attributes: tuple[AttributeSpec, ...]

    @property
    def path(self) -> str:
        """The dataset in the file."""
        return self.dataset.spec.path

    @property
    def is_scale(self) -> bool:
        """Whether it is the scale of its first dimension."""
        return bool(self.dimensions) and self.dimensions[0].path == self.path


@dataclass(slots=True)
class NetcdfGroup:
    """A group: its own dimensions, its variables, its attributes."""

    path: str
    parent: NetcdfGroup | None = None
    dimensions: dict[str, Dimension] = field(default_factory=dict)
    variables: dict[str, NetcdfVariable] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    def find(self, name: str) -> Dimension | None:
        """Dimension that a variable of this group means by `name`: its own, or the nearest parent's."""
        group: NetcdfGroup | None = self
        while group is not None:
            if name in group.dimensions:
                return group.dimensions[name]
            group = group.parent
        return None

    def member(self, name: str) -> str:
        """Path of a member."""
        return f"{self.path.rstrip('/')}/{name}"

    def dataset_path(self, name: str, dims: tuple[str, ...]) -> str:
        """Path of the dataset of a variable (``nc4_var_alt_name`` of netCDF-C)."""
        is_hidden = name in self.dimensions and dims[:1] != (name,)
        return self.member(NOT_A_COORDINATE + name if is_hidden else name)


def define_dimensions(
    group: NetcdfGroup,
    variables: Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]],
    *,
    unlimited: Iterable[str] = (),
    declared: Mapping[str, int] | None = None,
    first: int,
) -> None:
    """Define the dimensions of `variables` in `group`, but for those that a parent has in the same length.

    A variable may have one dimension several times, as a covariance matrix has.

    Parameters
    ----------
    group
        Its parents' dimensions are defined.
    variables
        Names and lengths of the dimensions of each variable, by its name.
    unlimited
        Names of unlimited dimensions; they come first where no order is declared.
    declared
        Lengths of all dimensions by name, in their order, those that no variable uses included.
    first
        Number of the first dimension.

    Raises
    ------
    ShapeError
        A dimension has two lengths.
    PathError
        A name that netCDF forbids.
    """
    lengths = dict(declared or {})
    for name, (dims, shape) in variables.items():
        netcdf_name(name, "variable", group.path)
        for dim, length in zip(dims, shape, strict=True):
            netcdf_name(dim, f"dimension of variable {name!r}", group.path)
            if lengths.setdefault(dim, length) != length:
                raise ShapeError(
                    f"variable {group.member(name)}: dimension {dim!r} has the length {length:,} here and "
                    f"{lengths[dim]:,} elsewhere; rename one of them",
                    dimension=dim,
                )
    first_ones = [name for name in unlimited if name in lengths]
    for name in dict.fromkeys([*(declared or first_ones), *lengths]):
        inherited = group.parent.find(name) if group.parent is not None else None
        is_unlimited = name in first_ones
        if inherited is not None and inherited.length == lengths[name] and not is_unlimited:
            continue
        has_variable = name in variables and variables[name][0][:1] == (name,)
        group.dimensions[name] = Dimension(
            name, lengths[name], is_unlimited, first, group.member(name), has_variable
        )
        first += 1


def check_members(groups: list[NetcdfGroup]) -> None:
    """Refuse groups whose name is also that of a variable or a dimension in their parent.

    Raises
    ------
    PathError
        There is one.
    """
    paths = {group.path for group in groups}
    for group in groups:
        for name in [*group.variables, *group.dimensions]:
            if group.member(name) in paths:
                raise PathError(
                    f"{group.member(name)} is a group and also a variable or a dimension of {group.path}; rename one "
                    "of them",
                    path=group.member(name),
                )


def plan_file(
    groups: list[NetcdfGroup], *, libver: str, write_empty_chunks: bool, is_new: bool = True
) -> FilePlan:
    """Plan the objects and attributes of a file that tracks the creation order.

    Parameters
    ----------
    groups
        The root first, parents before their children.
    libver
        Oldest library that is to read the file.
    write_empty_chunks
        False leaves chunks out that hold nothing but the fill value.
    is_new
        Whether the file is new; one that is added to keeps its provenance.
    """
    plan = FilePlan(write_empty_chunks=write_empty_chunks)
    root = plan.attributes.setdefault("/", [])
    if is_new:
        root.append(text_attribute("_NCProperties", _properties().encode()))
    uses: dict[str, list[tuple[str, int]]] = {}
    scales: dict[str, Dimension] = {}
    for group in groups:
        plan.objects[group.path] = GroupNode(group.path, track_order=True)
        plan.attributes.setdefault(group.path, []).extend(
            netcdf_attribute(name, value, where=group.path) for name, value in group.attributes.items()
        )
        for dimension in group.dimensions.values():
            if not dimension.has_variable:
                scales[dimension.path] = dimension
                plan.objects[dimension.path] = _scale_without_variable(dimension, libver)
        for variable in group.variables.values():
            plan.objects[variable.path] = variable.dataset
            if variable.is_scale:
                scales[variable.path] = variable.dimensions[0]
            else:
                for axis, dimension in enumerate(variable.dimensions):
                    uses.setdefault(dimension.path, []).append((variable.path, axis))
    for path, dimension in scales.items():
        plan.attributes[path] = _scale_attributes(dimension, uses.get(path, []))
    for group in groups:
        for variable in group.variables.values():
            plan.attributes.setdefault(variable.path, []).extend(_variable_attributes(variable))
    return plan


def _scale_without_variable(dimension: Dimension, libver: str) -> PlannedDataset:
    length = dimension.length
    spec = DatasetSpec(
        dimension.path,
        (length,),
        SCALE_DTYPE,
        chunks=(max(1, min(length, SCALE_CHUNK)),),
        track_order=True,
        maxshape=(None,) if dimension.is_unlimited else None,
        libver=libver,
    )
    return PlannedDataset(spec, FilterChain((), spec.chunk_nbytes))


def _scale_attributes(dimension: Dimension, uses: list[tuple[str, int]]) -> list[AttributeSpec]:
    """Return what makes a dataset a scale, and names the variables that use it."""
    name = dimension.name if dimension.has_variable else f"{WITHOUT_VARIABLE}{dimension.length:10d}"
    attributes = [
        text_attribute("CLASS", SCALE_CLASS.encode() + b"\0"),
        text_attribute("NAME", name.encode() + b"\0"),
        attribute_spec("_Netcdf4Dimid", np.int32(dimension.number), path=dimension.path),
    ]
    return [*attributes, reference_list(uses)] if uses else attributes


def _variable_attributes(variable: NetcdfVariable) -> list[AttributeSpec]:
    """Return the attributes of a variable, with those that tell its dimensions."""
    attributes = list(variable.attributes)
    if variable.dimensions:
        numbers = np.array([dimension.number for dimension in variable.dimensions], np.int32)
        attributes.append(attribute_spec("_Netcdf4Coordinates", numbers, path=variable.path))
        if not variable.is_scale:
            scales = [[Reference(dimension.path)] for dimension in variable.dimensions]
            attributes.append(attribute_spec("DIMENSION_LIST", scales, path=variable.path))
    return attributes


def _properties() -> str:
    """Provenance of the file, in the form that netCDF-C takes apart (``libsrc4/nc4info.c``)."""
    return f"version=2,streamh5={__version__}"
