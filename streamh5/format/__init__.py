"""HDF5 structures as bytes, and back: pure functions of values, without I/O, threads or clocks.

One module per structure, named with the noun of the HDF5 File Format Specification (version 3.0 of the
document), which holds its constants and flags, its record, ``encode_x`` and ``decode_x``. A record is a frozen
dataclass with its fields in specification order. ``encode_x(record)`` gives the bytes (or the object header
`Message`), ``sizeof_x(record)`` their number where a caller must place a block before its content is known. Sizes
never depend on addresses.

``decode_x(block, encoding)`` gives the record back. It also reads versions that are not written, and is strict: it
raises `FormatError` for anything that contradicts the specification, checksums first, and `ForeignStructureError` for
a structure that is legal but not known. It takes the bytes of one structure; `streamh5.reader` fetches them, and goes
from structure to structure. What the encoders write is judged by libhdf5 in the tests, never by these decoders alone.
"""
