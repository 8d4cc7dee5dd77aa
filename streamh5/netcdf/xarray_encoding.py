"""What xarray itself does before a netCDF-4 file is written: coordinates, CF conventions, strings."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array as da

from streamh5.dask.stored_chunks import BLOCK_NBYTES, block_shape
from streamh5.errors import SourceError, SpecError, did_you_mean, listed
from streamh5.handles.dataset_plan import MAX_WHOLE_NBYTES
from streamh5.model.chunk_shape import unit_shape
from streamh5.model.object_path import join_path, split_path
from streamh5.netcdf.classic_model import classic_attributes, classic_variable, refuse_strings
from streamh5.netcdf.enumerations import enumeration_dtype, with_enumeration
from streamh5.netcdf.placement import DimensionRanges, fitted
from streamh5.netcdf.stored_encoding import encoded_as_stored

if TYPE_CHECKING:
    import xarray as xr

    from streamh5.netcdf.existing import StoredVariable

STREAMED_NBYTES = BLOCK_NBYTES
"""Numeric variables larger than this that are not dask arrays are divided into blocks of about this size: so they need
not be loaded as a whole, and the filters run on all cores."""

HELD_NBYTES = 256 << 20
"""If the smaller numeric variables together exceed this, they are divided, too: undivided ones stay in memory until the
file is written."""

NUMBER_KINDS = "biuf"
"""Kinds of dtypes that are divided. xarray must see all values of times and text to encode them."""

UNNAMED_VARIABLE = "__values__"
"""xarray's ``NONE_VAR_NAME``: the name of a variable whose name is None."""


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """A dataset that becomes a group.

    Parameters
    ----------
    path
        Path of the group.
    dataset
        Its variables and attributes.
    encoding
        Encodings given in the call, by variable.
    unlimited
        Names of unlimited dimensions.
    """

    path: str
    dataset: xr.Dataset
    encoding: Mapping[Any, Mapping[str, Any]]
    unlimited: tuple[str, ...]


class EncodedGroup(NamedTuple):
    """A dataset as xarray encodes it.

    Attributes
    ----------
    variables
        The encoded variables by name.
    attributes
        The attributes of the group.
    explicit
        Names of the variables whose encoding was given in the call.
    in_memory
        Names of the variables whose values are in the memory of this process, from where threads write them.
    """

    variables: dict[str, xr.Variable]
    attributes: dict[str, Any]
    explicit: frozenset[str]
    in_memory: frozenset[str]


def dataset_nodes(
    data: Any, path: str, encoding: Any, unlimited_dims: Any, write_inherited_coords: bool
) -> list[PlannedGroup]:
    """Return the datasets of an xarray object and their groups, parents first.

    Raises
    ------
    SourceError
        `data` is not an xarray object.
    SpecError
        An encoding or an unlimited dimension is given for an object that does not exist.
    """
    import xarray as xr

    if isinstance(data, xr.DataTree):
        return _tree_nodes(data, path, encoding or {}, unlimited_dims or {}, write_inherited_coords)
    if isinstance(data, xr.DataArray):
        data = _array_dataset(data)
    if not isinstance(data, xr.Dataset):
        raise SourceError(
            f"to_netcdf writes an xarray Dataset, DataArray or DataTree, not {type(data).__name__}; write arrays with "
            "streamh5.to_fixed_h5"
        )
    return [_node(path, data, encoding or {}, unlimited_dims)]


def streamed_nbytes(nodes: list[PlannedGroup]) -> int:
    """Return the size above which numeric variables that are not dask arrays are divided into blocks."""
    variables = [one for node in nodes for one in node.dataset.variables.values()]
    numeric = [one for one in variables if one.dtype.kind in NUMBER_KINDS]
    sizes = [
        one.nbytes for one in numeric if one._in_memory or not one.chunks
    ]  # the latter takes long to find out
    held = sum(nbytes for nbytes in sizes if nbytes <= STREAMED_NBYTES)
    return STREAMED_NBYTES if held <= HELD_NBYTES else MAX_WHOLE_NBYTES


