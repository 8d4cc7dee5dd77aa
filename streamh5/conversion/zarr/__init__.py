"""Zarr arrays and groups as the source of a conversion."""
