"""Chunk indexes of existing files, each of which is read as a chunk map.

* ``read_index``: reads the index of a dataset, whichever kind it is.
* ``arrays``: Fixed Array and Extensible Array.
* ``v1_btree``: version 1 B-tree. (The version 2 B-tree is in ``read_index``: its records are chunks.)
* ``chunk_frame``: what an index must fit, and chunk maps from the columns of an index.
"""
