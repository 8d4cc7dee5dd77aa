"""The indexes that locate the chunks of a dataset.

element: the entry of a chunk, which all indexes store; fixed_array, extensible_array (and extensible_array_sizes),
v1_btree and v2_btree: one module per structure. Single Chunk and Implicit indexes have no structure besides the data
layout message.
"""