def encode_node(
    node: PlannedGroup,
    max_nbytes: int,
    stored: Mapping[str, StoredVariable],
    placement: DimensionRanges,
    *,
    is_classic: bool = False,
) -> EncodedGroup:
    """Encode a dataset as xarray does for its own engines.

    Parameters
    ----------
    node
        Dataset and group.
    max_nbytes
        Larger numeric variables are divided into blocks; see `streamed_nbytes`.
    stored
        The variables that are in the file already, by name: their encoding is the file's.
    placement
        Where the data goes.
    is_classic
        Whether the file follows the classic model.

    Raises
    ------
    SpecError
        xarray cannot encode a variable; the message names it.
    ShapeError, BlockError, DatatypeError
        A variable, or a value of it, does not fit the one that is in the file, or the classic model.
    """
    from xarray import conventions

    variables: dict[Any, xr.Variable]
    variables, attributes = conventions.encode_dataset_coordinates(node.dataset)
    for name, given in node.encoding.items():
        if str(name) in stored:
            raise SpecError(
                f"variable {name!r} already exists, but encoding was provided: its encoding is the file's; leave it "
                "out",
                name=name,
            )
        variables[name].encoding = dict(given)
    explicit = frozenset(_variable_name(name) for name in node.encoding)
    in_memory = frozenset(_variable_name(name) for name, one in variables.items() if one._in_memory)
    there = {name: stored[str(name)] for name in variables if str(name) in stored}
    for name, one in there.items():
        variables[name] = fitted(name, variables[name], one, placement)
        variables[name].encoding = {"chunksizes": one.chunks}
    for name, variable in variables.items():
        variables[name] = _streamed(variable, max_nbytes, is_explicit=name in node.encoding)
    new = {name: variable for name, variable in variables.items() if name not in there}
    encoded = encode_variables(node.path, new, is_classic=is_classic)
    encoded = {name: with_enumeration(one, enumeration_dtype(new[name])) for name, one in encoded.items()}
    if is_classic:
        refuse_strings(node.encoding)
        attributes = classic_attributes(attributes, node.path)
        encoded = {
            name: classic_variable(one, f"{node.path.rstrip('/')}/{_variable_name(name)}")
            for name, one in encoded.items()
        }
    for name, one in there.items():
        encoded[name] = encoded_as_stored(variables[name], one)
    by_name = {_variable_name(name): encoded[name] for name in variables}
    return EncodedGroup(by_name, attributes, explicit, in_memory)


def encode_variables(
    path: str, variables: Mapping[Any, xr.Variable], *, is_classic: bool = False
) -> dict[Any, xr.Variable]:
    """Encode variables of the group at `path` with the encoding that each has; `is_classic` has text as characters.

    Raises
    ------
    SpecError
        xarray cannot encode a variable; the message names it.
    """
    try:
        return dict(_encoder(is_classic).encode(variables, {})[0])
    except (TypeError, ValueError, OverflowError) as error:
        what = _culprit(path, variables, is_classic)
        raise SpecError(f"variable {what}: xarray cannot encode it for netCDF: {error}") from error


def _encoder(is_classic: bool) -> Any:
    """Return the encoder that xarray's own engines for netCDF-4 use."""
    from xarray.backends.common import WritableCFDataStore
    from xarray.coding.strings import CharacterArrayCoder, EncodedStringCoder

    class Encoder(WritableCFDataStore):
        __slots__ = ()

        def encode_variable(self, variable: Any, name: Any = None) -> Any:
            for coder in (EncodedStringCoder(allows_unicode=not is_classic), CharacterArrayCoder()):
                variable = coder.encode(variable, name=name)
            return variable

    return Encoder()


def _culprit(path: str, variables: Mapping[Any, xr.Variable], is_classic: bool) -> str:
    """Return the path of the variable that cannot be encoded."""
    for name, variable in variables.items():
        try:
            _encoder(is_classic).encode({name: variable}, {})
        except (TypeError, ValueError, OverflowError):
            return f"{path.rstrip('/')}/{_variable_name(name)}"
    return f"of {path}"


def _variable_name(name: Any) -> Any:
    return UNNAMED_VARIABLE if name is None else name


