"""Groups of HDF5 before 1.8: symbol table message, nodes of its B-tree, symbol table nodes (III.A.1, III.B, IV.A.2.r).

A version 1 B-tree of type 0 leads to symbol table nodes, whose entries are links with names in a local heap. None of
these structures has a checksum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.link import HardLink, Link, LinkTarget, SoftLink
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.v1_btree import read_node_prefix

if TYPE_CHECKING:
    from streamh5.format.local_heap import LocalHeap

BTREE_NODE, SYMBOL_NODE = "version 1 B-tree node of a group", "symbol table node"

_GROUP_NODE_TYPE = 0
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


def sizeof_group_btree_node(encoding: Encoding) -> int:
    """Return the size of a B-tree node in bytes, full or not."""
    sizeof_prefix = 4 + 1 + 1 + 2 + 2 * encoding.sizeof_address
    sizeof_entry = encoding.sizeof_length + encoding.sizeof_address
    return sizeof_prefix + 2 * encoding.group_internal_k * sizeof_entry + encoding.sizeof_length


def decode_group_btree_node(block: bytes, encoding: Encoding = ENCODING) -> tuple[int, list[int]]:
    """Return the level of a B-tree node, and the addresses of its children.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(block, BTREE_NODE, encoding)
    level, n_children, _, _ = read_node_prefix(fields, _GROUP_NODE_TYPE, 2 * encoding.group_internal_k)
    children = []
    for _ in range(n_children):
        fields.length("key")
        children.append(fields.address("child pointer"))
    return level, children


def sizeof_symbol_table_node(encoding: Encoding) -> int:
    """Return the size of a symbol table node in bytes, full or not."""
    sizeof_entry = encoding.sizeof_length + encoding.sizeof_address + 4 + 4 + _SIZEOF_SCRATCH_PAD
    return 8 + 2 * encoding.group_leaf_k * sizeof_entry


def decode_symbol_table_node(block: bytes, names: LocalHeap, encoding: Encoding = ENCODING) -> list[Link]:
    """Return the links of a symbol table node.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(block, SYMBOL_NODE, encoding)
    fields.expect_signature(b"SNOD")
    fields.expect(1, 1, "version")
    fields.uint(1, "reserved byte")
    n_symbols, n_most = fields.uint(2, "number of symbols"), 2 * encoding.group_leaf_k
    if n_symbols > n_most:
        raise fields.error(f"{n_symbols} symbols, but at most {n_most} are possible")
    return [_decode_entry(fields, names) for _ in range(n_symbols)]


def _decode_entry(fields: Fields, names: LocalHeap) -> Link:
    name = names.text(fields.length("link name offset"))
    header = fields.address("object header address")
    cache_type = fields.uint(4, "cache type")
    fields.take(4, "reserved bytes")
    scratch = fields.take(_SIZEOF_SCRATCH_PAD, "scratch-pad space")
    if not name or "/" in name:
        raise fields.error(f"{name[:40]!r} is not the name of a link")
    target: LinkTarget = HardLink(header)
    if cache_type == _SYMBOLIC_LINK:
        target = SoftLink(names.text(int.from_bytes(scratch[:4], "little")))
    elif header == UNDEFINED_ADDRESS:
        raise fields.error(f"the link {name[:40]!r} names no object")
    return Link(name, target)
