"""Dask arrays as the source of a write."""
