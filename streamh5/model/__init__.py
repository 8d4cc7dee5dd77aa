"""What a file contains, as values: its tree of objects, their attributes, and where chunks are stored.

* ``attribute_spec``: an attribute before it has an address.
* ``block_value``: array-likes of the caller as numpy arrays of a dataset's dtype.
* ``chunk_grid``: the grid of chunks over a dataset, which numbers them.
* ``chunk_map``: where the chunks of a dataset are stored, for a file that is read or written.
* ``chunk_records``, ``chunk_table``: the same while a file is written: records of new chunks, and the table they enter.
* ``chunk_shape``: valid shapes and chunk shapes.
* ``dataset_spec``: a dataset before it has an address.
* ``dtype_facts``: dtypes as JSON.
* ``not_an_array``: refusals of Python objects that HDF5 has no datatype for.
* ``object_path``: paths of objects.
* ``parts``, ``reference``: elements that contain references or objects in the global heap.
* ``realign``: blocks that end where chunks end.
* ``tree``: groups, datasets and named datatypes of one file.
"""
