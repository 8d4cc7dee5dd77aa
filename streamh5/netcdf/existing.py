"""A netCDF-4 file that is added to: its groups, dimensions and variables, and what must not change in it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import SinkError, SpecError
from streamh5.model.dimension_scale import NOT_A_COORDINATE, WITHOUT_VARIABLE
from streamh5.model.tree import GroupNode, find
from streamh5.netcdf.attributes import RESERVED
from streamh5.netcdf.netcdf4 import Dimension

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from pathlib import Path

    import h5py

    from streamh5.dask.stored_targets import PresentFile
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
    """Read the groups, dimensions and variables of a netCDF-4 file; no data is read.

    Raises
    ------
    SpecError
        It is not a netCDF-4 file.
    """
    import h5py

    with h5py.File(path, "r") as file:
        if "_NCProperties" not in file.attrs:
            raise SpecError(
                f"{path} has no _NCProperties, so it is plain HDF5 or was written by netCDF-C before 4.4.1; add to "
                "it with streamh5.File(path, 'a'), or with xarray's own to_netcdf",
                path=str(path),
            )
        contents = _Contents(file)
        return ExistingNetcdf(
            str(path),
            present.status,
            present.root,
            contents.groups,
            frozenset(contents.scales),
            max(contents.numbers, default=-1) + 1,
            "_nc3_strict" in file.attrs,
            present.libver,
        )


class _Contents:
    """Groups, dimensions and variables of an open file."""

    def __init__(self, file: h5py.File) -> None:
        import h5py

        self._file = file
        self.groups: dict[str, StoredGroup] = {"/": StoredGroup("/")}
        self.scales: dict[str, Dimension] = {}
        datasets: list[h5py.Dataset] = []

        def visit(_name: str, item: h5py.HLObject) -> None:
            if isinstance(item, h5py.Group):
                self.groups[item.name] = StoredGroup(item.name)
            elif isinstance(item, h5py.Dataset):
                datasets.append(item)

        file.visititems(visit)
        scales = [one for one in datasets if one.is_scale and one.ndim]
        for scale in scales:
            self._add_scale(scale)
        self.numbers = [one.number for one in self.scales.values()]
        by_number = {one.number: one for one in self.scales.values()}
        for dataset in datasets:
            self._add_variable(dataset, by_number)
        self._lengthen()
        self._give_bounds_units()

    def _add_scale(self, scale: h5py.Dataset) -> None:
        path = str(scale.name)
        group, _, name = path.rpartition("/")
        title = scale.attrs.get("NAME", b"")
        text = title.decode("utf-8", "replace") if isinstance(title, bytes) else str(title)
        # netCDF-C numbers scales without a `_Netcdf4Dimid` by their count
        number = int(scale.attrs.get("_Netcdf4Dimid", len(self.scales)))
        dimension = Dimension(
            name,
            scale.shape[0],
            scale.maxshape[0] is None,
            number,
            path,
            not text.startswith(WITHOUT_VARIABLE),
        )
        self.scales[path] = dimension
        self.groups[group or "/"].dimensions[name] = dimension

    def _add_variable(self, dataset: h5py.Dataset, by_number: dict[int, Dimension]) -> None:
        path = str(dataset.name)
        scale = self.scales.get(path)
        if dataset.shape is None or (scale is not None and not scale.has_variable):
            return
        group, _, link = path.rpartition("/")
        name = link.removeprefix(NOT_A_COORDINATE)
        dimensions = self._dimensions(dataset, by_number)
        attributes = {key: _value(value) for key, value in dataset.attrs.items() if key not in HIDDEN}
        self.groups[group or "/"].variables[name] = StoredVariable(
            name, path, dimensions, dataset.shape, dataset.dtype, dataset.chunks, attributes
        )

    def _dimensions(
        self, dataset: h5py.Dataset, by_number: dict[int, Dimension]
    ) -> tuple[Dimension, ...] | None:
        """Return the dimensions of a variable; None if they are not told."""
        if not dataset.ndim:
            return ()
        if "DIMENSION_LIST" in dataset.attrs:
            found = [
                self.scales.get(str(self._file[one[0]].name)) if len(one) and one[0] else None
                for one in dataset.attrs["DIMENSION_LIST"]
            ]
        elif dataset.ndim == 1:
            found = [self.scales.get(str(dataset.name))]
        else:
            numbers = np.atleast_1d(dataset.attrs.get("_Netcdf4Coordinates", ()))
            found = [by_number.get(int(number)) for number in numbers]
        known = tuple(one for one in found if one is not None)
        return known if len(known) == dataset.ndim else None

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


def _value(value: Any) -> Any:
    """Return an attribute as xarray's engines do: text as str, one number as a scalar."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if not isinstance(value, np.ndarray):
        return "" if type(value).__name__ == "Empty" else value
    if value.dtype.kind in "OS":
        texts = [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in value.ravel()]
        return texts[0] if len(texts) == 1 else texts
    return value.ravel()[0] if value.size == 1 else value
