"""A netCDF-4 file to which groups and variables are added: its groups and its dimension ids.

Existing objects stay unchanged, so new variables need dimensions of their own: the scale of an existing dimension would
have to list its new users (REFERENCE_LIST).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamh5.errors import SinkError, SpecError
from streamh5.model.tree import GroupNode, find
from streamh5.reader.existing_file import read_existing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from streamh5.netcdf.netcdf4 import NetcdfGroup


@dataclass(frozen=True, slots=True)
class ExistingNetcdf:
    """The existing file; by default there is none.

    Parameters
    ----------
    name
        The file.
    status
        Its status before it was read; None if there is no file.
    root
        Its groups.
    n_dimensions
        The first free dimension id.
    libver
        Oldest version of the HDF5 library that can read the file; None if there is no file.
    """

    name: str = ""
    status: os.stat_result | None = None
    root: GroupNode = field(default_factory=lambda: GroupNode("/"))
    n_dimensions: int = 0
    libver: str | None = None

    def check_unchanged(self) -> None:
        """Refuse to add to the file if it is not the one that was read; called when it is open and locked.

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

    def check(self, groups: Iterable[NetcdfGroup]) -> None:
        """Refuse groups, variables and dimensions whose names are taken.

        Raises
        ------
        SpecError
            A name is taken; the message contains it.
        """
        for group in groups:
            node = find(self.root, group.path)
            if node is not None and not isinstance(node, GroupNode):
                self._refuse(f"group {group.path}: a dataset of that name", group.path)
            taken = node.links if isinstance(node, GroupNode) else {}
            if isinstance(node, GroupNode):
                self._check_shadows(group)
            for name, variable in group.variables.items():
                if name in taken:
                    self._refuse(f"variable {group.member(name)}: it", group.member(name))
                for dimension in variable.dimensions:
                    if dimension.name in group.dimensions and dimension.name in taken:
                        what = f"variable {group.member(name)}: its dimension {dimension.name!r}"
                        self._refuse(what, group.member(name))

    def _check_shadows(self, group: NetcdfGroup) -> None:
        """Refuse a dimension with the name of one in a parent group.

        Readers look dimensions up by name, so variables that use the parent's would get the new one.
        """
        above = group.path.rstrip("/")
        while above:
            above = above.rpartition("/")[0]
            node = find(self.root, above or "/")
            for name in group.dimensions:
                if isinstance(node, GroupNode) and name in node.links:
                    self._refuse(f"group {group.path}: a dimension {name!r} of group {node.path}", group.path)

    def _refuse(self, what: str, path: str) -> None:
        raise SpecError(
            f"{what} exists in {self.name}, and existing objects stay unchanged: mode='a' adds groups, and "
            "variables with dimensions of their own. Write to another group (group=), or append with xarray's own "
            "to_netcdf",
            path=path,
        )


def read_existing_netcdf(path: Path) -> ExistingNetcdf:
    """Read the groups and dimension ids of a netCDF-4 file.

    Raises
    ------
    SpecError
        Adding to it is not safe, or it is not a netCDF-4 file.
    """
    import h5py

    status = os.stat(path)
    with read_existing(path) as existing:
        root, libver = existing.root, existing.libver
    numbers = [-1]
    n_scales = 0  # netCDF-C numbers those without a `_Netcdf4Dimid` by their count

    def visit(_name: str, item: h5py.HLObject) -> None:
        nonlocal n_scales
        if isinstance(item, h5py.Dataset):
            n_scales += item.is_scale
            numbers.append(int(item.attrs.get("_Netcdf4Dimid", -1)))

    with h5py.File(path, "r") as file:
        if "_NCProperties" not in file.attrs:
            raise SpecError(
                f"{path} has no _NCProperties, so it is plain HDF5 or was written by netCDF-C before 4.4.1; add to "
                "it with streamh5.File(path, 'a'), or with xarray's own to_netcdf",
                path=str(path),
            )
        if "_nc3_strict" in file.attrs:
            raise SpecError(
                f"{path} follows the classic model (NETCDF4_CLASSIC), to which groups and new types cannot be added; "
                "append with xarray's own to_netcdf",
                path=str(path),
            )
        file.visititems(visit)
    return ExistingNetcdf(str(path), status, root, max(*numbers, n_scales - 1) + 1, libver)
