"""Any HDF5 file as `StoredFile`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from streamh5.child_process import call_in_child
from streamh5.errors import UnreadableError
from streamh5.reader.file_bytes import FileBytes
from streamh5.references.from_h5py import read_with_h5py

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
        The file does not exist, or h5py cannot read it; or it has ended the child process.
    """
    name = os.fsdecode(path)
    with FileBytes(name):  # there is such a file
        pass
    if not safe:
        return read_with_h5py(name)

    def died(how: str) -> UnreadableError:
        return UnreadableError(
            f"{name}: the HDF5 library ended by {how} while it read the file, which is damaged or made to harm",
            path=name,
            signal=how,
        )

    found: StoredFile = call_in_child(read_with_h5py, name, died=died)
    return found
