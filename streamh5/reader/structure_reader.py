"""The bytes of one structure after the other, each entered in the file map before it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamh5.format.fields import Encoding
    from streamh5.reader.file_bytes import FileBytes
    from streamh5.reader.file_map import FileMap, Kind

__all__ = ["StructureReader"]


@dataclass(frozen=True, slots=True)
class StructureReader:
    """Reads what belongs to one object.

    Attributes
    ----------
    file, file_map
        The file, and the map in which structures are entered.
    kind, owner
        What the structures are, and the path of their object.
    """

    file: FileBytes
    file_map: FileMap
    kind: Kind
    owner: str

    @property
    def encoding(self) -> Encoding:
        """How the file encodes its fields."""
        return self.file.encoding

    def read(self, address: int, nbytes: int, structure: str, *, n_read: int | None = None) -> bytes:
        """Claim `nbytes` bytes at `address`, and read them, or the first `n_read` of them.

        The claim comes first: it is what ends the walk over structures that point to each other in a circle.

        Raises
        ------
        FormatError
            They are not all inside the file, or the structures of the file overlap.
        """
        self.file.check_range(address, nbytes, structure)
        self.file_map.claim(self.kind, self.owner, address, nbytes)
        return self.file.read(address, nbytes if n_read is None else n_read, structure)
