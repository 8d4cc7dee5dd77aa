"""HDF5 and netCDF-4 files as the source of a conversion."""
