"""A dimension of netCDF-4, and the dataset that is its scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamh5.filters import FilterChain
from streamh5.handles.file_plan import PlannedDataset
from streamh5.model.attribute_spec import attribute_spec
from streamh5.model.dataset_spec import DatasetSpec
from streamh5.model.dimension_scale import WITHOUT_VARIABLE, reference_list, scale_class, scale_name

if TYPE_CHECKING:
    from streamh5.model.attribute_spec import AttributeSpec
    from streamh5.model.reference import Reference

SCALE_DTYPE = np.dtype(">f4")
"""Element type that netCDF-C gives a scale without a variable (``nc4_create_dim_wo_var``)."""

SCALE_CHUNK = 1 << 20
"""Chunk extent of a scale without data. No chunk is ever stored, so it is large: most dimensions have one chunk."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """A dimension and the place of its scale.

    Parameters
    ----------
    name
        Name of the dimension.
    length
        Present length.
    is_unlimited
        Whether readers may extend it.
    number
        Dimension id of netCDF: position among the dimensions of the file.
    path
        Path of its scale.
    has_variable
        Whether the scale is a coordinate variable.
    """

    name: str
    length: int
    is_unlimited: bool
    number: int
    path: str
    has_variable: bool


def scale_without_variable(dimension: Dimension, libver: str) -> PlannedDataset:
    """Return the plan of a scale that is not a coordinate variable: no chunk of it is ever stored."""
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


def scale_attributes(dimension: Dimension, uses: list[tuple[Reference, int]]) -> list[AttributeSpec]:
    """Return the attributes that make a dataset a scale and list the variables that use it."""
    name = dimension.name if dimension.has_variable else f"{WITHOUT_VARIABLE}{dimension.length:10d}"
    attributes = [
        scale_class(),
        scale_name(name),
        attribute_spec("_Netcdf4Dimid", np.int32(dimension.number), path=dimension.path),
    ]
    return [*attributes, reference_list(uses)] if uses else attributes
