"""Xarray's objects as netCDF-4 files."""
