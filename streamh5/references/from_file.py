"""Any HDF5 file as `StoredFile`: our own reader reads it, h5py the objects that our reader does not know."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from streamh5.errors import ForeignStructureError, FormatError, UnreadableError
from streamh5.processes.child_process import call_in_child
from streamh5.reader.file_bytes import FileBytes
from streamh5.references.from_h5py import read_with_h5py
from streamh5.references.own_reader import read_objects

if TYPE_CHECKING:
    from streamh5.references.stored_file import StoredFile

__all__ = ["read_file"]


def read_file(path: str | os.PathLike[str], *, safe: bool = False) -> StoredFile:
    """Describe a file; its data is not read, but for strings of variable length.

    Parameters
    ----------
    path
        The file.
    safe
        Let h5py read in a child process.

    Raises
    ------
    UnreadableError
        The file does not exist, is not an HDF5 file, or is damaged: the message names the object. Or h5py cannot
        read what our reader does not know, or has ended the child process.
    """
    name = os.fsdecode(path)
    with FileBytes(name) as raw:
        try:
            found = read_objects(raw, name)
        except ForeignStructureError:
            return _read_with_h5py(name, ["/"], set(), safe=safe)
        except FormatError as error:
            where = "" if name in str(error) else f"{name}: "
            raise UnreadableError(f"{where}{error}", path=name) from error
    if found.foreign:
        seen = found.seen - {place.address for place in found.foreign}
        rest = _read_with_h5py(name, [place.path for place in found.foreign], seen, safe=safe)
        found.file.groups.update(rest.groups)
        found.file.arrays.extend(rest.arrays)
    return found.file


def _read_with_h5py(path: str, roots: list[str], seen: set[int], *, safe: bool) -> StoredFile:
    if not safe:
        return read_with_h5py(path, roots, seen)

    def died(how: str) -> UnreadableError:
        return UnreadableError(
            f"{path}: the HDF5 library ended by {how} while it read the file, which is damaged or made to harm",
            path=path,
            signal=how,
        )

    found: StoredFile = call_in_child(read_with_h5py, path, roots, seen, died=died)
    return found
