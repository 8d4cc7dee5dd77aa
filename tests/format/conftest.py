from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streamh5.format.attribute import Attribute, encode_attribute_head
from streamh5.format.data_layout import CompactLayout, DataLayout, encode_data_layout
from streamh5.format.dataspace import Dataspace, encode_dataspace
from streamh5.format.datatype import AnyDatatype, encode_datatype, encode_datatype_message
from streamh5.format.fill_value import AllocationTime, FillValue, encode_fill_value
from streamh5.format.filter_pipeline import FilterRecord, encode_filter_pipeline
from streamh5.format.group_info import encode_group_info
from streamh5.format.link import HardLink, Link, LinkTarget, encode_link
from streamh5.format.object_header import Message, MessageType, pack_messages
from streamh5.format.storage_info import StorageInfo, encode_attribute_info, encode_link_info
from streamh5.format.superblock import SIZEOF_SUPERBLOCK, Superblock, encode_superblock


def attribute_body(attribute: Attribute) -> bytes:
    """Return the body of an attribute message."""
    datatype = attribute.datatype_body or encode_datatype(attribute.datatype)
    head = encode_attribute_head(attribute.name, datatype, attribute.dataspace, attribute.committed_address)
    return head + attribute.data


class FileBuilder:
    """A whole HDF5 file made by hand in memory: blocks one after the other, the superblock last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = bytearray(SIZEOF_SUPERBLOCK)
        self.links: list[Message] = []

    def reserve(self, nbytes: int) -> int:
        address = len(self.content)
        self.content += bytes(nbytes)
        return address

    def put(self, address: int, block: bytes) -> None:
        self.content[address : address + len(block)] = block

    def add(self, block: bytes) -> int:
        address = self.reserve(len(block))
        self.put(address, block)
        return address

    def add_link(self, name: str, target: LinkTarget | int) -> None:
        self.links.append(encode_link(Link(name, HardLink(target) if isinstance(target, int) else target)))

    def add_dataset(
        self,
        name: str,
        layout: DataLayout,
        *,
        dtype: AnyDatatype,
        space: Dataspace,
        filters: Sequence[FilterRecord] = (),
        fill: bytes | None = None,
        extra: Sequence[Message] = (),
        attribute_order: bool = False,
        **header: Any,
    ) -> int:
        early = isinstance(layout, CompactLayout)
        allocation = AllocationTime.EARLY if early else AllocationTime.INCREMENTAL
        messages = [
            encode_dataspace(space),
            encode_datatype_message(dtype),
            encode_fill_value(FillValue(allocation, fill)),
            encode_data_layout(layout),
            *extra,
        ]
        if filters:
            messages.append(encode_filter_pipeline(filters))
        if any(message.type_id == MessageType.ATTRIBUTE for message in extra):
            count = sum(message.type_id == MessageType.ATTRIBUTE for message in extra)
            info = StorageInfo(count if attribute_order else None)
            messages.append(encode_attribute_info(info))
        address = self.add(pack_messages(messages, attribute_order=attribute_order).encode(**header))
        self.add_link(name, address)
        return address

    def write(self, *, root: Sequence[Message] = (), version: int = 3) -> Path:
        messages = [*root, *self.links]
        if not any(message.type_id == MessageType.LINK_INFO for message in root):
            messages = [encode_link_info(StorageInfo()), encode_group_info(), *messages]
        root_address = self.add(pack_messages(messages).encode())
        self.put(0, encode_superblock(Superblock(len(self.content), root_address, version=version)))
        self.path.write_bytes(self.content)
        return self.path


@pytest.fixture
def builder(tmp_path: Path) -> FileBuilder:
    return FileBuilder(tmp_path / "built.h5")


@pytest.fixture
def one_value_dataset(builder: FileBuilder) -> Callable[..., FileBuilder]:
    """Add a scalar dataset "x" of value 7 whose header gets extra messages and options."""

    def add(name: str = "x", extra: Sequence[Message] = (), **header: Any) -> FileBuilder:
        layout = CompactLayout(np.int16(7).tobytes())
        builder.add_dataset(name, layout, dtype=np.dtype("<i2"), space=Dataspace(()), extra=extra, **header)
        return builder

    return add


def header_messages(content: bytes, address: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, flags and body of the messages of a one-chunk object header that libhdf5 wrote."""
    assert content[address : address + 5] == b"OHDR\x02"
    flags = content[address + 5]
    position = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    end = position + width + int.from_bytes(content[position : position + width], "little")
    position += width
    while position + 4 <= end:
        type_id, size, message_flags = struct.unpack_from("<BHB", content, position)
        position += 6 if flags & 0x04 else 4
        yield type_id, message_flags, content[position : position + size]
        position += size


@pytest.fixture
def library_messages(tmp_path: Path) -> Callable[..., dict[int, list[tuple[int, bytes]]]]:
    """Return what libhdf5 writes into the object header of "x", by message type."""

    def write(
        fill_file: Callable[[h5py.File], object], libver: Any = ("v110", "v114"), **options: Any
    ) -> dict[int, list[tuple[int, bytes]]]:
        path = tmp_path / "library.h5"
        with h5py.File(path, "w", libver=libver, **options) as file:
            fill_file(file)
            address = h5py.h5o.get_info(file["x"].id).addr
        found: dict[int, list[tuple[int, bytes]]] = {}
        for type_id, flags, body in header_messages(path.read_bytes(), address):
            found.setdefault(type_id, []).append((flags, body))
        return found

    return write
