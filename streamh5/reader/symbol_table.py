"""Read the links of a group of HDF5 before 1.8."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from streamh5.errors import FormatError
from streamh5.format.symbol_table import (
    BTREE_NODE,
    SYMBOL_NODE,
    decode_group_btree_node,
    decode_symbol_table_node,
    sizeof_group_btree_node,
    sizeof_symbol_table_node,
)
from streamh5.reader.local_heap import read_local_heap

if TYPE_CHECKING:
    from streamh5.format.link import Link
    from streamh5.reader.structure_reader import StructureReader

__all__ = ["read_symbol_table"]


def read_symbol_table(reader: StructureReader, btree_address: int, heap_address: int) -> list[Link]:
    """Read the links of a group, in the order of their names.

    Raises
    ------
    FormatError
        A field is wrong, or names are not in order.
    """
    heap = read_local_heap(reader, heap_address)
    nbytes = sizeof_symbol_table_node(reader.encoding)
    links: list[Link] = []
    for address in _read_btree(reader, btree_address):
        links += decode_symbol_table_node(reader.read(address, nbytes, SYMBOL_NODE), heap, reader.encoding)
    names = [link.name.encode(errors="surrogateescape") for link in links]
    if any(second <= first for first, second in pairwise(names)):
        raise FormatError(f"{SYMBOL_NODE}: its names are not in order", structure=SYMBOL_NODE)
    return links


def _read_btree(reader: StructureReader, address: int) -> list[int]:
    """Return the addresses of the symbol table nodes, level by level."""
    nbytes = sizeof_group_btree_node(reader.encoding)
    addresses = [address]
    level: int | None = None
    while True:
        children: list[int] = []
        for one in addresses:
            block = reader.read(one, nbytes, BTREE_NODE)
            found_level, below = decode_group_btree_node(block, reader.encoding)
            if level is not None and found_level != level:
                raise FormatError(f"{BTREE_NODE}: its level is {found_level}, where {level} must be")
            level = found_level
            children += below
        if not level:
            return children
        addresses, level = children, level - 1
