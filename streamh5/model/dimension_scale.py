"""What marks a dataset as a dimension scale: constants of HDF5's high-level library (H5DS) and of netCDF-C."""

from __future__ import annotations

SCALE_CLASS = "DIMENSION_SCALE"
"""Attribute CLASS of a scale (H5DS)."""

WITHOUT_VARIABLE = "This is a netCDF dimension but not a netCDF variable."
"""``DIM_WITHOUT_VARIABLE`` of netCDF-C: attribute NAME of a scale without a variable, followed by its length."""

NOT_A_COORDINATE = "_nc4_non_coord_"
"""``NON_COORD_PREPEND`` of netCDF-C: precedes the link name of a variable whose own name is taken by a dimension."""
