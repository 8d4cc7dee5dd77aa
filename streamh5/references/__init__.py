"""References to the chunks of a file, for readers that know zarr but not HDF5: kerchunk and VirtualiZarr.

::

    from_tree.read_tree (a file just written) ─┐                                  ┌─▶ kerchunk
    from_file.read_file (any file)            ─┴▶ StoredFile ─▶ list of ZarrArray ┼─▶ kerchunk_parquet
                                                                                  └─▶ virtual_arrays

* `file_references`: `FileReferences`, the public object, and the output that a file writes when it is closed
* `stored_file`: `StoredFile` and `StoredArray`, what references need to know about a file
* `from_tree`, `from_file`, `from_h5py`: a file as `StoredFile`: from the tree of its writer, read by streamh5, or
  by h5py where it does not support a part
* `stored_data`: a dataset as `StoredArray`, and where its data lies
* `attributes`: attributes as JSON values, and names of dimensions
* `zarr_elements`, `zarr_array`: elements and arrays in zarr's metadata, with `ChunkManifest`
* `kerchunk`, `kerchunk_parquet`, `virtual_arrays`: the three forms
* `publication`: where references are written, and how they get their name
"""
