"""What is read of an HDF5 file past the library: header messages, chunk indexes and heap objects."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any

from streamh5.errors import FormatError
from streamh5.format.data_layout import ChunkedLayout, ChunkedLayoutV3
from streamh5.format.object_header import MessageType
from streamh5.reader.data_layout import decode_data_layout
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_map import FileMap
from streamh5.reader.global_heap import decode_global_heap_collection
from streamh5.reader.object_header import read_object_header

__all__ = ["SourceBytes"]

_MAX_COLLECTIONS = 64
"""Collections of the global heap that are kept."""

_SHARED = 0x02
_SIZEOF_COLLECTION_HEADER = 16


class SourceBytes:
    """The bytes of a source that is one file on disk.

    Parameters
    ----------
    filename
        Its name.
    base
        Bytes of its user block: addresses count from there.
    """

    def __init__(self, filename: str, base: int) -> None:
        self.file = FileBytes(os.fspath(filename))
        self.base = base
        self._collections: OrderedDict[int, dict[int, bytes]] = OrderedDict()

    def messages(self, address: int) -> dict[int, bytes]:
        """Bodies of the messages of an object header by their types, but for shared ones.

        Raises
        ------
        FormatError
            A header that is damaged, or that is not read here.
        """
        if self.base:
            raise FormatError("headers behind a user block are left to the HDF5 library")
        header = read_object_header(self.file, FileMap(self.file.nbytes), "", address)
        return {
            one.message.type_id: one.message.body
            for one in header.messages
            if not one.message.flags & _SHARED
        }

    def chunked_layout(self, address: int) -> ChunkedLayout | ChunkedLayoutV3:
        """Layout of the chunked dataset whose header is at `address`.

        Raises
        ------
        FormatError
            See `messages`; or it is not chunked.
        """
        layout = decode_data_layout(self.messages(address).get(MessageType.DATA_LAYOUT, b""))
        if not isinstance(layout, (ChunkedLayout, ChunkedLayoutV3)):
            raise FormatError("the dataset has no chunks")
        return layout

    def heap_object(self, address: int, index: int) -> bytes:
        """Return an object of the global heap.

        Raises
        ------
        FormatError
            The collection is damaged or has no such object.
        """
        objects = self._collections.get(address)
        if objects is None:
            structure = "global heap collection"
            head = self.file.read(self.base + address, _SIZEOF_COLLECTION_HEADER, structure)
            nbytes = int.from_bytes(head[8:], "little")
            objects = decode_global_heap_collection(self.file.read(self.base + address, nbytes, structure))
            self._collections[address] = objects
            if len(self._collections) > _MAX_COLLECTIONS:
                self._collections.popitem(last=False)
        if index not in objects:
            raise FormatError(f"global heap collection at address {address:,} has no object {index}")
        return objects[index]

    def __enter__(self) -> SourceBytes:
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()
