"""HDF5 structures back from bytes: a strict reader of any HDF5 file.

One module per structure, named with the specification's noun, as in `streamh5.format`, whose records it returns where
they can say what is there. A decoder takes bytes that are already in memory and raises `FormatError` for anything that
contradicts the specification, checksums first; a structure that is legal but not known raises
`ForeignStructureError`. Nothing is trusted: a size is compared with the size of the file before memory is taken for
it, and all structures together cannot be larger than the file, since they may not overlap. That bounds time and
memory, cycles included.

`file_content.read_file_content` walks over a whole file. Addresses are those that stand in the file, and
`FileBytes.read` takes them; positions in the file are larger by the base address, the size of the user block.
"""
