"""A netCDF-4 file that is added to: its groups, dimensions and variables, and what must not change in it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import SinkError, SpecError
from streamh5.format.datatype import datatype_class, decode_datatype
from streamh5.format.datatype_class import EncodedDatatype, Enumeration
from streamh5.model.dimension_scale import (
    NOT_A_COORDINATE,
    WITHOUT_VARIABLE,
    is_scale_class,
    name_of_scale,
)
from streamh5.model.object_path import split_path
from streamh5.model.reference import Reference
from streamh5.model.tree import DatasetNode, GroupNode, find, walk
from streamh5.netcdf.attributes import RESERVED, shown_value
from streamh5.netcdf.dimension import Dimension

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from pathlib import Path

    from streamh5.dask.stored_targets import PresentFile
    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.netcdf.netcdf4 import NetcdfGroup

HIDDEN = RESERVED | {"_Netcdf4Dimid"}
"""Attributes that netCDF-4 keeps for itself."""


@dataclass(frozen=True, slots=True)
class StoredVariable:
    """A variable of the existing file.

    Parameters
    ----------
    name, path
        Its name, and the path of its dataset.
    dimensions
        Its dimensions in order; None if it is no variable of netCDF-4, because it does not tell them.
    shape
        Its present shape; shorter than its dimensions if nobody wrote their last records.
    dtype
        Element type; an object type of h5py for strings.
    chunks
        Its chunk shape; None if it is stored without chunks.
    attributes
        Its attributes as xarray has them, without those that netCDF-4 keeps for itself; bounds of times have the units
        and the calendar of their times.
    """

    name: str
    path: str
    dimensions: tuple[Dimension, ...] | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None
    attributes: dict[str, Any]

    def with_lengths(self, lengths: Mapping[str, int]) -> StoredVariable:
        """Return the variable with other lengths of its dimensions, by the paths of their scales."""
        dimensions = self.dimensions
        if dimensions is not None:
            dimensions = tuple(replace(one, length=lengths[one.path]) for one in dimensions)
        return replace(self, dimensions=dimensions)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of its dimensions."""
        return tuple(one.name for one in self.dimensions or ())

    @property
    def text_dims(self) -> tuple[str, ...]:
        """Names of the dimensions that xarray shows: characters are the last one of text."""
        return (
            self.dims[:-1]
            if self.dtype == np.dtype("S1") and len(self.dims) == len(self.shape)
            else self.dims
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Lengths of its dimensions, by name."""
        return {one.name: one.length for one in self.dimensions or ()}


@dataclass(slots=True)
class StoredGroup:
    """A group of the existing file: its own dimensions and variables by name, and its attributes."""

    path: str
    dimensions: dict[str, Dimension] = field(default_factory=dict)
    variables: dict[str, StoredVariable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExistingNetcdf:
    """The existing file; by default there is none.

    Parameters
    ----------
    name
        The file.
    status
        Its status before it was read; None if there is no file, or it is open for changes.
    root
        Its objects.
    groups
        Its groups by path, parents before their children.
    scales
        Paths of the scales of its dimensions.
    n_dimensions
        The first free dimension id.
    is_classic
        Whether it follows the classic model (NETCDF4_CLASSIC).
    libver
        Oldest version of the HDF5 library that can read the file; None if there is no file.
    """

    name: str = ""
    status: os.stat_result | None = None
    root: GroupNode = field(default_factory=lambda: GroupNode("/"))
    groups: dict[str, StoredGroup] = field(default_factory=dict)
    scales: frozenset[str] = frozenset()
    n_dimensions: int = 0
    is_classic: bool = False
    libver: str | None = None

    @property
    def is_there(self) -> bool:
        """Whether there is a file."""
        return self.libver is not None

    def group(self, path: str) -> StoredGroup:
        """Return the group at `path`; one without members if there is none."""
        return self.groups.get(path) or StoredGroup(path)

    def find_dimension(self, path: str, name: str) -> Dimension | None:
        """Return the dimension `name` of the group at `path`, or of its nearest parent that has one."""
        while True:
            if name in self.group(path).dimensions:
                return self.group(path).dimensions[name]
            if path == "/":
                return None
            path = path.rpartition("/")[0] or "/"

    def users(self, dimension: Dimension) -> list[tuple[StoredVariable, int]]:
        """Return the variables along a dimension, its own among them, and the axis of each use."""
        return [
            (variable, axis)
            for group in self.groups.values()
            for variable in group.variables.values()
            for axis, one in enumerate(variable.dimensions or ())
            if one.path == dimension.path
        ]

    def read(self, variable: StoredVariable, region: tuple[slice, ...] = ()) -> np.ndarray[Any, Any]:
        """Return stored values of a variable: numbers as stored, strings as str."""
        import h5py

        with h5py.File(self.name, "r") as file:
            dataset = file[variable.path]
            values = dataset.asstr()[region] if variable.dtype.kind == "O" else dataset[region]
        return np.asarray(values)

    def check_unchanged(self) -> None:
        """Refuse to add to the file if it is not the one that was read before it was opened and locked.

        Raises
        ------
        SinkError
            Another program has changed or replaced it.
        """
        if self.status is None:
            return
        now = os.stat(self.name)
        if not os.path.samestat(now, self.status) or now.st_mtime_ns != self.status.st_mtime_ns:
            raise SinkError(
                f"cannot add to {self.name}: another program has changed it meanwhile; nothing was added, call again",
                path=self.name,
            )

    def check(self, groups: Iterable[NetcdfGroup], replaced: Container[str]) -> None:
        """Refuse new groups, variables and dimensions whose names are taken.

        Parameters
        ----------
        groups
            The groups.
        replaced
            Paths of scales without a variable that get one.

        Raises
        ------
        SpecError
            A name is taken; the message contains it.
        """
        for group in groups:
            node = find(self.root, group.path)
            if node is not None and not isinstance(node, GroupNode):
                self._refuse(f"group {group.path}: an object of that name that is no group", group.path)
            if node is None:
                if self.is_classic:
                    raise SpecError(
                        f"group {group.path}: {self.name} follows the classic model (NETCDF4_CLASSIC), which has no "
                        "groups; write to its root",
                        path=group.path,
                    )
                continue
            if isinstance(node, GroupNode):
                self._check_members(group, node, replaced)
            self._check_shadows(group)

    def _check_members(self, group: NetcdfGroup, node: GroupNode, replaced: Container[str]) -> None:
        added = [one for one in group.dimensions.values() if one.path not in self.scales]
        if self.is_classic and (group.variables or added):
            raise SpecError(
                f"{listed_members(group)}: {self.name} follows the classic model (NETCDF4_CLASSIC), to which new "
                "variables and dimensions are not added; values of those that are there can be",
                path=group.path,
            )
        for path in [*(one.path for one in group.variables.values()), *(one.path for one in added)]:
            if path.rpartition("/")[2] in node.links and path not in replaced:
                self._refuse(f"variable {path}: an object of that name", path)

    def _check_shadows(self, group: NetcdfGroup) -> None:
        """Refuse a new dimension with the name of one in a parent group.

        Readers look dimensions up by name, so variables that use the parent's would get the new one.
        """
        for name, dimension in group.dimensions.items():
            if dimension.path in self.scales or group.path == "/":
                continue
            above = self.find_dimension(group.path.rpartition("/")[0] or "/", name)
            if above is not None:
                owner = above.path.rpartition("/")[0] or "/"
                what = (
                    f"group {group.path}: a dimension {name!r} of group {owner}, of length {above.length:,},"
                )
                self._refuse(what, group.path)

    def _refuse(self, what: str, path: str) -> None:
        raise SpecError(
            f"{what} exists in {self.name}; rename it, or write to another group (group=)", path=path
        )


def listed_members(group: NetcdfGroup) -> str:
    """Return the first new member of a group, for a message."""
    names = [*group.variables, *group.dimensions]
    return f"{group.path.rstrip('/')}/{names[0]}"


def read_existing_netcdf(path: Path, present: PresentFile) -> ExistingNetcdf:
    """Return the groups, dimensions and variables of a netCDF-4 file.

    Raises
    ------
    SpecError
        It is not a netCDF-4 file.
    """
    root = present.root
    if "_NCProperties" not in root.attributes:
        raise SpecError(
            f"{path} has no _NCProperties, so it is plain HDF5 or was written by netCDF-C before 4.4.1; add to "
            "it with streamh5.File(path, 'a'), or with xarray's own to_netcdf",
            path=str(path),
        )
    contents = _Contents(root)
    return ExistingNetcdf(
        str(path),
        present.status,
        root,
        contents.groups,
        frozenset(contents.scales),
        max(contents.numbers, default=-1) + 1,
        "_nc3_strict" in root.attributes,
        present.libver,
    )


class _Contents:
    """Groups, dimensions and variables of a file."""

    def __init__(self, root: GroupNode) -> None:
        self.groups: dict[str, StoredGroup] = {}
        self.scales: dict[str, Dimension] = {}
        datasets: list[DatasetNode] = []
        for node in sorted(walk(root), key=lambda one: split_path(one.path)):
            if isinstance(node, GroupNode):
                self.groups[node.path] = StoredGroup(node.path)
            elif isinstance(node, DatasetNode):
                datasets.append(node)
        for scale in datasets:
            if scale.shape and "CLASS" in scale.attributes and is_scale_class(scale.attributes["CLASS"]):
                self._add_scale(scale, scale.shape)
        self.numbers = [one.number for one in self.scales.values()]
        by_number = {one.number: one for one in self.scales.values()}
        for dataset in datasets:
            if dataset.shape is not None:
                self._add_variable(dataset, dataset.shape, by_number)
        self._lengthen()
        self._give_bounds_units()

    def _add_scale(self, scale: DatasetNode, shape: tuple[int, ...]) -> None:
        group, _, name = scale.path.rpartition("/")
        # netCDF-C numbers scales without a `_Netcdf4Dimid` by their count
        number = int(_numbers(scale, "_Netcdf4Dimid", len(self.scales))[0])
        dimension = Dimension(
            name,
            shape[0],
            scale.spec.bounds[0] is None,
            number,
            scale.path,
            not name_of_scale(scale.attributes.get("NAME")).startswith(WITHOUT_VARIABLE),
        )
        self.scales[scale.path] = dimension
        self.groups[group or "/"].dimensions[name] = dimension

    def _add_variable(
        self, dataset: DatasetNode, shape: tuple[int, ...], by_number: dict[int, Dimension]
    ) -> None:
        scale = self.scales.get(dataset.path)
        if scale is not None and not scale.has_variable:
            return
        group, _, link = dataset.path.rpartition("/")
        name = link.removeprefix(NOT_A_COORDINATE)
        self.groups[group or "/"].variables[name] = StoredVariable(
            name,
            dataset.path,
            self._dimensions(dataset, shape, by_number),
            shape,
            _dtype(dataset.spec),
            dataset.spec.chunks,
            {key: shown_value(one.content) for key, one in dataset.attributes.items() if key not in HIDDEN},
        )

    def _dimensions(
        self, dataset: DatasetNode, shape: tuple[int, ...], by_number: dict[int, Dimension]
    ) -> tuple[Dimension, ...] | None:
        """Return the dimensions of a variable; None if they are not told."""
        if not shape:
            return ()
        if "DIMENSION_LIST" in dataset.attributes:
            scales = [one[0] if one else None for one in dataset.attributes["DIMENSION_LIST"].content]
            found = [self.scales.get(one.path) if isinstance(one, Reference) else None for one in scales]
        elif len(shape) == 1:
            found = [self.scales.get(dataset.path)]
        else:
            found = [by_number.get(int(number)) for number in _numbers(dataset, "_Netcdf4Coordinates", ())]
        known = tuple(one for one in found if one is not None)
        return known if len(known) == len(shape) else None

    def _lengthen(self) -> None:
        """Give each unlimited dimension the length of its longest variable, as netCDF-C does."""
        longest = {path: one.length for path, one in self.scales.items()}
        everything = [one for group in self.groups.values() for one in group.variables.values()]
        for variable in everything:
            for dimension, length in zip(variable.dimensions or (), variable.shape, strict=False):
                if dimension.is_unlimited:
                    longest[dimension.path] = max(longest[dimension.path], length)
        for group in self.groups.values():
            group.dimensions = {
                name: replace(one, length=longest[one.path]) for name, one in group.dimensions.items()
            }
            group.variables = {name: one.with_lengths(longest) for name, one in group.variables.items()}

    def _give_bounds_units(self) -> None:
        """Give bounds the units of their times, as ``xarray.conventions`` does: CF lets them have none."""
        for group in self.groups.values():
            for variable in group.variables.values():
                units = {key: one for key, one in variable.attributes.items() if key in ("units", "calendar")}
                bounds = group.variables.get(str(variable.attributes.get("bounds")))
                if bounds is not None and " since " in str(units.get("units")):
                    for key, one in units.items():
                        bounds.attributes.setdefault(key, one)


def _dtype(spec: DatasetSpec) -> np.dtype[Any]:
    """Return the element type as h5py has it: that of an enumeration has its names."""
    found = datatype_class(spec.file_datatype)
    if isinstance(found, EncodedDatatype):
        found = decode_datatype(found.message)
    if isinstance(found, Enumeration) and spec.dtype.kind in "iu":
        return np.dtype(spec.dtype, metadata={"enum": dict(found.members)})
    return spec.dtype


def _numbers(dataset: DatasetNode, name: str, default: Any) -> np.ndarray[Any, Any]:
    """Return the numbers in an attribute."""
    attribute = dataset.attributes.get(name)
    return np.ravel(default if attribute is None else attribute.content)