def without_values(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose data variables are lazy zeros in chunks.

    Times and text keep their values, which tell xarray how to encode them.
    """
    empty = {
        name: one.copy(data=da.zeros(one.shape, dtype=one.dtype, chunks=one.chunks or "auto"))
        for name, one in dataset.data_vars.items()
        if one.ndim and one.dtype.kind in NUMBER_KINDS
    }
    return dataset.assign(empty)


def _streamed(variable: xr.Variable, max_nbytes: int, *, is_explicit: bool) -> xr.Variable:
    """Divide a large numeric variable into blocks of whole chunks, without loading it."""
    is_whole = is_explicit and variable.encoding.get("contiguous")
    is_number = variable.dtype.kind in NUMBER_KINDS
    if not is_number or variable.nbytes <= max_nbytes or is_whole or variable.chunks:
        return variable
    itemsize = variable.dtype.itemsize
    unit = unit_shape(variable.encoding.get("chunksizes"), variable.shape, itemsize)
    block = block_shape(variable.shape, unit, itemsize)
    # if a dimension occurs twice, the smaller block counts: that of the first axis, as blocks grow from the last one
    return variable.chunk(dict(reversed(list(zip(variable.dims, block, strict=True)))))


def _array_dataset(array: xr.DataArray) -> xr.Dataset:
    """Return the dataset that ``DataArray.to_netcdf`` writes."""
    from xarray.backends.api import DATAARRAY_NAME, DATAARRAY_VARIABLE

    if array.name is None:
        return array.to_dataset(name=DATAARRAY_VARIABLE)
    if array.name in array.coords or array.name in array.dims:
        dataset = array.to_dataset(name=DATAARRAY_VARIABLE)
        dataset.attrs[DATAARRAY_NAME] = array.name
        return dataset
    return array.to_dataset()


def _tree_nodes(
    tree: xr.DataTree, path: str, encoding: Any, unlimited: Any, write_inherited_coords: bool
) -> list[PlannedGroup]:
    nodes = list(tree.subtree)
    paths = [node.path for node in nodes]
    for what, given in (("encoding", encoding), ("unlimited_dims", unlimited)):
        if not isinstance(given, Mapping):
            raise SpecError(
                f"{what} of a DataTree must be a dictionary by path of the group, not {given!r:.100}"
            )
        unknown = [str(path) for path in given if path not in paths]
        if unknown:
            raise SpecError(
                f"unexpected {what} group {listed(unknown)}; the DataTree has {listed(paths)}",
                groups=unknown,
            )
    start = len(split_path(tree.path))
    result = []
    for node in nodes:
        dataset = node.to_dataset(inherit=write_inherited_coords or node is tree)
        group = join_path((*split_path(path), *split_path(node.path)[start:]))
        result.append(_node(group, dataset, encoding.get(node.path) or {}, unlimited.get(node.path)))
    return result


def _node(path: str, dataset: xr.Dataset, encoding: Any, unlimited: Any) -> PlannedGroup:
    if not isinstance(encoding, Mapping):
        raise SpecError(f"encoding must be a dictionary by variable, not {encoding!r:.100}")
    unknown = [name for name in encoding if name not in dataset.variables]
    if unknown:
        raise SpecError(
            f"encoding names {listed(map(repr, unknown))}, which is not a variable of {path}"
            + (
                did_you_mean(str(unknown[0]), dataset.variables)
                or f"; it has {listed(map(repr, dataset.variables))}"
            ),
            names=unknown,
        )
    for name, given in encoding.items():
        if not isinstance(given, Mapping):
            raise SpecError(
                f"the encoding of variable {name!r} must be castable to a dictionary, which {given!r:.100} is not",
                name=name,
            )
    is_asked = unlimited is not None
    names = unlimited if is_asked else dataset.encoding.get("unlimited_dims", ())
    names = {names} if isinstance(names, str) or not isinstance(names, Iterable) else set(names)
    missing = names - set(dataset.dims)
    if missing:
        origin = "unlimited_dims-kwarg" if is_asked else "dataset.encoding"
        message = (
            f"Unlimited dimension(s) {listed(sorted(map(repr, missing)))} declared in {origin!r} do not exist in "
            f"{path}, which has {listed(map(repr, dataset.dims))}"
        )
        if is_asked:
            raise SpecError(message, names=missing)
        warnings.warn(message, UserWarning, stacklevel=5)
    return PlannedGroup(path, dataset, encoding, tuple(str(name) for name in dataset.dims if name in names))
