"""The fields of a version 1 B-tree node before its entries, the same for groups and for chunks (III.A.1)."""

from __future__ import annotations

from streamh5.format.fields import Fields

V1_BTREE_SIGNATURE = b"TREE"

_MAX_LEVEL = 32  # no file has a deeper tree, but a hostile node can claim 255 levels


def read_node_prefix(fields: Fields, node_type: int, n_most: int) -> tuple[int, int, int, int]:
    """Read level, number of entries, and the addresses of the left and right siblings.

    Raises
    ------
    FormatError
        A field is wrong, or there are more than `n_most` entries.
    """
    fields.expect_signature(V1_BTREE_SIGNATURE)
    fields.expect(node_type, 1, "node type")
    level, n_entries = fields.uint(1, "node level"), fields.uint(2, "entries used")
    if level > _MAX_LEVEL or n_entries > n_most:
        raise fields.error(f"level {level}, {n_entries} entries used, but at most {n_most} are possible")
    return level, n_entries, fields.address("left sibling"), fields.address("right sibling")
