"""Parts of an HDF5 file that are read without the library: messages, chunk indexes and heap objects."""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from streamh5.dask.seen_file import SeenFile
from streamh5.errors import FormatError
from streamh5.format.data_layout import ChunkedLayout, decode_data_layout
from streamh5.format.fill_value import decode_fill_value
from streamh5.format.link import UserDefinedLink
from streamh5.format.object_header import MessageFlag, MessageType
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_map import FileMap
from streamh5.reader.global_heap import read_global_heap_collection
from streamh5.reader.object_content import GroupMessages
from streamh5.reader.object_header import read_object_header
from streamh5.reader.object_walk import ObjectPlace, read_object
from streamh5.reader.superblock import read_superblock

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamh5.format.fields import Encoding
    from streamh5.format.fill_value import FillValue

_Decoded = TypeVar("_Decoded")

_MAX_COLLECTIONS = 64
"""Most collections of the global heap kept in memory."""


class SourceBytes:
    """The bytes of a source that is one file on disk.

    Parameters
    ----------
    filename
        Its name.

    Raises
    ------
    FormatError
        There is no superblock, or it is damaged.
    """

    def __init__(self, filename: str) -> None:
        self.file = FileBytes(os.fspath(filename))
        self._collection = lru_cache(_MAX_COLLECTIONS)(partial(read_global_heap_collection, self.file))
        try:
            superblock = read_superblock(self.file)
            self.file.limit(superblock.span)
        except BaseException:
            self.file.close()
            raise

    def _message(
        self, address: int, type_id: int, decode: Callable[[bytes, Encoding], _Decoded]
    ) -> _Decoded | None:
        """Decode a message of the object header at `address`; None where it has none, or a shared one.

        Raises
        ------
        FormatError
            It is damaged, or streamh5 cannot read it.
        """
        header = read_object_header(self.file, FileMap(self.file.nbytes), "", address)
        encoding = replace(self.file.encoding, padded=header.version == 1)
        for one in header.messages:
            if one.type_id == type_id and not one.flags & MessageFlag.SHARED:
                return decode(one.body, encoding)
        return None

    def fill_value(self, address: int) -> FillValue | None:
        """Fill value of the dataset whose header is at `address`; None without one, or with an old one only.

        Raises
        ------
        FormatError
            It is damaged.
        """
        return self._message(address, MessageType.FILL_VALUE, decode_fill_value)

    def user_defined_link(self, group_address: int, name: str) -> UserDefinedLink:
        """Return a user-defined link of the group whose header is at `group_address`.

        Raises
        ------
        FormatError
            The group is damaged, or has no such link.
        """
        group = read_object(self.file, ObjectPlace("", group_address))
        for link in group.links if isinstance(group, GroupMessages) else ():
            if link.name == name and isinstance(link.target, UserDefinedLink):
                return link.target
        raise FormatError(f"there is no user-defined link {name!r}")

    def chunked_layout(self, address: int) -> ChunkedLayout:
        """Layout of the chunked dataset whose header is at `address`.

        Raises
        ------
        FormatError
            It is damaged, or not chunked.
        """
        layout = self._message(address, MessageType.DATA_LAYOUT, decode_data_layout)
        if not isinstance(layout, ChunkedLayout):
            raise FormatError("the dataset has no chunks")
        return layout

    def heap_object(self, address: int, index: int) -> bytes:
        """Return an object of the global heap.

        Raises
        ------
        FormatError
            The collection is damaged or has no such object.
        """
        objects = self._collection(address)
        if index not in objects:
            raise FormatError(f"global heap collection at address {address:,} has no object {index}")
        return objects[index]

    def __enter__(self) -> SourceBytes:
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()


class SharedBytes:
    """The bytes of a file that is open in this process, and opened again where a pickle of them arrives.

    There the file is opened when it is first read, and closed with this object.

    Parameters
    ----------
    file
        The file; None after the journey, until it is opened.
    seen
        The file as the process saw it where it was open, with the address that its first byte has and its end.
    """

    def __init__(self, file: FileBytes | None, seen: tuple[SeenFile, int, int] | None = None) -> None:
        self._file, self._seen = file, seen
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._seen is None and self._file is not None:
            self._seen = SeenFile.of(self._file.name), self._file.base_address, self._file.nbytes
        return SharedBytes, (None, self._seen)

    def open(self) -> FileBytes:
        """Return the file.

        Raises
        ------
        SourceError
            This process does not see the file, or sees another; the message names its machine.
        """
        with self._lock:
            if self._file is None:
                self._file = self._open()
            return self._file

    def _open(self) -> FileBytes:
        if self._seen is None:
            raise TypeError("a file that is neither open nor was seen")
        seen, base_address, nbytes = self._seen
        seen.check()
        file = FileBytes(seen.path)
        weakref.finalize(self, file.close)
        file.begin_at(base_address)
        file.limit(nbytes)
        return file
