"""Walks over the structures of existing HDF5 files; `streamh5.format` decodes the bytes of each structure.

A walk reads one structure after the other, in the order in which addresses lead to them. Nothing in a file is trusted:
a size is compared with the size of the file before memory is reserved for it, and all structures together cannot be
larger than the file, because they may not overlap. This limits time and memory, also where addresses form a circle.
Damage is a `FormatError`, and a structure that the reader does not know is a `ForeignStructureError`.

Addresses are those stored in the file. Positions in the file are larger by the base address: the size of the user
block.

From bytes to the content of a file:

* ``byte_sources``, ``object_source``: the bytes of a local file, of content in memory, of an object in a store.
* ``file_bytes``: reads by address, never beyond the end.
* ``file_map``: the extent of each structure; `StructureReader` enters an extent and reads it.
* ``superblock``: finds the superblock, and reads its extension.
* ``object_header``: object headers with their continuations, and messages that headers share.
* ``object_storage``: what an object stores outside its header: links, attributes, names.
* ``fractal_heap``, ``v2_btree``, ``global_heap``: the structures that it is stored in.
* ``object_content``: groups, datasets and named datatypes from the messages of their headers.
* ``object_walk``: each object of a file once, along hard links.
* ``chunk_index``: the indexes of chunks, each of them as a chunk map.
* ``stored_chunks``: chunks with their decoders.
* ``elements``: elements of datasets, and what they refer to.
* ``file_content``: all of this for one file, as `verify` and `inspect` need it.
* ``chunk_iteration``: filters and chunks as h5py lists them, for structures that streamh5 does not read.
"""
