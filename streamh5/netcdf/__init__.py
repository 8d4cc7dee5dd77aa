"""Xarray objects as netCDF-4 files.

* `xarray_dataset`: the public function `to_netcdf`: checks its arguments and plans groups and variables.
* `xarray_accessor`: the accessor ``.streamh5`` of xarray objects.
* `xarray_encoding`: what xarray itself does before it writes: coordinates, CF conventions, strings.
* `netcdf4`: `NetcdfFile`, the groups, dimensions and variables of a file, and its `FilePlan`.
* `storage`: encoding, chunks, filters and fill value of a variable.
* `attributes`: names and attributes in the form that netCDF-C stores.
* `existing`: a file to which groups and variables are added.
"""
