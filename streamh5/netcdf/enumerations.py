"""Enumerations of netCDF: integer types whose values have names, such as the classes of a land cover.

xarray tells them in the dtype: ``encoding["dtype"].metadata`` has ``enum``, the values by name, and ``enum_name``.
netCDF-C stores them as a named datatype of the group, in the order of definition, to which the variables refer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from streamh5.errors import BlockError, DatatypeError, PathError, SpecError, listed, shown
from streamh5.format.datatype import datatype_class, decode_datatype, encode_datatype
from streamh5.format.datatype_class import EncodedDatatype, Enumeration, FixedPoint
from streamh5.model.attribute_spec import attribute_spec
from streamh5.model.tree import DatatypeNode
from streamh5.netcdf.attributes import netcdf_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import NDArray

    from streamh5.model.attribute_spec import AttributeSpec
    from streamh5.model.tree import LinkedTarget


@dataclass(frozen=True, slots=True)
class NamedEnumeration:
    """An enumeration of a group.

    Parameters
    ----------
    path
        Path of its named datatype.
    dtype
        The integer type of its values.
    members
        Names and values, in the order of definition.
    is_stored
        Whether it is in the file already.
    """

    path: str
    dtype: np.dtype[Any]
    members: tuple[tuple[str, int], ...]
    is_stored: bool = False

    @property
    def datatype(self) -> EncodedDatatype:
        """Its datatype message."""
        base = datatype_class(self.dtype)
        if not isinstance(base, FixedPoint):
            raise DatatypeError(f"{self.path}: {self.dtype} is not an integer type", dtype=self.dtype)
        return EncodedDatatype(encode_datatype(Enumeration(base, self.members)))

    @property
    def node(self) -> DatatypeNode:
        """The named datatype."""
        return DatatypeNode(self.path, self.dtype, self.datatype)

    def fill_attribute(self, fill: Any, path: str) -> AttributeSpec:
        """Return ``_FillValue`` of a variable, in its type."""
        value = np.array([fill], self.dtype)
        return attribute_spec("_FillValue", value, path=path, datatype=self.datatype, type_path=self.path)


def enumeration_dtype(variable: xr.Variable) -> np.dtype[Any] | None:
    """Return the dtype of a variable that tells its enumeration: of its encoding, or of its values; None without one.

    xarray enters it in the dtype of the values, but dask arrays lose it.
    """
    for dtype in (variable.encoding.get("dtype"), variable.dtype):
        if isinstance(dtype, np.dtype) and "enum" in (dtype.metadata or {}):
            return dtype
    return None


def with_enumeration(variable: xr.Variable, dtype: np.dtype[Any] | None) -> xr.Variable:
    """Return a variable whose encoding tells its enumeration; None leaves it as it is."""
    if dtype is None:
        return variable
    variable = variable.copy(deep=False)
    variable.encoding = {**variable.encoding, "dtype": dtype}
    return variable


def read_enumeration(
    variable: xr.Variable, group: str, stored: Mapping[str, LinkedTarget], path: str
) -> NamedEnumeration | None:
    """Return the enumeration of a variable; None if it has none.

    Parameters
    ----------
    variable
        The variable.
    group
        Path of its group.
    stored
        The objects of this group that are in the file already, by name.
    path
        Path of the variable, for messages.

    Raises
    ------
    DatatypeError
        netCDF has no such enumeration.
    SpecError
        The file has another one of this name.
    """
    dtype = enumeration_dtype(variable)
    if dtype is None:
        return None
    metadata: Mapping[str, Any] = dtype.metadata or {}
    members = metadata["enum"]
    if dtype.kind not in "iu" or not members or "enum_name" not in metadata:
        raise DatatypeError(
            f"variable {path}: an enumeration of netCDF has an integer dtype, at least one member, and a name, "
            f"enum_name in the metadata of the dtype; this is {dtype} with {shown(dict(metadata))}",
            dtype=dtype,
        )
    name = netcdf_name(metadata["enum_name"], "enumeration", group)
    values = {
        netcdf_name(member, f"member of enumeration {name}", group): int(n) for member, n in members.items()
    }
    limits = np.iinfo(dtype)
    if len({*values.values()}) < len(members) or not all(
        limits.min <= n <= limits.max for n in values.values()
    ):
        raise DatatypeError(
            f"variable {path}: enumeration {name} has members with the same value, or one that {dtype} cannot hold: "
            f"{shown(values)}",
            dtype=dtype,
        )
    found = NamedEnumeration(
        f"{group.rstrip('/')}/{name}",
        np.dtype(dtype.str).newbyteorder("="),
        tuple(values.items()),
        name in stored,
    )
    if name in stored and not _is_same(stored[name], found):
        raise SpecError(
            f"variable {path}: {found.path} is in the file, and is not an enumeration with these members; give "
            "enum_name another name",
            path=path,
        )
    return found


def add_enumeration(known: dict[str, NamedEnumeration], added: NamedEnumeration, path: str) -> None:
    """Enter the enumeration of a variable among those of its group, by path, unless it is there.

    Raises
    ------
    SpecError
        Another variable has a different one of this name.
    """
    there = known.setdefault(added.path, added)
    if there != added:
        raise SpecError(
            f"variable {path}: another variable has an enumeration {added.path} with other members; give them "
            "different names (enum_name), or the same members",
            path=path,
        )


def check_names(known: Mapping[str, NamedEnumeration], taken: Mapping[str, str]) -> None:
    """Refuse enumerations with the name of another object; `taken` has the kind of each new object, by path."""
    for path in known:
        if path in taken:
            raise PathError(
                f"{path} is an enumeration and also a {taken[path]}; rename one of them", path=path
            )


def members_only(values: Any, members: Mapping[str, int], fill: Any, path: str) -> Any:
    """Return values of an enumeration, an array of numpy or dask, in its plain integer type.

    Raises
    ------
    BlockError
        A value is no member, nor the fill value; for dask arrays when it is computed.
    """
    check = partial(_checked, members=dict(members), fill=fill, path=path)
    if not isinstance(values, da.Array):
        return check(np.asarray(values))
    dtype = np.dtype(values.dtype.str)
    return da.map_blocks(check, values, dtype=dtype, meta=np.empty((0,) * values.ndim, dtype))


def _checked(block: NDArray[Any], *, members: Mapping[str, int], fill: Any, path: str) -> NDArray[Any]:
    known = [*members.values(), *([] if fill is None else [int(fill)])]
    is_other = ~np.isin(block, np.array(known, block.dtype.str))
    if is_other.any():
        raise BlockError(
            f"variable {path}: {int(is_other.sum()):,} of {block.size:,} values are not members of its enumeration: "
            f"the first is {block[is_other][0]}, the members are "
            f"{listed(f'{name} = {n}' for name, n in members.items())}",
            path=path,
        )
    return block.view(block.dtype.str)


def _is_same(node: LinkedTarget, enumeration: NamedEnumeration) -> bool:
    """Return whether an object of the file is this enumeration."""
    if not isinstance(node, DatatypeNode) or node.datatype is None:
        return False
    found = decode_datatype(node.datatype.message)
    return (
        isinstance(found, Enumeration)
        and dict(found.members) == dict(enumeration.members)
        and found.base == datatype_class(enumeration.dtype)
    )
