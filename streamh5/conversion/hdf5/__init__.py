"""HDF5 and netCDF-4 files as the source of a conversion.

plan: the entry; contents: names and objects; dataset, datatype, elements: what is read through the library; chunks:
where data is stored; source_bytes: what is read without the library; problems: what cannot be carried over.
"""
