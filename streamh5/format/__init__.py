"""Encoders and decoders of HDF5 structures: pure functions of values, without I/O, threads or clocks.

One module per structure, named as in the HDF5 File Format Specification (version 3.0 of the document), contains its
constants and flags, its record, ``encode_x`` and ``decode_x``. A record is a frozen dataclass with its fields in the
order of the specification. ``encode_x(record)`` returns the bytes (or the object header `Message`), ``sizeof_x`` their
number where a caller must place a block before its content is known. Sizes never depend on addresses.

``decode_x(block, encoding)`` returns the record. It also reads versions that are not written, and it is strict: it
raises `FormatError` for anything that contradicts the specification, checksums first, and `ForeignStructureError` for a
structure that is legal but not supported. It decodes the bytes of one structure; `streamh5.reader` reads them and
follows the addresses. The tests check encoders with libhdf5, never with these decoders alone.

- What structures consist of: primitives (integers and addresses), fields (a cursor for decoding), header (headers of
  indexes and heaps), checksum, character_set.
- Files and objects: superblock, superblock_extension, object_header, and the messages attribute, dataspace,
  datatype, data_layout, external_file_list, fill_value, filter_pipeline, group_info, link, reference_count,
  storage_info (link info, attribute info), annotation (comments, times), shared_message, shared_message_table.
- Groups and heaps: symbol_table, local_heap, global_heap, fractal_heap, v1_btree, v2_btree (v2_btree_sizes),
  dense_storage, region_reference, virtual_mapping.
- Datatypes and elements: datatype_class (records), atomic_datatype (properties of atomic classes), dtype (numpy
  dtypes), elements (values to bytes), element_values (bytes to values), cast (values to another dtype).
- chunk_index: the indexes of chunks.
"""
