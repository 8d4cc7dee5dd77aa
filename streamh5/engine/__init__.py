"""From the model of a file to bytes at addresses; the engine does no I/O.

engine: `Engine`, its states and calls. address_cursor: the end of the file. metadata_plan: addresses and bytes of
everything except chunks. header_plan: object headers. attribute_heap: global heap collections. chunk_index_plan: bytes
of chunk indexes. index_choice: which index a dataset gets.
"""
