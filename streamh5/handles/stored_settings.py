"""What a call wants of a dataset that is there: elements that can be changed, and the settings that it has."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any

from streamh5.errors import ChunkShapeError, FillValueError, FilterError, ShapeError, SpecError, shown
from streamh5.filters import FilterOptions
from streamh5.filters.fletcher32 import ROW as FLETCHER32_ROW
from streamh5.filters.nbit import ROW as NBIT_ROW
from streamh5.filters.registry import REGISTRY
from streamh5.filters.scaleoffset import ROW as SCALEOFFSET_ROW
from streamh5.filters.shuffle import ROW as SHUFFLE_ROW
from streamh5.model.chunk_shape import check_chunks
from streamh5.model.dataset_spec import check_fillvalue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamh5.model.dataset_spec import DatasetSpec
    from streamh5.model.tree import DatasetNode

SHUFFLE, FLETCHER32, SCALEOFFSET = SHUFFLE_ROW.filter_id, FLETCHER32_ROW.filter_id, SCALEOFFSET_ROW.filter_id
_OTHER_FILTERS = frozenset((SHUFFLE, FLETCHER32, SCALEOFFSET, NBIT_ROW.filter_id))
"""Filters that ``compression=`` does not name."""


def check_changeable(dataset: DatasetNode) -> None:
    """Refuse to write elements of a stored dataset that streamh5 cannot encode as they are.

    Raises
    ------
    SpecError
        The message tells why.
    """
    stored = dataset.stored
    if stored is not None and stored.problem is not None:
        raise SpecError(
            f"{dataset.path}: its elements cannot be changed, because {stored.problem}; change it with h5py",
            path=dataset.path,
        )


def check_stored_settings(stored: DatasetSpec, given: Mapping[str, Any]) -> None:
    """Refuse keywords of `create_dataset` that contradict a stored dataset.

    Parameters
    ----------
    stored
        The dataset.
    given
        The keywords that were given: ``chunks``, ``fillvalue``, ``maxshape`` and those of filters. None, and
        ``chunks`` True or ``"auto"``, leave the choice open, except that ``compression=None`` means no compression.

    Raises
    ------
    ChunkShapeError, FilterError, FillValueError, ShapeError
        One of them contradicts it.
    """
    path = stored.path
    chunks = given.get("chunks")
    is_open = chunks is None or chunks is True or (isinstance(chunks, str) and chunks == "auto")
    if not is_open and _chunks(chunks, stored) != stored.chunks:
        raise ChunkShapeError(
            f"{path}: chunks={shown(chunks)} contradicts the stored dataset, whose chunks are {stored.chunks}; leave "
            "chunks out, or write a new dataset",
            chunks=chunks,
        )
    _check_filters(stored, given)
    fillvalue = given.get("fillvalue")
    if fillvalue is not None:
        wanted = check_fillvalue(fillvalue, stored.dtype, path=path)
        if wanted is None or wanted.tobytes() != stored.fill_stored.tobytes():
            raise FillValueError(
                f"{path}: fillvalue={shown(fillvalue)} contradicts the stored dataset, whose fill value is "
                f"{shown(stored.fill_stored[()])}; leave fillvalue out, or write a new dataset",
                fillvalue=fillvalue,
            )
    maxshape = given.get("maxshape")
    if maxshape is not None:
        bounds = (None,) * len(stored.bounds) if maxshape is True else maxshape
        if (tuple(bounds) if isinstance(bounds, (tuple, list)) else (bounds,)) != stored.bounds:
            raise ShapeError(
                f"{path}: maxshape={shown(maxshape)} contradicts the stored dataset, whose maxshape is "
                f"{stored.bounds}; leave maxshape out, or set it with Dataset.resize(..., maxshape=...)",
                maxshape=maxshape,
            )


def _chunks(chunks: Any, stored: DatasetSpec) -> tuple[int, ...]:
    return check_chunks(chunks, (None,) * len(stored.bounds), 1, path=stored.path)


def _check_filters(stored: DatasetSpec, given: Mapping[str, Any]) -> None:
    """Refuse filters that were given and that the dataset does not have, or has with other options."""
    has = {one.filter_id: one.client_values for one in stored.filters}
    compressions = {number: values for number, values in has.items() if number not in _OTHER_FILTERS}
    for name, number in (("shuffle", SHUFFLE), ("fletcher32", FLETCHER32)):
        if given.get(name) is not None and bool(given[name]) != (number in has):
            raise _refused(name, given, stored)
    if given.get("scaleoffset") is not None:
        (wanted,) = _wanted(stored, scaleoffset=given["scaleoffset"]) or ((SCALEOFFSET, ()),)
        if has.get(SCALEOFFSET, ())[:2] != wanted[1][:2]:
            raise _refused("scaleoffset", given, stored)
    if "compression" in given:
        compression, options = given["compression"], given.get("compression_opts")
        found = dict(_wanted(stored, compression=compression, compression_opts=options))
        if found.keys() != compressions.keys():
            raise _refused("compression", given, stored)
        if (options is not None or not isinstance(compression, (str, NoneType))) and found != compressions:
            raise _refused("compression" if options is None else "compression_opts", given, stored)


def _wanted(stored: DatasetSpec, **keywords: Any) -> list[tuple[int, tuple[int, ...]]]:
    """Return numbers and client values of the filters that keywords stand for."""
    chain = FilterOptions(**keywords).chain(stored.stored_dtype, stored.chunk_nbytes, chunks=stored.chunks)
    return [(one.filter_id, one.client_values) for one in chain.filters]


def _refused(name: str, given: Mapping[str, Any], stored: DatasetSpec) -> FilterError:
    has = [f"{_filter_name(one.filter_id)} {one.client_values}" for one in stored.filters]
    return FilterError(
        f"{stored.path}: {name}={shown(given[name])} contradicts the stored dataset, whose filters are "
        f"{', '.join(has) or 'none'}; leave {name} out, or write a new dataset",
        **{name: given[name]},
    )


def _filter_name(number: int) -> str:
    return REGISTRY[number].keyword if number in REGISTRY else f"number {number}"
