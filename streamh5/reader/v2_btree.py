"""Version 2 B-trees of a file (specification III.A.2), which are read level by level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.v2_btree import (
    V2BTreeHeader,
    decode_v2_btree_header,
    decode_v2_btree_node,
)
from streamh5.format.v2_btree_sizes import V2BTreeNodes, node_structure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.format.v2_btree_sizes import RecordType
    from streamh5.reader.file_map import StructureReader


def read_v2_btree(
    reader: StructureReader,
    address: int,
    record_type: RecordType,
    record: np.dtype[np.void],
    node_size: int | None = None,
) -> NDArray[np.void]:
    """Read all records of the tree whose header is at `address`.

    Parameters
    ----------
    reader, address
        Reader of the structures of the object, and address of the header.
    record_type, record
        Type and dtype of the records that the tree must contain.
    node_size
        Size of a node that the header must have; None for any size.

    Returns
    -------
    ndarray, ``(n_records,) record``
        The records, in no particular order.

    Raises
    ------
    FormatError
        A field or a checksum is wrong, or numbers of records do not agree.
    """
    encoding = reader.encoding
    block = reader.read(address, V2BTreeHeader.sizeof(encoding), V2BTreeHeader.structure)
    header = decode_v2_btree_header(block, record_type, record.itemsize, node_size, encoding)
    if header.root_address == UNDEFINED_ADDRESS:
        return np.zeros(0, record)
    nodes = V2BTreeNodes(record_type, record.itemsize, header.node_size, encoding.sizeof_address)
    parts: list[NDArray[np.uint8]] = []
    level = [(header.root_address, header.n_root_records)]
    for depth in range(header.depth, -1, -1):
        below: list[tuple[int, int]] = []
        for at, n_records in level:
            n_used = nodes.sizeof_used(depth, n_records)
            block = reader.read(at, nodes.node_size, node_structure(depth), n_read=n_used)
            records, children = decode_v2_btree_node(nodes, depth, n_records, block)
            parts.append(records)
            below += children
        level = below
    found = np.concatenate(parts)
    if len(found) != header.n_records:
        raise header.error(f"{header.n_records:,} records, but its nodes have {len(found):,}")
    return found.view(record)[:, 0]
