"""Mappings of a virtual dataset (specification VII.B; H5D__virtual_store_layout)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamh5.errors import PathError
from streamh5.format.character_set import encode_name
from streamh5.format.checksum import append_checksum
from streamh5.format.fields import Fields
from streamh5.format.hyperslab import Hyperslab, decode_selection, encode_selection
from streamh5.format.primitives import length, uint

_STRUCTURE = "virtual dataset global heap block"


@dataclass(frozen=True, slots=True)
class VirtualMapping:
    """Elements of a virtual dataset that are in another dataset; h5py's `VDSmap` has fields of the same names.

    Parameters
    ----------
    file_name
        File of the source; ``.`` is the file of the virtual dataset.
    dset_name
        Path of the source in its file.
    src_space
        Selection in the source; None for all of it.
    vspace
        Selection in the virtual dataset.
    """

    file_name: str
    dset_name: str
    src_space: Hyperslab | None
    vspace: Hyperslab


def encode_virtual_mappings(mappings: Sequence[VirtualMapping]) -> bytes:
    """Encode the global heap object that contains the mappings of a virtual dataset.

    Raises
    ------
    PathError
        The name of a file or dataset is empty, contains NUL or has no UTF-8 encoding.
    """
    parts = []
    for one in mappings:
        parts += [
            encode_name(one.file_name, "file of a source", PathError) + b"\0",
            encode_name(one.dset_name, "source", PathError) + b"\0",
            encode_selection(one.src_space),
            encode_selection(one.vspace),
        ]
    return append_checksum(uint(0, 1, "version"), length(len(mappings), "number of entries"), *parts)


def decode_virtual_mappings(block: bytes) -> list[VirtualMapping]:
    """Return the mappings that `encode_virtual_mappings` has encoded.

    Raises
    ------
    FormatError
        The block is of another version, or has other selections.
    """
    fields = Fields(block, _STRUCTURE)
    fields.check_checksum()
    fields.expect(0, 1, "version")
    mappings = []
    for _ in range(fields.length("number of entries")):
        file_name, dset_name = fields.terminated_text("file name"), fields.terminated_text("dataset name")
        source, virtual = decode_selection(fields), decode_selection(fields)
        if virtual is None:
            raise fields.error("a mapping of a whole virtual dataset")
        mappings.append(VirtualMapping(file_name, dset_name, source, virtual))
    return mappings


def check_virtual_mappings(block: bytes) -> None:
    """Check the global heap object that contains the mappings of a virtual dataset.

    Raises
    ------
    FormatError
        The version or the checksum is wrong.
    """
    fields = Fields(block, _STRUCTURE)
    fields.version(0, 1)
    fields.check_checksum()
