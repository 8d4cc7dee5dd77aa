"""HDF5 structures back from bytes: a strict reader of what streamh5 writes.

One module per structure, named like the one in `streamh5.format` that it mirrors, whose records it
returns. A decoder takes bytes that are already in memory and raises `FormatError` for anything that
contradicts the specification, checksums first; a structure that is legal but that streamh5 never writes
raises `ForeignStructureError`. Nothing is trusted: a size is compared with the size of the file before
memory is taken for it, and all structures together cannot be larger than the file, since they may not
overlap. That bounds time and memory, cycles included.
"""
