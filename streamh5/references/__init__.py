"""References to the chunks of a file, for readers that know zarr but not HDF5: kerchunk and VirtualiZarr.

``from_tree`` (what was just written) and ``from_file`` (any file: ``own_reader``, and ``from_h5py`` for what that
does not know) -> `StoredFile`: arrays with their chunks
as numpy columns -> `to_zarr`: what zarr calls them -> `kerchunk`, `kerchunk_parquet`, `virtual_arrays`.
"""
