"""HDF5 structures as bytes: pure functions of values, without I/O, threads or clocks.

One module per structure, named with the noun of the HDF5 File Format Specification (version 3.0 of the
document). A record is a frozen dataclass with its fields in specification order; ``encode_x(record)``
gives the bytes (or the object header `Message`), ``sizeof_x(record)`` their number where a caller must
place a block before its content is known. Sizes never depend on addresses.
"""
