"""Groups of HDF5 before 1.8 from bytes: symbol table message, B-tree, symbol table nodes (III.A.1, III.B, IV.A.2.r).

A version 1 B-tree of type 0 leads to symbol table nodes, whose entries name links in a local heap. Nothing of this
has a checksum.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from streamh5.errors import FormatError
from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.link import HardLink, Link, LinkTarget, SoftLink
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.reader.file_map import Kind
from streamh5.reader.local_heap import LocalHeap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["decode_symbol_table", "read_symbol_table"]

_BTREE, _NODE = "version 1 B-tree node of a group", "symbol table node"
_GROUP_NODE_TYPE = 0
_MAX_LEVEL = 32
_SIZEOF_SCRATCH_PAD = 16
_SYMBOLIC_LINK = 2


def decode_symbol_table(body: bytes, encoding: Encoding = ENCODING) -> tuple[int, int]:
    """Decode a symbol table message: addresses of the B-tree and of the local heap.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "symbol table message", encoding)
    found = fields.address("version 1 B-tree address"), fields.address("local heap address")
    fields.end()
    return found


def read_symbol_table(
    file: FileBytes, file_map: FileMap, owner: str, btree_address: int, heap_address: int
) -> list[Link]:
    """Read the links of a group, in the order of their names.

    Raises
    ------
    FormatError
        A field is wrong, or names are not in order.
    """
    heap = LocalHeap(file, file_map, owner, heap_address)
    links: list[Link] = []
    for address in _read_btree(file, file_map, owner, btree_address):
        links += _read_node(file, file_map, owner, heap, address)
    names = [link.name.encode(errors="surrogateescape") for link in links]
    if any(second <= first for first, second in pairwise(names)):
        raise FormatError(f"{_NODE}: its names are not in order", structure=_NODE)
    return links


def _read_btree(file: FileBytes, file_map: FileMap, owner: str, address: int) -> list[int]:
    """Return the addresses of the symbol table nodes, level by level."""
    addresses = [address]
    level: int | None = None
    while True:
        children: list[int] = []
        for one in addresses:
            found_level, below = _read_btree_node(file, file_map, owner, one)
            if level is not None and found_level != level:
                raise FormatError(f"{_BTREE}: its level is {found_level}, where {level} must be")
            level = found_level
            children += below
        if not level:
            return children
        addresses, level = children, level - 1


def _read_btree_node(file: FileBytes, file_map: FileMap, owner: str, address: int) -> tuple[int, list[int]]:
    """Return level and children of a node."""
    encoding = file.encoding
    n_most = 2 * encoding.group_internal_k
    sizeof_prefix = 4 + 1 + 1 + 2 + 2 * encoding.sizeof_address
    sizeof_entry = encoding.sizeof_length + encoding.sizeof_address
    nbytes = sizeof_prefix + n_most * sizeof_entry + encoding.sizeof_length
    file.check_range(address, nbytes, _BTREE)
    file_map.claim(Kind.HEAP, owner, address, nbytes)
    fields = Fields(file.read(address, nbytes, _BTREE), _BTREE, encoding)
    fields.expect_signature(b"TREE")
    fields.expect(_GROUP_NODE_TYPE, 1, "node type")
    level = fields.uint(1, "node level")
    n_children = fields.uint(2, "entries used")
    if level > _MAX_LEVEL or n_children > n_most:
        raise fields.error(f"level {level}, {n_children} entries used, where at most {n_most} can be")
    fields.address("left sibling")
    fields.address("right sibling")
    children = []
    for _ in range(n_children):
        fields.length("key")
        children.append(fields.address("child pointer"))
    return level, children


def _read_node(
    file: FileBytes, file_map: FileMap, owner: str, heap: LocalHeap, address: int
) -> Iterator[Link]:
    encoding = file.encoding
    n_most = 2 * encoding.group_leaf_k
    sizeof_entry = encoding.sizeof_length + encoding.sizeof_address + 4 + 4 + _SIZEOF_SCRATCH_PAD
    nbytes = 8 + n_most * sizeof_entry
    file.check_range(address, nbytes, _NODE)
    file_map.claim(Kind.HEAP, owner, address, nbytes)
    fields = Fields(file.read(address, nbytes, _NODE), _NODE, encoding)
    fields.expect_signature(b"SNOD")
    fields.expect(1, 1, "version")
    fields.uint(1, "reserved byte")
    n_symbols = fields.uint(2, "number of symbols")
    if n_symbols > n_most:
        raise fields.error(f"{n_symbols} symbols, where at most {n_most} can be")
    for _ in range(n_symbols):
        name = heap.text(fields.length("link name offset"))
        header = fields.address("object header address")
        cache_type = fields.uint(4, "cache type")
        fields.take(4, "reserved bytes")
        scratch = fields.take(_SIZEOF_SCRATCH_PAD, "scratch-pad space")
        if not name or "/" in name:
            raise fields.error(f"{name[:40]!r} is no name of a link")
        target: LinkTarget = HardLink(header)
        if cache_type == _SYMBOLIC_LINK:
            target = SoftLink(heap.text(int.from_bytes(scratch[:4], "little")))
        elif header == UNDEFINED_ADDRESS:
            raise fields.error(f"the link {name[:40]!r} leads to no object")
        yield Link(name, target)
