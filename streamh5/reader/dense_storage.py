"""Links and attributes in dense storage: their messages in a fractal heap, found through B-trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.errors import ForeignStructureError, FormatError
from streamh5.format.checksum import lookup3
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.v2_btree import RecordType
from streamh5.reader.attribute import decode_attribute
from streamh5.reader.file_map import Kind
from streamh5.reader.fractal_heap import FractalHeapReader
from streamh5.reader.link import decode_link
from streamh5.reader.v2_btree import V2BTreeReader, decode_uints

if TYPE_CHECKING:
    from streamh5.format.attribute import Attribute
    from streamh5.format.attribute_info import AttributeInfo
    from streamh5.format.link import Link
    from streamh5.format.link_info import LinkInfo
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap

__all__ = ["DenseStorage"]

_LINK_ID_NBYTES = 7
_ATTRIBUTE_ID_NBYTES = 8


class DenseStorage:
    """The dense storage of one object.

    Parameters
    ----------
    file, file_map
        The file, and the map in which blocks are entered.
    owner
        Path of the object.
    """

    def __init__(self, file: FileBytes, file_map: FileMap, owner: str) -> None:
        self._file = file
        self._map = file_map
        self._owner = owner
        self._trees = V2BTreeReader(file, file_map, Kind.HEAP, owner)

    def links(self, info: LinkInfo) -> list[Link]:
        """Read the links of a group.

        Raises
        ------
        FormatError
            A structure is damaged, or a name has another hash than its record.
        """
        if info.fractal_heap_address == UNDEFINED_ADDRESS:
            return []
        heap = self._heap(info, _LINK_ID_NBYTES)
        records = self._trees.read(info.name_index_address, RecordType.LINK_NAME, 4 + _LINK_ID_NBYTES)
        links = [decode_link(heap.object(record.tobytes())) for record in records[:, 4:]]
        _check_hashes([link.name for link in links], decode_uints(records[:, :4]).tolist())
        if info.creation_order_index_address != UNDEFINED_ADDRESS:
            ordered = self._trees.read(
                info.creation_order_index_address, RecordType.LINK_CREATION_ORDER, 8 + _LINK_ID_NBYTES
            )
            orders = {decode_link(heap.object(record[8:].tobytes())).creation_order for record in ordered}
            _check_orders(orders, set(decode_uints(ordered[:, :8]).tolist()), len(ordered), len(links))
        return links

    def attributes(self, info: AttributeInfo) -> list[Attribute]:
        """Read the attributes of an object.

        Raises
        ------
        FormatError
            A structure is damaged, or a name has another hash than its record.
        ForeignStructureError
            A shared attribute.
        """
        if info.fractal_heap_address == UNDEFINED_ADDRESS:
            return []
        heap = self._heap(info, _ATTRIBUTE_ID_NBYTES)
        record_nbytes = _ATTRIBUTE_ID_NBYTES + 1 + 4 + 4
        records = self._trees.read(info.name_index_address, RecordType.ATTRIBUTE_NAME, record_nbytes)
        if records[:, _ATTRIBUTE_ID_NBYTES].any():
            raise ForeignStructureError("shared attributes in dense storage")
        attributes = [
            decode_attribute(heap.object(record.tobytes())) for record in records[:, :_ATTRIBUTE_ID_NBYTES]
        ]
        _check_hashes([one.name for one in attributes], decode_uints(records[:, -4:]).tolist())
        if info.creation_order_index_address != UNDEFINED_ADDRESS:
            ordered = self._trees.read(
                info.creation_order_index_address,
                RecordType.ATTRIBUTE_CREATION_ORDER,
                _ATTRIBUTE_ID_NBYTES + 1 + 4,
            )
            by_name = set(decode_uints(records[:, -8:-4]).tolist())
            by_order = set(decode_uints(ordered[:, -4:]).tolist())
            _check_orders(by_name, by_order, len(ordered), len(attributes))
        return attributes

    def _heap(self, info: LinkInfo | AttributeInfo, id_nbytes: int) -> FractalHeapReader:
        heap = FractalHeapReader(self._file, self._map, self._owner, info.fractal_heap_address)
        if heap.id_nbytes != id_nbytes:
            raise FormatError(
                f"fractal heap header: heap IDs of {heap.id_nbytes} bytes, where {id_nbytes} must be"
            )
        return heap


def _check_hashes(names: list[str], hashes: list[int]) -> None:
    for name, stored in zip(names, hashes, strict=True):
        if lookup3(name.encode()) != stored:
            raise FormatError(f"dense storage: the record of {name[:40]!r} has another hash than the name")


def _check_orders(stored: set[int] | set[int | None], indexed: set[int], n_indexed: int, n_all: int) -> None:
    if stored != indexed or n_indexed != n_all:
        raise FormatError(
            f"dense storage: {n_all:,} names, {n_indexed:,} in creation order, which do not go together"
        )
