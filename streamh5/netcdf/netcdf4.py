"""The groups, dimensions and variables of a netCDF-4 file: dimensions are scales to which variables refer.

A dimension is a dataset, its *scale*: the coordinate variable of its name where the group has one,
otherwise a dataset without data. Variables refer to the scales of their dimensions (DIMENSION_LIST), and
scales to the variables that use them (REFERENCE_LIST), as H5DS of HDF5's high-level library writes both.
netCDF-C finds dimensions by number (``_Netcdf4Dimid`` of a scale, ``_Netcdf4Coordinates`` of a variable)
and appends only to files that track the creation order. Sources: "NetCDF-4 Format" of the netCDF
User's Guide, ``libhdf5/nc4hdf.c`` and ``libhdf5/hdf5open.c`` of netCDF-C 4.10.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import PathError, ShapeError
from streamh5.handles.file_plan import FilePlan, PlannedDataset
from streamh5.model.attribute_spec import attribute_spec, text_attribute
from streamh5.model.dimension_scale import (
    NOT_A_COORDINATE,
    dimension_list,
)
from streamh5.model.object_path import join_path, split_path
from streamh5.model.reference import Reference
from streamh5.model.tree import GroupNode
from streamh5.netcdf.attributes import netcdf_name
from streamh5.netcdf.classic_model import check_model
from streamh5.netcdf.dimension import Dimension, scale_attributes, scale_without_variable
from streamh5.netcdf.enumerations import add_enumeration, check_names
from streamh5.version import __version__

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from streamh5.dask.graph import Target
    from streamh5.model.attribute_spec import AttributeSpec
    from streamh5.netcdf.enumerations import NamedEnumeration

PROPERTIES = f"version=2,streamh5={__version__}"
"""``_NCProperties``: provenance of the file, in the form that netCDF-C parses (``libsrc4/nc4info.c``)."""


@dataclass(slots=True)
class NetcdfVariable:
    """A variable: `NetcdfFile.add_group` sets path and dimensions, the caller the rest before `NetcdfFile.plan`.

    Parameters
    ----------
    path
        Path of its dataset.
    dimensions
        Its dimensions, in order.
    dataset
        The plan of the dataset; it also writes data that is in memory.
    target
        The blocks that tasks write; None for data in memory.
    attributes
        Its attributes, without those that netCDF-4 adds.
    enumeration
        The enumeration that its type is; None for other types.
    """

    path: str
    dimensions: tuple[Dimension, ...]
    dataset: PlannedDataset = field(init=False)
    target: Target | None = None
    attributes: list[AttributeSpec] = field(default_factory=list)
    enumeration: NamedEnumeration | None = None

    @property
    def is_scale(self) -> bool:
        """Whether it is the scale of its first dimension."""
        return bool(self.dimensions) and self.dimensions[0].path == self.path

    def all_attributes(self) -> list[AttributeSpec]:
        """Return its attributes, followed by those that refer to its dimensions."""
        attributes = list(self.attributes)
        if self.dimensions:
            numbers = np.array([dimension.number for dimension in self.dimensions], np.int32)
            attributes.append(attribute_spec("_Netcdf4Coordinates", numbers, path=self.path))
            if not self.is_scale:
                scales = [[Reference(dimension.path)] for dimension in self.dimensions]
                attributes.append(dimension_list(scales))
        return attributes


@dataclass(slots=True)
class NetcdfGroup:
    """A group: dimensions and variables by name, and attributes; `is_stored` if it is in the file already."""

    path: str
    parent: NetcdfGroup | None = None
    is_stored: bool = False
    dimensions: dict[str, Dimension] = field(default_factory=dict)
    variables: dict[str, NetcdfVariable] = field(default_factory=dict)
    attributes: list[AttributeSpec] = field(default_factory=list)

    def find(self, name: str) -> Dimension | None:
        """Return the dimension `name` of this group, or of the nearest parent that has one; None if there is none."""
        if name in self.dimensions or self.parent is None:
            return self.dimensions.get(name)
        return self.parent.find(name)

    def enumerations(self) -> dict[str, NamedEnumeration]:
        """Return the enumerations of its variables, by path."""
        found: dict[str, NamedEnumeration] = {}
        for variable in self.variables.values():
            if variable.enumeration is not None:
                add_enumeration(found, variable.enumeration, variable.path)
        return found

    def member(self, name: str) -> str:
        """Return the path of a member."""
        return f"{self.path.rstrip('/')}/{name}"

    def define(
        self,
        variables: Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]],
        unlimited: Iterable[str],
        declared: Mapping[str, int],
        first: int,
        stored: Container[str],
    ) -> int:
        """Define the variables and their dimensions; return the number of new dimensions.

        A dimension of the same name and length in a parent is shared. `stored` has the paths of the dimensions that are
        in the file already.
        """
        lengths = dict(declared)
        for name, (dims, shape) in variables.items():
            for dim, length in zip(dims, shape, strict=True):
                if lengths.setdefault(dim, length) != length:
                    raise ShapeError(
                        f"variable {self.member(name)}: dimension {dim!r} has the length {length:,} here and "
                        f"{lengths[dim]:,} elsewhere; rename one of them",
                        dimension=dim,
                    )
        first_ones = [name for name in unlimited if name in lengths]
        n_before = len(self.dimensions)
        for name in dict.fromkeys([*(declared or first_ones), *lengths]):
            length, is_unlimited = lengths[name], name in first_ones
            found = self.find(name)
            if name in self.dimensions and found is not None and found.length != length:
                raise ShapeError(
                    f"unable to update size for existing dimension {name!r} of group {self.path}: its length is "
                    f"{found.length:,}, that of the data {length:,}; append with append_dim=, write a part with "
                    "region=, or rename the dimension",
                    dimension=name,
                )
            is_stored = found is not None and found.path in stored
            # a new group has dimensions of its own, as if it came first
            is_apart = is_stored and not self.is_stored
            if found is None or found.length != length or is_apart or (is_unlimited and not is_stored):
                has_variable = name in variables and variables[name][0][:1] == (name,)
                number = first + len(self.dimensions) - n_before
                self.dimensions[name] = Dimension(
                    name, length, is_unlimited, number, self.member(name), has_variable
                )
        for name, (dims, _) in variables.items():
            is_hidden = name in self.dimensions and dims[:1] != (name,)
            path = self.member(NOT_A_COORDINATE + name if is_hidden else name)
            along = [self.find(dim) for dim in dims]
            self.variables[name] = NetcdfVariable(path, tuple(one for one in along if one is not None))
        return len(self.dimensions) - n_before


@dataclass(slots=True)
class NetcdfFile:
    """The groups of a netCDF-4 file by path, the root first and parents before their children.

    Parameters
    ----------
    n_dimensions
        Number of dimensions in the file; the ids of new dimensions start there.
    groups
        The groups by path.
    stored_scales
        Paths of the scales that are in the file already.
    former_uses
        Uses of the dimensions that were in the file without a variable and get one, by the path of the scale.
    is_classic
        Whether the file follows the classic model.
    """

    n_dimensions: int = 0
    groups: dict[str, NetcdfGroup] = field(default_factory=lambda: {"/": NetcdfGroup("/")})
    stored_scales: frozenset[str] = frozenset()
    former_uses: dict[str, list[tuple[Reference, int]]] = field(default_factory=dict)
    is_classic: bool = False

    def add_stored_dimensions(self, path: str, dimensions: Mapping[str, Dimension]) -> None:
        """Add a group that is in the file already, with its dimensions; its parents are there."""
        parent = self.groups[path.rpartition("/")[0] or "/"] if path != "/" else None
        self.groups[path] = NetcdfGroup(path, parent, True, dict(dimensions))

    def add_group(
        self,
        path: str,
        attributes: Iterable[AttributeSpec],
        variables: Mapping[Any, tuple[Iterable[Any], tuple[int, ...]]],
        *,
        unlimited: Iterable[Any] = (),
        declared: Mapping[str, int] | None = None,
    ) -> NetcdfGroup:
        """Add a group with its dimensions and variables; missing parents are added, too.

        A variable may use a dimension more than once, for example a covariance matrix.

        Parameters
        ----------
        path
            Path of the group.
        attributes
            Its attributes.
        variables
            Names and lengths of the dimensions of each variable, by its name; `NetcdfGroup.variables` keeps the order.
        unlimited
            Names of unlimited dimensions; they come first if `declared` gives no order.
        declared
            Lengths of all dimensions by name, in their order, including those that no variable uses.

        Raises
        ------
        ShapeError
            A dimension has two lengths.
        PathError
            netCDF forbids a name, or two variables have the same.
        """
        names = split_path(path)
        for i in range(1, len(names) + 1):
            parent, child = join_path(names[: i - 1]), join_path(names[:i])
            self.groups.setdefault(child, NetcdfGroup(child, self.groups[parent]))
        group = self.groups[path]
        group.attributes += attributes
        named: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {}
        for given, (dims, shape) in variables.items():
            name = netcdf_name(given, "variable", path)
            if name in named:
                raise PathError(
                    f"variable {group.member(name)}: two variables have this name in Unicode's form NFC; rename one "
                    "of them",
                    path=group.member(name),
                )
            what = f"dimension of variable {given!r}"
            named[name] = tuple(netcdf_name(dim, what, path) for dim in dims), shape
        self.n_dimensions += group.define(
            named,
            [netcdf_name(name, "dimension", path) for name in unlimited],
            {netcdf_name(name, "dimension", path): length for name, length in (declared or {}).items()},
            self.n_dimensions,
            self.stored_scales,
        )
        return group

    def plan(self, *, libver: str, write_empty_chunks: bool, is_new: bool = True) -> FilePlan:
        """Return the objects and attributes of the file, which tracks the creation order.

        Parameters
        ----------
        libver
            Oldest version of the HDF5 library that can read the file.
        write_empty_chunks
            False skips chunks in which every element is the fill value.
        is_new
            Whether the file is new; an existing file keeps its ``_NCProperties``.

        Raises
        ------
        PathError
            A group or an enumeration has the name of another member of its parent.
        """
        self._check_members()
        plan = FilePlan(write_empty_chunks=write_empty_chunks)
        if is_new:
            plan.attributes["/"] = [text_attribute("_NCProperties", PROPERTIES.encode())]
        if self.is_classic:
            plan.attributes["/"].append(attribute_spec("_nc3_strict", np.int32(1), path="/"))
        uses = self._uses()
        scales: list[Dimension] = []
        for group in self.groups.values():
            plan.objects[group.path] = GroupNode(group.path, track_order=True)
            plan.attributes.setdefault(group.path, []).extend(group.attributes)
            scales += group.dimensions.values()
            for enumeration in group.enumerations().values():
                if not enumeration.is_stored:
                    plan.objects[enumeration.path] = enumeration.node
            for dimension in group.dimensions.values():
                if not dimension.has_variable and dimension.path not in self.stored_scales:
                    plan.objects[dimension.path] = scale_without_variable(dimension, libver)
            for variable in group.variables.values():
                plan.objects[variable.path] = variable.dataset
        for dimension in scales:
            if dimension.path not in self.stored_scales:
                plan.attributes[dimension.path] = scale_attributes(dimension, uses.get(dimension.path, []))
        for variable in self.variables():
            plan.attributes.setdefault(variable.path, []).extend(variable.all_attributes())
        return plan

    def give_variable(self, dimension: Dimension, uses: list[tuple[Reference, int]]) -> None:
        """Let a dimension that is in the file get its coordinate variable, which becomes its scale.

        `uses` are the stored variables that use it.
        """
        owner = self.groups[dimension.path.rpartition("/")[0] or "/"]
        owner.dimensions[dimension.name] = replace(owner.dimensions[dimension.name], has_variable=True)
        self.stored_scales -= {dimension.path}
        self.former_uses[dimension.path] = uses

    def uses_of_stored(self) -> dict[str, list[tuple[Reference, int]]]:
        """Return the new uses of each dimension that is in the file already, by the path of its scale."""
        return {path: uses for path, uses in self._uses().items() if path in self.stored_scales}

    def _uses(self) -> dict[str, list[tuple[Reference, int]]]:
        """Return which variables use each dimension, and for which axis, by the path of its scale."""
        uses = {path: list(former) for path, former in self.former_uses.items()}
        for variable in self.variables():
            if not variable.is_scale:
                for axis, dimension in enumerate(variable.dimensions):
                    uses.setdefault(dimension.path, []).append((Reference(variable.path), axis))
        return uses

    def variables(self) -> list[NetcdfVariable]:
        """Return the variables of all groups."""
        return [variable for group in self.groups.values() for variable in group.variables.values()]

    def _check_members(self) -> None:
        if self.is_classic:
            check_model(self.groups.values())
        for group in self.groups.values():
            kinds = {
                **dict.fromkeys(map(group.member, group.dimensions), "dimension"),
                **dict.fromkeys(map(group.member, group.variables), "variable"),
                **dict.fromkeys(self.groups, "group"),
            }
            check_names(group.enumerations(), kinds)
            for name in [*group.variables, *group.dimensions]:
                if group.member(name) in self.groups:
                    raise PathError(
                        f"{group.member(name)} is a group and also a variable or a dimension of {group.path}; rename "
                        "one of them",
                        path=group.member(name),
                    )
