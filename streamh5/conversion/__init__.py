"""Convert files of other formats, and HDF5 files, to new HDF5 files; stored chunks are copied where possible.

convert: the public functions; request: options and results; plan: `ConversionPlan` and `run`; array_plan: copy or
encode one array; mapped_file and classic_header: ``.npy`` and netCDF classic; hdf5, zarr: the other sources.
"""
