"""Zarr arrays and groups as the source of a conversion.

plan: the entry; tree: arrays and groups of a store; array: one array; codecs: HDF5 filters for zarr codecs; chunks:
reads stored chunks.
"""
