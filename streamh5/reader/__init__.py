"""Walks over the structures of any HDF5 file, whose bytes `streamh5.format` decodes.

A walk fetches the bytes of one structure after the other, wherever its addresses lead. Nothing is trusted: a size is
compared with the size of the file before memory is taken for it, and all structures together cannot be larger than the
file, since they may not overlap. That bounds time and memory, cycles included. Errors are those of the decoders:
`FormatError` for damage, `ForeignStructureError` for what is not known.

`file_content.read_file_content` walks over a whole file. Addresses are those that stand in the file, and
`FileBytes.read` takes them; positions in the file are larger by the base address, the size of the user block.
"""
