"""Version 2 B-tree of any record type from bytes (specification III.A.2), level by level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamh5.errors import FormatError
from streamh5.format.checksum import SIZEOF_CHECKSUM
from streamh5.format.fields import Fields, check_checksum
from streamh5.format.primitives import UNDEFINED_ADDRESS, encoded_length
from streamh5.reader.file_map import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["V2BTreeReader", "decode_uints"]

_SIZEOF_NODE_PREFIX = 4 + 1 + 1
_MAX_DEPTH = 32
_SPLIT_AND_MERGE = 100
_SIZEOF_FIXED_PART = 4 + 1 + 1 + 4 + 2 + 2 + 1 + 1 + 2 + SIZEOF_CHECKSUM


@dataclass(frozen=True, slots=True)
class _Tree:
    """What the nodes of one tree depend on."""

    record_type: int
    record_nbytes: int
    node_size: int
    sizeof_address: int

    def pointer_widths(self, height: int) -> tuple[int, int]:
        """Return the widths of a child's number of records and total number, above the leaves (H5B2__hdr_init)."""
        space = self.node_size - _SIZEOF_NODE_PREFIX - SIZEOF_CHECKSUM
        total = space // self.record_nbytes
        count_width, total_width = encoded_length(total), 0
        for _ in range(1, height):
            pointer = self.sizeof_address + count_width + total_width
            n_records = (space - pointer) // (self.record_nbytes + pointer)
            total = (n_records + 1) * total + n_records
            total_width = encoded_length(total)
        return count_width, total_width


class V2BTreeReader:
    """Read trees of one object.

    Parameters
    ----------
    file, file_map
        The file, and the map in which blocks are entered.
    kind, owner
        What the blocks are, and to which object they belong.
    """

    def __init__(self, file: FileBytes, file_map: FileMap, kind: Kind, owner: str) -> None:
        self._file = file
        self._map = file_map
        self._kind = kind
        self._owner = owner

    def read(
        self, address: int, record_type: int, record_nbytes: int, node_size: int | None = None
    ) -> NDArray[np.uint8]:
        """Read all records of the tree whose header is at `address`.

        Parameters
        ----------
        address
            Of the header.
        record_type, record_nbytes
            What the tree must hold.
        node_size
            What the header must say; None for any.

        Returns
        -------
        ndarray, ``(n_records, record_nbytes) uint8``
            In no particular order.

        Raises
        ------
        FormatError
            A field or a checksum is wrong, or counts do not agree.
        """
        structure = "version 2 B-tree header"
        encoding = self._file.encoding
        n_header = _SIZEOF_FIXED_PART + encoding.sizeof_address + encoding.sizeof_length
        fields = self._block(address, n_header, n_header, b"BTHD", structure)
        fields.expect(record_type, 1, "type")
        found_node_size = fields.uint(4, "node size")
        fields.expect(record_nbytes, 2, "record size")
        depth = fields.uint(2, "depth")
        split, merge = fields.uint(1, "split percent"), fields.uint(1, "merge percent")
        root_address = fields.address("root node address")
        n_root = fields.uint(2, "number of records in root node")
        n_total = fields.length("total number of records")
        if node_size is not None and found_node_size != node_size:
            raise fields.error(f"node size is {found_node_size:,}, the layout says {node_size:,}")
        room = found_node_size - _SIZEOF_NODE_PREFIX - SIZEOF_CHECKSUM
        if depth > _MAX_DEPTH or room < record_nbytes or not 0 < split <= _SPLIT_AND_MERGE or not merge:
            raise fields.error(
                f"depth {depth}, nodes of {found_node_size:,} bytes, split {split} %, merge {merge} %"
            )
        if root_address == UNDEFINED_ADDRESS:
            if n_total or n_root or depth:
                raise fields.error(f"{n_total:,} records, but no root node")
            return np.zeros((0, record_nbytes), np.uint8)
        tree = _Tree(record_type, record_nbytes, found_node_size, encoding.sizeof_address)
        parts: list[NDArray[np.uint8]] = []
        level = [(root_address, n_root)]
        for height in range(depth, -1, -1):
            level = [child for node in level for child in self._read_node(tree, height, *node, parts)]
        records = np.concatenate(parts)
        if len(records) != n_total:
            raise fields.error(f"{n_total:,} records in all, but the nodes have {len(records):,}")
        return records

    def _read_node(
        self, tree: _Tree, height: int, address: int, n_records: int, parts: list[NDArray[np.uint8]]
    ) -> list[tuple[int, int]]:
        """Add the records of a node to `parts` and return address and number of records of its children."""
        is_leaf = height == 0
        structure = "version 2 B-tree leaf" if is_leaf else "version 2 B-tree internal node"
        count_width, total_width = (0, 0) if is_leaf else tree.pointer_widths(height)
        sizeof_address = tree.sizeof_address
        pointer_nbytes = 0 if is_leaf else sizeof_address + count_width + total_width
        records_nbytes = n_records * tree.record_nbytes
        n_pointer_bytes = 0 if is_leaf else (n_records + 1) * pointer_nbytes
        n_used = _SIZEOF_NODE_PREFIX + records_nbytes + n_pointer_bytes + SIZEOF_CHECKSUM
        if n_used > tree.node_size:
            raise FormatError(
                f"{structure}: {n_records:,} records do not fit a node of {tree.node_size:,} bytes"
            )
        fields = self._block(address, tree.node_size, n_used, b"BTLF" if is_leaf else b"BTIN", structure)
        fields.expect(tree.record_type, 1, "type")
        raw = np.frombuffer(fields.take(records_nbytes, "records"), np.uint8)
        parts.append(raw.reshape(n_records, tree.record_nbytes))
        if is_leaf:
            return []
        raw = np.frombuffer(fields.take(n_pointer_bytes, "child pointers"), np.uint8)
        pointers = raw.reshape(n_records + 1, pointer_nbytes)
        addresses = decode_uints(pointers[:, :sizeof_address])
        counts = decode_uints(pointers[:, sizeof_address : sizeof_address + count_width])
        return list(zip(addresses.tolist(), counts.tolist(), strict=True))

    def _block(self, address: int, nbytes: int, n_checked: int, signature: bytes, structure: str) -> Fields:
        self._file.check_range(address, nbytes, structure)
        self._map.claim(self._kind, self._owner, address, nbytes)
        block = self._file.read(address, n_checked, structure)
        fields = Fields(block, structure, self._file.encoding)
        fields.expect_signature(signature)
        check_checksum(block, structure)
        fields.expect(0, 1, "version")
        return fields


def decode_uints(columns: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Decode ``(n, width) uint8``, little-endian, of at most 8 bytes each: ``(n,) uint64``."""
    padded = np.zeros((len(columns), 8), np.uint8)
    padded[:, : columns.shape[1]] = columns
    return padded.view("<u8")[:, 0].astype(np.uint64)
